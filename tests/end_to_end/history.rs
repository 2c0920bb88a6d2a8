//! The history on a real server, written by real dispatchers.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::scratch::Scratch;
use tests::{block_on, http, vendor, wait};

use crate::dispatcher::copy;
use crate::system::{LIMIT, System, registration, shipped_events};

/// How many customers a dispatcher counts in a stage.
fn customers(port: u16, stage: &str) -> usize {
    of_metrics(port).customers.get(stage).copied().unwrap_or(usize::MAX)
}

#[test]
fn two_dispatchers_write_one_history_that_balances_and_leaves_no_run_open() {
    let system = System::start();
    let mut first = system.dispatcher();
    let second = system.dispatcher_with(&crate::system::shipped_events(), "second");
    for number in 0..6 {
        system.publish(&registration(&format!("Company {number}")));
    }
    system.until_onboarded(3);
    // The other dispatcher finds what the killed one lost in its last moments.
    first.running.kill();
    system.until_onboarded(6);
    system.check_books(6);
    // What the killed dispatcher had not written, it had not answered, so those events came again.
    wait::until(LIMIT * 2, "every run is there and none stays open", || {
        let open = system.database.count("job_runs WHERE state <> 'complete'");
        let all = system.database.count("job_runs") >= 6 * 9;
        (all && open == 0 && customers(second.port, "onboarded") == 6).then_some(())
    });
    assert_eq!(system.database.count("job_runs"), 6 * 9);
    assert_eq!(["stuck", "trying_again", "under_way"].map(|stage| customers(second.port, stage)), [0, 0, 0]);
    let words = |done: usize| format!("save-user on user-saved: 0 waiting, 0 running, {done} done, 0 failed");
    let saved = system.database.count("job_runs WHERE trigger_name = 'user-saved-trigger'");
    wait::until(LIMIT, &format!("the page counts {saved} Jobs that saved a user"), || {
        let page = tests::http::get(second.port, "/").ok()?.body;
        page.contains(&words(saved)).then_some(())
    });
}

/// Waiting, running, done, failed and dead letters of each step by its subject; customers by what they need.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    steps: BTreeMap<String, [usize; 5]>,
    customers: BTreeMap<String, usize>,
}

const STATES: [&str; 5] = ["waiting", "running", "done", "failed", "dead_letters"];

fn of_page(port: u16) -> Counts {
    let page = http::get(port, "/").map(|answer| answer.body).unwrap_or_default();
    let mut counts = Counts::default();
    // save-user on user-saved: 0 waiting, 0 running, 18 done, 0 failed, 0 dead letters, 3 per minute
    for label in page.split("aria-label=\"").filter_map(|rest| rest.split('"').next()) {
        let Some((subject, words)) = label.split_once(" on ").and_then(|(_, rest)| rest.split_once(": "))
        else {
            continue;
        };
        let numbers: Vec<usize> =
            words.split(", ").filter_map(|one| one.split(' ').next()?.parse().ok()).collect();
        counts.steps.insert(subject.to_owned(), numbers[..5].try_into().expect("five counts"));
    }
    for tile in page.split("<strong>").skip(1) {
        let Some((number, rest)) = tile.split_once("</strong> <span>") else { continue };
        if let (Ok(number), Some(stage)) = (number.parse(), rest.split('<').next()) {
            counts.customers.insert(stage.replace(' ', "_"), number);
        }
    }
    counts
}

fn of_metrics(port: u16) -> Counts {
    let text = http::get(port, "/metrics").map(|answer| answer.body).unwrap_or_default();
    let mut counts = Counts::default();
    for line in text.lines() {
        let parts: Vec<_> = line.split('"').collect();
        let number = || line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number");
        match parts[..] {
            ["dispatcher_step_events{trigger=", trigger, ",state=", state, _] => {
                let subject = trigger.trim_end_matches("-trigger").to_owned();
                let at = STATES.iter().position(|one| *one == state).expect("a state");
                counts.steps.entry(subject).or_default()[at] = number();
            }
            ["dispatcher_customers{stage=", stage, _] => {
                counts.customers.insert(stage.to_owned(), number());
            }
            _ => {}
        }
    }
    counts
}

