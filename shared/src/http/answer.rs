//! What the body of an answer means, because some services report failures with status 200.
//!
//! [`SUCCESS_TEXTS`], [`FAILURE_WORDS`], [`SUCCESS_FIELDS`], [`ERROR_FIELDS`], [`STATE_FIELDS`] and [`NESTED_FIELDS`]
//! recognise an answer, and [`CLASS_BY_WORD`] finds the class of a failure. For a service with its own format, a setting
//! ([`GoodAnswer`]) replaces them.
//!
//! Both mistakes cost: a no taken as a yes loses an order, and a yes taken as a no is posted again. So words for people
//! only count where no field says more, and fields deep inside only if they are clear.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::GzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use serde_json::{Map, Value};

use super::MAX_ANSWER_BYTES;

use crate::config::FromText;
use crate::error::Class;

/// Whole texts that mean success: Slack and Mattermost answer `ok`, Teams answers `1`.
#[rustfmt::skip]
const SUCCESS_TEXTS: &[&str] = &[
    "ok", "okay", "1", "true", "yes", "y", "success", "successful", "accepted", "done",
];

/// Words that make a text a failure: those of Slack (`invalid_token`, `channel_is_archived`), of Teams ("delivery
/// failed with error") and of gateways.
#[rustfmt::skip]
const FAILURE_WORDS: &[&str] = &[
    "error", "fail", "invalid", "denied", "not found", "not_found", "not allowed", "not_allowed", "prohibit",
    "unauthor", "not_authed", "forbidden", "expired", "rate limit", "ratelimit", "rate_limit", "throttl",
    "no_service", "no service", "no_team", "no_text", "disabled", "archived", "too many", "too_many",
    "too long", "too_long", "too large", "rejected", "refused", "unavailable", "timeout", "timed out",
    "exceeded", "not_in_", "missing", "required", "revoked", "inactive", "restricted", "unknown", "unsupported",
    "not supported", "not_supported", "deprecated", "cannot", "could not", "unable", "malformed", "bad request",
    "not delivered", "not accepted", "not sent", "not processed", "please log in", "sign in",
];

/// Words that say that something was done. A text whose first statement has one is a success, whatever else it
/// explains: "Order 12 created; it cannot be changed any more".
#[rustfmt::skip]
const DONE_WORDS: &[&str] = &[
    "created", "accepted", "placed", "queued", "enqueued", "confirmed", "registered", "saved", "stored",
    "delivered", "sent", "scheduled", "started", "successful", "successfully",
];

/// Words that turn such a word into its opposite, or into a wish.
#[rustfmt::skip]
const UNDONE_WORDS: &[&str] = &[
    "not", "no", "never", "nothing", "none", "nobody", "without", "if", "unless", "until", "when", "must", "should",
    "be", "cannot", "nor", "neither", "hardly", "before", "may", "might", "would", "0", "zero", "too", "only", "you",
];

/// Where the first statement of a text ends.
#[rustfmt::skip]
const STATEMENT_ENDS: &[&str] = &[
    ". ", "; ", ", ", ": ", "! ", " - ", " – ", " but ", " although ", " though ", " (", "\n",
];

/// Phrases with such a word that mean success.
#[rustfmt::skip]
const NO_TROUBLE: &[&str] = &[
    "no error", "0 error", "without error", "no fail", "0 fail", "zero error",
];

/// Fields that say whether it succeeded. Field names are compared without case, `_` and `-`.
#[rustfmt::skip]
const SUCCESS_FIELDS: &[&str] = &[
    "ok", "isok", "success", "succeeded", "successful", "issuccess", "issuccessful", "accepted", "valid", "isvalid",
];

/// Fields that say whether all is done. A service may do the rest later, so they only count without an id and a state.
#[rustfmt::skip]
const DEFERRED_FIELDS: &[&str] = &["processed", "isprocessed", "acknowledged", "handled"];

/// Those of [`SUCCESS_FIELDS`] that are clear in any object.
#[rustfmt::skip]
const CLEAR_SUCCESS_FIELDS: &[&str] = &[
    "success", "succeeded", "successful", "issuccess", "issuccessful",
];

/// Fields that are only filled after a failure.
#[rustfmt::skip]
const ERROR_FIELDS: &[&str] = &[
    "error", "errors", "errormessage", "errormessages", "errormsg", "errordescription", "errorcode",
    "errorcodes", "errcode", "errno", "errmsg", "fault", "faultcode", "faultstring", "exception", "failed",
    "failure", "failures", "iserror", "haserror", "haserrors", "failurereason", "errorcount", "failedcount",
    "failurecount",
];

