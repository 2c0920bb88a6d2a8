//! A clock that can be set, for dispatchers and the workers that they start: libfaketime, loaded before the C library.

use std::fs;
use std::path::{Path, PathBuf};

use tests::scratch::Scratch;
use tests::{Setting, settings};

/// Sets the clock of every program that has its settings.
#[derive(Debug)]
pub(crate) struct Clock {
    library: PathBuf,
    scratch: Scratch,
}

impl Clock {
    /// Fails if the library is not installed.
    pub(crate) fn new() -> Result<Self, String> {
        let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
        let library = places
            .iter()
            .map(|place| Path::new("/usr/lib").join(place).join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists())
            .ok_or("libfaketime is missing: apt-get install faketime, or --without clock-jump")?;
        let clock = Self { library, scratch: Scratch::new("clock") };
        clock.set(0);
        Ok(clock)
    }

    /// Sets it wrong by this many seconds.
    pub(crate) fn set(&self, seconds: i64) {
        let next = self.scratch.write("time.next", &format!("{seconds:+}\n"));
        fs::rename(next, self.scratch.join("time")).expect("a file");
    }

    pub(crate) fn settings(&self) -> Vec<Setting> {
        settings([
            ("LD_PRELOAD", &self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", &self.scratch.join("time").display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1"),
            // Only the wall clock jumps; the monotonic clock goes on.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ])
    }
}
