//! What operators do to dead letters, on the pages, over the API and on the command line: each action is carried out,
//! logged, and recorded with name and time.

use chrono::Utc;

use bus::{Bus, DeadLetter, Error, Result};
use history::{Act, History};
use job::masked;

/// The operator of an action.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The given name, or the way in which the request came.
    pub name: String,
    /// The address that it came from.
    pub address: String,
}

/// The action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// The event is published again.
    Replay,
    /// It is removed for good.
    Drop,
}

impl Verb {
    /// The word for messages and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Drop => "drop",
        }
    }
}

/// Handles one dead letter; `None` if there is none with this number. A replay returns where it was published.
/// Without a history, nothing is recorded.
pub async fn act(
    bus: &Bus,
    history: Option<&History>,
    operator: &Operator,
    verb: Verb,
    number: u64,
) -> Result<Option<u64>> {
    let letter = match bus.dead_letter_by_number(number).await {
        Ok(Some(letter)) => letter,
        Ok(None) => return Ok(None),
        // An unreadable letter can still be removed.
        Err(error) if verb == Verb::Drop && !error.try_again() => {
            tracing::info!(operator = operator.name, dead_letter = number, error = %error, "an unreadable dead letter is dropped");
            return Ok(bus.drop_dead_letter(number).await?.then_some(0));
        }
        Err(error) => return Err(error),
    };
    let done = match verb {
        Verb::Replay => bus.replay(number).await.map(|receipt| receipt.map(|receipt| receipt.sequence)),
        Verb::Drop => drop_letter(bus, history, &letter).await,
    };
    note(history, operator, verb, &letter, &done).await;
    done
}

/// Marks the customer's runs first. After a crash in between, the letter is still there and is dropped again; the
/// other way round, nobody would notice a stuck customer without a letter.
async fn drop_letter(bus: &Bus, history: Option<&History>, letter: &DeadLetter) -> Result<Option<u64>> {
    if let Some(history) = history.filter(|_| !letter.info.event_id.is_empty()) {
        let (customer, event) = (&letter.info.flow_key, &letter.info.event_id);
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
        flow_key: letter.info.flow_key.clone(),
        outcome,
    };
    if let Err(error) = history.note(&act).await {
        tracing::warn!(error = %error, "what the operator did is in the log only");
    }
}
