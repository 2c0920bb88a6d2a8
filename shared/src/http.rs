//! The HTTP client: sends and receives JSON, and sends an idempotency key with every call that has an effect.
//!
//! Reads `HTTP_CA` (a PEM file with a private authority) and the usual proxy variables ([`Proxies`]).

mod answer;
mod proxy;
mod status;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url, redirect};
use serde_json::Value;

use crate::config::{FilePath, Secret};
use crate::error::{Error, Result};
use crate::tls::{self, File, Remedy};
use crate::variables;

use answer::Answer;
pub use answer::GoodAnswer;
pub use proxy::Proxies;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
const JSON: &str = "application/json";
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const REMEDY: Remedy = Remedy {
    ca: "HTTP_CA",
    identity: "let it take clients without one",
    plain: "begin the address with http://, or name its port for https",
};
/// The remedy if the server wants TLS.
const ENCRYPTED: &str = "if it expects TLS, begin the address with https://";
const MAX_ID_CHARACTERS: usize = 128;

variables! {
    /// How HTTP services are reached.
    pub struct Settings {
        settings { ca: Option<FilePath> = "HTTP_CA", "a PEM file of a private authority"; }
        groups { proxies: Proxies; }
    }
}

/// A configured client.
#[derive(Clone, Debug)]
pub struct Client {
    client: reqwest::Client,
    proxies: Arc<Proxies>,
}

/// An address that we post to, with the name of its variable for errors.
#[derive(Clone)]
pub struct Endpoint {
    /// The variable that holds the address.
    pub variable: &'static str,
    /// The address.
    pub url: Url,
    /// The bearer token, if the service wants one.
    pub token: Option<Secret>,
    /// How a success is recognised in the answer, if the service has its own format.
    yes: Option<GoodAnswer>,
    /// Whether the host cannot be a part of a password.
    shows_host: bool,
}

/// JSON that is posted as an effect.
pub struct Post {
    /// The client.
    pub client: Client,
    /// The address.
    pub to: Endpoint,
    /// The `Idempotency-Key`, the same for every repeat.
    pub key: String,
    /// The JSON.
    pub body: Value,
    /// The fields of the answer that may contain the id of what was created. Empty for a service that creates
    /// nothing, such as a chat, which need not answer with JSON.
    pub makes: &'static [&'static str],
}

impl Endpoint {
    /// Checks the address.
    pub fn new(variable: &'static str, url: &Secret, token: Option<Secret>) -> Result<Self> {
        let parsed = address(url.expose()).filter(|url| matches!(url.scheme(), "http" | "https"));
        // The address may contain a secret (webhooks do), so only name the variable.
        let valid = parsed
            .ok_or_else(|| Error::configuration(format!("{variable} is not an http or https address")))?;
        // A password with a slash ends the host too early.
        let after_host =
            url.expose().split_once("://").and_then(|(_, rest)| rest.split_once(['/', '?', '#', '\\']));
        let shows_host = after_host.is_none_or(|(_, rest)| !rest.contains('@'));
        Ok(Self { variable, url: valid, token, yes: None, shows_host })
    }

    /// The same, for a service whose answer is a success only if it contains this.
    #[must_use]
    pub fn saying(self, yes: Option<GoodAnswer>) -> Self {
        Self { yes, ..self }
    }

    fn shown(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        match self.url.host_str() {
            Some(host) if self.shows_host => format!("{} ({host}{port})", self.variable),
            _ => self.variable.to_owned(),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.variable)
    }
}

