//! The way to the engine: an address, a version that both sides know, and what its errors mean for a Job.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderValue, Request};
use bollard::errors::Error as Failure;
use bollard::{API_DEFAULT_VERSION, Docker};
use shared::error::{Error, Result};

/// A call that has no answer after this long is asked again. Calls that may take longer by their nature add to it.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// The engine's own words are cut after this many bytes.
const MAX_WORDS: usize = 600;

/// What a failed call means.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No answer, or not the engine's: whether it did what was asked is not known. It is asked again, for ever.
    Away,
    /// There is no such image, container or network.
    Missing(String),
    /// Its name is taken, or it is being removed.
    Conflict(String),
    /// The engine does not take what it was given.
    Invalid(String),
    /// The engine, or what stands before it, does not allow this call, or could not do it.
    Failed(String),
}

/// A client that connects when it is first used, and anew when the engine was away.
#[derive(Debug)]
pub(super) struct Client {
    host: String,
    engine: Mutex<Option<Docker>>,
    is_away: AtomicBool,
}

impl Client {
    /// Checks the address, and asks nothing yet.
    pub(super) fn new(host: &str) -> Result<Self> {
        if !["unix://", "tcp://", "http://", "https://"].iter().any(|scheme| host.starts_with(scheme)) {
            let message = format!(
                "--docker-host {host:?} is no address of an engine; write unix:///path/of/the.sock or tcp://host:port"
            );
            return Err(Error::configuration(message));
        }
        Ok(Self { host: host.to_owned(), engine: Mutex::default(), is_away: AtomicBool::new(false) })
    }

    /// The engine, once a version is agreed on.
    pub(super) async fn engine(&self) -> std::result::Result<Docker, Trouble> {
        let known = self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(engine) = known {
            return Ok(engine);
        }
        let connected = match connect(&self.host) {
            Ok(engine) => {
                engine.with_timeout(ANSWER_WITHIN).with_request_modifier(readable_login).negotiate_version()
            }
            Err(failure) => return Err(self.trouble(&failure)),
        };
        let engine = self.settle(connected).await?;
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine.clone());
        if self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!(engine = %self.host, "the engine answers again");
        }
        Ok(engine)
    }

    /// The answer to a call, body included, within the time that any call may take.
    pub(super) async fn settle<T>(
        &self,
        call: impl Future<Output = std::result::Result<T, Failure>>,
    ) -> std::result::Result<T, Trouble> {
        self.settle_within(ANSWER_WITHIN, call).await
    }

    /// The same, for a call that may take longer.
    pub(super) async fn settle_within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = std::result::Result<T, Failure>>,
    ) -> std::result::Result<T, Trouble> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(self.trouble(&failure)),
            Err(_) => Err(self.away("no answer")),
        }
    }

    /// What this failure means.
    pub(super) fn trouble(&self, failure: &Failure) -> Trouble {
        let Failure::DockerResponseServerError { status_code, message } = failure else {
            return self.away(&words(failure));
        };
        let message = cut(message.trim(), MAX_WORDS);
        match status_code {
            404 => Trouble::Missing(message),
            409 => Trouble::Conflict(message),
            400 => Trouble::Invalid(message),
            // What a proxy says when there is no engine behind it.
            502..=504 => self.away(&message),
            401 | 403 | 405 => Trouble::Failed(format!(
                "{message} (status {status_code}; does the proxy before the engine allow this call?)"
            )),
            _ => Trouble::Failed(message),
        }
    }

    /// Says once that the engine is away, and connects anew for the next call.
    pub(super) fn away(&self, why: &str) -> Trouble {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(engine = %self.host, reason = why, "the engine does not answer; what runs is awaited, what waits is kept");
        }
        Trouble::Away
    }

    /// Whether the engine answers, for people.
    pub(super) async fn check(&self) -> Result<()> {
        let asked = async { self.settle(self.engine().await?.ping()).await };
        match tokio::time::timeout(Duration::from_secs(5), asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Trouble::Away)) | Err(_) => Err(Error::unavailable(format!(
                "the engine at {} does not answer; is it running, and may this user open its socket?",
                self.host
            ))),
            Ok(Err(trouble)) => {
                Err(Error::unavailable(format!("the engine at {} says: {trouble}", self.host)))
            }
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away => f.write_str("it does not answer"),
            Self::Missing(message)
            | Self::Conflict(message)
            | Self::Invalid(message)
            | Self::Failed(message) => f.write_str(message),
        }
    }
}

fn connect(host: &str) -> std::result::Result<Docker, Failure> {
    if host.starts_with("unix://") {
        Docker::connect_with_unix(host, ANSWER_WITHIN.as_secs(), API_DEFAULT_VERSION)
    } else {
        // With DOCKER_TLS_VERIFY and DOCKER_CERT_PATH over TLS, as the docker command does it.
        Docker::connect_with_host(host)
    }
}

/// The engine reads credentials in the alphabet for addresses, and the client writes them in the usual one: some passwords would
/// count as none.
fn readable_login<B>(mut request: Request<B>) -> Request<B> {
    if let Some(login) = request.headers_mut().get_mut("X-Registry-Auth") {
        let text = login.to_str().unwrap_or_default().replace('+', "-").replace('/', "_");
        if let Ok(mut readable) = HeaderValue::try_from(text) {
            readable.set_sensitive(true);
            *login = readable;
        }
    }
    request
}

/// An error and its causes.
fn words(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        let _never_fails = write!(text, ": {error}");
        cause = error.source();
    }
    cut(&text, MAX_WORDS)
}

/// At most so many bytes, whole characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_sent_in_the_alphabet_that_the_engine_reads() {
        let request = Request::builder().header("X-Registry-Auth", "a+b/c=").body(()).unwrap();
        let sent = readable_login(request);
        assert_eq!(sent.headers()["X-Registry-Auth"], "a-b_c=");
        assert!(!format!("{:?}", sent.headers()).contains("a-b_c"));
    }
}
