//! Which process is which: a pid alone may have been given to another one.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A process, for ever: pid, start time in clock ticks since boot, and the boot it was in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub(super) pid: i32,
    start: u64,
    boot: String,
}

impl ProcessId {
    /// The process that has this pid now. `None` where there is none, it has ended, or there is no `/proc`.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let (state, start) = state_and_start(&stat(pid)?)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, start, boot: boot()?.to_owned() })
    }

    /// Whether this very process is still running.
    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now == *self)
    }

    /// The process whose environment has `name` set to `path`, where this user may look.
    pub(super) fn with_variable(name: &str, path: &Path) -> Option<Self> {
        let wanted = format!("{name}={}", path.display());
        let pids = fs::read_dir("/proc")
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.into_iter().find_map(|pid: i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            environment
                .split(|byte| *byte == 0)
                .any(|pair| pair == wanted.as_bytes())
                .then(|| Self::of(pid))?
        })
    }
}

/// The boot that this process lives in, like every other.
fn boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned());
    BOOT.get_or_init(read).as_deref()
}

/// In one read: a file of `/proc` says that it is empty, so that readers begin with a few bytes.
fn stat(pid: i32) -> Option<String> {
    let mut bytes = [0; 1024];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// Fields 3 and 22 of `/proc/<pid>/stat`; the second one is the name, in brackets, and may hold anything.
pub(super) fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_confuse_its_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(state_and_start(stat), Some(('S', 4242)));
        assert_eq!(state_and_start("garbage"), None);
    }

    #[test]
    fn this_process_is_alive_and_another_with_its_pid_is_not() {
        let own = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessId { start: own.start + 1, ..own.clone() }.is_alive());
        assert!(!ProcessId { boot: "another".to_owned(), ..own }.is_alive());
    }
}