/// Endings of fields with what went wrong, such as `userErrors` and `validation_errors`, in any object.
#[rustfmt::skip]
const ERROR_ENDINGS: &[&str] = &["error", "errors", "exception", "exceptions", "errormessage", "errorcode"];

/// Fields with a word or a number for the result.
#[rustfmt::skip]
const STATE_FIELDS: &[&str] = &[
    "status", "state", "result", "outcome", "code", "statuscode", "httpstatus", "httpstatuscode", "httpcode",
    "responsecode", "resultcode", "returncode", "retcode", "ret", "rc", "statustext",
];

/// Endings of fields with a word for the result, such as `order_status`, in any object.
#[rustfmt::skip]
const STATE_ENDINGS: &[&str] = &["status", "state", "outcome", "result"];

/// Endings of fields with a code for the result, such as `apiResultCode`.
#[rustfmt::skip]
const CODE_ENDINGS: &[&str] = &["statuscode", "responsecode", "resultcode", "returncode", "retcode"];

/// Beginnings of fields that tell of an earlier result.
#[rustfmt::skip]
const EARLIER_PREFIXES: &[&str] = &["previous", "prev", "old", "last", "former", "initial", "from", "ignore", "continue"];

/// Words in such a field that mean failure.
#[rustfmt::skip]
const BAD_STATES: &[&str] = &[
    "error", "errors", "err", "fail", "failed", "failure", "fault", "faulted", "rejected", "refused", "denied",
    "declined", "invalid", "nok", "notok", "ko", "false", "no", "unauthorized", "forbidden", "notfound",
    "badrequest", "unavailable", "timeout", "exception", "aborted", "ratelimited", "unsuccessful",
    "partiallyfailed", "partialfailure", "notaccepted", "systemerror", "internalerror", "servererror",
    "cancelled", "canceled", "expired", "blocked", "discarded", "bounced", "undeliverable", "notdelivered",
];

/// The last word of a state that means failure, as in `ORDER_REJECTED`.
#[rustfmt::skip]
const BAD_STATE_ENDINGS: &[&str] = &[
    "rejected", "failed", "declined", "denied", "refused", "cancelled", "canceled", "error", "failure",
];

/// Fields that contain the actual answer.
#[rustfmt::skip]
const NESTED_FIELDS: &[&str] = &[
    "data", "response", "responses", "body", "meta", "result", "results", "payload", "output", "d", "status",
    "return", "responsemetadata", "order",
];

/// Endings of fields with what was posted, with what came before, and with facts about people and goods: nothing in
/// them is about the post.
#[rustfmt::skip]
const UNRELATED_ENDINGS: &[&str] = &[
    "request", "received", "input", "echo", "event", "events", "address", "customer", "contact", "user", "users",
    "person", "people", "sender", "properties", "metadata", "links", "history", "timeline", "log", "logs", "attempts",
    "previous", "product", "products", "headers", "fields", "options", "settings", "config",
];

/// Fields with text for people.
#[rustfmt::skip]
const MESSAGE: &[&str] = &[
    "message", "msg", "detail", "details", "description", "title", "reason",
];

/// The class of a failure by its words; the first match counts: passing trouble, configuration, the event.
#[rustfmt::skip]
const CLASS_BY_WORD: &[(Class, &[&str])] = &[
    (Class::Unavailable, &[
        "rate limit", "ratelimit", "rate_limit", "too many", "too_many_req", "throttl", "timeout", "timed out",
        "unavailable", "try again", "try later", "retry", "overload", "busy", "temporar", "internal",
        "server error", "server_error", "fatal", "maintenance", "quota", "upstream", "gateway",
    ]),
    (Class::Configuration, &[
        "token", "auth", "credential", "permission", "denied", "forbidden", "prohibit", "not allowed",
        "not_allowed", "scope", "revoked", "disabled", "archived", "inactive", "expired", "no_service",
        "no service", "no_team", "webhook", "channel", "account", "api key", "apikey", "api_key", "not found",
        "not_found", "log in", "login", "sign in", "password", "restricted", "deprecated",
    ]),
    (Class::Input, &[
        "invalid", "missing", "required", "malformed", "bad request", "unprocess", "too long", "too_long",
        "too large", "validation", "not valid", "unknown", "unsupported", "payload", "no_text", "reject",
    ]),
];

