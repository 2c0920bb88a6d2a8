//! What a fault does to the stage and the fleet; afterwards nothing of it is left.

mod bus;
mod database;
mod machine;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tests::proxy::Mode;
use tests::{smtp, vendor, wait};

use crate::cluster::Cluster;
use crate::fault::{Change, Fault, Kind, Server};
use crate::point::Point;
use crate::report::Done;
use crate::servers::Stage;
use crate::suite::Suite;

/// How long a worker may take to reach the point at which it is killed.
const AT_POINT: Duration = Duration::from_secs(10);

/// How much longer than planned a fault may last until it has affected a process.
const EFFECT: Duration = Duration::from_secs(20);

/// The dispatcher's message about a full disk.
const NO_SPACE: [&str; 2] = ["No space left on device", "disk is full"];

/// The dispatcher's messages about changed manifests.
const MANIFESTS: [&str; 2] = ["manifests changed and", "manifests changed; those before"];

/// How long a registration may take to reach the vendor.
const AT_VENDOR: Duration = Duration::from_secs(20);

/// How long the events of killed dispatchers may take to come again after their lease.
const TAKEN_AGAIN: Duration = Duration::from_secs(30);

/// How long the Jobs of those events are watched then.
const WATCHED: Duration = Duration::from_secs(3);

