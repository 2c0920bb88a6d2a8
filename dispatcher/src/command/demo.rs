//! `dispatcher demo`: the whole flow on this machine with nothing installed. It has an embedded bus, SQLite, child
//! processes, mails as files, and a vendor, a webhook and a CRM that store what they receive.

mod programs;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use shared::config::Environment;
use shared::database::{self, Connection, Settings as DatabaseSettings};
use shared::error::{Error, Result};
use shared::event::{CONTENT_TYPE, steps, to_json};
use shared::private;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::number::{MOST, whole};
use super::run::MOST_RUNNING;
use super::service::{BackendChoice, Parts, Service};
use super::{bus_access, partner, print, publish, run};
use crate::engine::Settings;
use crate::flow::Step;
use crate::manifest_source::{Origin, rules};
use crate::metrics::JobOutcome;
use crate::plan::{Cluster, Policy};
use crate::server::Tokens;
use backend::process::{self, Absent, Images};
use backend::{Source, Sources};
use bus::{Message, Settings as BusSettings};
use history::{History, Keep};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// With more customers than this, only sums are shown.
const MOST_LISTED: usize = 20;

/// The whole flow on this machine with nothing installed
#[derive(clap::Args)]
#[command(after_help = "Example:\n  dispatcher demo --customers 20 --folder /tmp/onboarding")]
pub(super) struct Arguments {
    /// How many customers register
    #[arg(long, default_value = "5", value_parser = whole(1..=MOST))]
    customers: u64,
    /// Users of each
    #[arg(long, default_value = "3", value_parser = whole(1..=50_u64))]
    users: u64,
    /// Folder for everything [default: a new one below the temporary folder]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Folder with the manifests
    #[arg(long, default_value = "events")]
    events: PathBuf,
    /// Address of the page; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_parser = super::address::address)]
    listen: SocketAddr,
    /// Jobs that run at once, at most
    #[arg(long, value_parser = whole(NonZeroUsize::MIN..=MOST_RUNNING))]
    max_running: Option<NonZeroUsize>,
    /// Give up when nothing has happened for this many seconds
    #[arg(long, default_value = "120", value_parser = whole(0..=MOST))]
    patience: u64,
}

pub(super) async fn execute(arguments: Arguments, linked: &[&str]) -> Result<ExitCode> {
    // From now on Ctrl-C does not end this program at once, because Jobs may have to end first.
    let mut interrupted = Interrupted::listen()?;
    let beside = if linked.is_empty() { Some(programs::beside(&steps().collect::<Vec<_>>())?) } else { None };
    let folder = new_folder(arguments.folder.as_deref())?;
    let bin_dir = beside.map_or_else(|| programs::linked(linked, &folder.join("programs")), Ok)?;
    let partner = partner::start(SocketAddr::from(([127, 0, 0, 1], 0)), &folder).await?;
    let secret = folder.join("knapscen-config.env");
    // Only for this demo: everybody who sees its output may act as operator.
    let admin = shared::Uuid::new_v4().simple().to_string();
    let database = prepare_database(&folder, &secret, &format!("http://{partner}")).await?;
    let service = Service::start(Parts {
        origin: Origin::Folder(arguments.events.clone()),
        removal_after: rules::REMOVAL_AFTER,
        outbox: None,
        bus: BusSettings::embedded(folder.join("queue.db")),
        backend: BackendChoice::Process(process::Settings {
            images: Images { bin_dir, overrides: BTreeMap::new() },
            sources: Sources {
                secrets: BTreeMap::from([("knapscen-config".to_owned(), Source(secret))]),
                ..Sources::default()
            },
            state_dir: folder.join("jobs"),
            backoff: Duration::from_secs(1),
            absent: Absent::new(process::IMAGE_PATIENCE),
            sink: None,
            // Whoever ends the demo wants nothing of it to go on.
            leaves_jobs: false,
        }),
        engine: Settings {
            max_running: arguments.max_running.map_or_else(run::default_max_running, NonZeroUsize::get),
            max_attempts: 20,
            unmatched_after: Duration::from_mins(15),
            cluster: Cluster::default(),
            policy: Policy::default(),
        },
        listen: arguments.listen,
        tokens: Tokens { admin: Some(admin.clone().into()), ..Tokens::default() },
        history: History::in_database(&database, Keep::days(90)),
        traces: None,
    })
    .await?;
    print::line(format!("page       http://{}/", service.address));
    print::line(format!("log in     {admin}  (the admin token of this demo)"));
    print::line(format!("everything {}", folder.display()));
    let shown = show(&service, &database, &folder, &arguments, &mut interrupted).await;
    // Whatever went wrong, leave no Job running.
    service.stop(Duration::from_secs(5)).await;
    Ok(if shown? == arguments.customers { ExitCode::SUCCESS } else { ExitCode::from(75) })
}

