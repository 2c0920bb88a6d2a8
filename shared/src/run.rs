//! The run of a worker, the same for every step: validate, connect, claim, perform effects, record, publish, report.
//!
//! Reads `STEP_TIMEOUT_SECONDS` (of the step) and `STOP_GRACE_SECONDS` (10, but the answer to an effect is awaited).

use std::future::Future;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bus::{Destination, Publisher, subject};
use crate::config::{Described, Environment, Redaction, Variables};
use crate::database::{Claim, Connection, Entry, Receipts, Settings};
use crate::effect::Effect;
use crate::error::{Class, Error, Result};
use crate::event::{Announcement, Cause, Kind, Outgoing};
use crate::pauses::Pauses;
use crate::telemetry::{Outcome, Report, publish_line};
use crate::{tls, variables};

/// The specific part of one worker.
#[expect(async_fn_in_trait, reason = "every step runs on one thread")]
pub trait Step: Sized {
    /// The name of folder, binary and image; the table of events says which step emits what.
    const NAME: &'static str = match Self::EMITS.step() {
        Some(name) => name,
        None => panic!("no step emits this event"),
    };
    /// What it does, in one sentence.
    const ABOUT: &'static str;
    /// The event whose Job runs it.
    const TRIGGER: Kind;
    /// The event that follows.
    const EMITS: Kind;
    /// How long it may take, unless `STEP_TIMEOUT_SECONDS` says otherwise. The Job's own deadline leaves room for all
    /// its tries.
    const TIMEOUT_SECONDS: u32 = 60;

    /// The variables that it reads.
    type Input: Variables;

    /// Checks all input and settings, and changes nothing.
    fn read(input: Self::Input, environment: &Environment, cause: &Cause) -> Result<Self>;

    /// The customer.
    fn customer(&self) -> Uuid;

    /// What the causing event is about, if it is not the customer.
    fn subject(&self) -> Uuid {
        self.customer()
    }

    /// The effects outside of the database. None of them waits for another.
    fn effects(&self) -> Vec<Effect<'_>> {
        Vec::new()
    }

    /// Writes the rows, and returns the following events, in the transaction that also enters the event in the
    /// ledger.
    async fn record(&self, database: &mut Connection, receipts: &Receipts, report: &mut Report) -> Announced;
}

variables! {
    struct Limits {
        settings {
            timeout: Option<NonZeroU32> = "STEP_TIMEOUT_SECONDS", "seconds until it gives up, instead of those below";
            grace: Option<u32> = "STOP_GRACE_SECONDS", "seconds to finish after SIGTERM (10; an effect: until it gives up)";
        }
    }
}

const GRACE_SECONDS: u32 = 10;

/// The result of a step's `record`: the following events.
pub type Announced = Result<Vec<Announcement>>;

/// Defines the whole program of a step as the function `main` of its library, so that the demo can contain it too.
#[macro_export]
macro_rules! worker {
    ($step:ty) => {
        /// The whole program.
        pub fn main() -> std::process::ExitCode {
            $crate::run::<$step>()
        }
    };
}

/// The `main` of a worker.
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
    let end = end.map_err(|error| without_secrets::<S>(&error));
    publish_line(&report.line(end.as_ref().map(|outcome| *outcome)));
    end.map_or_else(|error| ExitCode::from(&error), |_| ExitCode::SUCCESS)
}

/// The error without secrets, because a server may repeat what we sent.
fn without_secrets<S: Step>(error: &Error) -> Error {
    let names = [S::Input::secrets(), Settings::secrets(), Destination::secrets()].concat();
    let redaction = Environment::from_process().map(|it| Redaction::new(&it, &names)).unwrap_or_default();
    Error::of(error.class(), redaction.apply(&error.to_string()))
}

