//! What a fault does to the stage and the fleet, and what is left of it afterwards: nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tests::proxy::Mode;
use tests::{smtp, vendor, wait};

use crate::fault::{Fault, Point, Server};
use crate::report::Done;
use crate::stage::Stage;
use crate::suite::Suite;

/// How long a worker may take to come to the point at which it is killed.
const AT_POINT: Duration = Duration::from_secs(4);

/// How long it may take until a registration is with the vendor.
const AT_VENDOR: Duration = Duration::from_secs(20);

/// How long the events of killed dispatchers may take to come again once their lease is over.
const TAKEN_AGAIN: Duration = Duration::from_secs(30);

/// How long the Jobs of those events are watched then.
const WATCHED: Duration = Duration::from_secs(3);

impl Suite<'_> {
    /// Breaks, waits, and mends.
    pub(crate) fn carry_out(&mut self, fault: Fault) -> Done {
        let mut done = Done { fault: fault.to_string(), hit: true, killed: BTreeMap::new() };
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
                self.fleet.kill(number);
                self.fleet.start_missing();
            }
            Fault::KillDispatchers => {
                self.fleet.kill_all();
                self.fleet.start_missing();
            }
            Fault::OrphanWorkers => done.hit = self.orphan_workers(),
            Fault::StopDispatcher(number) => {
                self.fleet.stop(number);
                self.fleet.start_missing();
            }
            Fault::StopServer(server, time) => stage.restart(server, time),
            Fault::SilentServer(server, time) => hold(stage, server, &Mode::Silent, time),
            Fault::SlowServer(server, delay, time) => hold(stage, server, &Mode::Delay(delay), time),
            Fault::Garbage(server, time) => hold(stage, server, &Mode::Garbage, time),
            Fault::Cut(server, bytes, time) => hold(stage, server, &Mode::Cut(bytes), time),
            Fault::Vendor(mode, time) => {
                stage.vendor.set(mode);
                std::thread::sleep(time);
                stage.vendor.set(vendor::Mode::Ok);
            }
            Fault::Mail(mode, time) => {
                stage.mail.set(mode);
                std::thread::sleep(time);
                stage.mail.set(smtp::Mode::Accept);
            }
            Fault::FullDisk(time) => {
                let full = self.fleet.disk().fill();
                std::thread::sleep(time);
                done.hit = full.is_some();
            }
            Fault::ClockJump(seconds, time) => match self.fleet.clock() {
                Some(clock) => {
                    clock.set(seconds);
                    std::thread::sleep(time);
                    clock.set(0);
                }
                None => done.hit = false,
            },
            Fault::Manifests(change, time) => {
                self.manifests.change(change);
                std::thread::sleep(time);
                self.manifests.restore();
            }
        }
        done
    }

    /// Whether a worker came to the point, and who was killed.
    fn kill_at(&self, point: Point) -> (bool, BTreeMap<String, usize>) {
        let proxy = self.stage.before_workers(point.server);
        proxy.set(if point.after { Mode::HoldAfter(point.words) } else { Mode::HoldBefore(point.words) });
        let reached = wait::within(AT_POINT, || proxy.reached().then_some(())).is_some();
        let killed = self.fleet.kill_workers();
        proxy.set(Mode::Refuse);
        proxy.set(Mode::Pass);
        (reached, killed)
    }

    /// Kills all dispatchers while the vendor keeps workers waiting. The next dispatchers get the same events, and must
    /// find those workers instead of starting others. True where workers were there before and after.
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

fn hold(stage: &Stage, server: Server, mode: &Mode, time: Duration) {
    stage.set(server, mode);
    std::thread::sleep(time);
    stage.set(server, &Mode::Pass);
}