const MAX_SHOWN_CHARACTERS: usize = 200;
/// How deeply an actual answer may be nested.
const MAX_DEPTH: usize = 6;

/// The first bytes of what gzip has packed.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// The body of an answer, as far as it is understood.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    json: Option<Value>,
    /// Whether the text only says why the body cannot be read.
    is_packed: bool,
}

impl Answer {
    /// The client library has unpacked what it knows, and then removed the header.
    pub(super) fn received(headers: &HeaderMap, body: &[u8]) -> Self {
        unpacked(headers, body)
            .map_or_else(|why| Self { text: why, json: None, is_packed: true }, |body| Self::read(&body))
    }

    fn read(body: &[u8]) -> Self {
        let text = crate::config::trimmed(&decoded(body)).to_owned();
        let json = if text.is_empty() { Some(Value::Null) } else { serde_json::from_str(&text).ok() };
        Self { text, json, is_packed: false }
    }

    /// Its JSON; null if it is empty or text.
    pub(super) fn json(&self) -> &Value {
        self.json.as_ref().unwrap_or(&Value::Null)
    }

    /// Whether it is not empty and not JSON.
    pub(super) fn is_text(&self) -> bool {
        self.json.is_none()
    }

    /// Its first words, for an error.
    pub(super) fn words(&self) -> String {
        let has = |wanted: fn(char) -> bool| self.text.chars().any(wanted);
        let is_binary = has(|c| c == '\0')
            || (has(|c| c == char::REPLACEMENT_CHARACTER) && has(|c| c.is_control() && !c.is_whitespace()));
        if is_binary {
            return "binary data".to_owned();
        }
        self.text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN_CHARACTERS).collect()
    }

    /// The class of the failure that it reports; `None` if it reports success, or is not understood.
    pub(super) fn refusal(&self) -> Option<Class> {
        let says_no = match &self.json {
            Some(json) => says_no(json, 0),
            None if self.is_packed => false,
            None if self.text.starts_with('<') || self.text.contains("<html") => {
                // A page of a proxy or a login has answered instead of the service, unless it is a yes in tags.
                let words = without_tags(&self.text).to_lowercase();
                let word = words.trim_matches(|c: char| !c.is_alphanumeric());
                return (!SUCCESS_TEXTS.contains(&word)).then_some(Class::Unavailable);
            }
            None => is_no(&self.text),
        };
        says_no.then(|| about(&self.text))
    }
}

/// The body without the packing that the library does not know, or why it cannot be read.
fn unpacked<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
    let encodings: Vec<_> = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    let encoding = String::from_utf8_lossy(&encodings.join(&b", "[..])).trim().to_ascii_lowercase();
    match encoding.as_str() {
        _ if body.is_empty() => Ok(body.into()),
        "" | "identity" if body.starts_with(GZIP) => {
            Err("its body is packed with gzip once more than its Content-Encoding says".to_owned())
        }
        "" | "identity" => Ok(body.into()),
        // Another name of gzip (RFC 9110, 8.4.1.3); the library only knows the one in lower case.
        "gzip" | "x-gzip" => {
            let mut plain = Vec::new();
            let read = GzDecoder::new(body).take(MAX_ANSWER_BYTES as u64 + 1).read_to_end(&mut plain);
            match read {
                Ok(count) if count <= MAX_ANSWER_BYTES => Ok(plain.into()),
                Ok(_) => Err(format!("its body has more than {MAX_ANSWER_BYTES} bytes")),
                Err(error) => {
                    Err(format!("its body is not the gzip that its Content-Encoding says: {error}"))
                }
            }
        }
        other => {
            Err(format!("its body is packed (Content-Encoding: {other}), and only gzip and deflate are read"))
        }
    }
}

/// The text of a body: UTF-8, or UTF-16 with a byte order mark.
fn decoded(body: &[u8]) -> Cow<'_, str> {
    let units = |from: fn([u8; 2]) -> u16| -> Vec<u16> {
        body.chunks_exact(2).skip(1).map(|pair| from([pair[0], pair[1]])).collect()
    };
    match body {
        [0xff, 0xfe, ..] => String::from_utf16_lossy(&units(u16::from_le_bytes)).into(),
        [0xfe, 0xff, ..] => String::from_utf16_lossy(&units(u16::from_be_bytes)).into(),
        _ => String::from_utf8_lossy(body),
    }
}

