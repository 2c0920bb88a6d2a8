//! What browsers send back: forms, and the small words in addresses.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::{login_first, problem};
use crate::server::App;
use crate::server::session::Session;

/// Percent-encoded for a value in a query.
pub(in crate::server) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            use std::fmt::Write;
            let _ = write!(out, "%{byte:02X}"); // a String takes everything
        }
        out
    })
}

/// A query of these pairs; what is empty is left out.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let filled = pairs.iter().filter(|(_, value)| !value.is_empty());
    let parts: Vec<_> = filled.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

/// A place of ours to go to, or `/`: never another site's.
pub(super) fn own_place(next: &str) -> &str {
    let ours = next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if ours { next } else { "/" }
}

/// The operator who sent a form that changes something; whoever is not logged in or sends no form of ours is refused.
pub(super) async fn operator(
    app: &App,
    headers: &HeaderMap,
    word: &str,
    back: &str,
) -> Result<Session, Response> {
    let admin = app.0.tokens.admin.as_ref();
    let Some(session) = Session::of(headers, admin) else { return Err(login_first(back)) };
    if session.allows(admin, word, headers) {
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
