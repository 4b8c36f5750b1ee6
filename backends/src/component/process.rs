//! Who this process is, so that others can be told who holds what.
//!
//! A process id alone proves nothing: ids are used again, also across a reboot. Together with
//! the boot id and the process's start time it names one process for ever.

use std::fs;

/// Names one process of one boot of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// The host's name.
    pub host: String,
    /// The kernel's id of this boot; empty where the system does not tell.
    pub boot_id: String,
    /// The process id.
    pub pid: u32,
    /// When the process started, in clock ticks since boot; 0 where the system does not tell.
    pub started: u64,
}

impl ProcessIdentity {
    /// This process on a host called `host`.
    pub fn of_this_process(host: impl Into<String>) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            host: host.into(),
            boot_id: boot_id.trim().to_owned(),
            pid: std::process::id(),
            started: start_time(&stat).unwrap_or(0),
        }
    }
}

/// Field 22 of `/proc/<pid>/stat` (proc(5)). The second field, the name, may hold anything, so
/// fields are counted from its closing parenthesis.
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_a_name_with_parentheses() {
        let stat = "4711 (a) b (c) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1";
        assert_eq!(start_time(stat), Some(987_654));
        assert_eq!(start_time("garbage"), None);
    }
}
