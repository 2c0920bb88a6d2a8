//! Checks the names that Prometheus sees, and that rules, dashboard and operations page use the same names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::*;

const SUBJECTS: [&str; 2] = ["item-registered", "touchpoints-created"];
const TRIGGERS: [&str; 2] = ["swag-ordered-trigger", "user-saved-trigger"];
const STATES: [&str; 2] = ["waiting", "dead letters"];

fn steps() -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    TRIGGERS.into_iter().flat_map(|trigger| STATES.map(|state| (trigger, state, 0)))
}

#[test]
fn counts_appear_under_their_conventional_names() {
    let metrics = Metrics::default();
    metrics.received("item-saved", true);
    metrics.job_ended("item-saved-trigger", JobOutcome::TryAgain);
    metrics.took("item-saved-trigger", Some(Duration::from_millis(3)), None);
    let running = metrics.running("item-saved-trigger");
    let text = metrics.text();
    for line in [
        "dispatcher_events_received_total{subject=\"item-saved\"} 1",
        "dispatcher_events_redelivered_total{subject=\"item-saved\"} 1",
        "dispatcher_jobs_ended_total{trigger=\"item-saved-trigger\",outcome=\"try_again\"} 1",
        "dispatcher_publish_to_start_seconds_count{trigger=\"item-saved-trigger\"} 1",
        "dispatcher_jobs_running{trigger=\"item-saved-trigger\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    drop(running);
    assert!(metrics.text().contains("dispatcher_jobs_running{trigger=\"item-saved-trigger\"} 0"));
}

#[test]
fn what_the_manifests_name_is_there_from_the_start_at_zero() {
    let text = with_names().text();
    for line in [
        "dispatcher_events_received_total{subject=\"item-registered\"} 0",
        "dispatcher_dead_letters_total{subject=\"touchpoints-created\"} 0",
        "dispatcher_jobs_ended_total{trigger=\"swag-ordered-trigger\",outcome=\"failed\"} 0",
        "dispatcher_start_to_end_seconds_count{trigger=\"user-saved-trigger\"} 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_bus_that_is_gone_leaves_no_old_numbers() {
    let metrics = Metrics::default();
    let waiting = Waiting { subject: "item-saved", waiting: 7, in_flight: 1 };
    metrics.bus(Some(([waiting], 3)));
    let text = metrics.text();
    assert!(text.contains("dispatcher_bus_waiting{subject=\"item-saved\"} 7"), "{text}");
    assert!(
        text.contains("dispatcher_dead_letters_stored 3") && text.contains("dispatcher_bus_up 1"),
        "{text}"
    );
    metrics.bus(None::<([Waiting<'_>; 0], u64)>);
    let text = metrics.text();
    assert!(!text.contains("dispatcher_bus_waiting{") && text.contains("dispatcher_bus_up 0"), "{text}");
}

#[test]
fn who_asks_while_somebody_else_does_is_told_everything() {
    let metrics = with_names();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let text = metrics.told(|metrics| metrics.set_flow_counts(steps(), [("stuck", 0)]));
                    let lines = text.lines().filter(|line| line.starts_with("dispatcher_step_events{"));
                    assert_eq!(lines.count(), TRIGGERS.len() * STATES.len());
                }
            });
        }
    });
}

#[test]
fn runs_that_are_missing_in_the_history_only_add_up() {
    let metrics = Metrics::default();
    for (up, dropped) in [(true, 0), (false, 3), (true, 3), (true, 5)] {
        metrics.history(up, Duration::from_millis(2500), dropped, dropped);
        let text = metrics.text();
        assert!(text.contains(&format!("dispatcher_history_dropped_total {dropped}")), "{text}");
        assert!(text.contains(&format!("dispatcher_history_up {}", u8::from(up))), "{text}");
        assert!(text.contains("dispatcher_history_delay_seconds 2.5"), "{text}");
        assert!(text.contains(&format!("dispatcher_history_ahead_total {dropped}")), "{text}");
    }
}

#[test]
fn labels_stay_bounded_whatever_is_published() {
    let metrics = Metrics::default();
    for number in 0..10 * label::MOST_NAMES {
        metrics.received(&format!("stranger.{number}"), false);
    }
    let text = metrics.text();
    let lines = text.lines().filter(|line| line.starts_with("dispatcher_events_received_total{")).count();
    assert_eq!(lines, label::MOST_NAMES + 1);
    let rest =
        format!("dispatcher_events_received_total{{subject=\"{}\"}} {}", label::OTHER, 9 * label::MOST_NAMES);
    assert!(text.contains(&rest), "{rest}");
}

#[test]
fn rules_dashboard_and_operations_page_name_what_is_exported() {
    let exported = exported();
    for file in [
        "monitoring/alerts.yaml",
        "monitoring/alerts.test.yaml",
        "monitoring/dashboard.json",
        "OPERATIONS.md",
    ] {
        let text = fs::read_to_string(here(file)).unwrap();
        let named = names_in(&text);
        assert!(!named.is_empty(), "{file}");
        let unknown: Vec<_> = named.difference(&exported).collect();
        assert!(unknown.is_empty(), "{file} names metrics that do not exist: {unknown:?}");
    }
    for file in ["monitoring/dashboard.json", "OPERATIONS.md"] {
        let text = fs::read_to_string(here(file)).unwrap();
        let named = names_in(&text);
        let missing: Vec<_> = exported.difference(&named).collect();
        assert!(missing.is_empty(), "{file} says nothing of {missing:?}");
    }
}

#[test]
fn every_alert_has_a_section_on_the_operations_page() {
    let rules = fs::read_to_string(here("monitoring/alerts.yaml")).unwrap();
    let page = fs::read_to_string(here("OPERATIONS.md")).unwrap();
    let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 6, "{alerts:?}");
    for alert in alerts {
        assert!(headings.contains(&alert), "no section {alert}");
        let anchor = format!("dispatcher/OPERATIONS.md#{}", alert.to_lowercase());
        assert!(
            rules.lines().any(|line| line.trim_end().ends_with(&anchor)),
            "no runbook_url ends with {anchor}"
        );
    }
}

/// Metric names without the suffixes of a histogram's series.
fn names_in(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\bdispatcher_[a-z_]+").unwrap();
    name.find_iter(text).map(|found| base(found.as_str())).collect()
}

fn exported() -> BTreeSet<String> {
    let metrics = with_names();
    metrics.build("jetstream", "process");
    metrics.bus(Some(([Waiting { subject: "item-saved", waiting: 0, in_flight: 0 }], 0)));
    metrics.set_flow_counts(steps(), [("stuck", 0)]);
    metrics.text().lines().filter(|line| !line.starts_with('#')).flat_map(names_in).collect()
}

fn base(name: &str) -> String {
    let suffix = ["_bucket", "_count", "_sum"].into_iter().find(|suffix| name.ends_with(suffix));
    name.strip_suffix(suffix.unwrap_or_default()).unwrap_or(name).to_owned()
}

fn with_names() -> Metrics {
    let metrics = Metrics::default();
    metrics.expect(SUBJECTS.map(str::to_owned), TRIGGERS.map(str::to_owned));
    metrics
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
