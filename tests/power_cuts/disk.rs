//! A loop-mounted file system whose power can be cut.
//!
//! The cut is the shutdown ioctl of ext4 and xfs, with the flag that leaves the journal
//! unflushed. A Python script issues it, because the workspace has no `unsafe` code to call
//! `ioctl`. Every command has a time limit. A dropped mount is unmounted.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// Length of the sparse image file, in bytes: xfs needs at least 300 MiB.
const IMAGE_BYTES: u64 = 512 << 20;
/// Time limit of a command, in seconds; `timeout` kills it then.
const COMMAND_SECS_MAX: &str = "60";
/// Time limit of a cutter process, in seconds.
const CUTTER_SECS_MAX: &str = "600";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystemKind {
    Ext4,
    Xfs,
}

impl fmt::Display for FileSystemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        })
    }
}

/// An image and its mount.
#[derive(Debug)]
pub(crate) struct Disk {
    kind: FileSystemKind,
    // Declared before `home`: the mount must be dropped before the image is deleted.
    mount: Option<Mount>,
    home: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new(kind: FileSystemKind) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut disk = Self { kind, mount: None, home };
        File::create_new(disk.image()).unwrap().set_len(IMAGE_BYTES).unwrap();
        fs::create_dir(disk.mount_point()).unwrap();
        run(&format!("mkfs.{kind}"), &["-q".as_ref(), &disk.image()]);
        disk.mount = Some(Mount::new(&disk.image(), &disk.mount_point()));
        disk
    }

    pub(crate) fn kind(&self) -> FileSystemKind {
        self.kind
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }

    pub(crate) fn mount_point(&self) -> PathBuf {
        self.home.path().join("mount")
    }

    /// Returns the folder in which a worker works.
    pub(crate) fn folder(&self) -> PathBuf {
        self.mount_point().join("work")
    }

    /// Mounts the file system again, as after a power cut.
    ///
    /// Only data in the image survives. The mount replays the journal.
    pub(crate) fn remount(&mut self) {
        let mount = self.mount.take().expect("mounted");
        mount.unmount();
        self.mount = Some(Mount::new(&self.image(), &self.mount_point()));
    }
}

/// A mount, unmounted when dropped together with its loop device.
#[derive(Debug)]
struct Mount {
    point: Option<PathBuf>,
}

impl Mount {
    fn new(image: &Path, point: &Path) -> Self {
        run("mount", &["-o".as_ref(), "loop".as_ref(), image, point]);
        Self { point: Some(point.to_owned()) }
    }

    fn unmount(mut self) {
        run("umount", &[&self.point.take().expect("unmounted once")]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(point) = &self.point {
            // A test that panicked may still have open files. `-l` detaches the mount now, and
            // the kernel removes it when the files are closed.
            let _ = command("umount", COMMAND_SECS_MAX).arg("-l").arg(point).status();
        }
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) {
    File::open(folder).unwrap().sync_all().unwrap();
}

fn command(program: &str, secs_max: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([secs_max, program]);
    command
}

#[track_caller]
fn run(program: &str, arguments: &[&Path]) {
    let output = command(program, COMMAND_SECS_MAX).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}(root? installed?)");
}

/// Python script that kills a process and shuts the file system down.
///
/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` are both `_IOR('X', 125, __u32)`. In both, flag 2
/// means "do not flush the journal". The script reads one line: the process id and the delay in
/// seconds. Without a line it does not cut.
///
/// The script kills the process first, because a power cut also stops the process. With a shutdown
/// alone, a running `fdatasync` on Linux 6.18 can return 0 and still lose data that was written
/// into holes of the file: the data is missing after the next mount. A loop of `pwrite` and
/// `fdatasync` shows this on ext4 and on xfs. The process would then acknowledge lost data. A
/// killed process never returns from the kernel, so it had synced all acknowledged data before
/// the shutdown began.
const CUT: &str = "\
import fcntl, os, signal, struct, sys, time
root = os.open(sys.argv[1], os.O_RDONLY)
flag = struct.pack('I', 2)
print('ready', flush=True)
order = sys.stdin.readline().split()
if order:
    time.sleep(float(order[1]))
    os.kill(int(order[0]), signal.SIGKILL)
    fcntl.ioctl(root, 0x8004587D, flag)
";

/// A process that cuts the power of a mount.
///
/// It starts before the work begins, so the cut is prompt. If dropped, it ends without a cut.
#[derive(Debug)]
pub(crate) struct Cutter {
    child: Child,
    input: Option<ChildStdin>,
}

impl Cutter {
    pub(crate) fn start(mount_point: PathBuf) -> Self {
        let mut command = command("python3", CUTTER_SECS_MAX);
        command.args(["-c", CUT]).arg(mount_point).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let mut ready = String::new();
        let output = child.stdout.take().expect("the output is piped");
        BufReader::new(output).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n", "python3 runs");
        Self { child, input }
    }

    /// Cuts the power of process `pid` and the mount after `delay`.
    ///
    /// Returns after the cut.
    pub(crate) fn cut(mut self, pid: u32, delay: Duration) {
        let mut input = self.input.take().expect("cut once");
        writeln!(input, "{pid} {}", delay.as_secs_f64()).unwrap();
        drop(input);
        assert!(self.child.wait().unwrap().success(), "the mount is shut down");
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
