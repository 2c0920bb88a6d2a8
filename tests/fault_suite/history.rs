//! Compares the history with the books: it must show that every customer was onboarded, whatever else happened.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tests::{http, wait};

use crate::manifests;
use crate::suite::Suite;

/// How long until everything is written: what was lost with a dispatcher is searched for every minute.
const UP_TO_DATE: Duration = Duration::from_mins(2);

/// The stages of a customer, as metrics call them.
const STAGES: [&str; 5] = ["stuck", "trying_again", "under_way", "onboarded", "given_up"];

impl Suite<'_> {
    /// What is wrong with it, after it had its time.
    pub(crate) fn history_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let _ = wait::within(UP_TO_DATE, || {
            problems = self.look_at_history();
            std::thread::sleep(Duration::from_millis(200));
            problems.is_empty().then_some(())
        });
        problems
    }

    /// No customer may be shown as onboarded too early: what is reported is compared with the truth a moment later,
    /// which can only be more.
    pub(crate) fn look_for_false_states(&mut self) {
        let reported = self.reported_onboarded();
        let query = "SELECT COUNT(*) AS n FROM customers WHERE onboarded_at IS NOT NULL";
        let Ok(rows) = self.stage.database.try_rows(query) else { return };
        let truly: usize = rows.first().and_then(|row| row["n"].parse().ok()).unwrap_or_default();
        for (place, count) in reported.into_iter().filter(|(_, count)| *count > truly) {
            self.false_states.insert(format!("{place} said {count} onboarded, and {truly} were"));
        }
    }

    /// The number of onboarded customers, from all reporters that can be asked now.
    fn reported_onboarded(&self) -> Vec<(&'static str, usize)> {
        let mut reported = Vec::new();
        for port in self.fleet.ports() {
            let page = |path: &str| http::get(port, path).map(|page| page.body).unwrap_or_default();
            let metrics = page("/metrics");
            let metric = "dispatcher_customers{stage=\"onboarded\"} ";
            let count = metrics.lines().find_map(|line| line.strip_prefix(metric)?.parse().ok());
            reported.extend(count.map(|count| ("the metrics", count)));
            let overview = page("/");
            let before = overview.split("</strong> <span>onboarded").next().filter(|text| *text != overview);
            let count = before.and_then(|text| text.rsplit("<strong>").next()?.replace(',', "").parse().ok());
            reported.extend(count.map(|count| ("the page", count)));
        }
        reported
    }

    /// Compares each registration as the command shows it with the row of its customer.
    fn look_at_states(&self) -> Option<String> {
        let limit = (self.registrations.len() + self.hostile.len()).to_string();
        let command = self.command(&["status", "--output", "json", "--limit", &limit]);
        let shown = command.set("DISPATCHER_EVENTS", &manifests::shipped().display()).run_to(0).output;
        let shown: BTreeMap<String, String> = shown
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|line| Some((line["id"].as_str()?.to_owned(), line["state"].as_str()?.to_owned())))
            .collect();
        let wrong: Vec<_> = self
            .stage
            .database
            .rows("SELECT id, onboarded_at IS NOT NULL AS onboarded FROM customers")
            .into_iter()
            .filter(|row| {
                let state = shown.get(&row["id"]).map(String::as_str);
                (state == Some("onboarded")) != (row["onboarded"] == "1")
            })
            .collect();
        let first = wrong.first()?;
        let state = shown.get(&first["id"]);
        Some(format!(
            "{} customers are shown in another state than they are, such as {first:?}: {state:?}",
            wrong.len()
        ))
    }

    /// Compares what is reported with the truth, the workers' tables.
    fn look_at_history(&self) -> Vec<String> {
        let database = &self.stage.database;
        let mut problems = Vec::new();
        let onboarded = database.count("customers WHERE onboarded_at IS NOT NULL");
        let not_yet = database.count("customers WHERE onboarded_at IS NULL");
        let page = |path: &str| http::get(self.fleet.port(), path).map(|page| page.body).unwrap_or_default();
        let metrics = page("/metrics");
        let reported: BTreeMap<_, usize> = STAGES
            .iter()
            .filter_map(|stage| {
                let metric = format!("dispatcher_customers{{stage=\"{stage}\"}} ");
                let count = metrics.lines().find_map(|line| line.strip_prefix(&metric))?;
                Some((*stage, count.parse().ok()?))
            })
            .collect();
        let others: usize =
            STAGES.iter().filter(|one| **one != "onboarded").filter_map(|one| reported.get(one)).sum();
        if reported.get("onboarded") != Some(&onboarded) || others < not_yet {
            problems.push(format!(
                "{onboarded} customers are onboarded and {not_yet} not, the metrics say {reported:?}"
            ));
        }
        let places = self.reported_onboarded();
        if places.len() < 2 * self.fleet.ports().count()
            || places.iter().any(|(_, count)| *count != onboarded)
        {
            problems.push(format!("{onboarded} customers are onboarded; reported: {places:?}"));
        }
        problems.extend(self.look_at_states());
        let listed = self.registrations.iter().map(|one| one.customer.to_string());
        let unknown: Vec<_> = listed
            .filter(|id| {
                let known = format!("customers WHERE id = '{id}' AND onboarded_at IS NOT NULL");
                database.count(&known) == 0
            })
            .collect();
        if let Some(first) = unknown.first() {
            problems.push(format!("{} customers are not onboarded, such as {first}", unknown.len()));
        }
        let missing = "handled_events h WHERE NOT EXISTS (SELECT 1 FROM job_runs r WHERE r.flow_key = h.customer_id \
                       AND r.event_id = h.event_id AND r.state = 'complete')";
        let missing = database.count(missing);
        if missing > 0 {
            problems.push(format!("{missing} entries of the ledger have no complete run in the history"));
        }
        let open = database.rows(
            "SELECT state, trigger_name, event_id, flow_key, published_at, seen_at, message FROM job_runs \
             WHERE state IN ('running', 'try_again', 'handed_back') AND superseded = 0",
        );
        let done = database.count("job_runs WHERE state = 'complete' AND superseded = 0");
        if let Some(first) = open.first() {
            problems.push(format!(
                "{} runs are not complete in the history, such as {first:?}; {done} are",
                open.len()
            ));
        }
        problems
    }
}
