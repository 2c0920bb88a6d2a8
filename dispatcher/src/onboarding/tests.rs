//! Customers on SQLite; the same statements run on MariaDB in the end-to-end tests.

mod shipped;

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::manifest::{self, Manifests};
use crate::plan::Cluster;
use history::{Keep, Run, RunState};

const TRIGGER: &str = "customer-saved-trigger";
const LAST: &str = "touchpoints-created-trigger";

async fn customers() -> Customers {
    Customers::new(History::in_memory(Keep::days(1)).await.unwrap())
}

fn run(trigger: &str, customer: &str, state: RunState, at: DateTime<Utc>) -> Run {
    Run {
        id: format!("{trigger}/{customer}"),
        trigger: trigger.to_owned(),
        namespace: "default".to_owned(),
        job: format!("{trigger}-{customer}"),
        image: "knapscen/save-customer:latest".to_owned(),
        event_hash: String::new(),
        event_id: format!("{trigger}-of-{customer}"),
        nats_subject: trigger.trim_end_matches("-trigger").to_owned(),
        flow_key: customer.to_owned(),
        flow_name: format!("Company {customer}"),
        replay: 0,
        deliveries: 1,
        state,
        superseded: false,
        published_at: at,
        handed_at: at,
        started_at: None,
        ended_at: (state != RunState::Running).then_some(at),
        tries: 1,
        adopted: false,
        exit_code: (state == RunState::Complete).then_some(0),
        class: None,
        message: matches!(state, RunState::Failed | RunState::TryAgain).then(|| "no such tier".to_owned()),
        report: None,
    }
}

impl Customers {
    async fn ran(&self, trigger: &str, customer: &str, state: RunState) {
        self.history.write_now(&[run(trigger, customer, state, Utc::now())]).await.unwrap();
    }

    /// The tables that the workers write.
    async fn save(&self, id: &str, started_at: DateTime<Utc>, onboarded_at: Option<DateTime<Utc>>) {
        history::execute!(self.history.pool(), query => {
            query.push("INSERT OR REPLACE INTO customers (id, name, subscription_tier, started_at, onboarded_at) VALUES (");
            query.separated(", ").push_bind(id).push_bind(format!("Saved {id}")).push_bind("groovy")
                .push_bind(started_at.naive_utc()).push_bind(onboarded_at.map(|at| at.naive_utc()));
            query.push(")");
        })
        .unwrap();
    }

    async fn handled(&self, step: &str, customer: &str, at: DateTime<Utc>) {
        history::execute!(self.history.pool(), query => {
            query.push("INSERT INTO handled_events (step, event_id, subject, customer_id, handled_at) VALUES (");
            query.separated(", ").push_bind(step).push_bind(format!("{TRIGGER}-of-{customer}")).push_bind(customer)
                .push_bind(customer).push_bind(at.naive_utc());
            query.push(")");
        })
        .unwrap();
    }

    async fn stage_of(&self, customer: &str) -> Option<Stage> {
        let one = self.one(customer).await.unwrap().map(|state| state.stage);
        let wanted = Wanted { text: customer.to_owned(), limit: 10, ..Wanted::default() };
        let listed = self.list(&wanted).await.unwrap().into_iter().find(|(state, _)| state.id == customer);
        assert_eq!(
            listed.map(|(state, cursor)| (
                state.stage,
                cursor.to_string().starts_with(&state.stage.code().to_string())
            )),
            one.map(|stage| (stage, true)),
            "{customer}"
        );
        one
    }

    async fn counts(&self) -> [u64; 5] {
        let stages = self.stages().await.unwrap();
        Stage::ALL.map(|stage| stages.count(stage))
    }
}

