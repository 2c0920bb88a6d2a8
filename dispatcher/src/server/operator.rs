//! Actions of operators over HTTP. An action is completed and recorded even if the browser has disconnected.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::Extensions;
use chrono::Utc;

use super::App;
use crate::dead_letter_action::{Operator, Verb};
use bus::{Error, Filter, Result};

/// The most dead letters that one request handles.
pub(super) const AT_ONCE: usize = 1000;

/// The sender of a request.
pub(super) fn operator(name: &str, extensions: &Extensions) -> Operator {
    let address = extensions.get::<ConnectInfo<SocketAddr>>();
    let address = address.map_or_else(|| "unknown".to_owned(), |ConnectInfo(from)| from.ip().to_string());
    Operator { name: name.to_owned(), address }
}

/// The result for several letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) done: usize,
    pub(super) failed: usize,
    /// Whether more letters match.
    pub(super) more: bool,
}

/// Handles one dead letter; `None` if there is none with this number. A replay returns where it was published.
pub(super) async fn act(app: &App, operator: Operator, verb: Verb, number: u64) -> Result<Option<u64>> {
    let app = app.clone();
    to_its_end(async move { one(&app, &operator, verb, number).await }).await
}

/// Handles all that match and existed at the beginning, so that a letter that comes back at once is not replayed
/// again.
pub(super) async fn act_on_all(app: &App, operator: Operator, verb: Verb, filter: Filter) -> Result<Tally> {
    let app = app.clone();
    to_its_end(async move { all(&app, &operator, verb, filter).await }).await
}

async fn to_its_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or_else(|error| Err(Error::Unavailable(format!("it was broken off: {error}"))))
}

async fn one(app: &App, operator: &Operator, verb: Verb, number: u64) -> Result<Option<u64>> {
    crate::dead_letter_action::act(&app.0.bus, Some(&app.0.history), operator, verb, number).await
}

async fn all(app: &App, operator: &Operator, verb: Verb, filter: Filter) -> Result<Tally> {
    let began = Utc::now();
    let mut tally = Tally::default();
    let mut filter = Filter { after: 0, limit: 100, payloads: false, ..filter };
    loop {
        let page = app.0.bus.dead_letters(&filter).await?;
        for letter in page.letters.iter().filter(|letter| letter.failed_at <= began) {
            if tally.done + tally.failed == AT_ONCE {
                return Ok(Tally { more: true, ..tally });
            }
            match one(app, operator, verb, letter.number).await {
                Ok(Some(_)) => tally.done += 1,
                Ok(None) => {}
                Err(_) => tally.failed += 1,
            }
        }
        let Some(next) = page.next else { return Ok(tally) };
        filter.after = next;
    }
}
