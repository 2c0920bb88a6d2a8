//! Identifies a process by more than its pid, which the system may have given to another process.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A process: its pid, and its birth if `/proc` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub(super) pid: i32,
    #[serde(flatten)]
    birth: Option<Birth>,
}

/// What tells two processes with the same pid apart: start time in clock ticks since boot, and the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Birth {
    start: u64,
    boot: String,
}

/// What `/proc` says of a pid.
enum Seen {
    Alive(Birth),
    Gone,
    /// There is no `/proc`.
    Nothing,
}

impl ProcessId {
    /// The process that has this pid now.
    pub(super) fn of(pid: i32) -> Self {
        let birth = if let Seen::Alive(birth) = look(pid) { Some(birth) } else { None };
        Self { pid, birth }
    }

    /// Whether this very process is still running; `None` if that cannot be known by its pid.
    pub(super) fn is_alive(&self) -> Option<bool> {
        let birth = self.birth.as_ref()?;
        match look(self.pid) {
            Seen::Alive(now) => Some(now == *birth),
            Seen::Gone => Some(false),
            Seen::Nothing => None,
        }
    }

    /// The process whose environment has `name` set to `path`, if this user may look.
    pub(super) fn with_variable(name: &str, path: &Path) -> Option<Self> {
        let wanted = format!("{name}={}", path.display());
        let pids = fs::read_dir("/proc")
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.into_iter().find_map(|pid: i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let found = environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes());
            found.then(|| Self::of(pid)).filter(|id| id.birth.is_some())
        })
    }
}

fn look(pid: i32) -> Seen {
    let Some(boot) = boot() else { return Seen::Nothing };
    match stat(pid).as_deref().and_then(state_and_start) {
        Some((state, start)) if !matches!(state, 'Z' | 'X') => {
            Seen::Alive(Birth { start, boot: boot.to_owned() })
        }
        _ => Seen::Gone,
    }
}

/// The id of the current boot.
fn boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned());
    BOOT.get_or_init(read).as_deref()
}

/// Reads in one call. A file of `/proc` reports size 0, so the usual readers begin with a few bytes.
fn stat(pid: i32) -> Option<String> {
    let mut bytes = [0; 1024];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// Fields 3 and 22 of `/proc/<pid>/stat`. The second field is the name, in brackets, and can contain anything.
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
        let own = ProcessId::of(i32::try_from(std::process::id()).unwrap());
        let other = |change: &dyn Fn(&mut Birth)| {
            let mut birth = own.birth.clone().unwrap();
            change(&mut birth);
            ProcessId { birth: Some(birth), ..own }
        };
        assert_eq!(own.is_alive(), Some(true));
        assert_eq!(other(&|birth| birth.start += 1).is_alive(), Some(false));
        assert_eq!(other(&|birth| birth.boot = "another".to_owned()).is_alive(), Some(false));
        assert_eq!(ProcessId { birth: None, ..own }.is_alive(), None);
    }

    #[test]
    fn a_pid_is_written_with_its_birth_or_without() {
        for text in [r#"{"pid":7,"start":42,"boot":"b"}"#, r#"{"pid":7}"#] {
            let id: ProcessId = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&id).unwrap(), text);
        }
    }
}
