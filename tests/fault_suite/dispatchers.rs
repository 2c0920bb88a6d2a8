//! The dispatchers of the run, and the workers that they have started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Rlimit};
use tests::program::{Program, Running};
use tests::scratch::Scratch;
use tests::{Setting, http, port, reaper};

use crate::bin_dir::BinDir;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::options::{BackendName, BusName, Options};
use crate::servers::Stage;
use crate::workers::{self, Worker};

/// How long a dispatcher may take to be ready. After a kill it first waits for the leases of its predecessor.
const READY: Duration = Duration::from_mins(2);

#[derive(Debug)]
pub(crate) struct Fleet {
    dispatchers: Vec<Dispatcher>,
    killed: Vec<Running>,
    backend: BackendName,
    logs: Option<PathBuf>,
    disk: Disk,
    /// Holds the Secret.
    _scratch: Scratch,
    clock: Option<Clock>,
    cluster: Option<Cluster>,
    bin_dir: BinDir,
    /// Logs of dispatchers that ran only for a while.
    further_logs: String,
}

#[derive(Debug)]
struct Dispatcher {
    program: Program,
    port: u16,
    running: Option<Running>,
    logs: String,
}

impl Fleet {
    /// Starts all.
    pub(crate) fn start(
        options: &Options,
        stage: &Stage,
        events: &Path,
        disk: Disk,
        clock: Option<Clock>,
    ) -> Self {
        let scratch = Scratch::new("fleet");
        let mut secret = stage.secret();
        if options.bus == BusName::Embedded {
            secret.retain(|(name, _)| !name.starts_with("NATS_"));
        }
        let lines: Vec<_> = secret.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let secret = scratch.write("knapscen-config.env", &lines.concat());
        let with_secret = |program: Program| {
            program.argument("--secret").argument(format!("knapscen-config={}", secret.display()))
        };
        let clock_settings = clock.as_ref().map(Clock::settings).unwrap_or_default();
        let mut worker_settings = clock_settings.clone();
        if options.bus == BusName::Embedded {
            worker_settings.extend(tests::settings([("K_SINK", &stage.sink())]));
        }
        let bin_dir = BinDir::new(&worker_settings);
        let cluster = (options.backend == BackendName::Kubernetes)
            .then(|| Cluster::start(bin_dir.path(), stage.secret(), disk.path()));
        let make = |number: usize| {
            let port = if number == 0 { stage.first_port } else { port::free() };
            let program = Program::dispatcher()
                .argument("run")
                .settings(stage.dispatcher_settings())
                .settings(variables(options, &disk, number))
                .settings(clock_settings.clone())
                .set("DISPATCHER_EVENTS", &events.display())
                .set("DISPATCHER_LISTEN", &format!("127.0.0.1:{port}"));
            let program = match options.backend {
                BackendName::Process => with_secret(program).argument("--bin-dir").argument(bin_dir.path()),
                BackendName::Docker => with_secret(program).argument("--docker-network").argument("host"),
                BackendName::Kubernetes => {
                    let kubeconfig = cluster.as_ref().map(|cluster| cluster.kubeconfig.clone());
                    program.argument("--kubeconfig").argument(kubeconfig.unwrap_or_default())
                }
            };
            Dispatcher { program, port, running: None, logs: String::new() }
        };
        let dispatchers = (0..options.dispatcher_count()).map(make).collect();
        let mut fleet = Self {
            dispatchers,
            killed: Vec::new(),
            backend: options.backend,
            logs: options.logs.clone(),
            disk,
            _scratch: scratch,
            clock,
            cluster,
            bin_dir,
            further_logs: String::new(),
        };
        fleet.start_missing();
        fleet
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(crate) fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref()
    }

    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    pub(crate) fn bin_dir(&self) -> &BinDir {
        &self.bin_dir
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.dispatchers.iter().map(|dispatcher| dispatcher.port)
    }

    /// Starts a dispatcher like the first one, with these changes, on a port of its own.
    pub(crate) fn further(&self, changed: impl Fn(Program) -> Program) -> Running {
        let listen = format!("127.0.0.1:{}", port::free());
        changed(self.dispatchers[0].program.clone().set("DISPATCHER_LISTEN", &listen)).start()
    }

    pub(crate) fn keep_log(&mut self, log: &str) {
        self.further_logs.push_str(log);
    }

