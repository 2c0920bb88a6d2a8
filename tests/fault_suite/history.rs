//! The history against the books: it must have seen every customer to the end, whatever else it was told.

use std::collections::BTreeMap;
use std::time::Duration;

use tests::{http, wait};

use crate::suite::Suite;

/// How long it may take until everything is written: what was lost with a dispatcher is looked for every minute.
const UP_TO_DATE: Duration = Duration::from_mins(2);

/// The stages of a customer, as metrics call them; the tables know their numbers.
const STAGES: [&str; 4] = ["stuck", "trying_again", "under_way", "onboarded"];

impl Suite<'_> {
    /// What is wrong with it, once it had its time.
    pub(crate) fn history_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let _ = wait::within(UP_TO_DATE, || {
            problems = self.look_at_history();
            std::thread::sleep(Duration::from_millis(200));
            problems.is_empty().then_some(())
        });
        problems
    }

    fn look_at_history(&self) -> Vec<String> {
        let rows = self.stage.database.rows("SELECT id, stage FROM customer_states");
        let stages: BTreeMap<_, _> =
            rows.iter().map(|row| (row["id"].as_str(), row["stage"].as_str())).collect();
        let others: Vec<_> = self
            .registrations
            .iter()
            .map(|one| one.customer.to_string())
            .filter(|customer| stages.get(customer.as_str()) != Some(&"3"))
            .collect();
        let mut problems = Vec::new();
        if let Some(first) = others.first() {
            let stage = stages.get(first.as_str()).and_then(|stage| STAGES.get(stage.parse::<usize>().ok()?));
            let stage = stage.unwrap_or(&"unknown");
            problems.push(format!("{} customers are not onboarded there; {first} is {stage}", others.len()));
        }
        let metrics = http::get(self.fleet.port(), "/metrics").map(|page| page.body).unwrap_or_default();
        for (number, stage) in STAGES.iter().enumerate() {
            let is = stages.values().filter(|one| **one == number.to_string()).count().to_string();
            let total =
                format!("SELECT amount FROM history_totals WHERE kind = 'customer' AND state = '{number}'");
            let total = Some(self.stage.database.text(&total)).filter(|text| !text.is_empty());
            let metric = format!("dispatcher_customers{{stage=\"{stage}\"}} ");
            let metric = metrics.lines().find_map(|line| line.strip_prefix(&metric)).unwrap_or("nothing");
            if total.as_deref().unwrap_or("0") != is || metric != is {
                problems.push(format!(
                    "{is} customers are {stage}, the totals say {total:?}, the metrics {metric}"
                ));
            }
        }
        problems
    }
}
