//! A file system of its own in an image file, mounted over a loop device, that can be cut off.
//!
//! The cut is the shutdown ioctl of ext4 and xfs with the flag that leaves the journal
//! unflushed. It is issued by a line of python, for the workspace has no `unsafe` to call
//! `ioctl` with. Every command has a time limit; what is mounted is unmounted when dropped.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// A sparse file; xfs wants 300 MiB at least.
const IMAGE_BYTES: u64 = 512 << 20;
/// No command takes longer; `timeout` ends it.
const COMMAND_SECS_MAX: &str = "60";
/// A cutter waits no longer for its moment.
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
    // Unmounted before the image goes.
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

    /// Where the work is done.
    pub(crate) fn folder(&self) -> PathBuf {
        self.mount_point().join("work")
    }

    /// As after the power is back: only what is in the image counts, and the journal is replayed.
    pub(crate) fn remount(&mut self) {
        let mount = self.mount.take().expect("mounted");
        mount.unmount();
        self.mount = Some(Mount::new(&self.image(), &self.mount_point()));
    }
}

/// Unmounted when dropped; the loop device goes with it.
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
            // A test that panics may still have files open: detached now, it is gone with them.
            let _ = command("umount", COMMAND_SECS_MAX).arg("-l").arg(point).status();
        }
    }
}

/// Makes the names in this folder durable.
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
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}(root? installed?)");
}

/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` are both `_IOR('X', 125, __u32)`, and in both the
/// flag 2 is "do not flush the journal". Whom to kill and after what delay comes as a line; no
/// line means no cut.
///
/// The kill comes first, for power takes the process along with the disk. Under a shutdown alone
/// Linux 6.18 lets an `fdatasync` that is under way return 0 although what was written into holes
/// of the file is gone after the next mount (a loop of `pwrite` and `fdatasync` shows it, on ext4
/// and on xfs), and the process lives to pass that lie on. A killed one never returns from the
/// kernel: whatever it acknowledged, it had synced before the shutdown began.
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

/// A process that will cut a mount off, ready before the work begins so that the cut is prompt.
/// Dropped, it ends without a cut.
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
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n", "python3 runs");
        Self { child, input }
    }

    /// After a while takes the power from this process and the mount, and waits for it.
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
