//! The identity of this process, for the notes of lock holders.
//!
//! A process id alone proves nothing, because ids are reused, also after a reboot. Together with
//! the boot id and the start time of the process it identifies one process for ever.

use std::{fs, io};

use crate::{Error, ErrorKind, Reason, Result};

/// The process that opened a resource.
///
/// A forked child inherits the memory of its parent, but not its threads, and shares its open files
/// and locks. So it must not use them, not even to close them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeProcess {
    pid: u32,
}

impl HomeProcess {
    /// Returns this process.
    pub fn current() -> Self {
        Self { pid: std::process::id() }
    }

    /// Returns whether this process is the home process.
    pub fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Fails with `Closed` in a forked child of the home process.
    pub fn check(self, action: &'static str) -> Result<()> {
        if self.is_current() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, action).with_reason(Reason::ForkedProcess).with_detail(
            "another process opened the vault before it forked this one; open the vault here",
        ))
    }
}

/// The identity of one process of one boot of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// The host's name.
    pub host: String,
    /// The kernel's id of this boot; empty if the system has none.
    pub boot_id: String,
    /// The process id.
    pub pid: u32,
    /// Start of the process, in clock ticks since boot; 0 if the system does not report it.
    pub started: u64,
    /// The kernel's name of the process id namespace of `pid`.
    ///
    /// It differs between containers; empty if the system has none.
    pub pid_namespace: String,
}

impl ProcessIdentity {
    /// Returns the identity of this process, on a host called `host`.
    pub fn of_this_process(host: impl Into<String>) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            host: host.into(),
            boot_id: boot_id.trim().to_owned(),
            pid: std::process::id(),
            started: start_time(&stat).unwrap_or(0),
            pid_namespace: own_pid_namespace(),
        }
    }

    /// Returns whether this process has certainly ended, as seen by `asker`.
    ///
    /// That requires one boot of one host, one process id namespace, and no such process in it.
    pub fn is_dead_to(&self, asker: &Self) -> bool {
        let is_known = !self.boot_id.is_empty() && !self.pid_namespace.is_empty();
        let is_same_system = self.host == asker.host
            && self.boot_id == asker.boot_id
            && self.pid_namespace == asker.pid_namespace;
        if !is_known || !is_same_system || self.started == 0 {
            return false;
        }
        match fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            // A zombie, which has ended and was not waited for, writes nothing either.
            Ok(stat) => {
                start_time(&stat).is_some_and(|started| started != self.started || is_zombie(&stat))
            }
            // Some systems hide other users' processes. They then hide the first process too.
            Err(e) => {
                e.kind() == io::ErrorKind::NotFound && fs::exists("/proc/1/stat").unwrap_or(false)
            }
        }
    }
}

fn is_zombie(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// Returns the namespace of this process, for example `pid:[4026531836]`.
fn own_pid_namespace() -> String {
    fs::read_link("/proc/self/ns/pid").map(|to| to.display().to_string()).unwrap_or_default()
}

/// Reads field 22 of `/proc/<pid>/stat` (proc(5)).
///
/// The second field, the name, may contain anything, so fields are counted from its closing
/// parenthesis.
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_is_dead_only_to_its_own_host_and_boot() {
        let own = ProcessIdentity::of_this_process("host");
        assert!(!own.is_dead_to(&own), "it lives");
        let earlier = ProcessIdentity { started: own.started - 1, ..own.clone() };
        assert!(earlier.is_dead_to(&own), "its id was given again");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = ProcessIdentity { pid: child.id(), ..own.clone() };
        child.wait().unwrap();
        assert!(ended.is_dead_to(&own));
        let elsewhere = [
            ProcessIdentity { host: "other".into(), ..ended.clone() },
            ProcessIdentity { boot_id: "other".into(), ..ended.clone() },
            ProcessIdentity { pid_namespace: "other".into(), ..ended.clone() },
        ];
        assert!(elsewhere.iter().all(|process| !process.is_dead_to(&own)));
        let unknown = ProcessIdentity { boot_id: String::new(), ..ended };
        assert!(!unknown.is_dead_to(&unknown), "nothing is certain of it");
    }

    #[test]
    fn start_time_is_found_after_name_with_parentheses() {
        let stat = "4711 (a) b (c) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1";
        assert_eq!(start_time(stat), Some(987_654));
        assert_eq!(start_time("garbage"), None);
    }
}