    /// Whether a dispatcher reports that its history is late.
    pub(crate) fn history_is_late(&self) -> bool {
        self.metrics("dispatcher_history_up ").iter().any(|value| value == "0")
    }

    /// No dispatcher can open another file until the limits are dropped.
    pub(crate) fn limit_files(&self) -> Vec<FileLimit> {
        let running = self.dispatchers.iter().filter_map(|one| one.running.as_ref());
        running.filter_map(|running| FileLimit::now(running.process.id())).collect()
    }

    /// The file of the embedded bus.
    pub(crate) fn queue(&self) -> PathBuf {
        queue(&self.disk)
    }

    /// The HTTP port of the first.
    pub(crate) fn port(&self) -> u16 {
        self.dispatchers[0].port
    }

    /// Starts those that are not running, and waits until they are ready.
    pub(crate) fn start_missing(&mut self) {
        let missing = self.dispatchers.iter_mut().filter(|dispatcher| dispatcher.running.is_none());
        for dispatcher in missing {
            let mut running = dispatcher.program.start();
            let ready =
                || http::get(dispatcher.port, "/readyz").ok().filter(|answer| answer.status == 200).map(drop);
            let found = tests::wait::within(READY, || {
                running.process.check_alive();
                ready()
            });
            assert!(found.is_some(), "a dispatcher is not ready\n{}", running.process.evidence());
            dispatcher.running = Some(running);
        }
    }

    /// Returns whether it was running.
    pub(crate) fn kill(&mut self, number: usize) -> bool {
        if let Some(mut running) = self.dispatchers[number].running.take() {
            running.kill();
            self.dispatchers[number].logs.push_str(&running.process.output());
            // Its Jobs continue in its directory.
            self.killed.push(running);
            return true;
        }
        false
    }

    /// Returns whether all were running.
    pub(crate) fn kill_all(&mut self) -> bool {
        let count = self.dispatchers.len();
        (0..count).filter(|number| self.kill(*number)).count() == count
    }

    /// Asks it to end, which it must do in order. Returns whether it was running.
    pub(crate) fn stop(&mut self, number: usize) -> bool {
        let running = self.dispatchers[number].running.take();
        if let Some(mut running) = running {
            running.process.terminate();
            let status = running.process.wait(tests::wait::LIMIT);
            self.dispatchers[number].logs.push_str(&running.process.output());
            assert_eq!(status.code(), Some(0), "{}", running.process.evidence());
            // Its Jobs may live on in its directory.
            self.killed.push(running);
            return true;
        }
        false
    }

    /// Returns whether it was running.
    pub(crate) fn freeze(&self, number: usize) -> bool {
        self.dispatchers[number].running.as_ref().map(|running| running.process.pause()).is_some()
    }

    pub(crate) fn thaw(&self, number: usize) {
        if let Some(running) = &self.dispatchers[number].running {
            running.process.resume();
        }
    }

    /// Dispatchers that ended by themselves: there must be none.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let running = self.dispatchers.iter_mut().filter_map(|dispatcher| dispatcher.running.as_mut());
        running.filter_map(|running| running.process.ended().map(|_| running.process.evidence())).collect()
    }

    /// The running Jobs, as the dispatchers count them.
    pub(crate) fn running_jobs(&self) -> usize {
        let running = self.metrics("dispatcher_jobs_running{");
        running.iter().filter_map(|value| value.parse::<usize>().ok()).sum()
    }

    /// When each last fetched, in seconds since 1970 by its own clock.
    pub(crate) fn fetched_at(&self) -> Vec<f64> {
        let times = self.metrics("dispatcher_last_fetch_timestamp_seconds ");
        times.iter().filter_map(|value| value.parse().ok()).collect()
    }

    /// How often the running dispatchers have logged this so far.
    pub(crate) fn said(&self, words: &[&str]) -> usize {
        let running = self.dispatchers.iter().filter_map(|one| one.running.as_ref());
        let logs = running.map(|running| running.process.output());
        logs.map(|log| words.iter().map(|words| log.matches(words).count()).sum::<usize>()).sum()
    }

    /// The values of the metrics that begin with this, from all dispatchers.
    fn metrics(&self, beginning: &str) -> Vec<String> {
        let pages = self.dispatchers.iter().filter_map(|one| http::get(one.port, "/metrics").ok());
        pages
            .flat_map(|page| page.body.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| line.starts_with(beginning))
            .filter_map(|line| Some(line.rsplit(' ').next()?.to_owned()))
            .collect()
    }

    /// The workers that run now.
    pub(crate) fn workers(&self) -> Vec<Worker> {
        workers::running(self.backend, self.disk.scratch())
    }

    /// Kills every running worker without warning. Returns how many of each step.
    pub(crate) fn kill_workers(&self) -> BTreeMap<String, usize> {
        workers::kill(self.backend, &self.workers())
    }

    /// Jobs of which two run now for one event: there must be none.
    pub(crate) fn doubled_jobs(&self) -> BTreeSet<String> {
        workers::twice(self.backend, self.disk.scratch())
    }

    /// The dispatchers' logs; stored in a folder if that is wanted.
    pub(crate) fn finish(mut self) -> String {
        for number in 0..self.dispatchers.len() {
            self.stop(number);
        }
        if let Some(folder) = &self.logs {
            std::fs::create_dir_all(folder).expect("a folder for the logs");
            for (number, dispatcher) in self.dispatchers.iter().enumerate() {
                std::fs::write(folder.join(format!("dispatcher-{number}.log")), &dispatcher.logs)
                    .expect("a log");
            }
        }
        let logs = self.dispatchers.iter().map(|dispatcher| dispatcher.logs.as_str());
        logs.chain([self.further_logs.as_str()]).collect()
    }
}

