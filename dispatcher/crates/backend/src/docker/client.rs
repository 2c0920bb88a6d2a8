//! The client of the engine: address, API version, and what the engine's errors mean for a Job.

use std::fmt::Write as _;
use std::time::Duration;

use bollard::errors::Error as Failure;
use bollard::{API_DEFAULT_VERSION, Docker};
use http::{HeaderValue, Request};
use parking_lot::{Mutex, MutexGuard};
use shared::error::{Error, Result};

/// A call without an answer is repeated after this long. Calls that may take longer add to it.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// The oldest version of the API that has everything used here.
const OLDEST: (u32, u32) = (1, 40);
/// The engine's own words are cut after this many bytes.
const MAX_WORDS: usize = 600;

/// What a failed call means.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There was no answer, or not from the engine, so it is not known whether the call took effect. It is repeated
    /// for ever.
    Away,
    /// The image, container or network does not exist.
    Missing(String),
    /// The name is taken, or is being freed.
    Conflict(String),
    /// The engine does not accept the request.
    Invalid(String),
    /// The engine, or a proxy before it, does not allow this call or could not carry it out.
    Failed(String),
}

/// A client that connects at its first use, and again after the engine was away.
#[derive(Debug)]
pub(super) struct Client {
    host: String,
    engine: Mutex<Option<Docker>>,
    /// Why the engine is away; `None` if it is not.
    away: Mutex<Option<String>>,
}

impl Client {
    /// Checks the address without connecting.
    pub(super) fn new(host: &str) -> Result<Self> {
        let known =
            ["unix://", "tcp://", "http://", "https://"].iter().any(|scheme| host.starts_with(scheme));
        // What is not an address may be a secret. An engine has no login, so an `@` belongs to somebody's password.
        if !known || host.contains(['@', '?', '#']) || host.chars().any(char::is_whitespace) {
            return Err(Error::configuration(
                "--docker-host (DOCKER_HOST) is no address of an engine; write unix:///path/of/the.sock or tcp://host:port",
            ));
        }
        Ok(Self { host: host.to_owned(), engine: Mutex::default(), away: Mutex::default() })
    }

    /// The engine, after agreeing on a version of the API.
    pub(super) async fn engine(&self) -> std::result::Result<Docker, Trouble> {
        let known = self.engine.lock().clone();
        if let Some(engine) = known {
            return Ok(engine);
        }
        let connected = match connect(&self.host) {
            Ok(engine) => {
                engine.with_timeout(ANSWER_WITHIN).with_request_modifier(readable_login).negotiate_version()
            }
            Err(failure) => return Err(self.trouble(&failure)),
        };
        // An engine whose API we do not speak counts as away, so that no try is used up.
        let engine = match self.settle(connected).await {
            Err(Trouble::Invalid(words) | Trouble::Missing(words)) => {
                return Err(self
                    .away(&format!("{UNSPOKEN} {API_DEFAULT_VERSION} down to {}: {words}", dotted(OLDEST))));
            }
            settled => settled?,
        };
        let version = self.settle(engine.version()).await?;
        if let Some(why) = unspoken(version.api_version.as_deref(), version.min_api_version.as_deref()) {
            return Err(self.away(&why));
        }
        *self.engine.lock() = Some(engine.clone());
        if self.reason().take().is_some() {
            tracing::info!(engine = %self.host, "the engine answers again");
        }
        Ok(engine)
    }

    /// The answer to a call, including its body, within the time limit of any call.
    pub(super) async fn settle<T>(
        &self,
        call: impl Future<Output = std::result::Result<T, Failure>>,
    ) -> std::result::Result<T, Trouble> {
        self.settle_within(ANSWER_WITHIN, call).await
    }

    /// The same for a call that may take longer.
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
            // Statuses of a proxy without an engine behind it.
            502..=504 => self.away(&message),
            401 | 403 | 405 => Trouble::Failed(format!(
                "{message} (status {status_code}; does the proxy before the engine allow this call?)"
            )),
            _ => Trouble::Failed(message),
        }
    }

    /// Logs once that the engine is away, and makes the next call connect again.
    pub(super) fn away(&self, why: &str) -> Trouble {
        *self.engine.lock() = None;
        if self.reason().replace(why.to_owned()).is_none() {
            tracing::warn!(engine = %self.host, reason = why, "the engine does not answer; running Jobs are waited for, new ones wait");
        }
        Trouble::Away
    }

    fn reason(&self) -> MutexGuard<'_, Option<String>> {
        self.away.lock()
    }

    /// What is wrong with the engine, in words for operators; `None` if it answers.
    pub(super) async fn check(&self) -> Result<()> {
        let asked = async { self.settle(self.engine().await?.ping()).await };
        match tokio::time::timeout(Duration::from_secs(5), asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Trouble::Away)) if self.reason().as_ref().is_some_and(|why| why.starts_with(UNSPOKEN)) => {
                let why = self.reason().clone().unwrap_or_default();
                Err(Error::unavailable(format!("the engine at {} cannot be used: {why}", self.host)))
            }
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

const UNSPOKEN: &str = "it does not speak the versions of the API that are spoken here,";

/// Why an engine with these versions of the API cannot be used.
fn unspoken(newest: Option<&str>, oldest: Option<&str>) -> Option<String> {
    let number = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let (major, minor) = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
    let own = (u32::try_from(major).unwrap_or(0), u32::try_from(minor).unwrap_or(0));
    let is_old = newest.and_then(number).is_some_and(|newest| newest < OLDEST);
    let is_new = oldest.and_then(number).is_some_and(|oldest| oldest > own);
    (is_old || is_new).then(|| {
        format!(
            "{UNSPOKEN} {} down to {}: it speaks {} down to {}",
            dotted(own),
            dotted(OLDEST),
            newest.unwrap_or("nothing that is known"),
            oldest.unwrap_or("nothing that is known"),
        )
    })
}

fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

fn connect(host: &str) -> std::result::Result<Docker, Failure> {
    if host.starts_with("unix://") {
        Docker::connect_with_unix(host, ANSWER_WITHIN.as_secs(), API_DEFAULT_VERSION)
    } else {
        // If DOCKER_TLS_VERIFY and DOCKER_CERT_PATH are set, over TLS, like the docker command.
        Docker::connect_with_host(host)
    }
}

/// The engine decodes credentials as URL-safe base64, and the client encodes them as standard base64. Without this,
/// some passwords would be ignored.
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

/// At most `most` bytes, cut between characters.
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
    fn an_engine_of_another_time_is_named_with_both_versions() {
        for (newest, oldest) in [("1.24", "1.12"), ("1.70", "1.60"), ("1.39", "1.24")] {
            let why = unspoken(Some(newest), Some(oldest)).unwrap();
            assert!(why.contains(newest) && why.contains(oldest) && why.contains("1.40"), "{why}");
        }
        for (newest, oldest) in [("1.41", "1.24"), ("1.52", "1.44"), ("1.70", "1.40")] {
            assert_eq!(unspoken(Some(newest), Some(oldest)), None);
        }
        assert_eq!(unspoken(None, None), None);
    }

    #[test]
    fn a_login_is_sent_in_the_alphabet_that_the_engine_reads() {
        let request = Request::builder().header("X-Registry-Auth", "a+b/c=").body(()).unwrap();
        let sent = readable_login(request);
        assert_eq!(sent.headers()["X-Registry-Auth"], "a-b_c=");
        assert!(!format!("{:?}", sent.headers()).contains("a-b_c"));
    }
}
