//! A program that does nothing, unless `STAMP` names a file: then it writes there when it was started, in nanoseconds. `SLEEP` are seconds to stay.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() {
    if let Some(path) = std::env::var_os("STAMP") {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // In one piece and under another name first: whoever waits for the file finds it whole.
        let draft = std::path::PathBuf::from(&path).with_extension("draft");
        let written = File::create(&draft).and_then(|mut file| write!(file, "{now}"));
        drop(written.and_then(|()| std::fs::rename(draft, path)));
    }
    if let Some(seconds) = std::env::var("SLEEP").ok().and_then(|text| text.parse().ok()) {
        std::thread::sleep(Duration::from_secs(seconds));
    }
}
