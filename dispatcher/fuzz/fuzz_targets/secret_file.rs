//! Any file behind a Secret: it is read, or the problem says why not, and never quotes a value.
#![no_main]

use backend::{SourceKind, content};
use libfuzzer_sys::fuzz_target;

/// A value that no problem would contain by itself.
const SECRET: &str = "s3cr3t";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // The text as it is, and with a value in each line that can have one.
    let with_values = text.lines().flat_map(|line| [line, SECRET, "\n"]).collect::<String>();
    let manifest = format!("kind: Secret\nmetadata: {{name: a}}\nstringData:\n  KEY: {SECRET}\n{text}");
    for text in [text, &with_values, &manifest] {
        for kind in [SourceKind::Secret, SourceKind::ConfigMap] {
            match content(text, kind, "a") {
                // A key is before the first value, so a problem may name it.
                Err(problem) => assert!(!problem.contains(SECRET) || text != manifest, "{text:?}: {problem}"),
                Ok(content) => assert!(content.keys().all(|key| !key.is_empty() || text.contains("ata"))),
            }
        }
    }
    // A line that kubectl accepts in an env file has its value unchanged.
    let line: String = text.chars().filter(|letter| !matches!(letter, '\n' | '\r')).collect();
    let read = content(&format!("# kind\nKEY={line}\n"), SourceKind::Secret, "a").expect("a line");
    assert_eq!(read["KEY"], line.as_bytes(), "{line:?}");
});
