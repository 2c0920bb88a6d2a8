//! The pages with 100,000 customers behind them, on SQLite and on MariaDB.

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use tests::database::Database;
use tests::mariadb::MariaDb;
use tests::program::{Program, Running, binaries};
use tests::scratch::Scratch;
use tests::{http, port};

use crate::Size;
use crate::measure::{Samples, in_turn, milliseconds};
use crate::memory::resident_of;
use crate::report::{Figure, Goal};

/// The triggers of the flow; each has run once for each customer.
const TRIGGERS: [&str; 7] = [
    "customer-registered",
    "customer-saved",
    "user-saved",
    "welcome-email-sent",
    "marketing-notified",
    "swag-ordered",
    "touchpoints-created",
];

/// How long a page's data is shared. A later request gets new data.
const ANEW: Duration = Duration::from_millis(1050);

/// A wait that people do not notice.
const QUICK: Goal = Goal::AtMost(50.0);

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let customers = size.pick(2_000, 100_000);
    let rounds = size.pick(5, 50);
    let mut figures = Vec::new();
    for (name, database) in [("SQLite", Database::sqlite()), ("MariaDB", MariaDb::shared().database())] {
        let database = database.migrated();
        fill(&database, customers);
        let page = Page::start(&database);
        let before = resident_of(&page.dispatcher);
        let one = id(customers / 2);
        let half = i64::try_from(customers / 2).expect("a number");
        let middle = (Utc::now() - TimeDelta::seconds(half)).timestamp_micros() * 1_000;
        let pages = [
            ("customers", "/customers".to_owned()),
            ("a page in the middle", format!("/customers?stage=onboarded&after=3.{middle}.{middle}.{one}")),
            ("search, many match", "/customers?q=company".to_owned()),
            ("search, one matches", format!("/customers?q=Company+{}+Ltd", customers / 3)),
            ("search, none matches", "/customers?q=nobody+at+all".to_owned()),
            ("one customer", format!("/customers/{one}")),
            ("dead letters", "/dead-letters".to_owned()),
            ("triggers", "/triggers".to_owned()),
        ];
        let [overview, floor] = in_turn(
            size.pick(3, 15),
            1,
            [
                &mut |_| {
                    std::thread::sleep(ANEW);
                    page.get("/")
                },
                &mut |_| page.get("/healthz"),
            ],
        );
        figures.extend(both(&format!("{name}: overview, counted anew"), &overview, &floor));
        for (what, path) in &pages {
            let [took, floor] = in_turn(rounds, 1, [&mut |_| page.get(path), &mut |_| page.get("/healthz")]);
            figures.extend(both(&format!("{name}: {what}"), &took, &floor));
        }
        let after =
            Figure::new(format!("{name}: resident after all of it"), "MB", resident_of(&page.dispatcher));
        figures.push(after.beside("before", before).goal(Goal::BeyondAtMost(10.0)));
    }
    figures
}

/// The usual page, and the slowest of twenty, compared with an answer that needs no work.
fn both(what: &str, took: &Samples, floor: &Samples) -> [Figure; 2] {
    let usual = Figure::new(what, "ms", took.median()).beside("an answer without work", floor.median());
    let slow = Figure::new(format!("{what}, p95"), "ms", took.percentile(95.0));
    [usual.goal(QUICK), slow.beside("p95", floor.percentile(95.0)).goal(QUICK)]
}

struct Page {
    dispatcher: Running,
    port: u16,
    _scratch: Scratch,
}

impl Page {
    fn start(database: &Database) -> Self {
        let (scratch, port) = (Scratch::new("page"), port::free());
        let secret = scratch.write("knapscen-config.env", "NOTHING=here\n");
        let mut dispatcher = Program::dispatcher()
            .settings(database.settings())
            .argument("run")
            .argument("--bus")
            .argument("embedded")
            .argument("--queue")
            .argument(scratch.join("queue.db"))
            .argument("--events")
            .argument(Path::new(env!("CARGO_MANIFEST_DIR")).join("../events"))
            .argument("--listen")
            .argument(format!("127.0.0.1:{port}"))
            .argument("--secret")
            .argument(format!("knapscen-config={}", secret.display()))
            .argument("--state-dir")
            .argument(scratch.join("state"))
            .argument("--bin-dir")
            .argument(binaries())
            .start();
        dispatcher
            .process
            .until("ready", || http::get(port, "/readyz").ok().filter(|answer| answer.status == 200));
        Self { dispatcher, port, _scratch: scratch }
    }

    /// Requests a page, and returns the milliseconds until all of it was received.
    fn get(&self, path: &str) -> f64 {
        let asked = Instant::now();
        let answer = http::get(self.port, path).expect("an answer");
        let took = milliseconds(asked.elapsed());
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(!answer.body.contains("cannot be read"), "{path}: {}", answer.body);
        took
    }
}

fn id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Customers as the workers write them: most are onboarded, and some are in each other stage. Each has a run of each
/// step.
fn fill(database: &Database, customers: usize) {
    let now = Utc::now();
    let numbers: Vec<_> = (0..customers).collect();
    for group in numbers.chunks(1_000) {
        let rows: Vec<_> = group
            .iter()
            .map(|number| {
                let at = now - TimeDelta::seconds(i64::try_from(*number).expect("a number"));
                let time = at.format("%Y-%m-%d %H:%M:%S%.6f");
                let onboarded = if number % 1_000 < 10 { "NULL".to_owned() } else { format!("'{time}'") };
                format!(
                    "('{}', 'Company {number} Ltd', 'groovy', '{time}', '{time}', {onboarded})",
                    id(*number)
                )
            })
            .collect();
        database.execute(&format!(
            "INSERT INTO customers (id, name, subscription_tier, started_at, saved_at, onboarded_at) VALUES {}",
            rows.join(", ")
        ));
    }
    for trigger in TRIGGERS {
        // The last step of those that are not onboarded has failed, comes again, or runs.
        let state = if trigger == "touchpoints-created" {
            "CASE WHEN onboarded_at IS NOT NULL THEN 'complete' WHEN SUBSTR(id, 34) < '002' THEN 'failed' \
             WHEN SUBSTR(id, 34) < '003' THEN 'try_again' ELSE 'running' END"
        } else {
            "'complete'"
        };
        database.execute(&format!(
            "INSERT INTO job_runs (id, trigger_name, namespace, job_name, image, event_hash, event_id, nats_subject, flow_key, \
             flow_name, replay, deliveries, state, superseded, published_at, handed_at, started_at, ended_at, seen_at, tries, \
             adopted, exit_code, cause, message, report) \
             SELECT CONCAT('{}', SUBSTR(id, 20)), '{trigger}-trigger', 'default', CONCAT('{trigger}-', id), \
             'knapscen/{trigger}:latest', SUBSTR(id, 5), CONCAT('event-', id), '{trigger}', id, name, 0, 1, {state}, 0, \
             started_at, started_at, started_at, started_at, started_at, 1, 0, 0, NULL, \
             CASE WHEN onboarded_at IS NULL THEN 'exit code 65: no such tier' END, \
             '{{\"step\":\"{trigger}\",\"outcome\":\"done\",\"exit_code\":0}}' FROM customers",
            &trigger[..10]
        ));
    }
}
