//! A program that does nothing. If `STAMP` names a file, it writes its start time there, in nanoseconds. `SLEEP`:
//! seconds to stay.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() {
    if let Some(path) = std::env::var_os("STAMP") {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // Written under another name first and then renamed, so that the file is always complete.
        let draft = std::path::PathBuf::from(&path).with_extension("draft");
        let written = File::create(&draft).and_then(|mut file| write!(file, "{now}"));
        drop(written.and_then(|()| std::fs::rename(draft, path)));
    }
    if let Some(seconds) = std::env::var("SLEEP").ok().and_then(|text| text.parse().ok()) {
        std::thread::sleep(Duration::from_secs(seconds));
    }
}
