//! How workers and dispatcher connect to NATS.
//!
//! Reads `NATS_SERVER` (one or more, separated by commas), `NATS_STREAM`, and one kind of login: `NATS_USER` and
//! `NATS_PASSWORD`, `NATS_TOKEN`, `NATS_CREDS` (a credentials file), `NATS_CERT` and `NATS_KEY` (a client
//! certificate), or a login in the addresses. `NATS_CA` trusts a private authority, `NATS_TLS_FIRST` is for servers
//! with `handshake_first`, and `NATS_JS_DOMAIN` or `NATS_JS_API_PREFIX` names another JetStream than that of the
//! account.

mod address;
mod creds;
mod refusal;
mod violations;

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{AuthError, Client, ConnectOptions, ReconnectToServer};

use crate::config::{FilePath, Secret};
use crate::error::{Error, Result};
use crate::tls::{self, File, Remedy};
use crate::variables;
use address::{Login, Servers};
use creds::Credentials;
use nkeys::KeyPair;

pub use address::shown;
pub use refusal::{about, rows as refusals};
pub use violations::Violations;

/// The stream of the flow, unless `NATS_STREAM` names another.
pub const DEFAULT_STREAM: &str = "customer-onboarding";

variables! {
    /// Where NATS is, and our login.
    #[derive(Clone)]
    pub struct Settings {
        settings {
            server: Option<Secret> = "NATS_SERVER", "nats://host:4222, several separated by commas";
            stream: Option<String> = "NATS_STREAM", "the stream (customer-onboarding)";
            user: Option<Secret> = "NATS_USER", "the user, with NATS_PASSWORD";
            password: Option<Secret> = "NATS_PASSWORD", "the password of NATS_USER";
            token: Option<Secret> = "NATS_TOKEN", "a token instead of user and password";
            creds: Option<FilePath> = "NATS_CREDS", "a credentials file instead of user and password";
            cert: Option<FilePath> = "NATS_CERT", "a PEM file, our certificate, with NATS_KEY";
            key: Option<FilePath> = "NATS_KEY", "a PEM file, the key of NATS_CERT";
            ca: Option<FilePath> = "NATS_CA", "a PEM file of a private authority; TLS is then required";
            tls_first: Option<String> = "NATS_TLS_FIRST", "true where the server has handshake_first";
            js_domain: Option<String> = "NATS_JS_DOMAIN", "the JetStream domain, for the dispatcher";
            js_api_prefix: Option<String> = "NATS_JS_API_PREFIX", "the prefix of the JetStream API in its place, for the dispatcher";
        }
    }
}

impl Settings {
    /// The common options of every connection. The machine's certificate store is not read, because the public roots
    /// are compiled in.
    pub fn options(&self) -> Result<ConnectOptions> {
        let file = |variable, path: &'_ Option<FilePath>| path.clone().map(|path| (variable, path));
        let (ca, certificate) = (file("NATS_CA", &self.ca), file("NATS_CERT", &self.cert));
        let key = file("NATS_KEY", &self.key);
        let identity = match (&certificate, &key) {
            (Some(certificate), Some(key)) => Some((named(certificate), named(key))),
            (None, None) => None,
            _ => return Err(Error::configuration("NATS_CERT and NATS_KEY must be set together")),
        };
        let private = ca.is_some() || identity.is_some();
        let tls = tls::client_config(ca.as_ref().map(named), identity)?;
        self.options_over(tls, private)
    }

    /// The same with this TLS, which may be required.
    pub fn options_over(&self, tls: rustls::ClientConfig, required: bool) -> Result<ConnectOptions> {
        let mut options = self.login()?.tls_client_config(tls);
        if required {
            options = options.require_tls(true);
        }
        Ok(if self.is_tls_first()? { options.tls_first().require_tls(true) } else { options })
    }

    /// A configured login wins over one in the addresses.
    fn login(&self) -> Result<ConnectOptions> {
        let options = ConnectOptions::new();
        let expose = |secret: &Secret| secret.expose().to_owned();
        let mut options = match (&self.user, &self.password) {
            (Some(user), Some(password)) => options.user_and_password(expose(user), expose(password)),
            (None, None) => options,
            (Some(_), None) => return Err(Error::configuration("NATS_USER is set but NATS_PASSWORD is not")),
            (None, Some(_)) => return Err(Error::configuration("NATS_PASSWORD is set but NATS_USER is not")),
        };
        if let Some(token) = &self.token {
            options = options.token(expose(token));
        }
        if let Some(path) = &self.creds {
            // The library would parse the file with regular expressions, which are a tenth of a worker's size.
            let Credentials { jwt, seed } = creds::read(path)?;
            let key = KeyPair::from_seed(seed.expose()).map_err(|_| {
                Error::configuration(format!(
                    "NATS_CREDS: the seed in the credentials file {path} is not that of a user"
                ))
            })?;
            options = options.jwt(expose(&jwt), move |nonce| {
                let signature = key.sign(&nonce).map_err(AuthError::new);
                async move { signature }
            });
        }
        if self.user.is_none() && self.token.is_none() && self.creds.is_none() {
            options = match self.read_servers()?.login {
                Some(Login::User(user, password)) => {
                    options.user_and_password(expose(&user), expose(&password))
                }
                Some(Login::Token(token)) => options.token(expose(&token)),
                None => options,
            };
        }
        Ok(options)
    }

