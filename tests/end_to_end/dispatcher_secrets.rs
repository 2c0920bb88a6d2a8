//! A secret in any variable or flag of the dispatcher, at any position of its value, is in no output of any command.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use tests::program::Program;
use tests::scratch::Scratch;
use tests::{secret, wait};

/// The commands, and what each needs in addition to its flags.
const COMMANDS: [&[&str]; 14] = [
    &["run"],
    &["dead-letters", "list"],
    &["dead-letters", "show", "7"],
    &["dead-letters", "replay", "7"],
    &["dead-letters", "drop", "7"],
    &["publish", "--generate", "1"],
    &["status"],
    &["republish"],
    &["migrate"],
    &["validate"],
    &["explain", "EVENT"],
    &["healthcheck"],
    &["partner"],
    &["demo"],
];

/// Variables that no list of flags names.
const VARIABLES: [&str; 16] = [
    "ADMIN_TOKEN",
    "EVENTS_TOKEN",
    "DATABASE_URL",
    "DB_HOST",
    "DB_PORT",
    "DB_USER",
    "DB_PASSWORD",
    "DB_NAME",
    "DB_TLS",
    "DB_CA",
    "KUBECONFIG",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_RESOURCE_ATTRIBUTES",
    "HTTP_PROXY",
];

/// One flag or variable of one command.
struct Setting {
    command: &'static [&'static str],
    flag: Option<String>,
    variable: Option<String>,
}

/// The flags with a value in a command's help, with their variables; each once, where it occurs first.
fn settings() -> Vec<Setting> {
    let mut known = BTreeSet::new();
    let mut all = Vec::new();
    for command in COMMANDS {
        let verbs =
            command.iter().take_while(|word| word.starts_with(|letter: char| letter.is_ascii_lowercase()));
        let help = verbs.fold(Program::dispatcher(), Program::argument).argument("--help").run_to(0).output;
        let mut add = |name: &str, flag: bool| {
            if known.insert(name.to_owned()) {
                let [flag, variable] = [flag, !flag].map(|is_it| is_it.then(|| name.to_owned()));
                all.push(Setting { command, flag, variable });
            }
        };
        for line in help.lines().map(str::trim) {
            let flag = line.strip_prefix("--").or_else(|| line.split_once(", --").map(|(_, rest)| rest));
            if let Some((name, _)) = flag.and_then(|flag| flag.split_once(" <")) {
                add(&format!("--{name}"), true);
            } else if let Some(variable) = line.strip_prefix("[env: ") {
                add(variable.trim_end_matches(']'), false);
            }
        }
    }
    for command in [&["run"][..], &["migrate"], &["status"], &["dead-letters", "drop", "7"]] {
        let setting = |name: &str| Setting { command, flag: None, variable: Some(name.to_owned()) };
        all.extend(VARIABLES.map(setting));
    }
    all
}

/// Its output until it ends, or for a while if it would not end.
fn said(program: &Program) -> String {
    let mut running = program.start();
    let ended = |limit, running: &mut tests::program::Running| {
        wait::within(limit, || running.process.ended()).is_some()
    };
    if !ended(Duration::from_secs(3), &mut running) {
        running.process.terminate();
        if !ended(Duration::from_secs(10), &mut running) {
            running.kill();
        }
    }
    running.process.output()
}

#[test]
fn a_secret_in_any_setting_of_the_dispatcher_shows_nowhere() {
    let place = Scratch::new("dispatcher-secrets");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");
    let event = format!("{shipped}/customer-saved/sample.cloudevent");
    let settings = settings();
    assert!(settings.len() > 100, "{}", settings.len());
    let mut tries = Vec::new();
    for (number, setting) in settings.iter().enumerate() {
        // What one makes there is not to be seen by another.
        let values = secret::values(&place.join(&number.to_string()));
        tries.extend(values.into_iter().map(|value| (setting, value)));
    }
    let tries = Mutex::new(tries);
    let shown = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..12 {
            let (tries, shown, place, event) = (&tries, &shown, &place, &event);
            scope.spawn(move || {
                loop {
                    let Some((Setting { command, flag, variable }, value)) = tries.lock().unwrap().pop()
                    else {
                        return;
                    };
                    let name = flag.as_ref().or(variable.as_ref()).expect("a name");
                    let mut program = Program::dispatcher()
                        .set("HOME", place.path().to_str().expect("a path"))
                        .set("DISPATCHER_LOG", "debug")
                        .set("DISPATCHER_EVENTS", shipped)
                        .set("DISPATCHER_LISTEN", "127.0.0.1:0")
                        .set("NATS_SERVER", "nats://127.0.0.1:1")
                        .set("NATS_CONNECT_TIMEOUT", "0")
                        .set("DISPATCHER_STATE_DIR", &place.join(&format!("state-{worker}")).display());
                    // What is read after the bus was opened is tested with a bus that is always available.
                    let is_of_nats =
                        name.to_lowercase().contains("nats") || name.to_lowercase().contains("sveltos");
                    if !is_of_nats {
                        program = program.set("DISPATCHER_BUS", "embedded");
                    }
                    for word in *command {
                        program = program.argument(if *word == "EVENT" { event } else { *word });
                    }
                    program = match (flag, variable) {
                        (Some(flag), _) => program.argument(format!("{flag}={value}")),
                        (None, Some(variable)) => program.set(variable, &value),
                        (None, None) => program,
                    };
                    let output = said(&program);
                    if secret::is_shown(&output) {
                        shown.lock().unwrap().push(format!("{command:?} {name}={value:?}: {output}"));
                    }
                }
            });
        }
    });
    let shown = shown.into_inner().unwrap();
    assert!(shown.is_empty(), "{} of them show it:\n{}", shown.len(), shown.join("\n"));
}
