//! Faults of the database, except for stopping it.

use std::time::{Duration, Instant};

use tests::mariadb::Administrator;
use tests::wait;

use super::EFFECT;
use crate::suite::Suite;

/// The tables of the workers. Each session locks one of them first.
const TABLES: [&str; 8] =
    ["customers", "users", "handled_events", "effects", "outbox", "sent_mails", "swag_orders", "touchpoints"];

/// How long a session keeps its locks.
const KEPT: Duration = Duration::from_millis(400);

/// More than the smallest connection limit that a server can be given.
const FEW_CONNECTIONS: usize = 10;

/// Within this time, metrics must report that the history is late.
const TOLD: Duration = Duration::from_secs(10);

impl Suite<'_> {
    /// Sessions that lock whole tables row by row, two tables each, in any order. Returns whether one got its locks.
    pub(super) fn lock_rows(&self, time: Duration) -> bool {
        let began = Instant::now();
        let mut chance = fastrand::Rng::with_seed(u64::try_from(time.as_nanos()).unwrap_or_default());
        let mut met = 0;
        while began.elapsed() < time {
            let mut tables = TABLES;
            chance.shuffle(&mut tables);
            let held: Vec<_> = tables
                .chunks(3)
                .filter_map(|some| {
                    let locks = some.iter().map(|table| format!("SELECT * FROM {table} FOR UPDATE; "));
                    let locks: String = locks.collect();
                    self.stage.database.try_hold(&format!("SET innodb_lock_wait_timeout = 1; BEGIN; {locks}"))
                })
                .collect();
            met += held.len();
            std::thread::sleep(KEPT);
        }
        met > 0
    }

    /// Locks all runs of the history. Registrations must go on, and the lateness must be reported within seconds.
    pub(super) fn lock_history(&self, time: Duration) -> bool {
        let began = Instant::now();
        let lock = "SET innodb_lock_wait_timeout = 5; BEGIN; SELECT * FROM job_runs FOR UPDATE";
        let Some(_held) = wait::within(EFFECT, || self.stage.database.try_hold(lock)) else { return false };
        let told = wait::within(TOLD, || self.fleet.history_is_late().then_some(())).is_some();
        std::thread::sleep(time.saturating_sub(began.elapsed()));
        told
    }

    /// Whether it affected a process.
    pub(super) fn read_only(&self, time: Duration) -> bool {
        let mut administrator = self.stage.database_server.administrator();
        administrator.run("SET GLOBAL read_only = ON");
        let met = until_more(&mut administrator, "Com_begin", time);
        administrator.run("SET GLOBAL read_only = OFF");
        met
    }

    /// Whether a connection was refused.
    pub(super) fn take_all_connections(&self, time: Duration) -> bool {
        let mut administrator = self.stage.database_server.administrator();
        let held: Vec<_> =
            (0..FEW_CONNECTIONS).filter_map(|_| self.stage.database.try_hold("SELECT 1")).collect();
        administrator.run(&format!("SET GLOBAL max_connections = {FEW_CONNECTIONS}"));
        let met = until_more(&mut administrator, "Connection_errors_max_connections", time);
        administrator.run("SET GLOBAL max_connections = 400");
        drop(held);
        met
    }

    /// Whether there were any.
    pub(super) fn end_sessions(&self, time: Duration) -> bool {
        let mut administrator = self.stage.database_server.administrator();
        let began = Instant::now();
        let mut ended = 0;
        while began.elapsed() < time || (ended == 0 && began.elapsed() < EFFECT) {
            ended += administrator.end_sessions();
            std::thread::sleep(Duration::from_millis(100));
        }
        ended > 0
    }

    /// Whether a login with the old password was tried.
    pub(super) fn rotate_password(&self, time: Duration) -> bool {
        let mut administrator = self.stage.database_server.administrator();
        administrator.set_password(Some("the next password"));
        administrator.end_sessions();
        let met = until_more(&mut administrator, "Access_denied_errors", time);
        administrator.set_password(None);
        met
    }
}

/// Waits until the fault's time is over and the counter has grown. False if it has not.
fn until_more(administrator: &mut Administrator, counter: &str, time: Duration) -> bool {
    let before = administrator.counter(counter);
    std::thread::sleep(time);
    wait::within(EFFECT, || (administrator.counter(counter) > before).then_some(())).is_some()
}