fn of_status(system: &System, events: &str) -> Counts {
    let shown = system.command(&["status", "--output", "json", "--events", events]).run_to(0).output;
    let flow: Value = shown.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let number = |value: &Value| value.as_u64().and_then(|number| number.try_into().ok()).expect("a number");
    let steps = flow["steps"].as_array().into_iter().flatten();
    Counts {
        steps: steps
            .map(|step| {
                let subject = step["subject"].as_str().expect("a subject");
                (subject.to_owned(), STATES.map(|state| number(&step[state])))
            })
            .collect(),
        customers: flow["customers"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(stage, count)| (stage.clone(), number(count)))
            .collect(),
    }
}

/// The sums of the ledger, the customers' rows and the dead letters.
fn of_books(system: &System, failed: usize) -> Counts {
    let mut counts = Counts::default();
    for (subject, step) in [
        ("customer-registered", "register-corporate-customer"),
        ("customer-saved", "save-customer"),
        ("user-saved", "save-user"),
        ("welcome-email-sent", "send-welcome-email"),
        ("marketing-notified", "notify-marketing"),
        ("swag-ordered", "order-swag"),
        ("touchpoints-created", "create-touchpoints"),
    ] {
        let done = system.database.count(&format!("handled_events WHERE step = '{step}'"));
        counts.steps.insert(subject.to_owned(), [0, 0, done, 0, 0]);
    }
    let letters = system.dead_letters();
    for letter in &letters {
        let step = letter["subject"].as_str().and_then(|subject| counts.steps.get_mut(subject));
        step.expect("a step")[4] += 1;
    }
    counts.steps.get_mut("customer-registered").expect("a step")[3] = failed;
    let onboarded = system.onboarded();
    let amounts =
        [("stuck", failed), ("trying_again", 0), ("under_way", 0), ("onboarded", onboarded), ("given_up", 0)];
    counts.customers = amounts.map(|(stage, amount)| (stage.to_owned(), amount)).into();
    counts
}

fn until_says(who: &str, expected: &Counts, says: impl Fn() -> Counts) {
    let limit = Instant::now() + LIMIT;
    while says() != *expected && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(says(), *expected, "{who}");
}

#[test]
fn page_status_and_metrics_agree_with_the_books_after_a_crash_and_a_restart_of_one_of_two_dispatchers() {
    let system = System::start();
    let folder = Scratch::new("events");
    let events = folder.join("events");
    copy(&shipped_events(), &events);
    let template = events.join("customer-registered/configmap.yaml");
    let text = fs::read_to_string(&template).unwrap();
    let line = "    {{- $subject :=";
    let refusing = format!(
        "    {{{{- if eq (get $data \"name\") \"Refused Ltd\" }}}}{{{{ fail \"not this one\" }}}}{{{{ end -}}}}\n{line}"
    );
    fs::write(&template, text.replace(line, &refusing)).unwrap();
    let mut first = system.dispatcher_with(&events, "first");
    let second = system.dispatcher_with(&events, "second");
    for number in 0..6 {
        system.publish(&registration(&format!("Company {number}")));
    }
    let refused = registration("Refused Ltd");
    system.publish(&refused);
    let mut hopeless = registration("Platinum Ltd");
    hopeless["data"]["subscription_tier"] = json!("platinum");
    system.publish(&hopeless);
    system.until_onboarded(2);
    first.running.kill();
    let first = system.dispatcher_with(&events, "first");
    system.until_onboarded(6);
    let letters = system.until_dead_letters(2);
    let books = of_books(&system, letters.len());
    assert_eq!(books.steps["user-saved"], [0, 0, 18, 0, 0], "{books:?}");
    assert_eq!(books.steps["customer-registered"], [0, 0, 6, 2, 2], "{books:?}");
    let manifests = events.display().to_string();
    until_says("status", &books, || of_status(&system, &manifests));
    for (name, port) in [("first", first.port), ("second", second.port)] {
        until_says(&format!("the page of the {name}"), &books, || of_page(port));
        until_says(&format!("the metrics of the {name}"), &books, || of_metrics(port));
    }
    // An event that could not be planned has its customer, with the reason.
    let customer = refused["subject"].as_str().unwrap();
    let status = system.command(&["status", customer]).run_to(0).output;
    assert!(status.contains("stuck") && status.contains("not this one"), "{status}");
    let page = http::get(first.port, &format!("/customers/{customer}")).unwrap().body;
    assert!(page.contains("not this one") && page.contains("Plan-render"), "{page}");
}

