//! What operators do to dead letters, for the pages and for the API: done, logged, and written down with who and when.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::Extensions;
use chrono::Utc;

use super::App;
use crate::bus::{DeadLetter, Filter, Result};
use crate::history::Act;

/// Dead letters that one request handles at most.
pub(super) const AT_ONCE: usize = 1000;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// The name given, or how the request came.
    pub(super) name: String,
    /// From where.
    pub(super) address: String,
}

impl Operator {
    pub(super) fn new(name: &str, extensions: &Extensions) -> Self {
        let address = extensions.get::<ConnectInfo<SocketAddr>>();
        let address = address.map_or_else(|| "unknown".to_owned(), |ConnectInfo(from)| from.ip().to_string());
        Self { name: name.to_owned(), address }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verb {
    /// The event is published again.
    Replay,
    /// It is removed for good.
    Drop,
}

impl Verb {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Drop => "drop",
        }
    }
}

/// How it went with many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) done: usize,
    pub(super) failed: usize,
    /// There are more that match.
    pub(super) more: bool,
}

/// One dead letter; `None` when there is none of this number. A replay says where it was published.
pub(super) async fn act(app: &App, operator: &Operator, verb: Verb, number: u64) -> Result<Option<u64>> {
    let Some(letter) = app.0.bus.dead_letter_by_number(number).await? else { return Ok(None) };
    let done = match verb {
        Verb::Replay => app.0.bus.replay(number).await.map(|receipt| receipt.map(|receipt| receipt.sequence)),
        Verb::Drop => app.0.bus.drop_dead_letter(number).await.map(|dropped| dropped.then_some(0)),
    };
    note(app, operator, verb, &letter, &done).await;
    done
}

/// All that match and were there when it began: what a replay brings back at once is not replayed again.
pub(super) async fn act_on_all(app: &App, operator: &Operator, verb: Verb, filter: Filter) -> Result<Tally> {
    let began = Utc::now();
    let mut tally = Tally::default();
    let mut filter = Filter { after: 0, limit: 100, ..filter };
    loop {
        let page = app.0.bus.dead_letters(&filter).await?;
        for letter in page.letters.iter().filter(|letter| letter.failed_at <= began) {
            if tally.done + tally.failed == AT_ONCE {
                return Ok(Tally { more: true, ..tally });
            }
            match act(app, operator, verb, letter.number).await {
                Ok(Some(_)) => tally.done += 1,
                Ok(None) => {}
                Err(_) => tally.failed += 1,
            }
        }
        let Some(next) = page.next else { return Ok(tally) };
        filter.after = next;
    }
}

async fn note(app: &App, operator: &Operator, verb: Verb, letter: &DeadLetter, done: &Result<Option<u64>>) {
    let outcome = match done {
        Ok(Some(_)) => "done".to_owned(),
        Ok(None) => "it was gone already".to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::info!(
        operator = operator.name,
        client.address = operator.address,
        action = verb.as_str(),
        dead_letter = letter.number,
        nats.subject = letter.subject,
        event.id = letter.info.event_id,
        outcome,
        "an operator acted on a dead letter"
    );
    let act = Act {
        at: Utc::now(),
        operator: operator.name.clone(),
        address: operator.address.clone(),
        action: verb.as_str().to_owned(),
        dead_letter: letter.number,
        nats_subject: letter.subject.clone(),
        event_id: letter.info.event_id.clone(),
        customer: letter.info.customer.clone(),
        outcome,
    };
    if let Err(error) = app.0.history.note(&act).await {
        tracing::warn!(error = %error, "what the operator did stands in the log alone");
    }
}