impl Post {
    /// From these settings. `makes`: the fields of the answer that may contain the id of what was created.
    pub fn new(
        settings: &Settings,
        to: Endpoint,
        key: &dyn ToString,
        body: Value,
        makes: &'static [&'static str],
    ) -> Result<Self> {
        Ok(Self { client: Client::new(settings)?, to, key: key.to_string(), body, makes })
    }

    /// Posts it, and returns the id of what was created, if the answer contains one. An answer that reports a failure
    /// is a failure, whatever its status is.
    /// status.
    pub async fn send(&self) -> Result<Option<String>> {
        let (status, answer) =
            self.client.exchange(&self.to, JSON, Some(&self.key), self.body.to_string()).await?;
        let unusable = |words: &str| {
            let message = format!("{} answered {status}, but {words}", self.to.shown());
            Error::unavailable(message).because(answer.words())
        };
        if let Some(yes) = &self.to.yes {
            if !yes.is_in(&answer) {
                return Err(unusable("not what the setting of its answer asks for"));
            }
        } else if let Some(class) = answer.refusal() {
            let message = format!("{} answered {status}, but its body says no", self.to.shown());
            return Err(Error::of(class, message).because(answer.words()));
        } else if !self.makes.is_empty() && answer.is_text() {
            // The service does not answer like this, so something in between has answered instead.
            return Err(unusable("what is not JSON"));
        }
        Ok(answered_id(answer.json(), self.makes))
    }
}

impl Client {
    /// A client that trusts the compiled-in roots and `HTTP_CA`, and follows no redirect.
    pub fn new(settings: &Settings) -> Result<Self> {
        let ca = settings.ca.as_ref().map(|path| File { variable: "HTTP_CA", path });
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(ca, None)?)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .no_proxy()
            .user_agent(concat!("knapscen-onboarding/", env!("CARGO_PKG_VERSION")));
        let proxies = Arc::new(settings.proxies.clone());
        let client = proxies.for_client()?.into_iter().fold(builder, reqwest::ClientBuilder::proxy).build();
        let client =
            client.map_err(|error| Error::configuration("cannot build the HTTP client").because(error))?;
        Ok(Self { client, proxies })
    }

    /// Hands an event to a dispatcher. Only status 202 means that the event is stored; any other success comes from
    /// something else.
    pub async fn publish(&self, to: &Endpoint, content_type: &str, key: &str, body: String) -> Result<()> {
        let (status, answer) = self.exchange(to, content_type, Some(key), body).await?;
        if status == StatusCode::ACCEPTED {
            return Ok(());
        }
        let message = format!("{} answered {status}: a dispatcher that keeps an event says 202", to.shown());
        Err(Error::unavailable(message).because(answer.words()))
    }

    /// Posts a body of any type. Returns status and body of a 2xx answer.
    async fn exchange(
        &self,
        to: &Endpoint,
        content_type: &str,
        key: Option<&str>,
        body: String,
    ) -> Result<(StatusCode, Answer)> {
        let mut request = self.client.post(to.url.clone()).header(CONTENT_TYPE, content_type).body(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(token) = &to.token {
            request = request.bearer_auth(token.expose());
        }
        let failed = |error: reqwest::Error| self.failed(to, error);
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let headers = answer.headers().clone();
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
            return Ok((status, Answer::received(&headers, &bytes)));
        }
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED && self.proxies.asked_for(&to.url).is_some() {
            return Err(self.wants_login(to));
        }
        Err(refusal(to, status, &headers, &bytes))
    }

    /// The address, and the proxy before it.
    fn whom(&self, to: &Endpoint) -> String {
        let proxy = self.proxies.asked_for(&to.url);
        let through = proxy.map(|name| format!(" through the proxy of {name}")).unwrap_or_default();
        format!("{}{through}", to.shown())
    }

    fn wants_login(&self, to: &Endpoint) -> Error {
        Error::configuration(format!("cannot reach {}: it wants a user and a password", self.whom(to)))
    }

    fn failed(&self, to: &Endpoint, error: reqwest::Error) -> Error {
        let whom = self.whom(to);
        // An error of reqwest shows the whole address, which may contain a secret.
        let error = error.without_url();
        if let Some(error) = tls::failure(&whom, &error, REMEDY) {
            return error;
        }
        let has_proxy = self.proxies.asked_for(&to.url).is_some();
        if has_proxy && format!("{error:?}").contains("ProxyAuthRequired") {
            return self.wants_login(to).because(error);
        }
        if to.url.scheme() == "http" && format!("{error:?}").contains("Parse(Version)") {
            return Error::configuration(format!("{whom} does not speak HTTP on this port: {ENCRYPTED}"))
                .because(error);
        }
        if error.is_builder() {
            let message = format!("cannot ask {whom}: its address or its token cannot be sent");
            return Error::configuration(message).because(error);
        }
        if error.is_decode() {
            return Error::unavailable(format!("{whom} answered what cannot be unpacked")).because(error);
        }
        Error::unavailable(format!("cannot reach {whom}")).because(error)
    }
}

