//! What operators do to dead letters, on the pages, over the API and on the command line: done, logged, and written down with who
//! and when.

use chrono::Utc;

use crate::bus::{Bus, DeadLetter, Error, Result};
use crate::history::{Act, History};
use crate::logging::masked;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The name given, or how the request came.
    pub name: String,
    /// From where.
    pub address: String,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// The event is published again.
    Replay,
    /// It is removed for good.
    Drop,
}

impl Verb {
    /// For people and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Drop => "drop",
        }
    }
}

/// One dead letter; `None` when there is none of this number. A replay says where it was published. Without a history nothing is
/// written down.
pub async fn act(
    bus: &Bus,
    history: Option<&History>,
    operator: &Operator,
    verb: Verb,
    number: u64,
) -> Result<Option<u64>> {
    let Some(letter) = bus.dead_letter_by_number(number).await? else { return Ok(None) };
    let done = match verb {
        Verb::Replay => bus.replay(number).await.map(|receipt| receipt.map(|receipt| receipt.sequence)),
        Verb::Drop => drop_letter(bus, history, &letter).await,
    };
    note(history, operator, verb, &letter, &done).await;
    done
}

/// First its customer is told: a letter that is left after a crash is dropped again, but nobody would look for a customer that is stuck
/// without one.
async fn drop_letter(bus: &Bus, history: Option<&History>, letter: &DeadLetter) -> Result<Option<u64>> {
    if let Some(history) = history {
        let (customer, event) = (&letter.info.customer, &letter.info.event_id);
        history.give_up(customer, event, &letter.subject).await.map_err(|error| {
            Error::Unavailable(format!("nothing is dropped, because the history cannot be written: {error}"))
        })?;
    }
    bus.drop_dead_letter(letter.number).await.map(|dropped| dropped.then_some(0))
}

async fn note(
    history: Option<&History>,
    operator: &Operator,
    verb: Verb,
    letter: &DeadLetter,
    done: &Result<Option<u64>>,
) {
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
        event.id = %masked(&letter.info.event_id),
        outcome,
        "an operator acted on a dead letter"
    );
    let Some(history) = history else { return };
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
    if let Err(error) = history.note(&act).await {
        tracing::warn!(error = %error, "what the operator did stands in the log alone");
    }
}
