//! Which bus, and how to reach it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Which bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// NATS JetStream.
    #[default]
    #[value(name = "jetstream")]
    JetStream,
    /// A queue in an SQLite file.
    Embedded,
}

/// The bus's part of the command line and the environment. An empty value is an unset one.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Where events come from
    #[arg(long, env = "DISPATCHER_BUS", value_enum, default_value = "jetstream", help_heading = "Bus")]
    pub bus: Kind,
    /// File of the embedded bus
    #[arg(long, env = "DISPATCHER_QUEUE", default_value = "dispatcher-queue.db", help_heading = "Bus")]
    pub queue: PathBuf,
    /// NATS servers, separated by commas
    #[arg(
        long,
        env = "NATS_SERVER",
        default_value = "nats://127.0.0.1:4222",
        hide_env_values = true,
        help_heading = "Bus"
    )]
    pub nats_server: Secret,
    /// JetStream stream; created when it is not there
    #[arg(long, env = "NATS_STREAM", default_value = "customer-onboarding", help_heading = "Bus")]
    pub nats_stream: String,
    /// NATS user
    #[arg(long, env = "NATS_USER", help_heading = "Bus")]
    pub nats_user: Option<String>,
    /// NATS password
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true, help_heading = "Bus")]
    pub nats_password: Option<Secret>,
    /// NATS token
    #[arg(long, env = "NATS_TOKEN", hide_env_values = true, help_heading = "Bus")]
    pub nats_token: Option<Secret>,
    /// NATS credentials file (user JWT and seed)
    #[arg(long, env = "NATS_CREDS", help_heading = "Bus")]
    pub nats_creds: Option<PathBuf>,
    /// Client certificate for NATS (PEM)
    #[arg(long, env = "NATS_CERT", help_heading = "Bus")]
    pub nats_cert: Option<PathBuf>,
    /// Key of the client certificate for NATS (PEM)
    #[arg(long, env = "NATS_KEY", help_heading = "Bus")]
    pub nats_key: Option<PathBuf>,
    /// Certificate authority of the NATS servers (PEM); implies TLS
    #[arg(long, env = "NATS_CA", help_heading = "Bus")]
    pub nats_ca: Option<PathBuf>,
    /// The Secret sveltos-nats instead of these: its JSON, its manifest, or the folder where it is mounted
    #[arg(long, env = "SVELTOS_NATS", value_name = "FILE", help_heading = "Bus")]
    pub sveltos_nats: Option<PathBuf>,
    /// Seconds to wait for NATS at the start
    #[arg(long, env = "NATS_CONNECT_TIMEOUT", default_value = "60", value_parser = seconds, help_heading = "Bus")]
    pub nats_connect_timeout: Duration,
    /// Copies of the stream in a NATS cluster, when it is created
    #[arg(long, env = "NATS_REPLICAS", default_value = "1", help_heading = "Bus")]
    pub nats_replicas: u8,
    /// Seconds that the stream keeps messages, when it is created; 0 is for ever
    #[arg(long, env = "NATS_MAX_AGE", default_value = "0", value_parser = seconds, help_heading = "Bus")]
    pub nats_max_age: Duration,
    /// Seconds inside which a second message with the same id is dropped; at least 120
    #[arg(long, env = "BUS_DUPLICATE_WINDOW", default_value = "120", value_parser = seconds, help_heading = "Bus")]
    pub duplicate_window: Duration,
    /// Seconds after which an unanswered message comes again
    #[arg(long, env = "BUS_LEASE", default_value = "30", value_parser = seconds, help_heading = "Bus")]
    pub lease: Duration,
    /// How long a fetch waits for the first message.
    #[arg(skip = super::HEARTBEAT)]
    pub heartbeat: Duration,
    /// Certificates that are in no file of their own.
    #[arg(skip)]
    pub(super) pem: Pem,
    /// Subjects that the stream keeps beside those of the manifests.
    #[arg(skip)]
    pub(super) subjects: Vec<String>,
}

/// Certificates in PEM.
#[derive(Clone, Debug, Default)]
pub(super) struct Pem {
    /// Who signs the servers' certificates.
    pub(super) authority: Option<Secret>,
    /// Our own certificate and its key.
    pub(super) certificate: Option<(Secret, Secret)>,
}

impl Settings {
    /// The embedded bus in this file, everything else as it is by default.
    pub fn embedded(queue: impl Into<PathBuf>) -> Self {
        Self { bus: Kind::Embedded, queue: queue.into(), ..Self::default() }
    }

    /// `JetStream` at this address, everything else as it is by default.
    pub fn jetstream(server: impl Into<String>) -> Self {
        Self { bus: Kind::JetStream, nats_server: Secret(server.into()), ..Self::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bus: Kind::JetStream,
            queue: PathBuf::from("dispatcher-queue.db"),
            nats_server: Secret("nats://127.0.0.1:4222".to_owned()),
            nats_stream: "customer-onboarding".to_owned(),
            nats_user: None,
            nats_password: None,
            nats_token: None,
            nats_creds: None,
            nats_cert: None,
            nats_key: None,
            nats_ca: None,
            sveltos_nats: None,
            nats_connect_timeout: Duration::from_mins(1),
            nats_replicas: 1,
            nats_max_age: Duration::ZERO,
            duplicate_window: Duration::from_mins(2),
            lease: super::LEASE,
            heartbeat: super::HEARTBEAT,
            pem: Pem::default(),
            subjects: Vec::new(),
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Secret(pub(super) String);

impl Secret {
    /// The secret itself, for the one place that hands it to the server.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.trim().parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "not a number of seconds".to_owned())
}
