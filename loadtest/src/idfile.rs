//! Files of ids: one line per message, or one per recipient, written in whole lines so that threads may share a file.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Failure;

/// Bytes that wait to be written.
const PENDING_BYTES: usize = 64 * 1024;

/// Where ids go, if anywhere, and what a line says.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdSink {
    path: Option<PathBuf>,
    per_recipient: bool,
}

impl IdSink {
    /// Creates the file anew, so that a mistake shows before the work begins.
    ///
    /// # Errors
    /// [`Failure::Usage`] where it cannot be created.
    pub(crate) fn create(path: Option<&Path>, per_recipient: bool) -> Result<Self, Failure> {
        if let Some(path) = path {
            File::create(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        }
        Ok(Self { path: path.map(Path::to_owned), per_recipient })
    }

    /// One thread's way into the file.
    pub(crate) fn open(&self) -> io::Result<IdFile> {
        let file = self.path.as_ref().map(|path| OpenOptions::new().append(true).open(path)).transpose()?;
        Ok(IdFile { file, per_recipient: self.per_recipient, pending: Vec::new() })
    }
}

/// One thread's lines.
pub(crate) struct IdFile {
    file: Option<File>,
    per_recipient: bool,
    pending: Vec<u8>,
}

impl IdFile {
    /// Notes a message with those of its recipients that count.
    pub(crate) fn note<'a>(&mut self, id: impl Display, recipients: impl Iterator<Item = &'a str>) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        if self.per_recipient {
            recipients.for_each(|recipient| self.pending.extend_from_slice(format!("{id} {recipient}\n").as_bytes()));
        } else {
            self.pending.extend_from_slice(format!("{id}\n").as_bytes());
        }
        if self.pending.len() < PENDING_BYTES { Ok(()) } else { self.flush() }
    }

    /// Writes out what waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(&self.pending)?;
        }
        self.pending.clear();
        Ok(())
    }
}
