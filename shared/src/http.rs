//! The one HTTP client: JSON out, JSON in, an idempotency key on every call that has an effect.
//!
//! Reads `HTTP_CA` (a PEM file of a private authority).

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{StatusCode, Url, redirect};
use serde::Deserialize;
use serde_json::Value;

use crate::config::{Environment, Secret};
use crate::error::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
const JSON: &str = "application/json";
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const MAX_ID_CHARACTERS: usize = 128;
const MAX_SHOWN_CHARACTERS: usize = 200;

#[derive(Deserialize)]
struct Settings {
    http_ca: Option<PathBuf>,
}

/// A configured client.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

/// One address we post to, named as its variable so that errors can say which one is meant.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The variable that holds the address.
    pub variable: &'static str,
    /// The address.
    pub url: Url,
    /// The bearer token, if it wants one.
    pub token: Option<Secret>,
}

impl Endpoint {
    /// Checks the address.
    pub fn new(variable: &'static str, url: &str, token: Option<Secret>) -> Result<Self> {
        let parsed =
            Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        // The address may hold a secret (webhooks do): name the variable only.
        let url = parsed
            .ok_or_else(|| Error::configuration(format!("{variable} is not an http or https address")))?;
        Ok(Self { variable, url, token })
    }

    fn host(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.url.host_str().unwrap_or_default())
    }
}

impl Client {
    /// A client that trusts the compiled-in roots and `HTTP_CA`, and follows no redirect.
    pub fn read(environment: &Environment) -> Result<Self> {
        let settings: Settings = environment.read()?;
        let tls = crate::tls::client_config(settings.http_ca.as_deref(), None)?;
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .no_proxy()
            .user_agent(concat!("knapscen-onboarding/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(|error| Error::configuration("cannot build the HTTP client").because(error))
    }

    /// Posts JSON; answers the JSON of the answer, or null where it is empty. Anything else is no answer of such a
    /// service, whatever its status: something on the way spoke in its place.
    pub async fn post(&self, to: &Endpoint, idempotency_key: &str, body: &Value) -> Result<Value> {
        let answer = self.send(to, JSON, Some(idempotency_key), body.to_string()).await?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).map_err(|error| {
            Error::unavailable(format!("{} ({}) answered what is not JSON", to.variable, to.host()))
                .because(error)
        })
    }

    /// Posts JSON where any answer that says yes will do, as webhooks give it.
    pub async fn tell(&self, to: &Endpoint, idempotency_key: &str, body: &Value) -> Result<()> {
        self.send(to, JSON, Some(idempotency_key), body.to_string()).await.map(drop)
    }

    /// Posts a body of any type; answers the bytes of the answer.
    pub async fn send(
        &self,
        to: &Endpoint,
        content_type: &str,
        key: Option<&str>,
        body: String,
    ) -> Result<Vec<u8>> {
        let mut request = self.0.post(to.url.clone()).header(CONTENT_TYPE, content_type).body(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(token) = &to.token {
            request = request.bearer_auth(token.expose());
        }
        let failed = |error: reqwest::Error| {
            // An error of reqwest shows the whole address, which may hold a secret.
            Error::unavailable(format!("cannot reach {} ({})", to.variable, to.host()))
                .because(error.without_url())
        };
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER_BYTES {
                return Err(Error::unavailable(format!(
                    "{} answered more than {MAX_ANSWER_BYTES} bytes",
                    to.variable
                )));
            }
        }
        if status.is_success() {
            return Ok(bytes);
        }
        Err(refusal(to, status, retry_after.as_deref(), &bytes))
    }
}

/// The id that an answer gives what it made, a text or a number, in the first of these fields; its first 128 characters.
pub fn answered_id(answer: &Value, fields: &[&str]) -> Option<String> {
    let id = fields.iter().find_map(|field| match &answer[*field] {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    })?;
    Some(id.chars().take(MAX_ID_CHARACTERS).collect())
}

fn refusal(to: &Endpoint, status: StatusCode, retry_after: Option<&str>, body: &[u8]) -> Error {
    let words: String = String::from_utf8_lossy(body)
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_SHOWN_CHARACTERS)
        .collect();
    let after = retry_after.map(|seconds| format!(", retry after {seconds}")).unwrap_or_default();
    let message = format!("{} ({}) answered {status}{after}", to.variable, to.host());
    let error = match status {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED => Error::configuration(message),
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::CONFLICT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS => Error::unavailable(message),
        status if status.is_client_error() => Error::input(message),
        status if status.is_redirection() => Error::configuration(message),
        _ => Error::unavailable(message),
    };
    if words.is_empty() { error } else { error.because(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_says_whether_trying_again_helps() {
        let to = Endpoint::new("SWAG_API_URL", "https://user:hunter2@vendor:8443/orders?key=hunter2", None)
            .unwrap();
        let table = [
            (200, None),
            (301, Some(78)),
            (400, Some(65)),
            (401, Some(78)),
            (403, Some(78)),
            (404, Some(78)),
            (408, Some(75)),
            (409, Some(75)),
            (422, Some(65)),
            (429, Some(75)),
            (500, Some(75)),
            (503, Some(75)),
        ];
        for (status, code) in table {
            let Some(code) = code else { continue };
            let error = refusal(&to, StatusCode::from_u16(status).unwrap(), Some("7"), b"try\nlater");
            assert_eq!(error.class().exit_code(), code, "{status}");
            let text = error.to_string();
            assert!(text.contains("SWAG_API_URL (vendor:8443)") && text.contains("trylater"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn an_answer_names_what_it_made_by_a_text_or_a_number() {
        let id = |answer| answered_id(&answer, &["order_id", "id"]);
        assert_eq!(id(serde_json::json!({ "id": "a", "order_id": "b" })).unwrap(), "b");
        assert_eq!(id(serde_json::json!({ "order_id": null, "id": 42 })).unwrap(), "42");
        assert_eq!(id(serde_json::json!({ "id": "é".repeat(200) })).unwrap(), "é".repeat(128));
        assert_eq!(id(Value::Null), None);
    }

    #[test]
    fn an_address_that_is_none_is_a_configuration_error() {
        for bad in ["", "vendor", "ftp://vendor", "http://", "file:///etc/passwd"] {
            let error = Endpoint::new("CRM_API_URL", bad, None).unwrap_err();
            assert_eq!(error.to_string(), "CRM_API_URL is not an http or https address");
        }
    }
}
