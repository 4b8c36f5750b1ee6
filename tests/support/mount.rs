//! A small separate file system for a test.
//!
//! There is none if the process has no permission to mount.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A tmpfs on a temporary folder, unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    /// Mounts a file system of `mib` MiB.
    ///
    /// If that is not permitted, it prints a line that `.ci/run` counts, and returns `None`.
    pub(crate) fn mount(test: &str, mib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={mib}m,mode=0700");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], folder.path());
        if mounted {
            return Some(Self { folder });
        }
        println!("\nSKIPPED: {test}: no tmpfs may be mounted here");
        None
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Makes it read-only.
    pub(crate) fn make_read_only(&self) {
        assert!(run("mount", &["-o", "remount,ro"], self.folder.path()), "remounted read-only");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run("umount", &["-l"], self.folder.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(program)
        .args(arguments)
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
