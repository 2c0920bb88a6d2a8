//! Who is logged in with the admin token: a signed cookie, so that a restart or another replica knows it too.
//!
//! The cookie holds an end, a random word and the name that the operator gave, all under an HMAC whose key is the admin
//! token: a new token ends every session. Forms carry a second HMAC over the same random word, so that no other site can
//! make a browser post one.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use shared::config::Secret;

use super::access::same;

const COOKIE: &str = "onboarding-session";

/// How long one lasts.
const SECONDS: i64 = 8 * 3600;

/// The longest name.
const NAME: usize = 64;

/// Somebody who has shown the admin token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// The name that was given.
    pub(super) name: String,
    word: String,
    ends: i64,
}

impl Session {
    /// Begins one where the token is right.
    pub(super) fn begin(admin: &Secret, given: &str, name: &str) -> Option<Self> {
        let name: String = name.trim().chars().filter(|c| !c.is_control()).take(NAME).collect();
        let name = if name.is_empty() { "somebody".to_owned() } else { name };
        let word = shared::Uuid::new_v4().simple().to_string();
        same(admin.expose(), given).then(|| Self { name, word, ends: Utc::now().timestamp() + SECONDS })
    }

    /// The one that a request brings.
    pub(super) fn of(headers: &HeaderMap, admin: Option<&Secret>) -> Option<Self> {
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let value = pairs.find(|(name, _)| *name == COOKIE)?.1;
        let (content, signature) = value.rsplit_once('.')?;
        if !same(&sign(admin?, "session", content), signature) {
            return None;
        }
        let mut parts = content.splitn(3, '.');
        let ends = parts.next()?.parse().ok()?;
        let word = parts.next()?.to_owned();
        let name = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
        (ends > Utc::now().timestamp()).then_some(Self { name, word, ends })
    }

    /// The header that gives it to the browser.
    pub(super) fn cookie(&self, admin: &Secret, headers: &HeaderMap) -> Option<HeaderValue> {
        let content = format!("{}.{}.{}", self.ends, self.word, BASE64_URL_SAFE_NO_PAD.encode(&self.name));
        let signature = sign(admin, "session", &content);
        set(&format!("{content}.{signature}"), SECONDS, headers)
    }

    /// What every form of it must carry.
    pub(super) fn form_word(&self, admin: Option<&Secret>) -> String {
        admin.map(|admin| sign(admin, "form", &self.word)).unwrap_or_default()
    }

    /// Whether a form is ours: it carries the word, and the browser does not say that another site sent it.
    pub(super) fn allows(&self, admin: Option<&Secret>, given: &str, headers: &HeaderMap) -> bool {
        !given.is_empty() && same(&self.form_word(admin), given) && from_here(headers)
    }
}

/// The header that takes the cookie away.
pub(super) fn end(headers: &HeaderMap) -> Option<HeaderValue> {
    set("", 0, headers)
}

/// Whether the browser does not say that another site sent this; one that says nothing is believed.
pub(super) fn from_here(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none")
}

fn set(value: &str, seconds: i64, headers: &HeaderMap) -> Option<HeaderValue> {
    let secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&cookie).ok()
}

fn sign(key: &Secret, purpose: &str, text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).map(|mac| {
        let mac = mac.chain_update(purpose).chain_update([0]).chain_update(text);
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    });
    // An HMAC takes keys of any length; should it ever not, nothing is signed alike.
    mac.unwrap_or_else(|_| shared::Uuid::new_v4().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bringing(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        HeaderMap::from_iter([(header::COOKIE, pair.parse().unwrap())])
    }

    #[test]
    fn a_session_is_known_again_until_anything_about_it_changes() {
        let admin = Secret::from("s3cret".to_owned());
        assert_eq!(Session::begin(&admin, "wrong", "Ann"), None);
        let session = Session::begin(&admin, "s3cret", "Ann <b>\n").unwrap();
        let cookie = session.cookie(&admin, &HeaderMap::new()).unwrap();
        assert!(cookie.to_str().unwrap().contains("; HttpOnly; SameSite=Strict"));
        let headers = bringing(&cookie);
        assert_eq!(Session::of(&headers, Some(&admin)), Some(session.clone()));
        assert_eq!(session.name, "Ann <b>");
        assert_eq!(Session::of(&headers, Some(&Secret::from("other".to_owned()))), None);
        assert_eq!(Session::of(&headers, None), None);
        let longer = Session { ends: session.ends + 1, ..session.clone() };
        let text = longer.cookie(&Secret::from("guess".to_owned()), &headers).unwrap();
        assert_eq!(Session::of(&bringing(&text), Some(&admin)), None);
        let over = Session { ends: 1, ..session };
        assert_eq!(Session::of(&bringing(&over.cookie(&admin, &headers).unwrap()), Some(&admin)), None);
    }

    #[test]
    fn a_form_needs_the_word_of_its_own_session_and_must_come_from_here() {
        let admin = Secret::from("s3cret".to_owned());
        let [mine, other] = [(); 2].map(|()| Session::begin(&admin, "s3cret", "Ann").unwrap());
        let word = mine.form_word(Some(&admin));
        let here = HeaderMap::new();
        assert!(mine.allows(Some(&admin), &word, &here));
        assert!(!other.allows(Some(&admin), &word, &here));
        assert!(!mine.allows(Some(&admin), "", &here) && !mine.allows(None, "", &here));
        let elsewhere =
            HeaderMap::from_iter([("sec-fetch-site".parse().unwrap(), "cross-site".parse().unwrap())]);
        assert!(!mine.allows(Some(&admin), &word, &elsewhere));
    }
}