impl Suite<'_> {
    /// Breaks something, waits, and repairs it.
    pub(crate) fn carry_out(&mut self, fault: Fault) -> Done {
        let mut done =
            Done { kind: fault.kind(), fault: fault.to_string(), hit: true, killed: BTreeMap::new() };
        let stage = &mut self.stage;
        match fault {
            Fault::KillAtPoint(point) => {
                let reached;
                (reached, done.killed) = self.kill_at(point);
                done.hit = reached && !done.killed.is_empty();
            }
            Fault::KillWorkers => {
                let killed = || Some(self.fleet.kill_workers()).filter(|killed| !killed.is_empty());
                done.killed = wait::within(AT_POINT, killed).unwrap_or_default();
                done.hit = !done.killed.is_empty();
            }
            Fault::KillDispatcher(number) => {
                done.hit = self.at_work() & self.fleet.kill(number);
                self.fleet.start_missing();
            }
            Fault::KillDispatchers => {
                done.hit = self.at_work() & self.fleet.kill_all();
                self.fleet.start_missing();
            }
            Fault::OrphanWorkers => done.hit = self.orphan_workers(),
            Fault::StopDispatcher(number) => {
                done.hit = self.at_work() & self.fleet.stop(number);
                self.fleet.start_missing();
            }
            Fault::StopServer(server, time) => stage.restart(server, time),
            Fault::SilentServer(server, time) => done.hit = hold(stage, server, &Mode::Silent, time),
            Fault::SlowServer(server, delay, time) => {
                done.hit = hold(stage, server, &Mode::Delay(delay), time);
            }
            Fault::Garbage(server, time) => done.hit = hold(stage, server, &Mode::Garbage, time),
            Fault::Cut(server, bytes, time) => done.hit = hold(stage, server, &Mode::Cut(bytes), time),
            Fault::Vendor(mode, time) => {
                stage.vendor.set(mode);
                let before = stage.vendor.requested();
                done.hit = for_effect(time, || stage.vendor.requested() > before);
                stage.vendor.set(vendor::Mode::Ok);
            }
            Fault::Mail(mode, time) => {
                stage.mail.set(mode);
                done.hit = for_effect(time, || stage.mail.reached());
                stage.mail.set(smtp::Mode::Accept);
                // A client that waits for an answer would wait for ten minutes, as the protocol requires.
                stage.set(Server::Mail, &Mode::Pass);
            }
            Fault::FullDisk(time) => {
                let before = self.fleet.said(&NO_SPACE);
                let _full = self.fleet.disk().fill();
                done.hit = for_effect(time, || self.fleet.said(&NO_SPACE) > before);
            }
            Fault::ClockJump(seconds, time) => match self.fleet.clock() {
                Some(clock) => {
                    clock.set(seconds);
                    done.hit = for_effect(time, || off_by(&self.fleet.fetched_at(), seconds));
                    clock.set(0);
                }
                None => done.hit = false,
            },
            Fault::FreezeDispatcher(number, time) => {
                done.hit = self.at_work() & self.fleet.freeze(number);
                std::thread::sleep(time);
                self.fleet.thaw(number);
            }
            Fault::FreezeServer(server, time) => {
                if server == Server::Broker {
                    stage.broker.pause();
                } else {
                    stage.database_server.pause();
                }
                std::thread::sleep(time);
                stage.broker.resume();
                stage.database_server.resume();
            }
            Fault::Manifests(change, time) => {
                let before = self.fleet.said(&MANIFESTS);
                self.manifests.change(change);
                // A slow copy that ends unchanged would have no effect.
                let copied = change == Change::Copied;
                done.hit = for_effect(time, || copied || self.fleet.said(&MANIFESTS) > before);
                self.look_for_false_states();
                self.manifests.restore();
            }
            Fault::OtherManifests(step, time) => done.hit = self.older_manifests(step, time),
            Fault::Plain(kind, time) => done.hit = self.plain(kind, time),
        }
        done
    }

    /// A fault without variants. Returns whether it affected a process.
    fn plain(&mut self, kind: Kind, time: Duration) -> bool {
        match kind {
            Kind::Restarts => self.restart_often(),
            Kind::WrongCluster => self.wrong_cluster(time),
            Kind::LockedRows => self.lock_rows(time),
            Kind::LockedHistory => self.lock_history(time),
            Kind::ReadOnly => self.read_only(time),
            Kind::NoConnections => self.take_all_connections(time),
            Kind::EndedSessions => self.end_sessions(time),
            Kind::RotatedPassword => self.rotate_password(time),
            Kind::ConsumersGone => self.remove_consumers(time),
            Kind::SubjectsGone => self.cut_subjects(time),
            Kind::StreamAged => self.age_stream(),
            Kind::StreamFull => self.fill_stream(time),
            Kind::StoreLost => self.lose_store(time),
            Kind::StoreRestored => self.restore_store(time),
            Kind::LettersPurged => self.purge_letters(),
            Kind::Republished => self.republish(),
            Kind::LargeEvents => self.publish_large(time),
            Kind::UnreadableHeaders => self.publish_unreadable(time),
            Kind::ReplacedBinaries => self.replace_binaries(time),
            Kind::FewFiles => self.leave_few_files(time),
            Kind::StateGone => self.remove_state(),
            Kind::IdleConnections => self.hold_connections(time),
            Kind::LockedQueue => self.lock_queue(time),
            Kind::Cluster => {
                self.fleet.cluster().into_iter().for_each(Cluster::forget);
                true
            }
            _ => unreachable!("{kind} has varieties"),
        }
    }

    /// Waits until a worker runs. False if none does.
    fn at_work(&self) -> bool {
        wait::within(AT_POINT, || (!self.fleet.workers().is_empty()).then_some(())).is_some()
    }

    /// Whether a worker reached the point, and which one was killed.
    fn kill_at(&self, point: Point) -> (bool, BTreeMap<String, usize>) {
        let proxy = self.stage.before_workers(point.server);
        proxy.set(point.hold());
        let reached = wait::within(AT_POINT, || proxy.reached().then_some(())).is_some();
        let killed = self.fleet.kill_workers();
        proxy.set(Mode::Refuse);
        proxy.set(Mode::Pass);
        (reached, killed)
    }

    /// Kills all dispatchers while the vendor keeps workers waiting. The next dispatchers get the same events, and
    /// must find those workers instead of starting others. True if workers were running before and after.
    fn orphan_workers(&mut self) -> bool {
        self.stage.vendor.set(vendor::Mode::AcceptThenWait);
        let asked = self.stage.vendor.requests().len();
        let _ = wait::within(AT_VENDOR, || (self.stage.vendor.requests().len() > asked).then_some(()));
        self.fleet.kill_all();
        let before = self.fleet.workers();
        self.fleet.start_missing();
        let left = self.fleet.workers().iter().filter(|worker| before.contains(worker)).count();
        let _ = wait::within(TAKEN_AGAIN, || (self.fleet.running_jobs() >= left).then_some(()));
        let began = Instant::now();
        while began.elapsed() < WATCHED {
            self.look_for_doubled_jobs();
            std::thread::sleep(Duration::from_millis(200));
        }
        let after = self.fleet.workers();
        self.stage.vendor.set(vendor::Mode::Ok);
        before.iter().any(|worker| after.contains(worker))
    }

    pub(crate) fn look_for_doubled_jobs(&mut self) {
        self.doubled_jobs.extend(self.fleet.doubled_jobs());
    }
}

fn hold(stage: &Stage, server: Server, mode: &Mode, time: Duration) -> bool {
    stage.set(server, mode);
    let reached = for_effect(time, || stage.reached(server));
    stage.set(server, &Mode::Pass);
    reached
}

/// Waits until the fault's time is over and it has had an effect. False if it had none.
fn for_effect(time: Duration, mut seen: impl FnMut() -> bool) -> bool {
    std::thread::sleep(time);
    let look = || {
        let seen = seen();
        if !seen {
            std::thread::sleep(Duration::from_millis(100));
        }
        seen.then_some(())
    };
    wait::within(EFFECT, look).is_some()
}

/// Whether one of these times is wrong by about this much.
fn off_by(times: &[f64], seconds: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let wanted = Duration::from_secs(seconds.unsigned_abs()).as_secs_f64().copysign(if seconds < 0 {
        -1.0
    } else {
        1.0
    });
    times.iter().any(|time| (time - now - wanted).abs() < 15.0)
}
