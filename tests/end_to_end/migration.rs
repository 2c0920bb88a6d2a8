//! Databases as earlier versions left them, with customers and a history.

use serde_json::Value;
use tests::database::Database;
use tests::mariadb::MariaDb;
use tests::program::Program;

/// The newest version of the schema that has tables of states and totals in addition to the runs.
const LAST_WITH_STATES: i64 = 5;

const DONE: &str = "00000000-0000-4000-8000-000000000001";
const WRONGLY_DONE: &str = "00000000-0000-4000-8000-000000000002";
const NEVER_SEEN: &str = "00000000-0000-4000-8000-000000000003";
const TIME: &str = "'2026-02-27 09:15:00.000000'";

fn customer(database: &Database, id: &str, name: &str, onboarded_at: &str) {
    database.execute(&format!(
        "INSERT INTO customers (id, name, subscription_tier, started_at, saved_at, onboarded_at) \
         VALUES ('{id}', '{name}', 'groovy', {TIME}, {TIME}, {onboarded_at})"
    ));
}

/// A run as earlier versions wrote it.
fn run(database: &Database, id: &str, trigger: &str, customer: &str, state: &str) {
    database.execute(&format!(
        "INSERT INTO job_runs (id, trigger_name, namespace, job_name, image, event_hash, event_id, nats_subject, customer_id, \
         replay, deliveries, state, superseded, published_at, handed_at, started_at, ended_at, seen_at, tries, adopted, \
         exit_code, cause, message, report) VALUES ('{id}', '{trigger}', 'default', 'job-{id}', 'knapscen/save-user:1', 'h', \
         'event-{id}', 'user-saved', '{customer}', 0, 1, '{state}', 0, {TIME}, {TIME}, {TIME}, {TIME}, {TIME}, 1, 0, NULL, NULL, \
         'no such tier', NULL)"
    ));
}

fn state(database: &Database, id: &str, name: &str, stage: i64, onboarded_at: &str) {
    database.execute(&format!(
        "INSERT INTO customer_states (id, name, search, tier, stage, position, step, reason, started_at, changed_at, onboarded_at, \
         done, open, failed) VALUES ('{id}', '{name}', 'x', 'groovy', {stage}, 1, 'x', NULL, {TIME}, {TIME}, {onboarded_at}, 1, 0, 0)"
    ));
}

fn filled(database: Database, version: i64) -> Database {
    let database = database.migrated_to(version);
    customer(&database, DONE, "Done Ltd", TIME);
    customer(&database, WRONGLY_DONE, "Wrongly Done Ltd", "NULL");
    customer(&database, NEVER_SEEN, "Never Seen Ltd", TIME);
    database.execute(&format!(
        "INSERT INTO handled_events (step, event_id, subject, customer_id, handled_at) \
         VALUES ('save-user', 'event-1', '{DONE}', '{DONE}', {TIME})"
    ));
    if (2..=LAST_WITH_STATES).contains(&version) {
        run(&database, "1", "user-saved-trigger", DONE, "complete");
        run(&database, "2", "user-saved-trigger", WRONGLY_DONE, "complete");
        run(&database, "3", "customer-saved-trigger", "stuck", "failed");
        state(&database, DONE, "Done Ltd", 3, TIME);
        // The result of manifests without the last step.
        state(&database, WRONGLY_DONE, "Wrongly Done Ltd", 3, TIME);
        state(&database, "stuck", "Stuck Ltd", 0, "NULL");
        database.execute(
            "INSERT INTO history_totals (kind, name, state, amount) VALUES ('customer', '', '3', 77)",
        );
    }
    database
}

#[test]
fn every_earlier_schema_is_brought_up_to_date_with_its_rows_and_wrong_states_are_corrected() {
    for version in 1..=LAST_WITH_STATES {
        for database in [MariaDb::shared().database(), Database::sqlite()] {
            let database = filled(database, version).migrated();
            let shown = Program::dispatcher()
                .settings(database.settings())
                .argument("status")
                .argument("--output")
                .argument("json")
                .argument("--bus")
                .argument("embedded")
                .run_to(0)
                .output;
            let lines: Vec<Value> =
                shown.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let stuck = u64::from(version > 1);
            let counts =
                ["onboarded", "under_way", "stuck"].map(|stage| lines[0]["customers"][stage].as_u64());
            assert_eq!(counts, [Some(2), Some(1), Some(stuck)], "version {version}: {shown}");
            for (id, expected) in
                [(DONE, "onboarded"), (WRONGLY_DONE, "under way"), (NEVER_SEEN, "onboarded")]
            {
                let one = lines.iter().find(|line| line["id"] == id);
                assert_eq!(
                    one.map(|line| &line["state"]),
                    Some(&expected.into()),
                    "version {version}: {shown}"
                );
            }
            if version > 1 {
                let one = lines.iter().find(|line| line["id"] == "stuck").expect("the stuck one");
                assert_eq!(
                    (&one["name"], &one["why"]),
                    (&"Stuck Ltd".into(), &"no such tier".into()),
                    "version {version}"
                );
            }
        }
    }
}
