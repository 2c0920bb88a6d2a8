//! The dispatchers of the run, and the workers that they have started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::program::{Program, Running};
use tests::scratch::Scratch;
use tests::{Setting, http, port, reaper};

use crate::bin_dir::BinDir;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::options::{BackendName, BusName, Options};
use crate::stage::Stage;
use crate::workers::{self, Worker};

/// How long a dispatcher may take to be ready: after a kill it first waits out what its predecessor held.
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
    /// Holds the workers.
    _bin_dir: BinDir,
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
            _bin_dir: bin_dir,
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

    /// The file of the embedded bus.
    pub(crate) fn queue(&self) -> PathBuf {
        queue(&self.disk)
    }

    /// The HTTP port of the first.
    pub(crate) fn port(&self) -> u16 {
        self.dispatchers[0].port
    }

    /// Starts those that do not run, and waits until they are ready.
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

    /// Whether it ran.
    pub(crate) fn kill(&mut self, number: usize) -> bool {
        if let Some(mut running) = self.dispatchers[number].running.take() {
            running.kill();
            self.dispatchers[number].logs.push_str(&running.process.output());
            // Its Jobs live on in its directory.
            self.killed.push(running);
            return true;
        }
        false
    }

    /// Whether all ran.
    pub(crate) fn kill_all(&mut self) -> bool {
        let count = self.dispatchers.len();
        (0..count).filter(|number| self.kill(*number)).count() == count
    }

    /// Tells it to end. It must end in order. Whether it ran.
    pub(crate) fn stop(&mut self, number: usize) -> bool {
        let running = self.dispatchers[number].running.take();
        if let Some(running) = running {
            let ended = running.terminate();
            self.dispatchers[number].logs.push_str(&ended.output);
            ended.expect_code(0);
            return true;
        }
        false
    }

    /// Those that ended by themselves: none may.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let running = self.dispatchers.iter_mut().filter_map(|dispatcher| dispatcher.running.as_mut());
        running.filter_map(|running| running.process.ended().map(|_| running.process.evidence())).collect()
    }

    /// The Jobs that run now, as the dispatchers count them.
    pub(crate) fn running_jobs(&self) -> usize {
        let running = self.metrics("dispatcher_jobs_running{");
        running.iter().filter_map(|value| value.parse::<usize>().ok()).sum()
    }

    /// Seconds since 1970 at which each last fetched, by its own clock.
    pub(crate) fn fetched_at(&self) -> Vec<f64> {
        let times = self.metrics("dispatcher_last_fetch_timestamp_seconds ");
        times.iter().filter_map(|value| value.parse().ok()).collect()
    }

    /// How often those that run have said this so far.
    pub(crate) fn said(&self, words: &[&str]) -> usize {
        let running = self.dispatchers.iter().filter_map(|one| one.running.as_ref());
        let logs = running.map(|running| running.process.output());
        logs.map(|log| words.iter().map(|words| log.matches(words).count()).sum::<usize>()).sum()
    }

    /// The values of the metrics that begin with this, of all dispatchers.
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

    /// Kills every worker that runs now, with no warning; how many of each step.
    pub(crate) fn kill_workers(&self) -> BTreeMap<String, usize> {
        workers::kill(self.backend, &self.workers())
    }

    /// The Jobs that run more than once at this moment for one event: none may.
    pub(crate) fn doubled_jobs(&self) -> BTreeSet<String> {
        workers::twice(self.backend, self.disk.scratch())
    }

    /// What the dispatchers have logged; kept in a folder if that is wanted.
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
        self.dispatchers.iter().map(|dispatcher| dispatcher.logs.as_str()).collect()
    }
}

fn variables(options: &Options, disk: &Disk, number: usize) -> Vec<Setting> {
    // As replicas on one machine, which know each other's Jobs, or as ones on several.
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
        ("DISPATCHER_QUEUE", &queue(disk).display().to_string()),
        // A killed dispatcher's messages come again after this time.
        ("BUS_LEASE", "5"),
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
