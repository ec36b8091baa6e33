//! Files that are there whole or not at all, and outlive the power: written under another name, flushed, given their own,
//! and that name flushed, too. All of it blocks. What a crash leaves behind under the other name begins with a dot.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Puts what `write` writes in the place of `file`. Not twice at a time for one file.
///
/// # Errors
/// `file` is as it was, unless only its name could not be flushed.
pub fn replace(file: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let new = beside(file, "new");
    let mut out = BufWriter::new(File::create(&new)?);
    let written = write(&mut out).and_then(|()| out.flush()).and_then(|()| out.get_ref().sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&new, file)) {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    flush_name(file)
}

/// Makes a file of `text` that only its owner can read. Any number of processes may try at a time: one of them succeeds.
///
/// # Errors
/// There is one already; or there is none, unless only its name could not be flushed.
pub fn make_secret(file: &Path, text: &[u8]) -> Result<()> {
    let new = beside(file, &format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&new);
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = out.write_all(text).and_then(|()| out.sync_all());
    // Unlike a rename, a link never takes the place of what is there.
    let linked = written.and_then(|()| fs::hard_link(&new, file));
    let _ = fs::remove_file(&new);
    linked?;
    flush_name(file)
}

/// Removes a file for good, if there is one.
pub fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| flush_name(file)),
    }
}

/// The name under which a file is written.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.{ending}"))
}

fn flush_name(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Error;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.b");
        replace(&file, |out| out.write_all(b"one")).expect("written");
        let failed = replace(&file, |out| {
            out.write_all(b"tw")?;
            Err(Error::from(ErrorKind::StorageFull))
        });
        assert_eq!(failed.map_err(|error| error.kind()), Err(ErrorKind::StorageFull));
        assert_eq!((fs::read(&file).expect("read"), names(folder.path())), (b"one".to_vec(), vec!["a.b".into()]));
        replace(&file, |out| out.write_all(b"two")).expect("written");
        assert_eq!((fs::read(&file).expect("read"), names(folder.path())), (b"two".to_vec(), vec!["a.b".into()]));
    }

    #[test]
    fn a_secret_is_made_once_for_its_owner_and_a_crash_leaves_no_part_of_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        // What a process of the same number left when it died.
        fs::write(beside(&file, &format!("{}.new", std::process::id())), "to").expect("written");
        make_secret(&file, b"first").expect("made");
        let again = make_secret(&file, b"second").map_err(|error| error.kind());
        assert_eq!(again, Err(ErrorKind::AlreadyExists));
        assert_eq!((fs::read(&file).expect("read"), names(folder.path())), (b"first".to_vec(), vec!["token".into()]));
        assert_eq!(fs::metadata(&file).expect("its facts").permissions().mode() & 0o777, 0o600);
    }
}
