//! Who may do what over HTTP: bearer tokens, compared in constant time.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use shared::config::Secret;

/// The tokens that open the endpoints.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// For `POST /events`.
    pub events: Option<Secret>,
    /// For dead letters: replay and drop.
    pub admin: Option<Secret>,
    /// What our own workers carry.
    pub workers: Option<Secret>,
    /// The server is reachable from this machine only.
    pub loopback: bool,
}

impl Tokens {
    /// Whether an event may come in.
    pub fn may_publish(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        let known = [&self.events, &self.workers, &self.admin];
        self.check(headers, &known, self.events.is_none(), "EVENTS_TOKEN")
    }

    /// Whether dead letters may be seen whole, replayed and dropped: with the admin token, on loopback too.
    pub fn may_administer(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        if self.admin.is_none() {
            return Err(Box::new(off("set ADMIN_TOKEN on the dispatcher to open this endpoint")));
        }
        self.check(headers, &[&self.admin], false, "ADMIN_TOKEN")
    }

    fn check(
        &self,
        headers: &HeaderMap,
        known: &[&Option<Secret>],
        open: bool,
        variable: &str,
    ) -> Result<(), Box<Response>> {
        // A page of another site may post to loopback from a browser; it cannot leave out its origin.
        let from_browser = headers.contains_key(header::ORIGIN);
        if open && self.loopback && !from_browser && asked_for_this_machine(headers) {
            return Ok(());
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        if let Some(given) = given
            && known.iter().filter_map(|token| token.as_ref()).any(|token| same(token.expose(), given))
        {
            return Ok(());
        }
        if open && !self.loopback {
            let remedy = format!("set {variable} on the dispatcher to open this endpoint beyond loopback");
            return Err(Box::new(off(&remedy)));
        }
        let text = format!("send the header Authorization: Bearer <{variable}>\n");
        Err(Box::new(
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response(),
        ))
    }
}

fn off(remedy: &str) -> Response {
    (StatusCode::FORBIDDEN, format!("off: {remedy}\n")).into_response()
}

/// Whether the client knew that it speaks to its own machine: a foreign name that was made to resolve to loopback is how
/// a page in a browser would read what stands here.
pub(super) fn asked_for_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Digests have one length, and comparing all of their bytes takes one time.
pub(super) fn same(expected: &str, given: &str) -> bool {
    let (expected, given) = (Sha256::digest(expected.as_bytes()), Sha256::digest(given.as_bytes()));
    expected.iter().zip(given.iter()).fold(0, |different, (a, b)| different | (a ^ b)) == 0
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
        tokens.may_publish(&headers(sent)).map_or_else(|refused| refused.status().as_u16(), |()| 202)
    }

    #[test]
    fn without_a_token_only_loopback_is_open_and_not_to_browsers() {
        assert_eq!(status(&tokens(None, true), &[]), 202);
        assert_eq!(status(&tokens(None, true), &[(header::ORIGIN, "https://evil.example")]), 401);
        assert_eq!(status(&tokens(None, false), &[]), 403);
    }

    #[test]
    fn a_token_is_asked_for_everywhere_once_it_is_set() {
        for loopback in [true, false] {
            let tokens = tokens(Some("s3cret"), loopback);
            assert_eq!(status(&tokens, &[]), 401);
            assert_eq!(status(&tokens, &[(header::AUTHORIZATION, "Bearer wrong")]), 401);
            assert_eq!(status(&tokens, &[(header::AUTHORIZATION, "Bearer s3cret")]), 202);
        }
    }
}