/// Ends the step at its deadline, or after a stop signal when its grace time is over.
async fn limited<S: Step>(report: &mut Report) -> Result<Outcome> {
    let environment = Environment::from_process()?;
    let limits = Limits::read(&environment)?;
    let timeout = limits.timeout.map_or(S::TIMEOUT_SECONDS, NonZeroU32::get);
    let grace = Duration::from_secs(limits.grace.unwrap_or(GRACE_SECONDS).into());
    let (acts, mut acting) = watch::channel(false);
    let deadline = Instant::now() + Duration::from_secs(timeout.into());
    let (stop, stopped) = watch::channel(false);
    let cannot = |error: std::io::Error| Error::unavailable("cannot listen for signals").because(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let grace_is_over = async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stop.send_replace(true);
        if limits.grace.is_none() {
            // What is left between an effect and its entry would be repeated.
            drop(acting.wait_for(|acting| !*acting).await);
        }
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        end = attempt::<S>(&environment, stopped, &acts, deadline, report) => end,
        () = grace_is_over => Err(Error::stopped("stopped: the grace time is over")),
        () = tokio::time::sleep_until(deadline) => {
            Err(Error::unavailable(format!("not done within STEP_TIMEOUT_SECONDS ({timeout})")))
        }
    }
}

async fn attempt<S: Step>(
    environment: &Environment,
    mut stopped: watch::Receiver<bool>,
    acts: &watch::Sender<bool>,
    deadline: Instant,
    report: &mut Report,
) -> Result<Outcome> {
    let names: Vec<_> = S::Input::job().into_iter().map(|(name, _)| name).collect();
    let cause = Cause::read(environment, S::NAME, &names)?;
    report.set("event", cause.report());
    let step = S::read(S::Input::read(environment)?, environment, &cause)?;
    report.set("customer_id", step.customer().to_string());
    let nats_subject = subject(environment, S::TRIGGER, S::EMITS)?;
    let database = Settings::read(environment)?;
    let destination = Destination::read(environment)?;
    report.phase("validate");

    let bus = Joining::Underway(tokio::spawn(destination.connect(S::NAME)));
    let mut work = Work {
        step: &step,
        cause: &cause,
        nats_subject,
        database,
        bus,
        stopped: stopped.clone(),
        acts,
        report,
    };
    let (events, outcome) = work.until_recorded(deadline).await?;
    let Work { mut bus, report, .. } = work;
    let publisher = unless(&mut stopped, bus.join()).await?;
    unless(&mut stopped, publisher.publish(&events)).await?;
    report.phase("publish");
    report.emitted(&events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>());
    Ok(outcome)
}

/// Waits for something that has no effect yet, or can be repeated. A stop signal ends the wait.
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

/// Claims, performs and records one event.
struct Work<'a, S> {
    step: &'a S,
    cause: &'a Cause,
    nats_subject: String,
    database: Settings,
    bus: Joining,
    stopped: watch::Receiver<bool>,
    /// Whether an effect waits for its answer or its entry.
    acts: &'a watch::Sender<bool>,
    report: &'a mut Report,
}

/// The pauses between attempts to record effects that have succeeded.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The result of one attempt.
enum Try {
    /// The record is committed; these events follow.
    Recorded(Vec<Outgoing>, Outcome),
    /// An effect failed, and those that succeeded are entered.
    Failed(Error),
}

