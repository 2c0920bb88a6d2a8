//! What browsers send: forms, and short values in addresses.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::{login_first, problem};
use crate::server::App;
use crate::server::session::Session;

/// The largest form, in bytes.
const MOST_BYTES: usize = 64 << 10;
/// The path of the only form that everybody may send.
const MOST_BYTES_OF_LOGIN: usize = 8 << 10;

/// Decides from the head whether this visitor may send a form, and then reads the form.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let path = request.uri().path();
    let most = match path {
        "/login" => MOST_BYTES_OF_LOGIN,
        "/triggers" if app.0.tokens.loopback => MOST_BYTES,
        _ if app.session(request.headers()).await.is_none() => {
            return login_first(if path == "/logout" { "/" } else { path });
        }
        _ => MOST_BYTES,
    };
    match app.0.bodies.read(request, most).await {
        Ok((request, _room)) => next.run(request).await,
        Err(refused) => refused,
    }
}

/// Percent-encodes a value for a query.
pub(in crate::server) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            use std::fmt::Write;
            let _ = write!(out, "%{byte:02X}"); // writing to a String cannot fail
        }
        out
    })
}

/// A query from these pairs, without empty values.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let filled = pairs.iter().filter(|(_, value)| !value.is_empty());
    let parts: Vec<_> = filled.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

/// A path on this server, or `/`: never another site's address.
pub(super) fn own_place(next: &str) -> &str {
    let ours = next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if ours { next } else { "/" }
}

/// The operator who sent a form that changes something. Refuses visitors who are not logged in, and forms that are
/// not ours.
pub(super) async fn operator(
    app: &App,
    headers: &HeaderMap,
    word: &str,
    back: &str,
) -> Result<Session, Response> {
    let Some(session) = app.session(headers).await else { return Err(login_first(back)) };
    if app.0.sessions.allows(&session, word, headers) {
        return Ok(session);
    }
    let words = "The form is not one of this session, or another site sent it. Nothing was done: go back, load the page again, and repeat.";
    Err(problem(app, headers, StatusCode::FORBIDDEN, "Refused", words).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_never_leads_to_another_site() {
        for (next, expected) in [
            ("/dead-letters?after=1", "/dead-letters?after=1"),
            ("//evil.example", "/"),
            ("https://evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\r\nSet-Cookie: a=b", "/"),
            ("", "/"),
        ] {
            assert_eq!(own_place(next), expected);
        }
    }

    #[test]
    fn a_query_holds_what_is_there_and_nothing_breaks_out_of_it() {
        assert_eq!(
            query(&[("q", "a&b=é"), ("stage", ""), ("after", "0.1.x")]),
            "?q=a%26b%3D%C3%A9&after=0.1.x"
        );
        assert_eq!(query(&[("q", "")]), "");
    }
}
