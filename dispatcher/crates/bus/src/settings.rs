//! The settings of the bus: which one, and how to reach it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use shared::config::{Environment, Variables};

/// Which bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// NATS JetStream.
    #[default]
    JetStream,
    /// A queue in an SQLite file.
    Embedded,
}

/// All settings of a bus.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where events come from
    pub bus: Kind,
    /// File of the embedded bus
    pub queue: PathBuf,
    /// NATS servers, separated by commas
    pub nats_server: Secret,
    /// JetStream stream; created when it is not there
    pub nats_stream: String,
    /// NATS user
    pub nats_user: Option<String>,
    /// NATS password
    pub nats_password: Option<Secret>,
    /// NATS token
    pub nats_token: Option<Secret>,
    /// NATS credentials file (user JWT and seed)
    pub nats_creds: Option<PathBuf>,
    /// Client certificate for NATS (PEM)
    pub nats_cert: Option<PathBuf>,
    /// Key of the client certificate for NATS (PEM)
    pub nats_key: Option<PathBuf>,
    /// Certificate authority of the NATS servers (PEM); implies TLS
    pub nats_ca: Option<PathBuf>,
    /// Whether the NATS servers begin with the TLS handshake: true, false
    pub nats_tls_first: Option<String>,
    /// JetStream domain
    pub nats_js_domain: Option<String>,
    /// Prefix of the JetStream API in place of $JS.API
    pub nats_js_api_prefix: Option<String>,
    /// The Secret sveltos-nats instead of these: its JSON, its manifest, or the folder where it is mounted
    pub sveltos_nats: Option<PathBuf>,
    /// Add subjects that no stream takes to a stream that the Secret sveltos-nats names
    pub nats_add_subjects: bool,
    /// Seconds to wait for NATS at the start
    pub nats_connect_timeout: Duration,
    /// Copies of the stream in a NATS cluster, when it is created
    pub nats_replicas: u8,
    /// Seconds that the stream keeps messages, when it is created; 0 is for ever
    pub nats_max_age: Duration,
    /// Seconds inside which a second message with the same id is dropped; at least 120
    pub duplicate_window: Duration,
    /// Seconds after which a message comes again whose dispatcher gives no sign of life; the same for all dispatchers of a stream
    pub lease: Duration,
    /// How long a fetch waits for the first message.
    pub heartbeat: Duration,
    /// Certificates that are given as text and not as a file.
    pub(super) pem: Pem,
    /// Subjects that are needed in addition to those of the manifests.
    pub(super) subjects: Vec<String>,
    /// The streams that the Secret `sveltos-nats` names; they belong to somebody else. `NATS_STREAM` is one of them.
    pub(super) named: Vec<Named>,
}

/// A stream that the Secret `sveltos-nats` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Its name.
    pub(super) name: String,
    /// The subjects that the Secret lists for it; empty if the Secret lists only names.
    pub(super) subjects: Vec<String>,
}

/// Certificates in PEM.
#[derive(Clone, Debug, Default)]
pub(super) struct Pem {
    /// The authorities that sign the servers' certificates.
    pub(super) authority: Option<Secret>,
    /// Our own certificate and its key.
    pub(super) certificate: Option<(Secret, Secret)>,
}

impl Settings {
    /// The embedded bus in this file, with defaults for everything else.
    pub fn embedded(queue: impl Into<PathBuf>) -> Self {
        Self { bus: Kind::Embedded, queue: queue.into(), ..Self::default() }
    }

    /// `JetStream` at this address, with defaults for everything else.
    pub fn jetstream(server: impl Into<String>) -> Self {
        Self { bus: Kind::JetStream, nats_server: Secret(server.into()), ..Self::default() }
    }
}

impl Settings {
    /// The settings that workers and dispatcher share: servers, login, TLS and stream.
    pub(super) fn nats(&self) -> super::Result<shared::nats::Settings> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
        let pairs = [
            ("NATS_SERVER", Some(self.nats_server.reveal().to_owned())),
            ("NATS_STREAM", Some(self.nats_stream.clone())),
            ("NATS_USER", self.nats_user.clone()),
            ("NATS_PASSWORD", secret(&self.nats_password)),
            ("NATS_TOKEN", secret(&self.nats_token)),
            ("NATS_CREDS", path(&self.nats_creds)),
            ("NATS_CERT", path(&self.nats_cert)),
            ("NATS_KEY", path(&self.nats_key)),
            ("NATS_CA", path(&self.nats_ca)),
            ("NATS_TLS_FIRST", self.nats_tls_first.clone()),
            ("NATS_JS_DOMAIN", self.nats_js_domain.clone()),
            ("NATS_JS_API_PREFIX", self.nats_js_api_prefix.clone()),
        ];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let settings = shared::nats::Settings::read(&Environment::from_pairs(pairs))?;
        settings.check()?;
        Ok(settings)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bus: Kind::JetStream,
            queue: PathBuf::from("dispatcher-queue.db"),
            nats_server: Secret("nats://127.0.0.1:4222".to_owned()),
            nats_stream: shared::nats::DEFAULT_STREAM.to_owned(),
            nats_user: None,
            nats_password: None,
            nats_token: None,
            nats_creds: None,
            nats_cert: None,
            nats_key: None,
            nats_ca: None,
            nats_tls_first: None,
            nats_js_domain: None,
            nats_js_api_prefix: None,
            sveltos_nats: None,
            nats_add_subjects: false,
            nats_connect_timeout: Duration::from_mins(1),
            nats_replicas: 1,
            nats_max_age: Duration::ZERO,
            duplicate_window: Duration::from_mins(2),
            lease: super::LEASE,
            heartbeat: super::HEARTBEAT,
            pem: Pem::default(),
            subjects: Vec::new(),
            named: Vec::new(),
        }
    }
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Secret(pub(super) String);

impl Secret {
    /// The secret itself, only for the code that passes it to the server.
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
