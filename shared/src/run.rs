//! The run of a worker, the same for every step: validate, connect, claim, act, record, publish, tell.
//!
//! Reads `STEP_TIMEOUT_SECONDS` (60) and `STOP_GRACE_SECONDS` (10).

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::bus::{Destination, Publisher, subject};
use crate::config::Environment;
use crate::database::{Claim, Connection, Entry, Settings};
use crate::error::{Error, Result};
use crate::event::{Announcement, Cause, Kind, Outgoing};
use crate::telemetry::{Outcome, Report, publish_line};
use crate::tls;

/// What one worker does.
#[expect(async_fn_in_trait, reason = "every step runs on one thread")]
pub trait Step: Sized {
    /// The name of folder, binary and image.
    const NAME: &'static str;
    /// What it does, in one sentence.
    const ABOUT: &'static str;
    /// The event whose Job runs it.
    const TRIGGER: Kind;
    /// The event that follows.
    const EMITS: Kind;
    /// The Job's variables, each with what it holds.
    const VARIABLES: &'static [(&'static str, &'static str)];
    /// Other variables it reads, beside those of database and bus.
    const SETTINGS: &'static [(&'static str, &'static str)] = &[];
    /// Whether [`Self::act`] has an effect outside of the database.
    const ACTS: bool = false;

    /// What the outside world answered.
    type Receipt: Default;

    /// Reads and checks all input and settings; touches nothing.
    fn read(environment: &Environment, cause: &Cause) -> Result<Self>;

    /// The customer.
    fn customer(&self) -> Uuid;

    /// What the causing event is about, where that is not the customer.
    fn subject(&self) -> Uuid {
        self.customer()
    }

    /// The effect outside of the database. It carries a key of its own, so that a repeat after a crash is recognised.
    async fn act(&self, _report: &mut Report) -> Result<Self::Receipt> {
        Ok(Self::Receipt::default())
    }

    /// The rows, and what follows, in the transaction that also enters the event in the ledger.
    async fn record(
        &self,
        database: &mut Connection,
        receipt: Self::Receipt,
        report: &mut Report,
    ) -> Result<Vec<Announcement>>;
}

#[derive(Deserialize)]
struct Limits {
    #[serde(default = "default_timeout")]
    step_timeout_seconds: u64,
    #[serde(default = "default_grace")]
    stop_grace_seconds: u64,
}

const fn default_timeout() -> u64 {
    60
}

const fn default_grace() -> u64 {
    10
}

/// The whole of a worker's `main`.
pub fn run<S: Step>() -> ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        return usage::<S>(&argument);
    }
    end_panics_with_a_result_line::<S>();
    tls::install_provider();
    let mut report = Report::start(S::NAME);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let end = match runtime {
        Ok(runtime) => runtime.block_on(limited::<S>(&mut report)),
        Err(error) => Err(Error::unavailable("cannot start the runtime").because(error)),
    };
    publish_line(&report.line(end.as_ref().map(|outcome| *outcome)));
    end.map_or_else(|error| ExitCode::from(&error), |_| ExitCode::SUCCESS)
}

/// Ends the step at its deadline, and after a stop signal when its grace time is over.
async fn limited<S: Step>(report: &mut Report) -> Result<Outcome> {
    let environment = Environment::from_process()?;
    let limits: Limits = environment.read()?;
    let (stop, stopped) = watch::channel(false);
    let cannot = |error: std::io::Error| Error::unavailable("cannot listen for signals").because(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let grace_is_over = async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stop.send_replace(true);
        tokio::time::sleep(Duration::from_secs(limits.stop_grace_seconds)).await;
    };
    let deadline = tokio::time::sleep(Duration::from_secs(limits.step_timeout_seconds));
    tokio::select! {
        biased;
        end = attempt::<S>(&environment, stopped, report) => end,
        () = grace_is_over => Err(Error::stopped("stopped: the grace time ended within an effect")),
        () = deadline => Err(Error::unavailable(format!(
            "not done within STEP_TIMEOUT_SECONDS ({})", limits.step_timeout_seconds
        ))),
    }
}

async fn attempt<S: Step>(
    environment: &Environment,
    mut stopped: watch::Receiver<bool>,
    report: &mut Report,
) -> Result<Outcome> {
    let names: Vec<_> = S::VARIABLES.iter().map(|(name, _)| *name).collect();
    let cause = Cause::read(environment, S::NAME, &names)?;
    report.set("event", cause.report());
    let step = S::read(environment, &cause)?;
    report.set("customer_id", step.customer().to_string());
    let nats_subject = subject(environment, S::TRIGGER, S::EMITS)?;
    let database = Settings::read(environment)?;
    let destination = Destination::read(environment)?;
    report.phase("validate");

    let mut bus = Joining::Underway(tokio::spawn(destination.connect(S::NAME)));
    let entry =
        Entry { step: S::NAME, event_id: &cause.id, subject: step.subject(), customer: step.customer() };
    let (mut database, claim) = unless(&mut stopped, async {
        let mut connection = database.connect().await?;
        report.phase("connect");
        let claim = connection.claim(&entry).await?;
        report.phase("claim");
        // A broker that is away must be seen before an effect that cannot be taken back.
        if S::ACTS {
            bus.join().await?;
        }
        Ok((connection, claim))
    })
    .await?;

    let (events, outcome) = match claim {
        Claim::Handled(events) => (events, Outcome::Repeated),
        Claim::New => {
            let receipt = step.act(report).await?;
            report.phase("act");
            match database.begin_record(&entry).await? {
                Claim::Handled(events) => (events, Outcome::Repeated),
                Claim::New => {
                    let next = step.record(&mut database, receipt, report).await?;
                    let events = next
                        .iter()
                        .map(|next| cause.follow(S::NAME, S::EMITS, &nats_subject, next))
                        .collect::<Result<Vec<Outgoing>>>()?;
                    bus.join().await?;
                    database.store_and_commit(&entry, &events).await?;
                    report.phase("record");
                    (events, Outcome::Done)
                }
            }
        }
    };
    let publisher = unless(&mut stopped, bus.join()).await?;
    unless(&mut stopped, publisher.publish(&events)).await?;
    report.phase("publish");
    report.emitted(&events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>());
    Ok(outcome)
}