#[tokio::test]
async fn a_customer_goes_through_every_stage_and_the_counts_follow() {
    let all = customers().await;
    let now = Utc::now();
    all.ran(TRIGGER, "c-1", RunState::Running).await;
    assert_eq!((all.stage_of("c-1").await, all.counts().await), (Some(Stage::UnderWay), [0, 0, 1, 0, 0]));
    all.save("c-1", now, None).await;
    for (state, stage, counts) in [
        (RunState::TryAgain, Stage::Retrying, [0, 1, 0, 0, 0]),
        (RunState::Failed, Stage::Stuck, [1, 0, 0, 0, 0]),
        (RunState::Complete, Stage::UnderWay, [0, 0, 1, 0, 0]),
    ] {
        all.ran(TRIGGER, "c-1", state).await;
        assert_eq!((all.stage_of("c-1").await, all.counts().await), (Some(stage), counts), "{state:?}");
    }
    all.save("c-1", now, Some(now)).await;
    assert_eq!((all.stage_of("c-1").await, all.counts().await), (Some(Stage::Onboarded), [0, 0, 0, 1, 0]));
    let state = all.one("c-1").await.unwrap().unwrap();
    assert_eq!((state.name.as_str(), state.tier.as_str(), state.done), ("Saved c-1", "groovy", 1));
}

#[tokio::test]
async fn only_the_workers_table_says_that_a_customer_is_onboarded() {
    let all = customers().await;
    all.save("c-1", Utc::now(), None).await;
    // Every step of the flow, independent of the present manifests.
    for trigger in
        ["customer-registered-trigger", TRIGGER, "user-saved-trigger", "swag-ordered-trigger", LAST]
    {
        all.ran(trigger, "c-1", RunState::Complete).await;
    }
    assert_eq!(all.stage_of("c-1").await, Some(Stage::UnderWay));
    // A customer that is not in the history.
    all.save("c-2", Utc::now(), Some(Utc::now())).await;
    assert_eq!((all.stage_of("c-2").await, all.counts().await), (Some(Stage::Onboarded), [0, 0, 1, 1, 0]));
}

#[tokio::test]
async fn whoever_is_onboarded_stays_it_and_whoever_was_dropped_is_given_up() {
    let all = customers().await;
    all.ran(TRIGGER, "c-1", RunState::Failed).await;
    all.save("c-1", Utc::now(), Some(Utc::now())).await;
    assert_eq!(all.stage_of("c-1").await, Some(Stage::Onboarded));
    all.ran(TRIGGER, "c-2", RunState::Failed).await;
    let reason = all.one("c-2").await.unwrap().unwrap().reason;
    assert_eq!(reason.as_deref(), Some("no such tier"));
    all.history.give_up("c-2", &format!("{TRIGGER}-of-c-2"), "customer-saved").await.unwrap();
    assert_eq!((all.stage_of("c-2").await, all.counts().await), (Some(Stage::GivenUp), [0, 0, 0, 1, 1]));
    let state = all.one("c-2").await.unwrap().unwrap();
    assert_eq!((state.failed, state.reason.as_deref()), (0, Some("no such tier")));
    assert_eq!(all.one("c-3").await.unwrap(), None);
}

#[tokio::test]
async fn the_list_begins_with_the_stuck_and_pages_without_gaps() {
    let all = customers().await;
    let now = Utc::now();
    let mut runs = Vec::new();
    for number in 0..50 {
        let (id, at) = (format!("c-{number:02}"), now - TimeDelta::seconds(number / 2 * 2));
        match number % 5 {
            0 => runs.push(run(TRIGGER, &id, RunState::Failed, at)),
            1 => runs.push(run(TRIGGER, &id, RunState::Running, at)),
            2 => all.save(&id, at, None).await,
            3 => all.save(&id, at, Some(at)).await,
            _ => runs.push(run(TRIGGER, &id, RunState::Dropped, at)),
        }
    }
    all.history.write_now(&runs).await.unwrap();
    let mut wanted = Wanted { limit: 7, ..Wanted::default() };
    let mut found = Vec::new();
    loop {
        let page = all.list(&wanted).await.unwrap();
        let Some((_, last)) = page.last() else { break };
        let again: Cursor = last.to_string().parse().unwrap();
        assert_eq!(&again, last);
        wanted.after = Some(again);
        found.extend(page.into_iter().map(|(state, _)| (state.stage, state.id)));
    }
    assert!(found.iter().map(|(stage, _)| stage).is_sorted(), "{found:?}");
    let ids: std::collections::BTreeSet<_> = found.iter().map(|(_, id)| id).collect();
    assert_eq!((found.len(), ids.len()), (50, 50), "{found:?}");
    assert_eq!(
        (found[0].1.as_str(), found[30].1.as_str()),
        ("c-45", "c-03"),
        "longest stuck, newest onboarded"
    );
    for (text, count) in
        [("company C-1", 6), ("SAVED c-1", 4), ("%", 0), ("c-07", 1), ("saved", 20), ("nobody", 0)]
    {
        let search = Wanted { text: text.to_owned(), limit: 50, ..Wanted::default() };
        assert_eq!(all.list(&search).await.unwrap().len(), count, "{text}");
    }
    let only = Wanted { stage: Some(Stage::GivenUp), limit: 50, ..Wanted::default() };
    assert_eq!(all.list(&only).await.unwrap().len(), 10);
    assert_eq!(all.counts().await, [10, 0, 20, 10, 10]);
}

