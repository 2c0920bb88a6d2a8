//! How to reach NATS, for workers and dispatcher alike.
//!
//! Reads `NATS_SERVER` (one or more, separated by commas), `NATS_STREAM`, and one way to authenticate: `NATS_USER` and `NATS_PASSWORD`,
//! `NATS_TOKEN`, `NATS_CREDS` (a credentials file), `NATS_CERT` and `NATS_KEY` (a client certificate); `NATS_CA` trusts a private authority.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, ReconnectToServer};
use serde::Deserialize;

use crate::config::Secret;
use crate::error::{Error, Result};

/// The stream of the flow, unless `NATS_STREAM` names another.
pub const DEFAULT_STREAM: &str = "customer-onboarding";

const DEFAULT_PORT: u16 = 4222;

/// Where NATS is and who we are to it.
#[derive(Clone, Debug, Deserialize)]
pub struct Settings {
    /// `NATS_SERVER`: one or more addresses, separated by commas.
    pub nats_server: Option<String>,
    /// `NATS_STREAM`.
    #[serde(default = "default_stream")]
    pub nats_stream: String,
    nats_user: Option<String>,
    nats_password: Option<Secret>,
    nats_token: Option<Secret>,
    nats_creds: Option<PathBuf>,
    nats_cert: Option<PathBuf>,
    nats_key: Option<PathBuf>,
    nats_ca: Option<PathBuf>,
}

fn default_stream() -> String {
    DEFAULT_STREAM.to_owned()
}

impl Settings {
    /// The options every connection starts from. Nothing is read from the machine's certificate store: the public
    /// roots are compiled in.
    pub async fn options(&self) -> Result<ConnectOptions> {
        let mut options = ConnectOptions::new();
        options = match (&self.nats_user, &self.nats_password) {
            (Some(user), Some(password)) => {
                options.user_and_password(user.clone(), password.expose().to_owned())
            }
            (None, None) => options,
            (Some(_), None) => return Err(Error::configuration("NATS_USER is set but NATS_PASSWORD is not")),
            (None, Some(_)) => return Err(Error::configuration("NATS_PASSWORD is set but NATS_USER is not")),
        };
        if let Some(token) = &self.nats_token {
            options = options.token(token.expose().to_owned());
        }
        if let Some(path) = &self.nats_creds {
            options = options.credentials_file(path).await.map_err(|error| {
                Error::configuration(format!("cannot use the credentials file {}", path.display()))
                    .because(error)
            })?;
        }
        let identity = match (&self.nats_cert, &self.nats_key) {
            (Some(certificate), Some(key)) => Some((certificate.as_path(), key.as_path())),
            (None, None) => None,
            _ => return Err(Error::configuration("NATS_CERT and NATS_KEY must be set together")),
        };
        Ok(options.tls_client_config(crate::tls::client_config(self.nats_ca.as_deref(), identity)?))
    }

    /// The servers, as the client library wants them.
    pub fn servers(&self) -> Result<Vec<async_nats::ServerAddr>> {
        let list =
            self.nats_server.as_deref().ok_or_else(|| Error::configuration("NATS_SERVER is not set"))?;
        list.split(',')
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .map(|server| {
                server.parse().map_err(|error| {
                    // The text may hold a password: name the variable only.
                    Error::configuration("NATS_SERVER is not a NATS address such as nats://host:4222")
                        .because(error)
                })
            })
            .collect()
    }

    /// A one-shot connection for a worker: no waiting before the first try, no endless reconnecting.
    pub async fn connect_once(&self, name: &str) -> Result<Client> {
        let servers = self.servers()?;
        let mut options = self.options().await?.name(name).connection_timeout(CONNECT_TIMEOUT);
        if let [_] = servers[..] {
            // The library sleeps a timer tick before each try unless a server is chosen for it.
            options = options.reconnect_to_server_callback(|servers, _| async move {
                servers
                    .into_iter()
                    .next()
                    .map(|server| ReconnectToServer { addr: server.addr, delay: Some(Duration::ZERO) })
            });
        }
        let shown = servers.iter().map(shown).collect::<Vec<_>>().join(", ");
        options.connect(servers).await.map_err(|error| connect_error(&shown, error))
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An address without its credentials.
pub fn shown(server: &async_nats::ServerAddr) -> String {
    format!("{}:{}", server.host(), if server.port() == 0 { DEFAULT_PORT } else { server.port() })
}

/// A failed connection: wrong credentials are configuration, the rest passes.
pub fn connect_error(servers: &str, error: async_nats::ConnectError) -> Error {
    use async_nats::ConnectErrorKind as Kind;
    match error.kind() {
        Kind::AuthorizationViolation | Kind::Authentication => {
            Error::configuration(format!("NATS at {servers} refuses our credentials")).because(error)
        }
        Kind::ServerParse => Error::configuration("NATS_SERVER is not a NATS address").because(error),
        _ => Error::unavailable(format!("cannot reach NATS at {servers}")).because(error),
    }
}

/// Whether the client has a connection now.
pub fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Environment::from_pairs(pairs.iter().copied()).read().unwrap()
    }

    #[test]
    fn several_servers_are_separated_by_commas() {
        let servers = settings(&[("NATS_SERVER", "nats://a:4222, b")]).servers().unwrap();
        assert_eq!(servers.iter().map(shown).collect::<Vec<_>>(), ["a:4222", "b:4222"]);
    }

    #[test]
    fn a_missing_server_is_named() {
        assert_eq!(settings(&[]).servers().unwrap_err().to_string(), "NATS_SERVER is not set");
        assert_eq!(settings(&[]).nats_stream, DEFAULT_STREAM);
    }

    #[test]
    fn a_password_in_an_address_never_shows() {
        let servers = settings(&[("NATS_SERVER", "nats://user:hunter2@a:4222")]).servers().unwrap();
        assert_eq!(shown(&servers[0]), "a:4222");
    }

    #[tokio::test]
    async fn half_a_pair_of_credentials_is_refused() {
        let error = settings(&[("NATS_USER", "ann")]).options().await.err().unwrap();
        assert_eq!(error.to_string(), "NATS_USER is set but NATS_PASSWORD is not");
    }
}