    fn is_tls_first(&self) -> Result<bool> {
        match self.tls_first.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Error::configuration("NATS_TLS_FIRST is not one of true, false")),
        }
    }

    /// Whether a server is named.
    pub const fn is_set(&self) -> bool {
        self.server.is_some()
    }

    /// The stream that must accept the events.
    pub fn stream(&self) -> &str {
        self.stream.as_deref().unwrap_or(DEFAULT_STREAM)
    }

    /// The prefix of the JetStream API's subjects: that of another domain, or as imported from another account.
    pub fn api_prefix(&self) -> Result<String> {
        let is_bad = |text: &str| {
            text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>'))
        };
        let (name, prefix) = match (&self.js_domain, &self.js_api_prefix) {
            (Some(_), Some(_)) => {
                return Err(Error::configuration(
                    "NATS_JS_DOMAIN and NATS_JS_API_PREFIX are set, and only one can be meant",
                ));
            }
            (Some(domain), None) => ("NATS_JS_DOMAIN", format!("$JS.{domain}.API")),
            (None, Some(prefix)) => ("NATS_JS_API_PREFIX", prefix.trim_end_matches('.').to_owned()),
            (None, None) => return Ok("$JS.API".to_owned()),
        };
        if is_bad(&prefix) || prefix.split('.').any(str::is_empty) {
            return Err(Error::configuration(format!("{name} is not a part of a subject")));
        }
        Ok(prefix)
    }

    /// The variable that names another JetStream than that of the account, with its value.
    pub fn other_jetstream(&self) -> Option<String> {
        let named = |name: &str, value: &Option<String>| Some(format!("{name}={}", value.as_ref()?));
        named("NATS_JS_DOMAIN", &self.js_domain).or_else(|| named("NATS_JS_API_PREFIX", &self.js_api_prefix))
    }

    /// Checks what can be checked without a connection.
    pub fn check(&self) -> Result<()> {
        let is_bad =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '/' | '\\');
        if self.stream().is_empty() || self.stream().contains(is_bad) {
            return Err(Error::configuration(
                "NATS_STREAM is not the name of a stream: it holds no blanks, no control characters and none of . * > / \\",
            ));
        }
        self.api_prefix()?;
        self.options()?;
        self.servers().map(drop)
    }

    /// The servers in the client library's form, without logins.
    pub fn servers(&self) -> Result<Vec<async_nats::ServerAddr>> {
        Ok(self.read_servers()?.addresses)
    }

    /// The servers for errors and logs.
    pub fn shown(&self) -> Result<String> {
        Ok(self.read_servers()?.shown())
    }

    fn read_servers(&self) -> Result<Servers> {
        let list = self.server.as_ref().ok_or_else(|| Error::configuration("NATS_SERVER is not set"))?;
        Servers::read(list.expose())
    }

    /// A single connection for a worker: no wait before the first attempt, and no endless reconnecting.
    pub async fn connect_once(&self, name: &str) -> Result<(Client, Violations)> {
        let servers = self.servers()?;
        let violations = Violations::default();
        let noted = violations.clone();
        let mut options =
            self.options()?.name(name).connection_timeout(CONNECT_TIMEOUT).event_callback(move |event| {
                noted.note(&event);
                std::future::ready(())
            });
        if let [_] = servers[..] {
            // The library sleeps for a timer tick before each attempt, unless it is told which server to use.
            options = options.reconnect_to_server_callback(|servers, _| async move {
                servers
                    .into_iter()
                    .next()
                    .map(|server| ReconnectToServer { addr: server.addr, delay: Some(Duration::ZERO) })
            });
        }
        let client = options.connect(servers).await.map_err(|error| self.connect_error(error))?;
        Ok((client, violations))
    }

    /// The error of a failed connection: a configuration error if waiting cannot help, otherwise temporary.
    pub fn connect_error(&self, error: async_nats::ConnectError) -> Error {
        use async_nats::ConnectErrorKind as Kind;
        let whom = format!("NATS at {}", self.shown().unwrap_or_default());
        if let Some(error) = tls::failure(&whom, &error, REMEDY) {
            return error;
        }
        let words = error.to_string();
        match error.kind() {
            Kind::AuthorizationViolation | Kind::Authentication => {
                Error::credentials(format!("{whom} refuses {}", self.identity())).because(error)
            }
            Kind::ServerParse => Error::configuration("NATS_SERVER is not a NATS address").because(error),
            Kind::Tls => Error::configuration(format!("no TLS with {whom}: {}", REMEDY.plain)).because(error),
            _ if words.contains("expected INFO") => Error::unavailable(format!(
                "{whom} ended the connection without its greeting: it is no NATS server, or it has handshake_first, for which \
                 NATS_TLS_FIRST has to be true"
            ))
            .because(error),
            _ => Error::unavailable(format!("cannot reach {whom}")).because(error),
        }
    }

    /// The kind of our login, for errors.
    fn identity(&self) -> &'static str {
        if self.creds.is_some() {
            "the credentials of NATS_CREDS"
        } else if self.token.is_some() {
            "NATS_TOKEN"
        } else if self.user.is_some() {
            "NATS_USER with NATS_PASSWORD"
        } else if self.read_servers().is_ok_and(|servers| servers.login.is_some()) {
            "the login in NATS_SERVER"
        } else if self.cert.is_some() {
            "the certificate of NATS_CERT"
        } else {
            "a client without credentials: set NATS_USER and NATS_PASSWORD, NATS_TOKEN, NATS_CREDS, or NATS_CERT and NATS_KEY"
        }
    }
}

