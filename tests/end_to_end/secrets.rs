//! A secret in any variable of any worker, at any position of its value, is in no output.

use tests::program::Program;
use tests::scratch::Scratch;
use tests::secret::{self, SECRET};

use crate::worker_input::{Bench, steps};

/// The ids that say which event a run belongs to: they are in every result line.
const SHOWN: [&str; 2] = ["EVENT_ID", "CORRELATION_ID"];

/// The variables that a worker's help lists in the sections whose titles these are.
fn listed(help: &str, sections: &[&str]) -> Vec<String> {
    let mut is_wanted = false;
    let mut names = Vec::new();
    for line in help.lines() {
        if let Some(title) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            is_wanted = sections.contains(&title);
        } else if let Some(row) = line.strip_prefix("  ").filter(|row| is_wanted && !row.starts_with(' ')) {
            names.extend(row.split_whitespace().next().map(str::to_owned));
        }
    }
    names
}

#[test]
fn a_secret_in_any_variable_shows_nowhere() {
    let (bench, place) = (Bench::start(), Scratch::new("secrets"));
    std::thread::scope(|scope| {
        for (step, _) in steps() {
            let (bench, place) = (&bench, &place);
            scope.spawn(move || {
                let help = Program::worker(step).argument("--help").run_to(0).output;
                let own = ["The Job's variables", "Settings"];
                // What all workers share is the same code, so only one of them tests it.
                let common = ["The event that caused it", "Database and bus", "Limits and places"];
                let sections = if step == "save-user" { [&own[..], &common].concat() } else { own.to_vec() };
                let names = listed(&help, &sections);
                assert!(names.len() >= 4, "{help}");
                for name in names.iter().filter(|name| !SHOWN.contains(&name.as_str())) {
                    let values = secret::values(&place.join(&format!("{step}-{name}")));
                    for (number, value) in values.into_iter().enumerate() {
                        let event = format!("{step}-{name}-{number}");
                        let worker =
                            bench.worker(step).set("EVENT_ID", &event).set("STEP_TIMEOUT_SECONDS", "20");
                        let ended = worker.set(name, &value).run();
                        let shown = format!("{}{}", ended.output, ended.report);
                        assert!(!secret::is_shown(&shown), "{step} {name}={value:?}: {shown}");
                    }
                }
            });
        }
    });
}

#[test]
fn what_a_server_repeats_of_a_secret_is_not_shown() {
    let bench = Bench::start();
    for name in ["DB_USER", "DB_PASSWORD", "DB_NAME"] {
        let ended = bench.worker("save-user").set(name, SECRET).run();
        assert!(!ended.output.contains(SECRET), "{name}: {}", ended.output);
    }
    bench.vendor.set(tests::vendor::Mode::Says(r#"{"error":"no such token: Hunter2!x"}"#));
    let ended = bench.worker("order-swag").set("SWAG_API_TOKEN", SECRET).run_to(78);
    assert!(ended.reported("/error/message").contains("no such token: [SWAG_API_TOKEN]"), "{}", ended.report);
}
