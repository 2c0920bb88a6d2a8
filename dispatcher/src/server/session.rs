//! Sessions of operators who logged in with the admin token: a signed cookie, so that it survives a restart and is
//! valid on every replica.
//!
//! The cookie contains an end, a random word and the operator's name, signed with an HMAC whose key is derived from
//! the admin token: a new token ends every session. Forms contain a second HMAC over the same random word, with
//! another key, so that no other site can make a browser post one. Sessions that ended by a logout are recorded in
//! the history's database, where every replica sees them; without a database, a restart ends all sessions.
//! replica sees them; without one a restart ends all sessions.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use shared::config::Secret;

use super::App;
use super::access::same;
use history::History;

const COOKIE: &str = "onboarding-session";

/// How long a session lasts.
const SECONDS: i64 = 8 * 3600;

/// The longest name.
const NAME: usize = 64;

/// The keys that sign sessions, and the sessions that ended early.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// `None` if nobody can log in.
    keys: Option<Keys>,
    /// Sessions that ended early: the random word and the end of each.
    ended: Mutex<BTreeMap<String, i64>>,
}

#[derive(Clone)]
struct Keys {
    cookie: Hmac<Sha256>,
    form: Hmac<Sha256>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// An operator who has shown the admin token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// The given name.
    pub(super) name: String,
    word: String,
    ends: i64,
}

impl Keys {
    /// With a signature, one can try out tokens, so the token has to be long. HKDF derives one key for each purpose.
    fn derive(admin: &Secret, salt: &str) -> Option<Self> {
        let derived = Hkdf::<Sha256>::new(Some(salt.as_bytes()), admin.expose().as_bytes());
        let key = |purpose: &str| {
            let mut key = [0; 32];
            derived.expand(purpose.as_bytes(), &mut key).ok()?;
            Hmac::<Sha256>::new_from_slice(&key).ok()
        };
        Some(Self { cookie: key("session cookie")?, form: key("session form")? })
    }
}

impl Sessions {
    /// If the history does not outlive this process, sessions must not either.
    pub(super) fn new(admin: Option<&Secret>, history: &History) -> Self {
        let salt = if history.is_in_memory() { shared::Uuid::new_v4().to_string() } else { String::new() };
        Self { keys: admin.and_then(|admin| Keys::derive(admin, &salt)), ended: Mutex::default() }
    }

    /// A new session, for an operator who has shown the token.
    pub(super) fn begin(name: &str) -> Session {
        let name: String = name.trim().chars().filter(|c| !c.is_control()).take(NAME).collect();
        let name = if name.is_empty() { "somebody".to_owned() } else { name };
        let word = shared::Uuid::new_v4().simple().to_string();
        Session { name, word, ends: Utc::now().timestamp() + SECONDS }
    }

    /// The session of a request, even if it was ended.
    fn brought(&self, headers: &HeaderMap) -> Option<Session> {
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let value = pairs.find(|(name, _)| *name == COOKIE)?.1;
        let (content, signature) = value.rsplit_once('.')?;
        if !same(&sign(&self.keys.as_ref()?.cookie, content), signature) {
            return None;
        }
        let mut parts = content.splitn(3, '.');
        let ends = parts.next()?.parse().ok()?;
        let word = parts.next()?.to_owned();
        let name = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
        (ends > Utc::now().timestamp()).then_some(Session { name, word, ends })
    }

    /// The header that sets the cookie.
    pub(super) fn cookie(&self, session: &Session, headers: &HeaderMap) -> Option<HeaderValue> {
        let Session { name, word, ends } = session;
        let content = format!("{ends}.{word}.{}", BASE64_URL_SAFE_NO_PAD.encode(name));
        let signature = sign(&self.keys.as_ref()?.cookie, &content);
        set(&format!("{content}.{signature}"), SECONDS, headers)
    }

    /// The token that each of its forms must contain.
    pub(super) fn form_word(&self, session: &Session) -> String {
        self.keys.as_ref().map(|keys| sign(&keys.form, &session.word)).unwrap_or_default()
    }

    /// Whether a form is ours: it contains the token, and the browser does not say that another site sent it.
    pub(super) fn allows(&self, session: &Session, given: &str, headers: &HeaderMap) -> bool {
        !given.is_empty() && same(&self.form_word(session), given) && from_here(headers)
    }