/// The text of a page.
fn without_tags(page: &str) -> String {
    let parts = page.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.collect::<Vec<_>>().join(" ")
}

/// Whether this JSON, an answer or a relevant part of it, reports a failure.
fn says_no(json: &Value, depth: usize) -> bool {
    match json {
        Value::Null => false,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_u64() == Some(0) || is_bad_status(json),
        Value::String(text) => is_no(text),
        Value::Array(parts) => parts.iter().any(|part| match part {
            Value::Object(fields) => depth < MAX_DEPTH && object_says_no(fields, depth + 1),
            Value::String(text) => depth == 0 && is_no(text),
            _ => false,
        }),
        Value::Object(fields) => object_says_no(fields, depth),
    }
}

fn object_says_no(fields: &Map<String, Value>, depth: usize) -> bool {
    let inside = |value: &Value| {
        (value.is_object() || value.is_array()) && depth < MAX_DEPTH && says_no(value, depth + 1)
    };
    let no = fields.iter().any(|(name, value)| {
        let name = plain(name);
        (is(SUCCESS_FIELDS, &name) && is_untrue(value))
            || (is(ERROR_FIELDS, &name) && !is_nothing(value))
            || (is(STATE_FIELDS, &name) && is_bad_state(value))
            || (is_code(&name) && is_bad_code(&name, value))
            || (is(NESTED_FIELDS, &name) && inside(value))
            || is_clear_no(&name, value, depth)
    });
    if no {
        return true;
    }
    // Text for people only counts if no other field gives the result.
    let is_stated = fields.iter().any(|(name, value)| {
        let makes = name == "id" || name.ends_with("_id") || name.ends_with("Id");
        (makes && !is_nothing(value))
            || is(SUCCESS_FIELDS, &plain(name))
            || (is(STATE_FIELDS, &plain(name))
                && !value.is_number()
                && !value.is_null()
                && !is_numbered_error(value))
    });
    let is_words =
        |(name, value): (&String, &Value)| is(MESSAGE, &plain(name)) && value.as_str().is_some_and(is_no);
    let is_undone = |(name, value): (&String, &Value)| is(DEFERRED_FIELDS, &plain(name)) && is_untrue(value);
    let is_error_code = |(name, value): (&String, &Value)| plain(name) == "code" && is_numbered_error(value);
    !is_stated && fields.iter().any(|field| is_words(field) || is_undone(field) || is_error_code(field))
}

/// Whether a field of any object, also of one that need not be the answer itself, clearly reports a failure.
fn is_clear_no(name: &str, value: &Value, depth: usize) -> bool {
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if is_unrelated(name) || EARLIER_PREFIXES.iter().any(|earlier| name.starts_with(earlier)) {
        return false;
    }
    // A number or a truth may be a measure or an option, such as the margin of error.
    let is_told = value.is_string() || value.is_array() || value.is_object();
    (ends(ERROR_ENDINGS) && is_told && !is_nothing(value))
        || (ends(STATE_ENDINGS) && value.as_str().is_some_and(is_clearly_bad))
        || (is(CLEAR_SUCCESS_FIELDS, name) && value == &Value::Bool(false))
        || (!is(NESTED_FIELDS, name) && depth < MAX_DEPTH && part_says_no(value, depth + 1))
}

/// The same for the objects in a value.
fn part_says_no(value: &Value, depth: usize) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let name = plain(name);
            is_clear_no(&name, value, depth)
                || (is(NESTED_FIELDS, &name) && depth < MAX_DEPTH && part_says_no(value, depth + 1))
        }),
        Value::Array(parts) => depth < MAX_DEPTH && parts.iter().any(|part| part_says_no(part, depth + 1)),
        _ => false,
    }
}

fn is(names: &[&str], name: &str) -> bool {
    names.contains(&name)
}