/// Publishes to `customer-saved` with a header.
fn publish_with(system: &System, event: &Value, header: (&str, &str)) {
    let context = system.nats.jetstream();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(header.0, header.1);
    let payload = event.to_string().into_bytes().into();
    block_on(async { context.publish_with_headers("customer-saved", headers, payload).await?.await })
        .expect("an acknowledgement");
}

/// An event about this customer that fails, because the customer's id is not valid.
fn saved(customer: &str, name: &str) -> Value {
    let mut event = registration(name);
    event["type"] = json!("disco.knapscen.customer.saved");
    event["subject"] = json!(customer);
    event["data"]["customer_id"] = json!(customer);
    event
}

#[test]
fn no_event_stops_the_history_on_a_server_whatever_it_holds() {
    let system = System::start();
    let dispatcher = system.dispatcher();
    let grows = "\u{130}".repeat(128);
    let long = "\u{1f600}".repeat(300);
    for event in [
        saved("spaces", "Plain"),
        saved("spaces ", "Plain"),
        saved(" spaces  ", "Plain"),
        saved("grows", &grows),
        saved(&long, &long),
        saved("controls\u{0}\t\u{7f}\u{202e}", "controls\u{0}\u{1}\u{feff}"),
    ] {
        system.nats.publish("customer-saved", &event);
    }
    publish_with(&system, &saved("many-replays", "Plain"), ("Replay", "4000000000"));
    system.until_dead_letters(7);
    system.publish(&registration("Behind Ltd"));
    system.until_onboarded(1);
    wait::until(LIMIT, "the history goes on", || {
        (customers(dispatcher.port, "onboarded") == 1 && system.database.count("job_runs") == 7 + 9)
            .then_some(())
    });
    let one = |sql: &str| system.database.text(sql);
    assert_eq!(system.database.count("job_runs WHERE flow_key = 'spaces' AND state = 'failed'"), 3);
    assert_eq!(one("SELECT CHAR_LENGTH(flow_name) FROM job_runs WHERE flow_key = 'grows'"), "128");
    assert_eq!(one("SELECT replay FROM job_runs WHERE flow_key = 'many-replays'"), i32::MAX.to_string());
    assert_eq!(customers(dispatcher.port, "stuck"), 5);
    let metrics = http::get(dispatcher.port, "/metrics").expect("metrics").body;
    for line in ["dispatcher_history_up 1", "dispatcher_history_dropped_total 0"] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }
}

#[test]
fn what_the_command_line_does_to_dead_letters_is_written_down_and_told_to_their_customers() {
    let system = System::start();
    let dispatcher = system.dispatcher();
    for _ in 0..2 {
        system.nats.publish("customer-saved", &saved("nobody", "Nobody Ltd"));
    }
    let numbers: Vec<_> =
        system.until_dead_letters(2).iter().map(|letter| letter["number"].to_string()).collect();
    let command = |arguments: &[&str]| system.command(arguments).set("USER", "ann").run_to(0).output;
    command(&["dead-letters", "drop", &numbers[0]]);
    let letters = system.dead_letters();
    assert_eq!((letters.len(), letters[0]["number"].to_string()), (1, numbers[1].clone()));
    let stuck = command(&["status", "nobody", "--output", "json"]);
    assert!(stuck.contains("\"state\":\"stuck\""), "the other event is still there: {stuck}");
    command(&["dead-letters", "drop", &numbers[1]]);
    let given_up = command(&["status", "nobody", "--output", "json"]);
    assert!(given_up.contains("\"state\":\"given up\""), "{given_up}");
    let page = http::get(dispatcher.port, "/customers/nobody").expect("a page").body;
    assert!(page.contains("given up") && page.contains("failed, dropped"), "{page}");
    wait::until(LIMIT, "the metrics say so", || {
        let metrics = http::get(dispatcher.port, "/metrics").ok()?.body;
        let says = |line| metrics.lines().any(|one| one == line);
        (says("dispatcher_customers{stage=\"stuck\"} 0")
            && says("dispatcher_customers{stage=\"given_up\"} 1"))
        .then_some(())
    });
    let acts = "operator_actions WHERE operator = 'ann' AND address = 'command line' AND action = 'drop' AND outcome = 'done'";
    assert_eq!(system.database.count(acts), 2);
}