/// Registers the customers and shows their progress. On a terminal it then waits until it is told to stop, so that
/// there is time to look at the page. Returns how many are onboarded.
async fn show(
    service: &Service,
    database: &DatabaseSettings,
    folder: &Path,
    arguments: &Arguments,
    interrupted: &mut Interrupted,
) -> Result<u64> {
    let began = Instant::now();
    register(service, arguments.customers, arguments.users).await?;
    let mut connection = database.connect().await?;
    let onboarded = follow(service, &mut connection, arguments, interrupted).await?;
    summary(service, &mut connection, folder, onboarded, began.elapsed()).await?;
    if std::io::stdout().is_terminal() && !interrupted.already {
        print::line(format!("\nThe page stays at http://{}/ until you press Ctrl-C.", service.address));
        interrupted.come().await;
    }
    Ok(onboarded)
}

/// Waits for Ctrl-C, or another request to end.
struct Interrupted {
    interrupt: Signal,
    terminate: Signal,
    already: bool,
}

impl Interrupted {
    fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::unavailable("cannot listen for signals").because(error))
        };
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, already: false })
    }

    async fn come(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {}, _ = self.terminate.recv() => {} }
        self.already = true;
    }
}

fn new_folder(wanted: Option<&Path>) -> Result<PathBuf> {
    let folder = wanted.map_or_else(
        || {
            std::env::temp_dir()
                .join(format!("onboarding-demo-{}", &shared::Uuid::new_v4().simple().to_string()[..8]))
        },
        Path::to_owned,
    );
    let cannot = |error: std::io::Error| {
        Error::configuration(format!("cannot use the folder {}", folder.display())).because(error)
    };
    private::folder(&folder).map_err(cannot)?;
    if std::fs::read_dir(&folder).map_err(cannot)?.next().is_some() {
        return Err(Error::configuration(format!("{} is not empty; name a new --folder", folder.display())));
    }
    folder.canonicalize().map_err(cannot)
}

/// Creates the Secret of the demo, and migrates the database that it names.
async fn prepare_database(folder: &Path, secret: &Path, partner: &str) -> Result<DatabaseSettings> {
    let url = format!("sqlite://{}", folder.join("onboarding.db").display());
    let lines = [
        format!("DATABASE_URL={url}"),
        format!("MAIL_DIR={}", folder.join("mails").display()),
        format!("MARKETING_WEBHOOK_URL={partner}/marketing"),
        "MARKETING_EMAIL=marketing@knapscen.disco".to_owned(),
        format!("SWAG_API_URL={partner}/orders"),
        format!("CRM_API_URL={partner}/crm"),
    ];
    private::write(secret, (lines.join("\n") + "\n").as_bytes())
        .map_err(|error| Error::configuration("cannot write the demo's configuration").because(error))?;
    let settings = DatabaseSettings::read(&Environment::from_pairs([("DATABASE_URL", url)]))?.creating()?;
    database::migrate(&mut settings.connect().await?).await?;
    Ok(settings)
}

async fn register(service: &Service, customers: u64, users: u64) -> Result<()> {
    for number in 0..customers {
        let event = publish::registration(number, users);
        let message = Message {
            subject: shared::event::Kind::CustomerRegistered.subject().to_owned(),
            id: Some(cloudevents::AttributesReader::id(&event).to_owned()),
            headers: vec![("Content-Type".to_owned(), CONTENT_TYPE.to_owned())],
            payload: to_json(&event)?.into(),
        };
        service.bus.publish(message).await.map_err(bus_access::failed)?;
    }
    Ok(())
}

/// Shows the progress until every customer is onboarded, or nothing happens any more.
async fn follow(
    service: &Service,
    connection: &mut Connection,
    arguments: &Arguments,
    interrupted: &mut Interrupted,
) -> Result<u64> {
    let total = arguments.customers;
    let bar = print::progress_with_table(total, "onboarded");
    let quiet = !std::io::stderr().is_terminal();
    let (mut onboarded, mut done, mut changed, mut told) = (0, 0, Instant::now(), Instant::now());
    loop {
        let row =
            connection.row("SELECT COUNT(*) FROM customers WHERE onboarded_at IS NOT NULL", &[]).await?;
        let now_onboarded = row.map_or(Ok(0), |row| row.integer(0))?.unsigned_abs();
        let now_done = jobs_done(service);
        if (now_onboarded, now_done) != (onboarded, done) {
            (onboarded, done, changed) = (now_onboarded, now_done, Instant::now());
        }
        bar.set_position(onboarded);
        bar.set_message(table(service));
        if quiet && (told.elapsed() > Duration::from_secs(5) || onboarded == total) {
            print::line(format!("{onboarded} of {total} onboarded, {done} Jobs done"));
            told = Instant::now();
        }
        // The last event of each customer is only published after its row was written.
        if onboarded == total && backlog(service).await == 0 {
            break;
        }
        if changed.elapsed() > Duration::from_secs(arguments.patience) {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = interrupted.come() => break,
        }
    }
    bar.finish_and_clear();
    Ok(onboarded)
}

