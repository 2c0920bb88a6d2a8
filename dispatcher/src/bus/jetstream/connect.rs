//! Reaching the servers: credentials, TLS, waiting at the start, reconnecting for ever.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerAddr};

use super::api::Api;
use crate::bus::settings::{Pem, Secret};
use crate::bus::{Error, Result, Settings};

/// Longest pause between two attempts.
const PAUSE: Duration = Duration::from_secs(2);

/// Connects, and waits for a server that does not answer yet. What cannot get better by waiting fails at once.
pub(super) async fn connect(settings: &Settings) -> Result<Api> {
    let servers = servers(settings)?;
    let address = servers.iter().map(shown).collect::<Vec<_>>().join(",");
    let start = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let problem = match options(settings).await?.connect(servers.clone()).await {
            Ok(client) => {
                let api = Api { client, address };
                return answers(&api, start, settings.nats_connect_timeout).await.map(|()| api);
            }
            Err(error) => match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    return Err(Error::Configuration(format!(
                        "NATS at {address} refuses {}",
                        identity(settings)
                    )));
                }
                ConnectErrorKind::Tls | ConnectErrorKind::ServerParse => {
                    return Err(Error::Configuration(format!(
                        "no TLS with NATS at {address}: {error}; see {}",
                        if settings.sveltos_nats.is_some() {
                            "SVELTOS_NATS"
                        } else {
                            "NATS_CA, NATS_CERT and NATS_KEY"
                        }
                    )));
                }
                _ => error.to_string(),
            },
        };
        let waited = start.elapsed();
        if waited + pause > settings.nats_connect_timeout {
            let seconds = waited.as_secs();
            return Err(Error::Unavailable(format!(
                "NATS at {address} does not answer for {seconds} s: {problem}"
            )));
        }
        tracing::warn!(nats.server = %address, waited_ms = waited.as_millis(), "waiting for NATS: {problem}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE);
    }
}

/// A server that has just started takes connections before its `JetStream` is ready.
async fn answers(api: &Api, start: Instant, limit: Duration) -> Result<()> {
    loop {
        match api.call("INFO", &serde_json::Value::Null).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(refusal)) if start.elapsed() > limit => return Err(refusal.error("JetStream")),
            Err(error) if start.elapsed() > limit || !error.try_again() => return Err(error),
            Ok(Err(refusal)) => {
                tracing::warn!(nats.server = %api.address, "waiting: {}", refusal.error("JetStream"));
            }
            Err(error) => tracing::warn!(nats.server = %api.address, "waiting: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn options(settings: &Settings) -> Result<ConnectOptions> {
    let mut options = ConnectOptions::new()
        .name("dispatcher")
        .max_reconnects(None)
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|attempts| {
            let doubled = 50_u64.saturating_mul(1 << attempts.min(10));
            if attempts <= 1 { Duration::ZERO } else { Duration::from_millis(doubled).min(PAUSE) }
        })
        .event_callback(|event| async move {
            match event {
                Event::Disconnected => tracing::warn!("the connection to NATS is lost; reconnecting"),
                Event::Connected => tracing::info!("connected to NATS"),
                other => tracing::warn!("NATS: {other}"),
            }
        });
    if let Some(user) = text(settings.nats_user.as_deref()) {
        let password = settings.nats_password.as_ref().map_or("", |password| password.reveal());
        options = options.user_and_password(user.to_owned(), password.to_owned());
    }
    if let Some(token) = text(settings.nats_token.as_ref().map(Secret::reveal)) {
        options = options.token(token.to_owned());
    }
    if let Some(creds) = file("NATS_CREDS", settings.nats_creds.as_deref())? {
        let problem = |error: std::io::Error| {
            Error::Configuration(format!(
                "NATS_CREDS: {} holds no user JWT and seed: {}",
                creds.display(),
                error.kind()
            ))
        };
        options = options.credentials_file(creds).await.map_err(problem)?;
    }
    let certificate = file("NATS_CERT", settings.nats_cert.as_deref())?;
    let key = file("NATS_KEY", settings.nats_key.as_deref())?;
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            return Err(Error::Configuration(
                "NATS_CERT and NATS_KEY want each other: one is not set".to_owned(),
            ));
        }
    };
    let Pem { authority, certificate } = &settings.pem;
    if authority.is_some() || certificate.is_some() {
        let pair = certificate.as_ref().map(|(certificate, key)| (certificate.reveal(), key.reveal()));
        let config = shared::tls::client_config_of(authority.as_ref().map(Secret::reveal), pair)
            .map_err(|error| Error::Configuration(format!("SVELTOS_NATS: {error}")))?;
        return Ok(options.require_tls(true).tls_client_config(config));
    }
    options = match file("NATS_CA", settings.nats_ca.as_deref())? {
        // With roots of its own the library leaves those of the machine, and SSL_CERT_FILE, alone.
        Some(authority) => {
            let options = options.add_root_certificates(authority.into()).require_tls(true);
            match identity {
                Some((certificate, key)) => options.add_client_certificate(certificate.into(), key.into()),
                None => options,
            }
        }
        // The public roots in this binary: an image from scratch has none.
        None => options.tls_client_config(
            shared::tls::client_config(None, identity)
                .map_err(|error| Error::Configuration(error.to_string()))?,
        ),
    };
    Ok(options)
}

fn servers(settings: &Settings) -> Result<Vec<ServerAddr>> {
    let parse = |server: &str| {
        let problem = |_| {
            Error::Configuration("NATS_SERVER is not a list of addresses like nats://host:4222".to_owned())
        };
        server.trim().parse::<ServerAddr>().map_err(problem)
    };
    let listed = settings.nats_server.reveal().split(',').filter(|server| !server.trim().is_empty());
    let servers = listed.map(parse).collect::<Result<Vec<_>>>()?;
    if servers.is_empty() {
        return Err(Error::Configuration("NATS_SERVER is not set".to_owned()));
    }
    Ok(servers)
}

/// The address without user and password.
fn shown(server: &ServerAddr) -> String {
    format!("{}:{}", server.host(), server.port())
}

fn identity(settings: &Settings) -> &'static str {
    if settings.sveltos_nats.is_some() {
        "the login of SVELTOS_NATS"
    } else if settings.nats_creds.is_some() {
        "the credentials of NATS_CREDS"
    } else if settings.nats_token.is_some() {
        "NATS_TOKEN"
    } else if settings.nats_user.is_some() {
        "NATS_USER with NATS_PASSWORD"
    } else {
        "a client without credentials: set NATS_USER and NATS_PASSWORD, NATS_TOKEN, NATS_CREDS, or NATS_CERT and NATS_KEY"
    }
}

/// A set value: an empty one is unset.
fn text(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

/// The path of a file that is there.
fn file<'a>(variable: &str, path: Option<&'a Path>) -> Result<Option<&'a Path>> {
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else { return Ok(None) };
    match std::fs::File::open(path) {
        Ok(_) => Ok(Some(path)),
        Err(error) => {
            Err(Error::Configuration(format!("{variable}: {} cannot be read: {error}", path.display())))
        }
    }
}
