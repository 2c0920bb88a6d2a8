//! The bus on the command line, also for commands that use it beside a running dispatcher.

use std::path::PathBuf;
use std::time::Duration;

use bus::{Access, Bus, Secret, Settings};
use shared::error::{Error, Result};

use super::number::{seconds, whole};

/// Which bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum BusName {
    /// NATS JetStream.
    #[value(name = "jetstream")]
    JetStream,
    /// A queue in an SQLite file.
    Embedded,
}

/// The bus's part of the command line and the environment. An empty value is an unset one.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BusArguments {
    /// Where events come from
    #[arg(long, env = "DISPATCHER_BUS", value_enum, default_value = "jetstream", help_heading = "Bus")]
    bus: BusName,
    /// File of the embedded bus
    #[arg(long, env = "DISPATCHER_QUEUE", default_value = "dispatcher-queue.db", help_heading = "Bus")]
    queue: PathBuf,
    /// NATS servers, separated by commas
    #[arg(
        long,
        env = "NATS_SERVER",
        default_value = "nats://127.0.0.1:4222",
        hide_env_values = true,
        help_heading = "Bus"
    )]
    nats_server: Secret,
    /// JetStream stream; created when it is not there
    #[arg(long, env = "NATS_STREAM", default_value = "customer-onboarding", help_heading = "Bus")]
    nats_stream: String,
    /// NATS user
    #[arg(long, env = "NATS_USER", help_heading = "Bus")]
    nats_user: Option<String>,
    /// NATS password
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true, help_heading = "Bus")]
    nats_password: Option<Secret>,
    /// NATS token
    #[arg(long, env = "NATS_TOKEN", hide_env_values = true, help_heading = "Bus")]
    nats_token: Option<Secret>,
    /// NATS credentials file (user JWT and seed)
    #[arg(long, env = "NATS_CREDS", help_heading = "Bus")]
    nats_creds: Option<PathBuf>,
    /// Client certificate for NATS (PEM)
    #[arg(long, env = "NATS_CERT", help_heading = "Bus")]
    nats_cert: Option<PathBuf>,
    /// Key of the client certificate for NATS (PEM)
    #[arg(long, env = "NATS_KEY", help_heading = "Bus")]
    nats_key: Option<PathBuf>,
    /// Certificate authority of the NATS servers (PEM); implies TLS
    #[arg(long, env = "NATS_CA", help_heading = "Bus")]
    nats_ca: Option<PathBuf>,
    /// Whether the NATS servers begin with the TLS handshake: true, false
    #[arg(long, env = "NATS_TLS_FIRST", value_name = "BOOL", help_heading = "Bus")]
    nats_tls_first: Option<String>,
    /// JetStream domain
    #[arg(long, env = "NATS_JS_DOMAIN", value_name = "DOMAIN", help_heading = "Bus")]
    nats_js_domain: Option<String>,
    /// Prefix of the JetStream API in place of $JS.API
    #[arg(long, env = "NATS_JS_API_PREFIX", value_name = "PREFIX", help_heading = "Bus")]
    nats_js_api_prefix: Option<String>,
    /// The Secret sveltos-nats instead of these: its JSON, its manifest, or the folder where it is mounted
    #[arg(long, env = "SVELTOS_NATS", value_name = "FILE", help_heading = "Bus")]
    sveltos_nats: Option<PathBuf>,
    /// Add subjects of the manifests that no stream takes to a stream that the Secret sveltos-nats names
    #[arg(long, env = "NATS_ADD_SUBJECTS", help_heading = "Bus")]
    nats_add_subjects: bool,
    /// Seconds to wait for NATS at the start
    #[arg(long, env = "NATS_CONNECT_TIMEOUT", default_value = "60", value_parser = seconds(0.0), help_heading = "Bus")]
    nats_connect_timeout: Duration,
    /// Copies of the stream in a NATS cluster, when it is created
    #[arg(long, env = "NATS_REPLICAS", default_value = "1", value_parser = whole(1..=5_u8), help_heading = "Bus")]
    nats_replicas: u8,
    /// Seconds that the stream keeps messages, when it is created; 0 is for ever
    #[arg(long, env = "NATS_MAX_AGE", default_value = "0", value_parser = seconds(0.0), help_heading = "Bus")]
    nats_max_age: Duration,
    /// Seconds inside which a second message with the same id is dropped; at least 120
    #[arg(long, env = "BUS_DUPLICATE_WINDOW", default_value = "120", value_parser = seconds(0.0), help_heading = "Bus")]
    duplicate_window: Duration,
    /// Seconds after which a message comes again whose dispatcher gives no sign of life; the same for all dispatchers of a stream
    #[arg(long, env = "BUS_LEASE", default_value = "4", value_parser = seconds(0.1), help_heading = "Bus")]
    lease: Duration,
}

impl From<BusArguments> for Settings {
    fn from(given: BusArguments) -> Self {
        let mut settings = match given.bus {
            BusName::JetStream => Self::jetstream(given.nats_server.reveal()),
            BusName::Embedded => Self::embedded(&given.queue),
        };
        settings.nats_server = given.nats_server;
        settings.queue = given.queue;
        settings.nats_stream = given.nats_stream;
        settings.nats_user = given.nats_user;
        settings.nats_password = given.nats_password;
        settings.nats_token = given.nats_token;
        settings.nats_creds = given.nats_creds;
        settings.nats_cert = given.nats_cert;
        settings.nats_key = given.nats_key;
        settings.nats_ca = given.nats_ca;
        settings.nats_tls_first = given.nats_tls_first;
        settings.nats_js_domain = given.nats_js_domain;
        settings.nats_js_api_prefix = given.nats_js_api_prefix;
        settings.sveltos_nats = given.sveltos_nats;
        settings.nats_add_subjects = given.nats_add_subjects;
        settings.nats_connect_timeout = given.nats_connect_timeout;
        settings.nats_replicas = given.nats_replicas;
        settings.nats_max_age = given.nats_max_age;
        settings.duplicate_window = given.duplicate_window;
        settings.lease = given.lease;
        settings
    }
}

/// Opens the bus while another process, the dispatcher, consumes from it.
pub(super) async fn visit(arguments: &BusArguments) -> Result<Bus> {
    Bus::open(&arguments.clone().into(), Access::Visit).await.map_err(failed)
}

/// What a failure of the bus means for a command.
pub(super) fn failed(error: bus::Error) -> Error {
    match error {
        bus::Error::Unavailable(_) => Error::unavailable("the bus does not answer").because(error),
        bus::Error::Configuration(_) => Error::configuration("the bus cannot be used").because(error),
        bus::Error::Refused(_) => Error::input("the bus does not take it").because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_the_bus_can_never_take_is_bad_input() {
        for (error, code) in [
            (bus::Error::Refused("the message is too large".to_owned()), 65),
            (bus::Error::Configuration("no such user".to_owned()), 78),
            (bus::Error::Unavailable("nobody listens".to_owned()), 75),
        ] {
            let words = error.to_string();
            let error = failed(error);
            assert_eq!(error.class().exit_code(), code);
            assert!(error.to_string().ends_with(&words), "{error}");
        }
    }
}
