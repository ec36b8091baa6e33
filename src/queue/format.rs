//! The format of a data directory: which versions of Ringpost can read it.
//!
//! Every version reads the directories of all earlier ones, and writes its own format once nothing can refuse its start. One that is
//! older than what it finds refuses to start, and changes nothing: it would take for a torn tail what it does not know.
//! There is no way back but to let the newer version deliver what is queued, stop it, and begin a new directory.
//!
//! On disk: the file `format`, one number. A directory without it is older than the file.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::{Error, checkpoint, row};
use crate::spool::record;

/// What this version writes: raised whenever an earlier version could not read, or would misread, what is written.
/// 2: records and rows with tagged values. 3: records and rows of what came back after a delivery. 4: messages with a
/// pool, a tenant and a campaign. 5: what protected a session. 6: messages that ask something of
/// TLS, which an earlier version would send as any other.
pub const FORMAT: u64 = 6;
/// The file's name.
const NAME: &str = "format";

// A new version of what is inside is a new format.
const _: () = assert!(record::VERSION == 2 && row::VERSION == 3 && checkpoint::VERSION == 1);

/// The format of `directory`; refuses it if a later version wrote it.
pub(super) fn of(directory: &Path) -> Result<u64, Error> {
    let file = directory.join(NAME);
    let found = match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().map_err(|_| not_a_number(&file))?,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(Error::Io(file, error)),
    };
    if found > FORMAT {
        return Err(Error::Newer { directory: directory.to_path_buf(), format: found });
    }
    Ok(found)
}

fn not_a_number(file: &Path) -> Error {
    Error::Damaged(format!(
        "{} holds no number, which tells the format of this directory: put the file back from a backup of the directory; without \
         one, write {FORMAT} into it if this version of ringpost ran here last, or start the version that did",
        file.display()
    ))
}

/// Makes `directory` this version's: from now on no earlier one starts on it. Refuses it if a later version wrote it.
pub(super) fn claim(directory: &Path) -> Result<(), Error> {
    if of(directory)? < FORMAT {
        let file = directory.join(NAME);
        let io = |why| Error::Io(file.clone(), why);
        let new = directory.join("format.new");
        let mut writing = File::create(&new).map_err(io)?;
        writing.write_all(format!("{FORMAT}\n").as_bytes()).and_then(|()| writing.sync_all()).map_err(io)?;
        std::fs::rename(&new, &file).map_err(io)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_directory_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(NAME);
        let read = || std::fs::read_to_string(&file).expect("the file");
        claim(folder.path()).expect("a new directory");
        assert_eq!(read(), "6\n");
        claim(folder.path()).expect("its own");
        std::fs::write(&file, "1\n").expect("written");
        claim(folder.path()).expect("an older one");
        assert_eq!(read(), "6\n");
        std::fs::write(&file, "7\n").expect("written");
        let refused = claim(folder.path()).expect_err("a newer one").to_string();
        assert!(refused.contains("format 7") && refused.contains("format 6"), "{refused}");
        assert_eq!(read(), "7\n");
        std::fs::write(&file, "what").expect("written");
        let refused = claim(folder.path()).expect_err("damaged").to_string();
        assert!(refused.contains("/format holds no number") && refused.contains("write 6 into it"), "{refused}");
    }
}
