//! Who is allowed to do what over HTTP, decided from the head of a request. Bearer tokens are compared in constant
//! time.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use shared::config::Secret;
use shared::error::{Error, Result};
use subtle::ConstantTimeEq;

use super::{App, connection};

/// Tokens with fewer characters can be guessed.
const SHORTEST: usize = 12;

/// A wrong token is answered late, and only a few at the same time. A request with the right token never waits for
/// them.
const WRONG: Duration = Duration::from_millis(700);

/// How many wrong tokens are answered at the same time.
pub(super) const WRONG_AT_ONCE: usize = 4;

/// The tokens of the endpoints.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// For `POST /events`.
    pub events: Option<Secret>,
    /// For dead letters: replay and drop.
    pub admin: Option<Secret>,
    /// For our own workers.
    pub workers: Option<Secret>,
    /// Whether the server can only be reached from this machine.
    pub loopback: bool,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    words: String,
    /// The request had a wrong token.
    guessed: bool,
}

impl Tokens {
    /// Refuses tokens that can be guessed.
    pub fn check_length(&self) -> Result<()> {
        for (name, token) in [("EVENTS_TOKEN", &self.events), ("ADMIN_TOKEN", &self.admin)] {
            if token.as_ref().is_some_and(|token| token.expose().chars().count() < SHORTEST) {
                return Err(Error::configuration(format!(
                    "{name} has fewer than {SHORTEST} characters and is guessed soon; make one with: openssl rand -hex 24"
                )));
            }
        }
        Ok(())
    }

    /// Whether this request may publish an event.
    pub(super) fn may_publish(&self, headers: &HeaderMap) -> std::result::Result<(), Refusal> {
        let known = [&self.events, &self.workers, &self.admin];
        self.check(headers, &known, self.events.is_none(), "EVENTS_TOKEN")
    }

    /// Whether anybody could publish: without `EVENTS_TOKEN`, the endpoint is closed beyond loopback.
    pub fn take_events(&self) -> bool {
        self.loopback || self.events.is_some()
    }

    /// Whether this request may see whole dead letters, and replay and drop them: only with the admin token, on
    /// loopback too.
    pub(super) fn may_administer(&self, headers: &HeaderMap) -> std::result::Result<(), Refusal> {
        if self.admin.is_none() {
            return Err(off("set ADMIN_TOKEN on the dispatcher to open this endpoint"));
        }
        self.check(headers, &[&self.admin], false, "ADMIN_TOKEN")
    }

    /// Whether the request has any of our tokens.
    fn knows(&self, headers: &HeaderMap) -> bool {
        has_one_of(headers, &[&self.events, &self.workers, &self.admin])
    }

    fn check(
        &self,
        headers: &HeaderMap,
        known: &[&Option<Secret>],
        open: bool,
        variable: &str,
    ) -> std::result::Result<(), Refusal> {
        if open && self.loopback && !from_browser(headers) && asked_for_this_machine(headers) {
            return Ok(());
        }
        if has_one_of(headers, known) {
            return Ok(());
        }
        if open && !self.loopback {
            return Err(off(&format!(
                "set {variable} on the dispatcher to open this endpoint beyond loopback"
            )));
        }
        Err(Refusal {
            status: StatusCode::UNAUTHORIZED,
            words: format!("send the header Authorization: Bearer <{variable}>\n"),
            guessed: headers.contains_key(header::AUTHORIZATION),
        })
    }
}

impl App {
    /// The answer to a refused request. A wrong token is logged, and its answer is delayed.
    pub(super) async fn refused(&self, refusal: Refusal, extensions: &Extensions, path: &str) -> Response {
        if refusal.guessed {
            self.wrong_token(extensions, path).await;
        }
        let Refusal { status, words, .. } = refusal;
        if status == StatusCode::UNAUTHORIZED {
            return (status, [(header::WWW_AUTHENTICATE, "Bearer")], words).into_response();
        }
        (status, words).into_response()
    }

    /// Returns when the answer to a wrong token may be sent.
    pub(super) async fn wrong_token(&self, extensions: &Extensions, path: &str) {
        let connection = connection::of(extensions);
        if let Some(connection) = &connection {
            connection.waits(); // so it ends first if others need its place
        }
        let Ok(_turn) = self.0.wrong_tokens.acquire().await else { return };
        tokio::time::sleep(WRONG).await;
        let address = connection.map(|connection| connection.from().to_string());
        tracing::warn!(client.address = address, path, "a wrong token");
    }
}

fn off(remedy: &str) -> Refusal {
    Refusal { status: StatusCode::FORBIDDEN, words: format!("off: {remedy}\n"), guessed: false }
}