fn named<'a>(file: &'a (&'static str, FilePath)) -> File<'a> {
    File { variable: file.0, path: &file.1 }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const REMEDY: Remedy = Remedy {
    ca: "NATS_CA",
    identity: "set NATS_CERT and NATS_KEY to one that it knows",
    plain: "begin its address with nats:// and leave out NATS_CA, NATS_CERT and NATS_TLS_FIRST, or switch TLS on there",
};

/// Whether the client is connected now.
pub fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

/// Whether a stream's subject, with wildcards, takes this subject.
pub fn takes(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Variables};

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::read(&Environment::from_pairs(pairs.iter().copied())).unwrap()
    }

    #[test]
    fn several_servers_are_separated_by_commas() {
        let servers = settings(&[("NATS_SERVER", "nats://a:4222, b")]).servers().unwrap();
        assert_eq!(servers.iter().map(shown).collect::<Vec<_>>(), ["a:4222", "b:4222"]);
    }

    #[test]
    fn a_missing_server_is_named() {
        assert_eq!(settings(&[]).servers().unwrap_err().to_string(), "NATS_SERVER is not set");
        assert_eq!(settings(&[]).stream(), DEFAULT_STREAM);
    }

    #[test]
    fn a_name_that_no_stream_has_is_a_configuration_error() {
        for bad in ["a.b", "a b", "a\nb", "a>", "a*"] {
            let error = settings(&[("NATS_SERVER", "a"), ("NATS_STREAM", bad)]).check().unwrap_err();
            assert_eq!(error.class().exit_code(), 78, "{bad:?}");
            assert!(error.to_string().contains("NATS_STREAM"), "{error}");
        }
        let padded = settings(&[("NATS_SERVER", "a"), ("NATS_STREAM", "customers\r\n")]);
        assert!(padded.check().is_ok());
        assert_eq!(padded.stream(), "customers");
    }

    #[test]
    fn a_password_in_an_address_never_shows() {
        let servers = settings(&[("NATS_SERVER", "nats://user:hunter2@a:4222")]).servers().unwrap();
        assert_eq!(shown(&servers[0]), "a:4222");
    }

    #[test]
    fn another_jetstream_is_named_by_its_domain_or_the_prefix_of_its_api() {
        let prefix = |pairs: &[(&str, &str)]| settings(pairs).api_prefix();
        assert_eq!(prefix(&[]).unwrap(), "$JS.API");
        assert_eq!(prefix(&[("NATS_JS_DOMAIN", "hub")]).unwrap(), "$JS.hub.API");
        assert_eq!(prefix(&[("NATS_JS_API_PREFIX", "hub.js.")]).unwrap(), "hub.js");
        for bad in [
            &[("NATS_JS_DOMAIN", "a"), ("NATS_JS_API_PREFIX", "b")][..],
            &[("NATS_JS_DOMAIN", "a b")],
            &[("NATS_JS_API_PREFIX", "a.>")],
            &[("NATS_JS_API_PREFIX", "a..b")],
        ] {
            assert_eq!(prefix(bad).unwrap_err().class().exit_code(), 78, "{bad:?}");
        }
        let first = settings(&[("NATS_SERVER", "a"), ("NATS_TLS_FIRST", "yes")]).check().unwrap_err();
        assert_eq!(first.to_string(), "NATS_TLS_FIRST is not one of true, false");
    }

    #[test]
    fn half_a_pair_of_credentials_is_refused() {
        let error = settings(&[("NATS_USER", "ann")]).options().err().unwrap();
        assert_eq!(error.to_string(), "NATS_USER is set but NATS_PASSWORD is not");
    }
}
