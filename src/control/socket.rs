//! The control socket: where the operator's commands find the running server.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Its name in the data directory.
pub const NAME: &str = "control.sock";
/// The longest path that fits an address of a Unix socket (`sun_path`, with its final NUL).
const PATH_BYTES_MAX: usize = 107;

/// The socket of the server that works on `data_dir`.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// A bound control socket; removed from the file system when dropped.
pub struct Bound {
    path: PathBuf,
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds the socket in `data_dir`, which the caller holds alone: a socket that is there already was left by a crash.
/// Only its owner can connect (mode 0600). Needs a Tokio runtime.
pub fn bind(data_dir: &Path) -> io::Result<(Bound, UnixListener)> {
    let path = path(data_dir);
    if path.as_os_str().len() > PATH_BYTES_MAX {
        let text = format!("the path is longer than the {PATH_BYTES_MAX} octets that a Unix socket can have");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Bound under another name and shown under its own when its mode is set, so that nobody else can connect before.
    let hidden = path.with_extension("new");
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, &path)?;
    Ok((Bound { path }, listener))
}