/// A dispatcher with a grace time of a second, and a Job that outlasts it.
fn with_a_job_that_hangs(system: &System) -> crate::system::Dispatcher {
    system.vendor.set(vendor::Mode::Hang);
    let program = tests::program::Program::dispatcher()
        .settings(system.nats.settings())
        .settings(system.database.settings())
        .set("DISPATCHER_GRACE", "1");
    let dispatcher = crate::system::start_dispatcher(
        program,
        &system.scratch,
        &system.secret(),
        &shipped_events(),
        "state",
    );
    system.publish(&registration("Hanging Ltd"));
    let hanging = "job_runs WHERE trigger_name = 'marketing-notified-trigger' AND state = 'running'";
    wait::until(LIMIT, "the vendor is asked", || (system.database.count(hanging) == 1).then_some(()));
    dispatcher
}

#[test]
fn a_stopping_dispatcher_tells_the_history_how_its_last_jobs_ended() {
    let system = System::start();
    let dispatcher = with_a_job_that_hangs(&system);
    assert_eq!(dispatcher.running.terminate().code, Some(0));
    assert_eq!(system.database.count("job_runs WHERE state = 'running'"), 0);
    assert_eq!(system.database.count("job_runs WHERE state = 'handed_back'"), 1);
}

#[test]
fn a_stop_ends_in_its_time_although_the_bus_is_away() {
    let mut system = System::start();
    let dispatcher = with_a_job_that_hangs(&system);
    system.nats.stop();
    let began = Instant::now();
    assert_eq!(dispatcher.running.terminate().code, Some(0));
    assert!(began.elapsed() < Duration::from_secs(1 + 18 + 2), "{:?}", began.elapsed());
    assert_eq!(system.database.count("job_runs WHERE state = 'running'"), 0);
}

#[test]
fn what_is_older_than_its_days_goes_on_a_server_and_what_the_workers_wrote_stays() {
    let system = System::start();
    let dispatcher = system.dispatcher();
    system.nats.publish("customer-saved", &saved("stuck", "Stuck Ltd"));
    system.publish(&registration("Old Ltd"));
    system.until_onboarded(1);
    let runs = |where_: &str| system.database.count(&format!("job_runs WHERE {where_}"));
    wait::until(LIMIT, "all has ended", || {
        (runs("state = 'complete'") == 9 && runs("state = 'failed'") == 1).then_some(())
    });
    // They are not missing either, because the ledger is as old.
    system.database.execute("UPDATE handled_events SET handled_at = handled_at - INTERVAL 91 DAY");
    system.database.execute("UPDATE job_runs SET seen_at = seen_at - INTERVAL 91 DAY");
    wait::until(LIMIT, "it is gone", || (runs("TRUE") == 1).then_some(()));
    assert_eq!(["stuck", "onboarded"].map(|stage| customers(dispatcher.port, stage)), [1, 1]);
    // What failed goes when somebody has decided about its dead letter.
    let number = system.until_dead_letters(1)[0]["number"].to_string();
    system.command(&["dead-letters", "drop", &number]).run_to(0);
    system.database.execute("UPDATE job_runs SET seen_at = seen_at - INTERVAL 91 DAY");
    wait::until(LIMIT, "that is gone too", || (runs("TRUE") == 0).then_some(()));
    assert_eq!(["stuck", "onboarded"].map(|stage| customers(dispatcher.port, stage)), [0, 1]);
}

/// Waits until this dispatcher reports everywhere that its history is late, or that it is not.
fn until_late(dispatcher: &crate::system::Dispatcher, late: bool) {
    let page = |path: &str| http::get(dispatcher.port, path).map(|answer| answer.body).unwrap_or_default();
    wait::until(LIMIT, if late { "it is said to be late" } else { "it is up to date" }, || {
        let metrics = page("/metrics");
        let delay = metrics.lines().find_map(|line| line.strip_prefix("dispatcher_history_delay_seconds "));
        let delay: f64 = delay?.parse().ok()?;
        let says = [
            page("/readyz").contains("history late"),
            metrics.lines().any(|line| line == "dispatcher_history_up 0"),
            page("/").contains("is late, and Jobs run on"),
            delay >= 2.0,
        ];
        (says == [late; 4]).then_some(())
    });
}