fn is_unrelated(name: &str) -> bool {
    UNRELATED_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn is_code(name: &str) -> bool {
    (is(STATE_FIELDS, name) && name.ends_with("code"))
        || CODE_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// A field name or a word, without case and punctuation.
fn plain(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn is_untrue(value: &Value) -> bool {
    match value {
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(word) => word == "0" || BAD_STATES.contains(&plain(word).as_str()),
        _ => false,
    }
}

/// Whether a field for errors says that there was none.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => {
            number.as_f64() == Some(0.0) || number.as_u64().is_some_and(|n| (200..300).contains(&n))
        }
        Value::String(text) => {
            let word = plain(text);
            word.is_empty()
                || SUCCESS_TEXTS.contains(&word.as_str())
                || ["0", "none", "null", "false", "no", "noerror", "nil", "na"].contains(&word.as_str())
        }
        Value::Array(parts) => parts.iter().all(is_nothing),
        Value::Object(fields) => fields.iter().all(|(name, value)| {
            let is_word = is(MESSAGE, &plain(name)) && value.as_str().is_some_and(|text| plain(text) == "no");
            is_nothing(value) && !is_word
        }),
    }
}

fn is_bad_state(value: &Value) -> bool {
    match value {
        Value::Bool(yes) => !yes,
        Value::String(word) => {
            BAD_STATES.contains(&plain(word).as_str()) || is_clearly_bad(word) || is_bad_status(value)
        }
        value => is_bad_status(value) || value.as_i64().is_some_and(i64::is_negative),
    }
}

/// A word for a result that has no other meaning elsewhere, as `NO` has for Norway.
fn is_clearly_bad(text: &str) -> bool {
    let word = plain(text);
    let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let negated =
        words.iter().any(|word| is(&["no", "not", "non", "never", "without", "0", "if"], &plain(word)));
    let last = words.last().map(|word| plain(word)).unwrap_or_default();
    (word.len() >= 5 && is(BAD_STATES, &word))
        || (words.len() <= 3 && !negated && is(BAD_STATE_ENDINGS, &last))
}

/// Codes such as `INVALID_ARGUMENT`, `E1001` and -1.
fn is_bad_code(name: &str, value: &Value) -> bool {
    let is_negative = |text: &str| text.parse().is_ok_and(|number: i64| number < 0);
    value.as_str().is_some_and(|text| is_no(text) || is_negative(text))
        || is_bad_status(value)
        || value.as_i64().is_some_and(i64::is_negative)
        // A mere `code` may be that of an article or a discount.
        || (name != "code" && is_numbered_error(value))
}

/// Codes such as `E1001` and `ERR-7`.
fn is_numbered_error(value: &Value) -> bool {
    let code = value.as_str().map(plain).unwrap_or_default();
    let number = code.strip_prefix("err").or_else(|| code.strip_prefix('e')).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// An HTTP status that is not a success, as a number or its digits.
fn is_bad_status(value: &Value) -> bool {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(digits) if digits.len() == 3 => digits.parse().ok(),
        _ => None,
    };
    number.is_some_and(|number| (400..600).contains(&number))
}

fn is_no(text: &str) -> bool {
    let mut text = text.trim().to_lowercase();
    if SUCCESS_TEXTS.contains(&text.as_str()) || begins_with_done(&text) {
        return false;
    }
    for phrase in NO_TROUBLE {
        text = text.replace(phrase, "");
    }
    text.starts_with('<') || FAILURE_WORDS.iter().any(|word| text.contains(word))
}

/// Whether the first statement of a text in lower case says that something was done.
fn begins_with_done(text: &str) -> bool {
    let end = STATEMENT_ENDS.iter().filter_map(|found| text.find(found)).min().unwrap_or(text.len());
    let (statement, rest) = text.split_at(end);
    let words = |text: &'_ str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
        parts.filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect()
    };
    let stated = words(statement);
    let takes_back =
        words(rest).first().is_some_and(|word| BAD_STATES.contains(&word.as_str()) || word == "0");
    stated.iter().any(|word| DONE_WORDS.contains(&word.as_str()))
        && !stated.iter().any(|word| UNDONE_WORDS.contains(&word.as_str()) || word.ends_with("n't"))
        && !FAILURE_WORDS.iter().any(|word| statement.contains(word))
        && !takes_back
}

/// The class of a failure: by the HTTP status that it names, as Teams does, otherwise by its words.
fn about(text: &str) -> Class {
    let text = text.to_lowercase();
    if let Some(status) = named_status(&text) {
        return super::status::about(status.as_u16()).0;
    }
    let fits = |(_, words): &&(Class, &[&str])| words.iter().any(|word| text.contains(word));
    CLASS_BY_WORD.iter().find(fits).map_or(Class::Unavailable, |(class, _)| *class)
}

