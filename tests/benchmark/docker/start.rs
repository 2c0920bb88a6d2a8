//! How soon the stack's Jobs start: one registration at a time, and many at once.
//!
//! Measured for each container of a Job: from the moment at which the stream stored its event to the moment at which
//! the engine reports that its program was started. The first is the stream's time of the message, which the
//! dispatcher keeps in the history. The second is `State.StartedAt`, which the engine writes when the start is
//! complete: a quick worker may have done its work by then. Both are times of the engine's machine, wherever the
//! client runs. The wait for a place is included: one registration at a time has almost none, many at once have
//! little else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tests::container::Container;
use tests::engine::docker;
use tests::stack::books::{JOBS, registrations};
use tests::stack::{Kind, LIMIT, Stack};
use tests::wait;

use super::NULL_IMAGE;
use super::client::Client;
use crate::Size;
use crate::measure::{Samples, milliseconds};
use crate::report::Figure;

const EVENT_LABEL: &str = "dispatcher.knapscen.disco/event-id";

pub(super) fn measure(size: Size) -> Vec<Figure> {
    let stack = Stack::up_without_build(Kind::Single);
    let mut client = Client::of(&stack);
    let (mut alone, mut null) = (Samples::default(), Samples::default());
    for round in 0..=size.pick(2, 20) {
        let floor = null_container(&stack);
        let starts = starts(&stack, &mut client, 1);
        // The first round only warms up.
        if round > 0 {
            null.add(floor);
            for start in starts {
                alone.add(start);
            }
        }
    }
    let customers = size.pick(4, 64);
    let mut crowd = Samples::default();
    for start in starts(&stack, &mut client, customers) {
        crowd.add(start);
    }
    stack.end();
    let figure = |percent: u8, many: &str, ours: &Samples| {
        let what = format!("event stored to container started, {many}, p{percent}");
        let percent = f64::from(percent);
        let floor = null.percentile(percent);
        Figure::new(what, "ms", ours.percentile(percent)).beside("null container, made to started", floor)
    };
    let many = format!("{customers} registrations at once");
    vec![
        figure(50, "one registration at a time", &alone),
        figure(99, "one registration at a time", &alone),
        figure(50, &many, &crowd),
        figure(99, &many, &crowd),
    ]
}

/// What the engine itself takes on the stack's network.
fn null_container(stack: &Stack) -> f64 {
    let id = docker(&["run", "--detach", "--network", &stack.network(), NULL_IMAGE]);
    let looked = Container::look_at(&[&id]);
    let container = looked.first().expect("a container");
    let took = container.started_at() - container.created_at();
    docker(&["rm", "--force", "--volumes", &id]);
    milliseconds(took.to_std().expect("it was started"))
}

/// Registers this many, and waits until they are onboarded. Returns the milliseconds until the start of each of their
/// Jobs.
fn starts(stack: &Stack, client: &mut Client, customers: usize) -> Vec<f64> {
    let events = registrations(customers);
    client.publish(&events);
    client.until_onboarded(customers);
    wait::until(LIMIT, "all Jobs are in the history and in the engine", || {
        let stored = stored(stack, &events);
        let starts = stack.jobs().into_iter().filter_map(|job| {
            let took = job.started_at() - stored.get(job.label(EVENT_LABEL))?;
            // Negative if it had not started yet.
            took.to_std().ok().map(milliseconds)
        });
        let starts: Vec<_> = starts.collect();
        (starts.len() == JOBS * customers).then_some(starts)
    })
}

/// When the stream stored the events of these customers, by their ids.
fn stored(stack: &Stack, registrations: &[Value]) -> BTreeMap<String, DateTime<Utc>> {
    let customers = registrations.iter().filter_map(|event| event["subject"].as_str());
    let customers: Vec<_> = customers.map(|customer| format!("'{customer}'")).collect();
    let rows = stack.rows(&format!(
        "SELECT event_id, CONCAT(published_at, 'Z') FROM job_runs WHERE flow_key IN ({})",
        customers.join(", ")
    ));
    let rows = rows.iter().filter_map(|row| row.split_once('\t'));
    rows.map(|(event, at)| (event.to_owned(), at.parse().expect("a time"))).collect()
}
