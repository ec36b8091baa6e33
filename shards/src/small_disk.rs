//! A small file system of its own, for tests of what happens when the disk is full.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};

/// A tmpfs that is mounted for the length of a test.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts a file system of `mebibytes`. A test that cannot is a test that fails: there is no other way to know.
    pub fn new(mebibytes: u32) -> SmallDisk {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let size = format!("size={mebibytes}m");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        let mounted = status.as_ref().is_ok_and(ExitStatus::success);
        assert!(mounted, "this test must mount a tmpfs, which takes root: {status:?}");
        SmallDisk(folder)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.0.path().to_path_buf()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}