/// An address with a host. Port 0 and an empty host, as in `http:///path`, are mistakes, although the library reads
/// them.
fn address(text: &str) -> Option<Url> {
    let (_, rest) = text.split_once("://")?;
    let url = Url::parse(text).ok()?;
    (url.has_host() && !rest.starts_with(['/', '\\']) && url.port() != Some(0)).then_some(url)
}

/// The id of what was created, a text or a number in the first of these fields; at most 128 characters.
pub fn answered_id(answer: &Value, fields: &[&str]) -> Option<String> {
    let id = fields.iter().find_map(|field| match &answer[*field] {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    })?;
    Some(id.chars().take(MAX_ID_CHARACTERS).collect())
}

/// The meaning of each status and the exit code, for the documents.
pub fn statuses() -> Vec<(String, u8)> {
    status::rows()
}

fn refusal(to: &Endpoint, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let after = header(RETRY_AFTER).map(|seconds| format!(", retry after {seconds}")).unwrap_or_default();
    let target =
        header(LOCATION).filter(|_| status.is_redirection()).and_then(|target| to.url.join(target).ok());
    let moved =
        target.map(|target| format!(": it is now at {}", without_secrets(&target))).unwrap_or_default();
    let (class, _) = status::about(status.as_u16());
    let words = Answer::received(headers, body).words();
    // The words of nginx, Apache and Go: "plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an
    // SSL-enabled server port", "Client sent an HTTP request to an HTTPS server".
    let page = String::from_utf8_lossy(body);
    let asks_for_tls = ["HTTPS port", "HTTPS server", "SSL-enabled"].iter().any(|said| page.contains(said));
    if to.url.scheme() == "http" && status == StatusCode::BAD_REQUEST && asks_for_tls {
        return Error::configuration(format!("{} speaks TLS on this port: {ENCRYPTED}", to.shown()))
            .because(words);
    }
    let error = Error::of(class, format!("{} answered {status}{after}{moved}", to.shown()));
    if words.is_empty() || !moved.is_empty() { error } else { error.because(words) }
}

