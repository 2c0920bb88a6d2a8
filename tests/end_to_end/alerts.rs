//! Metrics, rules and dashboard in a real Prometheus.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::prometheus::Prometheus;
use tests::{http, vendor, wait};

use crate::system::{LIMIT, System, registration};

fn monitoring(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dispatcher/monitoring").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The shipped rules with every waiting time shortened to a second; their expressions are unchanged.
fn impatient_rules() -> String {
    let rules = monitoring("alerts.yaml");
    let lines = rules.lines().map(|line| match line.trim_start().strip_prefix("for: ") {
        Some(time) => line.replace(time, "1s"),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn a_real_prometheus_sees_the_flow_and_fires_while_a_server_is_stopped() {
    let mut system = System::start();
    let mut dispatcher = system.dispatcher();
    let prometheus = Prometheus::start(dispatcher.port, &impatient_rules());
    // The first value, from which an increase is counted.
    wait::until(LIMIT, "Prometheus has the first counts", || {
        (!prometheus.query("count(dispatcher_jobs_ended_total)").is_empty()).then_some(())
    });
    system.publish(&registration("Measured Ltd"));
    system.until_onboarded(1);
    wait::until(LIMIT, "nine Jobs are counted", || {
        let done =
            prometheus.query("sum(increase(dispatcher_jobs_ended_total{outcome=\"complete\"}[1h])) > 0");
        let counted = prometheus.query("sum(dispatcher_start_to_end_seconds_count)");
        (done.len() == 1 && counted.first().is_some_and(|(_, value)| value == "9")).then_some(())
    });
    every_panel_has_something_to_show(&prometheus);
    // With times this short, a customer under way already counts as one that is not onboarded.
    wait::until(LIMIT, "nothing fires", || prometheus.firing().is_empty().then_some(()));

    let fires = |alert: &str| {
        wait::until(LIMIT, &format!("{alert} fires"), || {
            prometheus.firing().contains(&alert.to_owned()).then_some(())
        });
    };
    let quiet = |what: &str| {
        wait::until(LIMIT, &format!("{what} fires no more"), || prometheus.firing().is_empty().then_some(()));
    };
    system.nats.stop();
    fires("DispatcherBusUnreachable");
    system.nats.start_again();
    quiet("DispatcherBusUnreachable");
    system.nats.publish_bytes("customer-saved", b"not an event".to_vec());
    fires("DispatcherDeadLetters");
    system.command(&["dead-letters", "drop", "--all"]).run_to(0);
    quiet("DispatcherDeadLetters");
    dispatcher.running.kill();
    fires("DispatcherDown");
    fires("DispatcherReplicaDown");
}

/// Checks that each query of the dashboard is valid and finds series; a misspelt name would find none.
fn every_panel_has_something_to_show(prometheus: &Prometheus) {
    let dashboard: Value = serde_json::from_str(&monitoring("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: Vec<_> = targets.filter_map(|target| target["expr"].as_str()).collect();
    assert!(expressions.len() > 15, "{expressions:?}");
    for expression in expressions {
        let asked = expression.replace("$job", "dispatcher").replace("$__rate_interval", "1m");
        wait::until(LIMIT, &format!("{asked} finds something"), || {
            (!prometheus.query(&asked).is_empty()).then_some(())
        });
    }
}

#[test]
fn the_metrics_are_named_as_prometheus_wants_them() {
    let system = System::start();
    let dispatcher = system.dispatcher();
    let metrics = http::get(dispatcher.port, "/metrics").expect("metrics");
    assert!(
        metrics.headers["content-type"].starts_with("application/openmetrics-text"),
        "{:?}",
        metrics.headers
    );
    assert!(metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
    // promtool lints the older text format, in which the name of a counter's family also ends with _total.
    let mut older = String::new();
    for line in metrics.body.lines() {
        let mut words: Vec<_> = line.splitn(4, ' ').map(str::to_owned).collect();
        let counter = format!("# TYPE {} counter", words.get(2).map_or("", String::as_str));
        if words[0] == "#" && metrics.body.lines().any(|line| line == counter) {
            words[2] += "_total";
        }
        older += &(words.join(" ") + "\n");
    }
    let mut lint = Command::new("promtool");
    lint.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lint = lint.spawn().expect("promtool starts");
    std::io::Write::write_all(lint.stdin.as_mut().expect("a pipe"), older.as_bytes())
        .expect("promtool reads");
    let said = lint.wait_with_output().expect("promtool ends");
    let words = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && words.trim().is_empty(), "{words}\n{older}");
}

/// Longer than the half minute after which a fetch without an answer makes a dispatcher unready.
const HANGS_FOR: Duration = Duration::from_secs(36);

#[test]
fn a_step_that_has_all_its_places_and_hangs_leaves_the_dispatcher_ready() {
    let system = System::start();
    let dispatcher = system.dispatcher();
    system.vendor.set(vendor::Mode::Hang);
    // Of eight places, one step takes at most six.
    for number in 0..8 {
        system.publish(&registration(&format!("Hanging {number}")));
    }
    let hanging = "job_runs WHERE trigger_name = 'marketing-notified-trigger' AND state = 'running'";
    wait::until(LIMIT, "the step has all its places", || (system.database.count(hanging) >= 6).then_some(()));
    let until = Instant::now() + HANGS_FOR;
    while Instant::now() < until {
        let ready = http::get(dispatcher.port, "/readyz").expect("an answer");
        assert_eq!((ready.status, ready.body.trim()), (200, "ready"));
        std::thread::sleep(Duration::from_millis(500));
    }
}