    fn is_ended(&self, session: &Session) -> bool {
        self.ended.lock().contains_key(&session.word)
    }

    fn end(&self, session: &Session) {
        let mut ended = self.ended.lock();
        ended.retain(|_, ends| *ends > Utc::now().timestamp());
        ended.insert(session.word.clone(), session.ends);
    }
}

impl App {
    /// The operator who is logged in.
    pub(super) async fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let session = self.0.sessions.brought(headers)?;
        if self.0.sessions.is_ended(&session) {
            return None;
        }
        // If the database is away, this process at least knows the sessions that it ended itself.
        let ended = self.0.history.session_ended(&session.word).await.unwrap_or(false);
        (!ended).then_some(session)
    }

    /// Ends the session on every replica.
    pub(super) async fn end_session(&self, session: &Session) {
        self.0.sessions.end(session);
        let until = DateTime::from_timestamp(session.ends, 0).unwrap_or_default();
        if let Err(error) = self.0.history.end_session(&session.word, until).await {
            tracing::warn!(error = %error, "other replicas, and this one after a restart, do not know that a session has ended");
        }
    }
}

/// The header that removes the cookie.
pub(super) fn end(headers: &HeaderMap) -> Option<HeaderValue> {
    set("", 0, headers)
}

/// False if the browser says that another site sent this. A browser that says nothing is trusted.
pub(super) fn from_here(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none")
}

fn set(value: &str, seconds: i64, headers: &HeaderMap) -> Option<HeaderValue> {
    let secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&cookie).ok()
}

fn sign(key: &Hmac<Sha256>, text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(key.clone().chain_update(text).finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(admin: &str) -> Sessions {
        let admin = Secret::from(admin.to_owned());
        Sessions { keys: Keys::derive(&admin, ""), ended: Mutex::default() }
    }

    fn bringing(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        HeaderMap::from_iter([(header::COOKIE, pair.parse().unwrap())])
    }

    #[test]
    fn a_session_is_known_again_until_anything_about_it_changes() {
        let (ours, others) = (sessions("s3cret"), sessions("other"));
        let session = Sessions::begin("Ann <b>\n");
        let cookie = ours.cookie(&session, &HeaderMap::new()).unwrap();
        assert!(cookie.to_str().unwrap().contains("; HttpOnly; SameSite=Strict"));
        let headers = bringing(&cookie);
        assert_eq!(ours.brought(&headers), Some(session.clone()));
        assert_eq!(session.name, "Ann <b>");
        assert_eq!(others.brought(&headers), None);
        assert_eq!(Sessions::default().brought(&headers), None);
        let longer = Session { ends: session.ends + 1, ..session.clone() };
        let text = others.cookie(&longer, &headers).unwrap();
        assert_eq!(ours.brought(&bringing(&text)), None);
        let over = Session { ends: 1, ..session.clone() };
        assert_eq!(ours.brought(&bringing(&ours.cookie(&over, &headers).unwrap())), None);
    }

    #[test]
    fn the_token_itself_is_no_key() {
        let session = Sessions::begin("Ann");
        let cookie = sessions("s3cret").cookie(&session, &HeaderMap::new()).unwrap();
        let value = cookie.to_str().unwrap().split(['=', ';']).nth(1).unwrap();
        let (content, signature) = value.rsplit_once('.').unwrap();
        assert_ne!(sign(&Hmac::new_from_slice(b"s3cret").unwrap(), content), signature);
    }

    #[test]
    fn a_form_needs_the_word_of_its_own_session_and_must_come_from_here() {
        let ours = sessions("s3cret");
        let [mine, other] = [(); 2].map(|()| Sessions::begin("Ann"));
        let word = ours.form_word(&mine);
        let here = HeaderMap::new();
        assert!(ours.allows(&mine, &word, &here));
        assert!(!ours.allows(&other, &word, &here));
        assert!(!ours.allows(&mine, "", &here) && !Sessions::default().allows(&mine, "", &here));
        let elsewhere =
            HeaderMap::from_iter([("sec-fetch-site".parse().unwrap(), "cross-site".parse().unwrap())]);
        assert!(!ours.allows(&mine, &word, &elsewhere));
    }
}
