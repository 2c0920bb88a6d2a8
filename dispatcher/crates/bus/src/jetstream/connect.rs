//! Reaching the servers: credentials, TLS, waiting at the start, reconnecting for ever.

use std::time::{Duration, Instant};

use async_nats::{ConnectOptions, Event};
use shared::nats::Violations;
use shared::pauses::Pauses;

use super::api::Api;
use crate::settings::{Pem, Secret};
use crate::{Error, Result, Settings};

/// Longest pause between two attempts.
const PAUSE: Duration = Duration::from_secs(2);

/// Connects, and waits for a server that does not answer yet. Fails at once if waiting cannot help.
pub(super) async fn connect(settings: &Settings) -> Result<Api> {
    let nats = settings.nats()?;
    let (servers, address, prefix) = (nats.servers()?, nats.shown()?, nats.api_prefix()?);
    let elsewhere = nats.other_jetstream();
    let start = Instant::now();
    let mut pauses = Pauses::new(Duration::from_millis(100), PAUSE);
    loop {
        let violations = Violations::default();
        let problem = match options(settings, &nats, &violations)?.connect(servers.clone()).await {
            Ok(client) => {
                let api = Api { client, address, prefix, elsewhere, violations };
                return answers(&api, start, settings.nats_connect_timeout).await.map(|()| api);
            }
            Err(error) => nats.connect_error(error),
        };
        if !problem.class().retry() {
            let place = if settings.sveltos_nats.is_some() { "SVELTOS_NATS: " } else { "" };
            return Err(Error::Configuration(format!("{place}{problem}")));
        }
        let waited = start.elapsed();
        if waited + pauses.peek() > settings.nats_connect_timeout {
            let seconds = waited.as_secs();
            return Err(Error::Unavailable(format!("no answer for {seconds} s: {problem}")));
        }
        tracing::warn!(nats.server = %address, waited_ms = waited.as_millis(), "waiting for NATS: {problem}");
        tokio::time::sleep(pauses.take()).await;
    }
}

/// A server that has just started accepts connections before its `JetStream` is ready.
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

fn options(
    settings: &Settings,
    nats: &shared::nats::Settings,
    violations: &Violations,
) -> Result<ConnectOptions> {
    let Pem { authority, certificate } = &settings.pem;
    let options = if authority.is_some() || certificate.is_some() {
        let pair = certificate.as_ref().map(|(certificate, key)| (certificate.reveal(), key.reveal()));
        let tls = shared::tls::client_config_of(authority.as_ref().map(Secret::reveal), pair)
            .map_err(|error| Error::Configuration(format!("SVELTOS_NATS: {error}")))?;
        nats.options_over(tls, true)?
    } else {
        nats.options()?
    };
    let violations = violations.clone();
    Ok(options
        .name("dispatcher")
        .max_reconnects(None)
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|attempts| {
            let doubled = 50_u64.saturating_mul(1 << attempts.min(10));
            if attempts <= 1 { Duration::ZERO } else { Duration::from_millis(doubled).min(PAUSE) }
        })
        .event_callback(move |event| {
            violations.note(&event);
            match event {
                Event::Disconnected => tracing::warn!("the connection to NATS is lost; reconnecting"),
                Event::Connected => tracing::info!("connected to NATS"),
                other => tracing::warn!("NATS: {other}"),
            }
            std::future::ready(())
        }))
}
