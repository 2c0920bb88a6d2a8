//! Faults of dispatchers and their machine.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sqlx::{Connection, SqliteConnection};
use tests::program::Program;
use tests::proxy::Mode;
use tests::{block_on, smtp, vendor, wait};

use super::EFFECT;
use crate::fault::Server;
use crate::suite::Suite;

/// How often one event is handed back: more often than it may have attempts.
const RESTARTS: usize = 7;

/// The dispatcher's message about an event without a trigger.
const PARKED: &str = "parked until the manifests change";

/// Its messages about a failed attempt.
const TRIED: [&str; 2] = ["failed, to be tried again", "given up after"];

/// Its messages about binaries that are being replaced, and about missing files.
const REPLACED: [&str; 1] = ["ImageReplaced"];
const NO_FILES: [&str; 2] = ["Too many open files", "LocalShortage"];

/// Connections of unknown clients to each dispatcher.
const STRANGERS: usize = 300;

impl Suite<'_> {
    /// While vendor and mail server keep Jobs waiting, dispatchers are stopped one after the other: events are handed
    /// back and delivered again. Then both servers fail for as long as one real attempt takes.
    pub(super) fn restart_often(&mut self) -> bool {
        self.stage.vendor.set(vendor::Mode::Hang);
        self.stage.mail.set(smtp::Mode::Hang);
        let met = self.at_work();
        let count = self.options.dispatcher_count();
        for restart in 0..RESTARTS {
            self.fleet.stop(restart % count);
            self.fleet.start_missing();
        }
        self.stage.vendor.set(vendor::Mode::Status(500));
        self.stage.mail.set(smtp::Mode::Refuse4xx);
        let before = self.fleet.said(&TRIED);
        self.fleet.kill_workers();
        let tried = wait::within(EFFECT, || (self.fleet.said(&TRIED) > before).then_some(()));
        self.stage.vendor.set(vendor::Mode::Ok);
        self.stage.mail.set(smtp::Mode::Accept);
        self.stage.set(Server::Mail, &Mode::Pass);
        met && tried.is_some()
    }

    /// An upgrade: at first only a dispatcher with manifests of an older version, which lack a step, then others as
    /// well. Returns whether it got an event that it cannot take.
    pub(super) fn older_manifests(&mut self, step: &str, time: Duration) -> bool {
        let events = self.manifests.without(step);
        self.beside_another(|program| program.set("DISPATCHER_EVENTS", &events.display()), time)
    }

    /// At first only a dispatcher for a cluster that no trigger selects, then others as well.
    pub(super) fn wrong_cluster(&mut self, time: Duration) -> bool {
        self.beside_another(|program| program.set("CLUSTER_LABELS", "role=prod"), time)
    }

    fn beside_another(&mut self, changed: impl Fn(Program) -> Program, time: Duration) -> bool {
        for number in 0..self.options.dispatcher_count() {
            self.fleet.stop(number);
        }
        let further = self.fleet.further(changed);
        let parked = || further.process.output().contains(PARKED);
        let met = wait::within(EFFECT, || parked().then_some(())).is_some();
        self.fleet.start_missing();
        let began = Instant::now();
        while began.elapsed() < time {
            self.look_for_false_states();
            std::thread::sleep(Duration::from_millis(200));
        }
        let ended = further.terminate();
        ended.expect_code(0);
        self.fleet.keep_log(&ended.output);
        met
    }

    /// They are missing, then incomplete, then complete.
    pub(super) fn replace_binaries(&self, time: Duration) -> bool {
        let before = self.fleet.said(&REPLACED);
        let bin_dir = self.fleet.bin_dir();
        bin_dir.remove();
        std::thread::sleep(time / 2);
        bin_dir.half();
        std::thread::sleep(time / 2);
        let met = wait::within(EFFECT, || (self.fleet.said(&REPLACED) > before).then_some(()));
        bin_dir.restore();
        met.is_some()
    }

    /// No dispatcher can open another file.
    pub(super) fn leave_few_files(&self, time: Duration) -> bool {
        let before = self.fleet.said(&NO_FILES);
        let limits = self.fleet.limit_files();
        std::thread::sleep(time);
        let met = wait::within(EFFECT, || (self.fleet.said(&NO_FILES) > before).then_some(()));
        drop(limits);
        met.is_some()
    }

    /// Whether there were such files.
    pub(super) fn remove_state(&self) -> bool {
        let folders = std::fs::read_dir(self.fleet.disk().path()).into_iter().flatten().flatten();
        let mut removed = 0;
        for folder in folders.filter(|entry| entry.file_name().to_string_lossy().starts_with("state")) {
            for part in ["jobs", "expiry"] {
                removed += usize::from(std::fs::remove_dir_all(folder.path().join(part)).is_ok());
            }
        }
        removed > 0
    }

    /// Each connection sends half a head.
    pub(super) fn hold_connections(&self, time: Duration) -> bool {
        let mut held = Vec::new();
        for port in self.fleet.ports() {
            for _ in 0..STRANGERS {
                let Ok(mut stranger) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let _ = stranger.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1");
                held.push(stranger);
            }
        }
        std::thread::sleep(time);
        held.len() >= STRANGERS
    }

    /// As during a copy that somebody makes of the file.
    pub(super) fn lock_queue(&self, time: Duration) -> bool {
        let url = format!("sqlite://{}", self.fleet.queue().display());
        let locked = block_on(async {
            let mut connection = SqliteConnection::connect(&url).await?;
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        });
        std::thread::sleep(time);
        locked.is_ok()
    }
}