/// Limits the open files of a process to fewer than it has open; restored on drop.
#[derive(Debug)]
pub(crate) struct FileLimit {
    process: Pid,
    before: Rlimit,
}

/// The standard streams, and what a runtime opens first.
const FEW: u64 = 8;

impl FileLimit {
    fn now(process: u32) -> Option<Self> {
        let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
        let mut numbers =
            limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace();
        let mut number = || numbers.next()?.parse::<u64>().ok();
        let before = Rlimit { current: number(), maximum: number() };
        let process = i32::try_from(process).ok().and_then(Pid::from_raw)?;
        limit_files(process, Rlimit { current: Some(FEW), ..before })?;
        Some(Self { process, before })
    }
}

impl Drop for FileLimit {
    fn drop(&mut self) {
        limit_files(self.process, self.before);
    }
}

/// Only Linux can set the limits of another process.
#[cfg(target_os = "linux")]
fn limit_files(process: Pid, limit: Rlimit) -> Option<()> {
    use rustix::process::{Resource, prlimit};
    prlimit(Some(process), Resource::Nofile, limit).ok().map(drop)
}

#[cfg(not(target_os = "linux"))]
fn limit_files(_: Pid, _: Rlimit) -> Option<()> {
    None
}

fn variables(options: &Options, disk: &Disk, number: usize) -> Vec<Setting> {
    // Like replicas on one machine, which know each other's Jobs, or like those on several machines.
    let state = disk.path().join(if options.apart { format!("state-{number}") } else { "state".to_owned() });
    let backend = match options.backend {
        BackendName::Process => "process",
        BackendName::Docker => "docker",
        BackendName::Kubernetes => "kubernetes",
    };
    let bus = match options.bus {
        BusName::Jetstream => "jetstream",
        BusName::Embedded => "embedded",
    };
    let mut all = tests::settings([
        ("DISPATCHER_BACKEND", backend),
        ("DISPATCHER_BUS", bus),
        ("DISPATCHER_MAX_RUNNING", "8"),
        ("DISPATCHER_BACKOFF_MS", "200"),
        // So few, and with such a hasty stop, that restarts would use them up if they counted.
        ("DISPATCHER_MAX_ATTEMPTS", "6"),
        ("DISPATCHER_GRACE", "1"),
        ("DISPATCHER_QUEUE", &queue(disk).display().to_string()),
        // After this time an event without a trigger is a dead letter. It is longer than any manifests are missing.
        ("DISPATCHER_UNMATCHED_AFTER", "30"),
        ("DISPATCHER_REMOVAL_AFTER", "1"),
    ]);
    if options.backend == BackendName::Docker {
        reaper::watch_scope(&workers::scope());
        all.extend(tests::settings([("DISPATCHER_DOCKER_SCOPE", &workers::scope())]));
    }
    if options.backend == BackendName::Process {
        all.extend(tests::settings([("DISPATCHER_STATE_DIR", &state.display().to_string())]));
    }
    all
}

fn queue(disk: &Disk) -> PathBuf {
    disk.path().join("queue.db")
}