/// Waits for something that has no effect yet, or can be repeated; a stop signal ends the waiting.
async fn unless<T>(
    stopped: &mut watch::Receiver<bool>,
    waiting: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        result = waiting => result,
        _ = stopped.wait_for(|stopped| *stopped) => Err(Error::stopped("stopped by a signal")),
    }
}

/// A connection to the bus that is being made beside the work on the database.
enum Joining {
    Underway(JoinHandle<Result<Publisher>>),
    Ready(Box<Publisher>),
}

impl Joining {
    async fn join(&mut self) -> Result<&Publisher> {
        if let Self::Underway(task) = self {
            let publisher =
                task.await.map_err(|error| Error::bug("connecting to the bus panicked").because(error))??;
            *self = Self::Ready(Box::new(publisher));
        }
        match self {
            Self::Ready(publisher) => Ok(publisher),
            Self::Underway(_) => Err(Error::bug("the bus is not connected")),
        }
    }
}

/// A panic is a bug of ours: it ends with a result line and 70, also where the process is PID 1 and cannot abort.
fn end_panics_with_a_result_line<S: Step>() {
    std::panic::set_hook(Box::new(|panic| {
        let error = Error::bug(format!("panic: {panic}"));
        publish_line(&Report::start(S::NAME).line(Err(&error)));
        std::process::exit(error.class().exit_code().into());
    }));
}

fn usage<S: Step>(argument: &str) -> ExitCode {
    use std::io::Write;
    let mut text =
        format!("{}: {}\n\nTakes no arguments: a Job's variables say what to do.\n", S::NAME, S::ABOUT);
    let mut table = |title: &str, rows: &[(&str, &str)]| {
        if rows.is_empty() {
            return;
        }
        text.push('\n');
        text.push_str(title);
        text.push_str(":\n");
        for (name, what) in rows {
            text.extend(["  ", name, &" ".repeat(NAME_WIDTH.saturating_sub(name.len())), "  ", what, "\n"]);
        }
    };
    table("The Job's variables", S::VARIABLES);
    table("The event that caused it", EVENT_VARIABLES);
    table("Settings", S::SETTINGS);
    table("Database, bus and limits", COMMON_SETTINGS);
    text.push_str(EXIT_CODES);
    match argument {
        "--help" | "-h" => {
            drop(write!(std::io::stdout(), "{text}"));
            ExitCode::SUCCESS
        }
        "--version" | "-V" => {
            drop(writeln!(std::io::stdout(), "{} {}", S::NAME, env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        _ => {
            drop(write!(std::io::stderr(), "unknown argument {argument:?}\n\n{text}"));
            ExitCode::from(&Error::configuration("unknown argument"))
        }
    }
}

const NAME_WIDTH: usize = 26;

const EVENT_VARIABLES: &[(&str, &str)] = &[
    ("EVENT_ID", "its id; derived from the input where it is missing"),
    ("EVENT_TIME", "its time, RFC 3339"),
    ("TRACEPARENT", "its trace, W3C Trace Context"),
    ("CORRELATION_ID", "id of the first event of the chain"),
    ("HOP_COUNT", "how many events came before it; 32 are a loop"),
];

const COMMON_SETTINGS: &[(&str, &str)] = &[
    ("CONFIG_DIR", "a mounted Secret, one file per key (/etc/knapscen-config)"),
    ("DATABASE_URL", "mysql://… or sqlite://…, or DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME"),
    ("DB_TLS, DB_CA", "disabled, preferred, required, verify-ca, verify-identity; a PEM file"),
    ("NATS_SERVER", "nats://host:4222, several separated by commas"),
    ("NATS_STREAM", "the stream (customer-onboarding)"),
    ("NATS_USER, NATS_PASSWORD", "or NATS_TOKEN, NATS_CREDS, NATS_CERT and NATS_KEY; NATS_CA"),
    ("NATS_SUBJECT", "publish to this subject instead of the event's own"),
    ("K_SINK, SINK_TOKEN", "publish by HTTP to this address instead of NATS"),
    ("STEP_TIMEOUT_SECONDS", "give up after (60)"),
    ("STOP_GRACE_SECONDS", "time to finish an effect after SIGTERM (10)"),
    ("TERMINATION_LOG", "where the result line goes (/dev/termination-log)"),
];

const EXIT_CODES: &str = "
Exit codes:
  0   done, and the next event is acknowledged
  65  the input can never work
  70  a bug
  75  try again later
  78  configuration is missing or wrong
";
