//! What the server has refused on this connection. A refused request has no answer: the server reports the refusal
//! separately, so waiting for the answer is in vain.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::{Event, ServerError};
use tokio::sync::Notify;

use crate::error::{Error, Result};

/// The refusals since the connection was made. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Violations(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    words: Mutex<Vec<String>>,
    came: Notify,
}

impl Violations {
    /// Records what the client library reports.
    pub fn note(&self, event: &Event) {
        let mut words = self.0.words.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            // Another connection may have other permissions.
            Event::Connected => words.clear(),
            Event::ServerError(ServerError::Other(text)) if is_violation(text) => {
                if !words.contains(text) && words.len() < 64 {
                    words.push(text.clone());
                }
                self.0.came.notify_waiters();
            }
            _ => {}
        }
    }

    /// Returns the answer, or the refusal for this subject or for the inbox of its answer, as soon as it comes.
    pub async fn unless_refused<T>(&self, subject: &str, answer: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            answer = answer => Ok(answer),
            refused = self.refused(subject) => Err(refused),
        }
    }

    /// The refusal of what was published on this subject, if there was one.
    pub fn of(&self, subject: &str) -> Option<Error> {
        let words = self.0.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.iter().find(|words| concerns(words, subject)).map(|words| error(words))
    }

    async fn refused(&self, subject: &str) -> Error {
        loop {
            let came = self.0.came.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            if let Some(error) = self.of(subject) {
                return error;
            }
            came.await;
        }
    }
}

fn is_violation(text: &str) -> bool {
    text.to_ascii_lowercase().contains("permissions violation")
}

/// Whether the message names the subject, or the inbox that is needed for the answer.
fn concerns(words: &str, subject: &str) -> bool {
    let lower = words.to_ascii_lowercase();
    let named = words.split('"').nth(1).unwrap_or_default();
    (lower.contains("publish") && named == subject)
        || (lower.contains("subscription") && named.starts_with("_INBOX"))
}

fn error(words: &str) -> Error {
    let subject = words.split('"').nth(1).unwrap_or_default();
    let (what, right) = if words.to_ascii_lowercase().contains("subscription") {
        ("subscribe to", "subscribe")
    } else {
        ("publish to", "publish")
    };
    Error::configuration(format!(
        "the NATS user may not {what} {subject}: allow it in its permissions ({right})"
    ))
    .because(format!("the server says {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_says(violations: &Violations, words: &str) {
        violations.note(&Event::ServerError(ServerError::Other(words.to_owned())));
    }

    #[tokio::test]
    async fn a_refusal_ends_the_wait_for_an_answer_that_never_comes() {
        let violations = Violations::default();
        server_says(&violations, "Permissions Violation for Publish to \"other\"");
        let waiting = violations.clone();
        let refused = tokio::spawn(async move {
            waiting.unless_refused("$JS.API.INFO", std::future::pending::<()>()).await.unwrap_err()
        });
        tokio::task::yield_now().await;
        server_says(&violations, "Permissions Violation for Publish to \"$JS.API.INFO\"");
        let error = refused.await.unwrap();
        assert_eq!(error.class().exit_code(), 78);
        let text = error.to_string();
        assert!(
            text.contains("may not publish to $JS.API.INFO")
                && text.contains("Permissions Violation for Publish"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_refused_inbox_concerns_every_request_until_the_next_connection() {
        let violations = Violations::default();
        server_says(&violations, "Permissions Violation for Subscription to \"_INBOX.x.*\"");
        assert!(violations.of("anything").unwrap().to_string().contains("may not subscribe to _INBOX.x.*"));
        violations.note(&Event::Connected);
        assert!(violations.of("anything").is_none());
        assert_eq!(violations.unless_refused("anything", async { 7 }).await.unwrap(), 7);
    }
}