/// An address without user, password, path, query and fragment. Webhooks have their secret in the path.
fn without_secrets(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let is_word = |part: &str| {
        part.len() <= 4
            || (part.len() <= 20 && part.bytes().all(|b| b.is_ascii_lowercase() || b"-_.".contains(&b)))
    };
    let path: Vec<_> = url.path().split('/').map(|part| if is_word(part) { part } else { "…" }).collect();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), path.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Variables as _;

    #[test]
    fn an_answer_that_is_no_yes_is_told_without_secrets() {
        let to = endpoint("SWAG_API_URL", "https://user:hunter2@vendor:8443/orders?key=hunter2").unwrap();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
        let error = refusal(&to, StatusCode::SERVICE_UNAVAILABLE, &headers, b"try\nlater");
        let text = error.to_string();
        assert!(
            text.contains("SWAG_API_URL (vendor:8443) answered 503") && text.contains("retry after 7"),
            "{text}"
        );
        assert!(text.contains("trylater") && !text.contains("hunter2"), "{text}");
        assert_eq!(error.class().exit_code(), 75);
    }

    #[test]
    fn a_redirect_names_its_target_without_what_may_be_a_secret() {
        let to = endpoint(
            "MARKETING_WEBHOOK_URL",
            "http://hooks.example/services/T00000000/B00000000/XXXXhunter2XXXX",
        )
        .unwrap();
        for (location, shown) in [
            ("https://vendor.example/v2/orders", "https://vendor.example/v2/orders"),
            ("/v2/orders?key=hunter2#x", "http://hooks.example/v2/orders"),
            ("https://u:hunter2@vendor.example:8443/orders/", "https://vendor.example:8443/orders/"),
            (
                "https://hooks.example/services/T00000000/B00000000/XXXXhunter2XXXX",
                "https://hooks.example/services/…/…/…",
            ),
        ] {
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
            let error = refusal(&to, StatusCode::PERMANENT_REDIRECT, &headers, b"moved");
            let text = error.to_string();
            assert!(text.ends_with(&format!("308 Permanent Redirect: it is now at {shown}")), "{text}");
            assert_eq!(error.class().exit_code(), 78);
        }
    }

    #[tokio::test]
    async fn a_port_that_expects_tls_is_told_from_a_server_that_is_away_or_dislikes_the_event() {
        let environment = crate::config::Environment::from_pairs(
            [("HTTP_PROXY", "")].map(|(name, value)| (name, value.to_owned())),
        );
        let client = Client::new(&Settings::read(&environment).unwrap()).unwrap();
        let page = |words: &str| {
            format!(
                "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{words}",
                words.len()
            )
        };
        for (answer, code) in [
            (b"\x15\x03\x03\x00\x02\x02\x46".to_vec(), 78),
            (page("<h1>400</h1>The plain HTTP request was sent to HTTPS port").into_bytes(), 78),
            (page("Client sent an HTTP request to an HTTPS server.\n").into_bytes(), 78),
            (page("Reason: You're speaking plain HTTP to an SSL-enabled server port.").into_bytes(), 78),
            (page("the order has no address").into_bytes(), 65),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let to = endpoint("CRM_API_URL", &format!("http://{}/", listener.local_addr().unwrap())).unwrap();
            let server = async {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let (mut connection, _) = listener.accept().await.unwrap();
                let _ = connection.read(&mut [0; 4096]).await.unwrap();
                connection.write_all(&answer).await.unwrap();
                connection.shutdown().await.unwrap();
            };
            let (asked, ()) = tokio::join!(client.exchange(&to, JSON, None, String::new()), server);
            let error = asked.unwrap_err();
            assert_eq!(error.class().exit_code(), code, "{error}");
            assert_eq!(error.to_string().contains("begin the address with https://"), code == 78, "{error}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_wants_a_login_is_named() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap().to_string();
        let environment = crate::config::Environment::from_pairs([("HTTP_PROXY", proxy)]);
        let client = Client::new(&Settings::read(&environment).unwrap()).unwrap();
        let to = endpoint("CRM_API_URL", "http://vendor.invalid/").unwrap();
        let server = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await.unwrap();
            let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
            connection.write_all(answer).await.unwrap();
        };
        let (asked, ()) = tokio::join!(client.exchange(&to, JSON, None, String::new()), server);
        let error = asked.unwrap_err();
        assert_eq!(error.class().exit_code(), 78);
        let said = "through the proxy of HTTP_PROXY: it wants a user and a password";
        assert!(error.to_string().contains(said), "{error}");
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
        for bad in [
            "",
            "vendor",
            "ftp://vendor",
            "http://",
            "file:///etc/passwd",
            "http://h:0/",
            "http:///o",
            "http:/o",
            "https://\\o",
        ] {
            let error = endpoint("CRM_API_URL", bad).unwrap_err();
            assert_eq!(error.to_string(), "CRM_API_URL is not an http or https address");
        }
    }

    #[test]
    fn a_password_that_ends_the_host_early_is_not_shown_as_the_host() {
        for url in [
            "http://u:p@hunter2/x@vendor/",
            "http://hunter2:80/x@vendor/",
            "http://hunter2?x@vendor",
            "http://hunter2\\x@vendor/",
        ] {
            let to = endpoint("CRM_API_URL", url).unwrap();
            assert_eq!(
                (to.shown().as_str(), format!("{to:?}").as_str()),
                ("CRM_API_URL", "Endpoint(CRM_API_URL)")
            );
        }
    }

    fn endpoint(variable: &'static str, url: &str) -> Result<Endpoint> {
        Endpoint::new(variable, &Secret::from(url.to_owned()), None)
    }
}