fn has_one_of(headers: &HeaderMap, known: &[&Option<Secret>]) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, given)) = given.and_then(|value| value.split_once(' ')) else { return false };
    let mut known = known.iter().filter_map(|token| token.as_ref());
    scheme.eq_ignore_ascii_case("bearer") && known.any(|token| same(token.expose(), given.trim()))
}

/// Runs before all handlers. If not every visitor has to log in, it refuses requests for a host name that is not this
/// machine's.
pub(super) async fn refuse_foreign_name(State(app): State<App>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let ours = !app.0.tokens.loopback
        || (asked_for_this_machine(headers) && request.uri().authority().is_none_or(is_this_machine))
        || app.0.tokens.knows(headers)
        || app.session(headers).await.is_some();
    if ours {
        return next.run(request).await;
    }
    let text = "this is for this machine alone: ask for it at 127.0.0.1 or localhost\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// A page of another site can make a browser post to loopback, but it can neither hide its origin nor choose it: that is `null`, or has
/// a scheme. A webhook sender names itself in the same header after the handshake, as a domain without a scheme.
fn from_browser(headers: &HeaderMap) -> bool {
    let is_domain = |origin: &str| origin != "null" && !origin.contains([':', '/', ' ']);
    !headers.get_all(header::ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(is_domain))
}

/// Whether the client knew that it talks to its own machine. Through a foreign name that resolves to loopback, a page
/// in a browser could read what is shown here.
fn asked_for_this_machine(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().all(|host| {
        host.to_str().ok().and_then(|host| host.parse().ok()).is_some_and(|host| is_this_machine(&host))
    })
}

fn is_this_machine(authority: &Authority) -> bool {
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Digests have the same length, so comparing them takes the same time.
pub(super) fn same(expected: &str, given: &str) -> bool {
    Sha256::digest(expected.as_bytes()).ct_eq(&Sha256::digest(given.as_bytes())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(events: Option<&str>, loopback: bool) -> Tokens {
        let events = events.map(|token| Secret::from(token.to_owned()));
        Tokens { events, loopback, ..Tokens::default() }
    }

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn status(tokens: &Tokens, sent: &[(header::HeaderName, &str)]) -> u16 {
        tokens.may_publish(&headers(sent)).map_or_else(|refused| refused.status.as_u16(), |()| 202)
    }

    #[test]
    fn without_a_token_only_loopback_is_open_and_not_to_browsers() {
        assert_eq!(status(&tokens(None, true), &[]), 202);
        for origin in ["https://evil.example", "null", "file://", "chrome-extension://evil"] {
            assert_eq!(status(&tokens(None, true), &[(header::ORIGIN, origin)]), 401, "{origin}");
        }
        let mut both = headers(&[(header::ORIGIN, "sender.example")]);
        assert!(tokens(None, true).may_publish(&both).is_ok());
        both.append(header::ORIGIN, "https://evil.example".parse().unwrap());
        assert!(tokens(None, true).may_publish(&both).is_err());
        assert_eq!(status(&tokens(None, false), &[]), 403);
    }

    #[test]
    fn a_token_is_asked_for_everywhere_once_it_is_set() {
        for loopback in [true, false] {
            let tokens = tokens(Some("s3cret"), loopback);
            assert_eq!(status(&tokens, &[]), 401);
            assert_eq!(status(&tokens, &[(header::AUTHORIZATION, "Bearer wrong")]), 401);
            for scheme in ["Bearer", "bearer", "BEARER"] {
                let value = format!("{scheme} s3cret");
                assert_eq!(status(&tokens, &[(header::AUTHORIZATION, value.as_str())]), 202);
            }
            assert_eq!(status(&tokens, &[(header::AUTHORIZATION, "Basic s3cret")]), 401);
        }
    }

    #[test]
    fn a_token_that_is_guessed_soon_is_refused_and_not_shown() {
        let admin = |token: &str| Tokens { admin: Some(token.to_owned().into()), ..Tokens::default() };
        for (tokens, name) in
            [(admin("a"), "ADMIN_TOKEN"), (tokens(Some("hunter2hunt"), true), "EVENTS_TOKEN")]
        {
            let error = tokens.check_length().unwrap_err();
            assert_eq!(error.class().exit_code(), 78);
            let words = error.to_string();
            assert!(
                words.contains(name) && words.contains("openssl rand") && !words.contains("hunter2"),
                "{words}"
            );
        }
        assert!(admin("hunter2hunter").check_length().is_ok());
        assert!(Tokens::default().check_length().is_ok());
    }
}
