//! Any text of an event in careless templates: the Job keeps its shape and carries exactly that text.
#![no_main]

#[path = "../../crates/rules/tests/template/careless.rs"]
mod careless;

use std::sync::OnceLock;

use careless::{Careless, HOSTILE, all};
use libfuzzer_sys::fuzz_target;

static ALL: OnceLock<Vec<Careless>> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let all = ALL.get_or_init(|| {
        let all = all();
        // Skip what the tests already know.
        for one in &all {
            for text in HOSTILE {
                one.check(text).unwrap_or_else(|problem| panic!("{text:?} in {}: {problem}", one.name));
            }
        }
        all
    });
    let Some((&choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let one = &all[usize::from(choice) % all.len()];
    if let Err(problem) = one.check(text) {
        panic!("{text:?} in\n{}\n{problem}", one.name);
    }
});