/// A status at most three words after a word that announces it.
fn named_status(text: &str) -> Option<reqwest::StatusCode> {
    let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let announces = |word: &&str| {
        ["http", "status", "code", "error", "statuscode", "errorcode", "httpstatus"].contains(word)
    };
    words.iter().enumerate().find_map(|(index, word)| {
        let status =
            word.parse::<u16>().ok().filter(|number| (400..600).contains(number) && word.len() == 3)?;
        words[index.saturating_sub(3)..index].iter().any(announces).then_some(())?;
        reqwest::StatusCode::from_u16(status).ok()
    })
}

/// What marks a success for a service with its own format: `any` (every 2xx), `/field/field=value` (in its JSON), or
/// a text in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoodAnswer {
    /// Every 2xx answer.
    Any,
    /// A JSON pointer, and the value there as text.
    Field(String, String),
    /// A text anywhere in it.
    Text(String),
}

impl FromText for GoodAnswer {
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        Ok(match text.split_once('=') {
            _ if text == "any" => Self::Any,
            Some((pointer, value)) if pointer.starts_with('/') => {
                Self::Field(pointer.to_owned(), value.to_owned())
            }
            _ if text.starts_with('/') => {
                return Err("is a field without a value; it is like /status=queued".to_owned());
            }
            _ => Self::Text(text.to_owned()),
        })
    }
}