impl<S: Step> Work<'_, S> {
    /// Works until the event is recorded. An effect that has succeeded must not be repeated. While only this process
    /// knows of it, a failing database is tried again until the deadline.
    async fn until_recorded(&mut self, deadline: Instant) -> Result<(Vec<Outgoing>, Outcome)> {
        let mut receipts = Receipts::none();
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let error = match self.once(&mut receipts).await {
                Ok(Try::Recorded(events, outcome)) => return Ok((events, outcome)),
                Ok(Try::Failed(error)) => return Err(error),
                Err(error) => error,
            };
            let may_pass =
                matches!(error.class(), Class::Unavailable | Class::Configuration | Class::Credentials);
            if receipts.is_empty() || !may_pass {
                return Err(error);
            }
            if Instant::now() + pauses.peek() >= deadline {
                let late = "the effect has succeeded, and the database did not take its record within STEP_TIMEOUT_SECONDS";
                return Err(Error::unavailable(late).because(error));
            }
            tokio::time::sleep(pauses.take()).await;
        }
    }

    /// One attempt; `receipts` are those of effects that have succeeded in this process.
    async fn once(&mut self, receipts: &mut Receipts) -> Result<Try> {
        let (step, cause) = (self.step, self.cause);
        let entry =
            Entry { step: S::NAME, event_id: &cause.id, subject: step.subject(), customer: step.customer() };
        let effects = step.effects();
        let (mut database, claim) = self.claim(&entry, !effects.is_empty(), !receipts.is_empty()).await?;
        let mut done = match claim {
            Claim::Handled(events) => return Ok(Try::Recorded(events, Outcome::Repeated)),
            Claim::New(done) => done,
        };
        let mut failed: Option<Error> = None;
        for effect in effects.iter().filter(|effect| !done.has(effect.name)).collect::<Vec<_>>() {
            if !receipts.has(effect.name) {
                if *self.stopped.borrow() {
                    return Err(Error::stopped("stopped by a signal between two effects"));
                }
                self.acts.send_replace(true);
                match effect.perform().await {
                    Ok(id) => receipts.add(effect.name, id),
                    // A failure that may pass decides, because the other effects can wait for the next attempt.
                    Err(error) => {
                        self.acts.send_replace(false);
                        failed = Some(failed.filter(|other| other.class().retry()).unwrap_or(error));
                        continue;
                    }
                }
            }
            self.report.phase("act");
            let id = receipts.id(effect.name);
            if let Claim::Handled(events) = database.enter_effect(&entry, effect.name, id).await? {
                return Ok(Try::Recorded(events, Outcome::Repeated));
            }
            self.acts.send_replace(false);
            done.add(effect.name, id.map(str::to_owned));
        }
        if let Some(error) = failed {
            return Ok(Try::Failed(error));
        }
        if let Claim::Handled(events) = database.begin_record(&entry).await? {
            return Ok(Try::Recorded(events, Outcome::Repeated));
        }
        let next = step.record(&mut database, &done, self.report).await?;
        let follow = |next| cause.follow(S::NAME, S::EMITS, &self.nats_subject, next);
        let events = next.iter().map(follow).collect::<Result<Vec<Outgoing>>>()?;
        self.bus.join().await?;
        database.store_and_commit(&entry, &events).await?;
        self.report.phase("record");
        Ok(Try::Recorded(events, Outcome::Done))
    }

    /// Connects and claims. A stop signal ends the wait, unless effects have succeeded and must be entered.
    async fn claim(&mut self, entry: &Entry<'_>, acts: bool, acted: bool) -> Result<(Connection, Claim)> {
        let (report, settings, bus) = (&mut *self.report, &self.database, &mut self.bus);
        let claiming = async {
            let mut connection = settings.connect().await?;
            report.phase("connect");
            let claim = connection.claim(entry, acts).await?;
            report.phase("claim");
            // A bus that is away must be noticed before an effect that cannot be undone.
            if acts {
                bus.join().await?;
            }
            Ok((connection, claim))
        };
        if acted { claiming.await } else { unless(&mut self.stopped, claiming).await }
    }
}

/// A connection to the bus that is made while the database works.
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

/// A panic is a bug of ours. It ends with a result line and 70, even as PID 1, where a process cannot abort.
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
    let mut table = |title: &str, rows: &[Described]| {
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
    table("The Job's variables", &S::Input::job());
    table("The event that caused it", &Cause::variables());
    table("Settings", &S::Input::settings());
    table("Database and bus", &[Settings::variables(), Destination::variables()].concat());
    table("Limits and places", &[Limits::settings(), PLACES.to_vec()].concat());
    text.extend(["\nIt gives up after ", &S::TIMEOUT_SECONDS.to_string(), " seconds.\n"]);
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
            // The argument may be a secret in the wrong place.
            drop(write!(std::io::stderr(), "unknown argument\n\n{text}"));
            ExitCode::from(&Error::configuration("unknown argument"))
        }
    }
}

const NAME_WIDTH: usize = 26;

const PLACES: &[Described] = &[
    ("CONFIG_DIR", "a mounted Secret, one file per key (/etc/knapscen-config)"),
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