/// One line for each step: what runs, what is done, what went wrong.
fn table(service: &Service) -> String {
    let mut table = format!("{:<20} {:>8} {:>8} {:>8} {:>8}", "STEP", "RUNNING", "DONE", "AGAIN", "FAILED");
    for step in service.flow.in_order() {
        let trigger = &step.trigger;
        let ended = |outcome| service.metrics.jobs_ended(trigger, outcome);
        let (running, done) = (service.metrics.jobs_running(trigger), ended(JobOutcome::Complete));
        let (again, failed) =
            (ended(JobOutcome::TryAgain), ended(JobOutcome::Failed) + ended(JobOutcome::Refused));
        let step = trigger.trim_end_matches("-trigger");
        // Writing to a `String` cannot fail.
        let _ = write!(table, "\n{step:<20} {running:>8} {done:>8} {again:>8} {failed:>8}");
    }
    table
}

fn jobs_done(service: &Service) -> u64 {
    let done = |step: &Step| service.metrics.jobs_ended(&step.trigger, JobOutcome::Complete);
    service.flow.steps.iter().map(done).sum()
}

async fn backlog(service: &Service) -> u64 {
    let backlog = service.bus.backlog().await.unwrap_or_default();
    backlog.iter().map(|one| one.waiting + one.in_flight).sum()
}

async fn summary(
    service: &Service,
    connection: &mut Connection,
    folder: &Path,
    onboarded: u64,
    took: Duration,
) -> Result<()> {
    let rows = connection
        .rows(
            "SELECT c.id, c.name, c.subscription_tier, c.started_at, c.onboarded_at, \
             (SELECT COUNT(*) FROM handled_events h WHERE h.customer_id = c.id) FROM customers c ORDER BY c.started_at",
            &[],
        )
        .await?;
    let mut latencies = Vec::new();
    let mut table = Vec::new();
    for row in &rows {
        let took = row.optional_time(4)?.map(|end| (end - row.time(3).unwrap_or(end)).num_milliseconds());
        latencies.extend(took);
        let state = took.map_or("not onboarded".to_owned(), |took| format!("{took} ms"));
        table.push(vec![row.text(0)?, row.text(1)?, row.text(2)?, row.integer(5)?.to_string(), state]);
    }
    if table.len() <= MOST_LISTED {
        print::line("");
        print::table(&["CUSTOMER", "NAME", "TIER", "JOBS", "ONBOARDED AFTER"], &table);
    }
    latencies.sort_unstable();
    let median = latencies.get(latencies.len() / 2).copied().unwrap_or_default();
    let dead = service.bus.dead_letter_count().await.unwrap_or_default();
    let jobs = jobs_done(service);
    print::line("");
    print::line(format!(
        "{onboarded} of {} customers onboarded in {:.1} s ({:.1} per second), median {median} ms each",
        rows.len(),
        took.as_secs_f64(),
        f64::from(u32::try_from(onboarded).unwrap_or(u32::MAX)) / took.as_secs_f64().max(0.001),
    ));
    let memory =
        peak_memory().map_or(String::new(), |bytes| format!(", dispatcher's peak memory {} MB", bytes >> 20));
    print::line(format!("{jobs} processes ended well, {dead} dead letters{memory}"));
    for (what, place) in [
        ("database", "onboarding.db"),
        ("mails", "mails"),
        ("orders", "orders"),
        ("marketing", "marketing"),
        ("crm", "crm"),
        ("jobs", "jobs"),
    ] {
        print::line(format!("  {what:<10} {}", folder.join(place).display()));
    }
    Ok(())
}

/// The peak memory of this program, in bytes. Not read by `getrusage`: below `cargo run` that is the peak of cargo.
#[cfg(target_os = "linux")]
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

/// The peak memory of this program, in bytes.
#[cfg(not(target_os = "linux"))]
fn peak_memory() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss() * unit).ok()
}