impl GoodAnswer {
    pub(super) fn is_in(&self, answer: &Answer) -> bool {
        match self {
            Self::Any => true,
            Self::Text(_) if answer.is_packed => false,
            Self::Text(text) => answer.text.contains(text),
            Self::Field(pointer, value) => answer.json().pointer(pointer).is_some_and(|found| match found {
                Value::String(text) => text == value,
                other => {
                    *other == *value.as_str()
                        || serde_json::from_str::<Value>(value).is_ok_and(|value| value == *other)
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> Option<u8> {
        Answer::read(body.as_bytes()).refusal().map(Class::exit_code)
    }

    #[test]
    fn an_answer_that_says_no_is_a_failure_whatever_its_status() {
        let table = [
            // Slack and similar services.
            ("invalid_payload", 65),
            ("no_text", 65),
            ("invalid_token", 78),
            ("channel_not_found", 78),
            ("channel_is_archived", 78),
            ("action_prohibited", 78),
            ("no_service", 78),
            ("rate_limited", 75),
            ("fatal_error", 75),
            (r#"{"ok":false,"error":"ratelimited"}"#, 75),
            (r#"{"ok":false,"error":"invalid_auth"}"#, 78),
            (r#"{"ok":false,"error":"no_text"}"#, 65),
            (r#"{"ok":false}"#, 75),
            (r#""invalid_token""#, 78),
            // Teams.
            (
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x",
                75,
            ),
            (
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 404 with ContextId x",
                78,
            ),
            (
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413 with ContextId x",
                65,
            ),
            ("Microsoft Teams endpoint returned HTTP error 500", 75),
            // Shops and CRMs.
            (r#"{"success":false,"message":"invalid address"}"#, 65),
            (r#"{"success":"false"}"#, 75),
            (r#"{"Success":0,"Message":"API key expired"}"#, 78),
            (r#"{"isSuccess":false}"#, 75),
            (r#"{"status":"error","message":"unknown SKU"}"#, 65),
            (r#"{"status":"ERROR"}"#, 75),
            (r#"{"status":"fail","data":{"address":"required"}}"#, 65),
            (r#"{"result":"failure"}"#, 75),
            (r#"{"status":503}"#, 75),
            (r#"{"statusCode":"422","message":"no"}"#, 65),
            (r#"{"code":401,"message":"Unauthorized"}"#, 78),
            (r#"{"code":"INVALID_ARGUMENT"}"#, 65),
            (r#"{"code":1,"message":"the order was not accepted: address missing"}"#, 65),
            (r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#, 78),
            (r#"{"error":{"code":403,"message":"no"}}"#, 78),
            (r#"{"error":true}"#, 75),
            (r#"{"error":"boom"}"#, 75),
            (r#"{"data":null,"errors":[{"message":"rate limit exceeded"}]}"#, 75),
            (r#"{"errors":[{"status":"422","title":"Invalid attribute"}]}"#, 65),
            (r#"{"errors":{"name":["is required"]}}"#, 65),
            (r#"{"result":{"success":false,"reason":"temporary"}}"#, 75),
            (r#"[{"success":true},{"success":false,"errors":["required field missing"]}]"#, 65),
            (r#"{"response":{"status":{"code":500}}}"#, 75),
            (r#"{"type":"about:blank","title":"Bad Request","status":400}"#, 65),
            (r#"{"message":"Endpoint request timed out"}"#, 75),
            (r#"{"order":{"id":"7","state":"declined"}}"#, 75),
            (r#"{"status":"partially_failed"}"#, 75),
            (r#"{"errorCount":1}"#, 75),
            (r#"{"valid":false,"message":"unknown SKU"}"#, 65),
            // A part of it has failed.
            (r#"{"order":{"status":"rejected"}}"#, 65),
            (r#"{"id":7,"items":[{"sku":"a"},{"status":"failed"}]}"#, 75),
            (r#"{"responses":[{"code":200},{"code":500}]}"#, 75),
            (r#"{"data":{"create":{"userErrors":[{"message":"no"}]}}}"#, 75),
            (r#"{"data":{"create":{"order":null,"user_errors":["unknown SKU"]}}}"#, 65),
            (r#"{"validationErrors":[{"field":"a"}]}"#, 65),
            (r#"{"VALIDATION_ERRORS":{"name":"missing"}}"#, 65),
            (r#"{"shipment":{"parcels":[{"deliveryStatus":"CANCELLED"}]}}"#, 75),
            (r#"{"a":{"b":{"c":{"success":false}}}}"#, 75),
            (r#"["error: no stock"]"#, 75),
            // Codes and words.
            (r#"{"ret":-1,"msg":"system busy"}"#, 75),
            (r#"{"code":"-7"}"#, 75),
            (r#"{"resultCode":"E1001"}"#, 75),
            (r#"{"api_result_code":"ERR-7"}"#, 75),
            (r#"{"code":"E1001","msg":"stock empty"}"#, 75),
            (r#"{"processed":false}"#, 75),
            (r#"{"acknowledged":false}"#, 75),
            (r#"{"id":"","status":"cancelled"}"#, 75),
            (r#"{"status":"canceled"}"#, 75),
            (r#"{"order_status":"REJECTED"}"#, 65),
            (r#"{"orderState":"ORDER_REJECTED"}"#, 65),
            (r#"{"id":"","message":"Sold out: cannot order"}"#, 75),
            ("{\"detail\":\"Invalid token.\"}", 78),
            (r#"{"message":"The order was not created: unknown SKU"}"#, 65),
            ("Accepted: false, unknown SKU", 65),
            (r#"{"message":"The order you sent, 12, is invalid"}"#, 65),
            (r#"{"message":"Validation failed, nothing was saved"}"#, 65),
            (r#"{"message":"Your order could not be placed; please try again"}"#, 75),
            // Pages of proxies and logins that answer instead of the service.
            ("<html><title>ok</title>please log in</html>", 75),
            ("<html>please log in</html>", 75),
            ("  <?xml version='1.0'?><fault/>", 75),
            ("false", 75),
            ("0", 75),
            ("404", 75),
        ];
        for (body, expected) in table {
            assert_eq!(code(body), Some(expected), "{body}");
        }
    }

    #[test]
    fn an_answer_that_says_yes_or_nothing_of_it_is_a_yes() {
        for body in [
            "",
            "\u{feff}ok\r\n",
            "OK",
            "1",
            "true",
            "null",
            "{}",
            "[]",
            "Congratulations! You've fired the event",
            "Success: 0 errors",
            r#"{"ok":true}"#,
            r#"{"ok":true,"error":null,"warning":"superfluous_charset"}"#,
            r#"{"success":true,"errors":[]}"#,
            r#"{"status":"success"}"#,
            r#"{"status":"ok","code":200}"#,
            r#"{"status":"pending","id":"A-404"}"#,
            r#"{"status":"approval_required","order_id":"7","message":"approval required"}"#,
            r#"{"errcode":0,"errmsg":"ok"}"#,
            r#"{"code":0,"msg":"success","data":{}}"#,
            r#"{"order":{"id":"7","state":"pending","errorCount":0}}"#,
            r#"{"order_id":"503","message":"error pages are printed on the mug"}"#,
            r#"{"id":7,"error":"","errors":{},"failed":0}"#,
            r#"{"message":"Workflow got started."}"#,
            r#"{"data":{"createTouchpoint":{"id":"x"}}}"#,
            r#"[{"success":true,"id":"1"}]"#,
            r#"{"name":"spaces/x/messages/y","text":"New customer: Error & Sons"}"#,
            // Words for people.
            r#"{"message":"Order 12 created; it cannot be changed any more"}"#,
            r#"{"message":"Saved! Unknown fields were left out."}"#,
            r#"{"detail":"Your order was accepted, and errors are mailed to you"}"#,
            "Message sent. Rate limit: 5 a minute",
            "<html>ok</html>",
            "<!doctype html><html><body><p>OK.</p></body></html>",
            // What other fields and parts are about.
            r#"{"id":"A","status":"pending","processed":false}"#,
            r#"{"id":"A","code":"E1001","previous_status":"cancelled","lastError":"timeout"}"#,
            r#"{"id":"A","shipping_address":{"state":"NO","status":"rejected"}}"#,
            r#"{"received":{"customer":{"status":"rejected"},"errors":["x"]}}"#,
            r#"{"id":"A","history":[{"status":"failed"},{"status":"ok"}]}"#,
            r#"{"id":"A","margin_of_error":0.5,"ignore_errors":true,"userErrors":[],"items":[{"code":500}]}"#,
            r#"{"id":"51","properties":{"hs_status":"failed"}}"#,
            r#"{"id":"A","payment_status":"not_failed","stock_status":"no error"}"#,
            r#"{"isSuccess":true,"value":{"id":3},"error":{"code":"","message":""},"isFailure":false}"#,
        ] {
            assert_eq!(code(body), None, "{body}");
        }
        let json = r#"{"id":"u16"}"#;
        let units = |to: fn(u16) -> [u8; 2]| {
            format!("\u{feff}{json}").encode_utf16().flat_map(to).collect::<Vec<u8>>()
        };
        for body in [units(u16::to_le_bytes), units(u16::to_be_bytes)] {
            let answer = Answer::read(&body);
            assert!(answer.refusal().is_none() && answer.json()["id"] == "u16", "{:?}", answer.text);
        }
    }

    #[test]
    fn a_packed_body_is_unpacked_or_told_by_its_packing_and_never_shown() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packer, br#"{"id":"A"}"#).unwrap();
        let gzip = packer.finish().unwrap();
        let received = |encodings: &[&str], body: &[u8]| {
            let headers = encodings.iter().map(|one| (CONTENT_ENCODING, one.parse().unwrap()));
            Answer::received(&headers.collect(), body)
        };
        for encoding in ["x-gzip", "GZIP", " X-Gzip "] {
            assert_eq!(received(&[encoding], &gzip).json()["id"], "A", "{encoding}");
        }
        assert_eq!(received(&["identity"], br#"{"id":"A"}"#).json()["id"], "A");
        assert!(!received(&["br"], b"").is_text());
        for (encodings, body, said) in [
            (
                &["br"][..],
                &b"\x0b\x05\x80{}"[..],
                "(Content-Encoding: br), and only gzip and deflate are read",
            ),
            (&["gzip, gzip"], &gzip, "(Content-Encoding: gzip, gzip)"),
            (&["gzip", "br"], &gzip, "(Content-Encoding: gzip, br)"),
            (&[], &gzip, "packed with gzip once more than its Content-Encoding says"),
            (&["x-gzip"], b"{}", "not the gzip that its Content-Encoding says"),
            (&[], b"\x89PNG\r\n\x1a\n\xff", "binary data"),
            (&[], b"a\0b", "binary data"),
        ] {
            let answer = received(encodings, body);
            assert!(answer.is_text() && answer.words().contains(said), "{}", answer.words());
            assert_eq!(answer.refusal(), None, "{said}");
        }
        let bomb = vec![b' '; MAX_ANSWER_BYTES * 2];
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packer, &bomb).unwrap();
        assert!(received(&["x-gzip"], &packer.finish().unwrap()).words().contains("more than"));
    }

    #[test]
    fn a_setting_takes_the_place_of_the_table() {
        let is =
            |yes: &str, body: &str| GoodAnswer::from_text(yes).unwrap().is_in(&Answer::read(body.as_bytes()));
        assert!(is("any", "<html>"));
        assert!(is("queued", "your note is queued") && !is("queued", "ok"));
        assert!(is("/job/state=7", r#"{"job":{"state":7}}"#) && is("/state=in", r#"{"state":"in"}"#));
        assert!(!is("/state=in", r#"{"state":"out"}"#) && !is("/state=in", "in"));
        assert!(GoodAnswer::from_text("/state").is_err());
    }
}