#[test]
fn somebodys_lock_on_one_run_holds_up_no_other_and_is_said() {
    let system = System::start();
    let dispatcher = with_a_job_that_hangs(&system);
    // Only the row, without the gaps next to it into which other runs are written.
    let lock = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION; \
                SELECT * FROM job_runs WHERE state = 'running' FOR UPDATE";
    let held = system.database.hold(lock);
    system.vendor.set(vendor::Mode::Ok);
    for number in 0..5 {
        system.publish(&registration(&format!("Free {number}")));
    }
    until_late(&dispatcher, true);
    wait::until(LIMIT, "all but the locked run are there", || {
        let complete = system.database.count("job_runs WHERE state = 'complete'");
        (complete >= 5 * 9 && system.onboarded() >= 5).then_some(())
    });
    drop(held);
    system.until_onboarded(6);
    until_late(&dispatcher, false);
    wait::until(LIMIT, "the locked one too", || {
        (system.database.count("job_runs WHERE state = 'complete'") == 6 * 9).then_some(())
    });
    assert_eq!(system.database.count("job_runs"), 6 * 9);
    // The log follows a little later.
    wait::until(LIMIT, "the log says both", || {
        let log = dispatcher.running.process.output();
        (log.contains("the history is late") && log.contains("the history is up to date again")).then_some(())
    });
}

#[test]
fn a_lock_on_all_runs_stops_no_registration_and_costs_no_run_of_two_dispatchers() {
    let system = System::start();
    let both = ["first", "second"].map(|state| system.dispatcher_with(&shipped_events(), state));
    system.publish(&registration("Before Ltd"));
    system.until_onboarded(1);
    wait::until(LIMIT, "it is written", || {
        (system.database.count("job_runs WHERE state = 'complete'") == 9).then_some(())
    });
    let held = system.database.hold("START TRANSACTION; SELECT * FROM job_runs FOR UPDATE");
    for number in 0..6 {
        system.publish(&registration(&format!("Company {number}")));
    }
    system.until_onboarded(7);
    assert_eq!(system.database.count("job_runs"), 9, "nothing can be written");
    let is_late = |one: &crate::system::Dispatcher| {
        http::get(one.port, "/readyz").is_ok_and(|answer| answer.body.contains("history late"))
    };
    wait::until_true("a dispatcher says that its history is late", || both.iter().any(is_late));
    drop(held);
    wait::until(LIMIT, "every run is there", || {
        (system.database.count("job_runs WHERE state = 'complete'") == 7 * 9).then_some(())
    });
    for dispatcher in &both {
        until_late(dispatcher, false);
        assert_eq!(customers(dispatcher.port, "onboarded"), 7);
        let metrics = http::get(dispatcher.port, "/metrics").expect("metrics").body;
        assert!(metrics.contains("dispatcher_history_dropped_total 0"), "{metrics}");
    }
    system.check_books(7);
}

#[test]
fn runs_and_customers_that_the_history_has_never_seen_are_found_by_what_the_workers_wrote() {
    let system = System::start();
    let dispatcher = system.dispatcher();
    for number in 0..3 {
        system.publish(&registration(&format!("Company {number}")));
    }
    system.until_onboarded(3);
    assert_eq!(dispatcher.running.terminate().code, Some(0));
    system.database.execute("DELETE FROM job_runs");
    system.database.execute("UPDATE handled_events SET handled_at = handled_at - INTERVAL 1 MINUTE");
    let dispatcher = system.dispatcher();
    wait::until(LIMIT, "every run is there", || {
        (system.database.count("job_runs WHERE state = 'complete'") == 3 * 9).then_some(())
    });
    let books = of_books(&system, 0);
    until_says("the page", &books, || of_page(dispatcher.port));
}

#[test]
fn no_state_of_a_customer_is_read_from_the_manifests() {
    let system = System::start();
    let folder = Scratch::new("events");
    let events = folder.join("events");
    copy(&shipped_events(), &events);
    // The flow of these manifests ends one step early.
    fs::remove_dir_all(events.join("touchpoints-created")).unwrap();
    let dispatcher = system.dispatcher_with(&events, "state");
    system.publish(&registration("Almost Ltd"));
    wait::until(LIMIT, "its last step is done", || {
        let last = "job_runs WHERE trigger_name = 'swag-ordered-trigger' AND state = 'complete'";
        (system.database.count(last) == 1).then_some(())
    });
    let stages = ["under_way", "onboarded"].map(|stage| customers(dispatcher.port, stage));
    assert_eq!(stages, [1, 0]);
    let status = system.command(&["status", "Almost", "--output", "json"]).run_to(0).output;
    assert!(status.contains("\"state\":\"under way\""), "{status}");
}
