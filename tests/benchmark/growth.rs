//! How the figures grow with the number of customers, waiting events, users in one event, and rules.

use std::process::Command;

use serde_json::json;
use tests::program::binaries;
use uuid::Uuid;

use crate::Size;
use crate::latency::milliseconds;
use crate::measure::{Samples, in_turn, run};
use crate::report::{Figure, Goal};
use crate::stage::{Stage, stamped};
use crate::worker;

/// The numbers at each point.
const POINTS: [usize; 6] = [1, 10, 100, 1_000, 10_000, 100_000];

/// An event is limited by what a program can be given, and each rule is a file, so both ranges end earlier.
const FEW: usize = 4;

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let mut figures = customers(size);
    figures.extend(waiting(size));
    figures.extend(users(size));
    figures.extend(rules(size));
    figures
}

fn points(size: Size, most: usize) -> &'static [usize] {
    &POINTS[..size.pick(3, most)]
}

/// A worker, with a growing number of customers in the database.
fn customers(size: Size) -> Vec<Figure> {
    let stage = worker::Stage::start();
    let mut present = 0;
    let mut figures = Vec::new();
    for &customers in points(size, POINTS.len()) {
        stage.fill(customers - present);
        present = customers;
        let [floor, ours] = in_turn(
            size.pick(20, 60),
            3,
            [&mut |_| stage.save("benchmark-floor"), &mut |_| stage.save("save-user")],
        );
        let figure =
            Figure::new(format!("save-user, {customers} customers saved before"), "ms", ours.median());
        figures.push(figure.beside("floor program", floor.median()));
    }
    compare(&mut figures);
    figures
}

/// The latency of one step, while a growing number of another step's events waits.
fn waiting(size: Size) -> Vec<Figure> {
    let stage = Stage::start();
    let _dispatcher = stage.dispatcher("state");
    let mut present = 0;
    let mut figures = Vec::new();
    for &backlog in points(size, POINTS.len()) {
        stage.publish_many("customer-saved", backlog - present);
        present = backlog;
        let what = format!("publish to Job start, p50, {backlog} events of another step waiting");
        figures.push(Figure::new(what, "ms", latency(&stage, size).median()));
    }
    compare(&mut figures);
    figures
}

/// The registration of one customer with a growing number of users, compared with a process that does nothing.
fn users(size: Size) -> Vec<Figure> {
    let stage = worker::Stage::start();
    let register = |users: usize| {
        let (customer, short) = (Uuid::new_v4(), &Uuid::new_v4().simple().to_string()[..12]);
        let role = |user| if user == 0 { "customer_account_owner" } else { "generic_user" };
        let listed: Vec<_> = (0..users)
            .map(|user| json!({"name": "A user", "email": format!("u{user}.{short}@x.example"), "role": role(user)}))
            .collect();
        let data = json!({"name": short, "subscription_tier": "basic", "users": listed});
        let mut command = stage.program("register-corporate-customer");
        command.envs([
            ("COMPANY_NAME", short),
            ("SUBSCRIPTION_TIER", "basic"),
            ("COMPANY_DATA", &data.to_string()),
            ("CUSTOMER_ID", &customer.to_string()),
            ("EVENT_ID", &Uuid::new_v4().to_string()),
            ("EVENT_TIME", "2026-02-27T09:15:02Z"),
        ]);
        run(&mut command)
    };
    let mut figures = Vec::new();
    for &users in points(size, FEW) {
        let [null, ours] = in_turn(
            size.pick(5, 20),
            1,
            [&mut |_| run(&mut Command::new(binaries().join("benchmark-null"))), &mut |_| register(users)],
        );
        let figure = Figure::new(format!("register, {users} users in the event"), "ms", ours.median());
        figures.push(figure.beside("null process", null.median()));
    }
    // No goal, because each user is a row.
    figures
}

/// The latency of one step, with a growing number of rules for its subject that do not match.
fn rules(size: Size) -> Vec<Figure> {
    let mut figures = Vec::new();
    for &rules in points(size, FEW) {
        let stage = Stage::start();
        stage.add_rules(rules);
        let _dispatcher = stage.dispatcher("state");
        let what = format!("publish to Job start, p50, {rules} other rules");
        figures.push(Figure::new(what, "ms", latency(&stage, size).median()));
    }
    compare(&mut figures);
    figures
}

fn latency(stage: &Stage, size: Size) -> Samples {
    let mut latencies = Samples::default();
    for _ in 0..size.pick(20, 200) {
        let stamp = stage.scratch.join(&format!("stamp-{}", Uuid::new_v4()));
        let before = stage.publish("user-saved", &stamp);
        latencies.add(milliseconds(before, stamped(&stamp)));
    }
    latencies
}

/// The last figure of a row, compared with its first.
fn compare(figures: &mut Vec<Figure>) {
    let (Some(first), Some(last)) = (figures.first().cloned(), figures.last().cloned()) else { return };
    let grown = Figure::new(last.what, last.unit, last.ours).beside("the first of the row", first.ours);
    figures.push(grown.goal(Goal::RatioAtMost(1.5)));
}
