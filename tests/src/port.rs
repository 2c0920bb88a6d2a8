//! Free ports below the range that the kernel hands to outgoing connections, so that a stopped server finds its port again.

use std::fs::{self, File};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 10_000;
const RANGES: u16 = 20;
const PORTS_IN_A_RANGE: u16 = 1_000;

/// A range of ports that is this process's as long as it runs.
struct Range {
    first: u16,
    next: AtomicU16,
    _lock: File,
}

/// A port on loopback that is free, and that nobody else is given: each test process has a range of its own.
///
/// Without that, a test would take the look of another process for a server that listens: to look is to listen for an instant.
pub fn free() -> u16 {
    static RANGE: LazyLock<Range> = LazyLock::new(range);
    (0..PORTS_IN_A_RANGE)
        .map(|_| RANGE.first + RANGE.next.fetch_add(1, Ordering::Relaxed) % PORTS_IN_A_RANGE)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

fn range() -> Range {
    let folder = std::env::temp_dir().join("knapscen-test-ports");
    fs::create_dir_all(&folder).expect("a folder for locks");
    (0..RANGES)
        .find_map(|number| {
            let lock = File::create(folder.join(number.to_string())).expect("a lock file");
            lock.try_lock().ok()?;
            let first = FIRST + number * PORTS_IN_A_RANGE;
            Some(Range { first, next: AtomicU16::new(0), _lock: lock })
        })
        .expect("fewer than 20 test processes at a time")
}