/// The manifests of this project.
fn shipped() -> Manifests {
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    manifest::load(&events).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn reconcile(all: &Customers) -> Reconcile {
    let set = shipped();
    Reconcile { history: all.history.clone(), flow: Box::new(move || step::flow(&set, &Cluster::default())) }
}

#[tokio::test]
async fn a_run_that_nobody_follows_is_closed_by_the_ledger_and_one_that_is_missing_is_added() {
    let all = customers().await;
    let silent = Utc::now() - TimeDelta::minutes(10);
    for customer in ["silent", "followed", "unhandled"] {
        all.history.write_now(&[run(TRIGGER, customer, RunState::Running, silent)]).await.unwrap();
    }
    history::execute!(all.history.pool(), query => {
        query.push("UPDATE job_runs SET seen_at = '2020-01-01 00:00:00' WHERE flow_key <> 'followed'");
    })
    .unwrap();
    for customer in ["silent", "followed", "never seen"] {
        all.handled("save-customer", customer, silent).await;
    }
    let compare = reconcile(&all);
    for _ in 0..2 {
        compare.newer(silent - TimeDelta::minutes(1)).await.unwrap();
        let state = async |customer| {
            all.history.runs_of(customer, 9).await.unwrap().iter().map(|run| run.state).collect::<Vec<_>>()
        };
        assert_eq!(state("silent").await, [RunState::Complete]);
        assert_eq!(state("followed").await, [RunState::Running]);
        assert_eq!(state("unhandled").await, [RunState::Running]);
        assert_eq!(state("never seen").await, [RunState::Complete]);
    }
    let added = all.history.runs_of("never seen", 1).await.unwrap().remove(0);
    assert_eq!((added.trigger.as_str(), added.nats_subject.as_str()), (TRIGGER, "customer-saved"));
    // Its dispatcher was only late.
    all.history.write_now(&[run(TRIGGER, "never seen", RunState::Complete, silent)]).await.unwrap();
    compare.newer(silent - TimeDelta::minutes(1)).await.unwrap();
    let runs = all.history.runs_of("never seen", 9).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.exit_code).collect::<Vec<_>>(), [Some(0)]);
}

#[tokio::test]
async fn a_run_that_becomes_silent_after_its_entry_was_compared_is_closed_too() {
    let all = customers().await;
    let silent = Utc::now() - TimeDelta::minutes(10);
    for customer in ["killed", "waits"] {
        all.history.write_now(&[run(TRIGGER, customer, RunState::Running, silent)]).await.unwrap();
    }
    all.handled("save-customer", "killed", silent).await;
    let compare = reconcile(&all);
    let state = async |customer| all.history.runs_of(customer, 9).await.unwrap()[0].state;
    compare.unfollowed().await.unwrap();
    assert_eq!(state("killed").await, RunState::Running, "its dispatcher has just reported it");
    history::execute!(all.history.pool(), query => {
        query.push("UPDATE job_runs SET seen_at = '2020-01-01 00:00:00'");
    })
    .unwrap();
    compare.unfollowed().await.unwrap();
    assert_eq!((state("killed").await, state("waits").await), (RunState::Complete, RunState::Running));
}

#[tokio::test]
async fn what_was_handled_a_moment_ago_is_not_missing_yet() {
    let all = customers().await;
    all.handled("save-customer", "c-1", Utc::now()).await;
    reconcile(&all).newer(Utc::now() - TimeDelta::minutes(1)).await.unwrap();
    assert_eq!(all.history.runs_of("c-1", 9).await.unwrap(), []);
}
