//! The running workers, as the machine or the container engine shows them: which they are, which run twice, and
//! killing them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use shared::event::steps;
use tests::scratch::Scratch;

use crate::options::BackendName;

/// A worker that runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Worker {
    /// The id of its process or container.
    id: String,
    pub(crate) step: String,
    /// The Job and its event: no two workers may have the same.
    job: String,
}

/// All running workers. Of processes, those that know this folder with the dispatchers' state.
pub(crate) fn running(backend: BackendName, state: &Scratch) -> Vec<Worker> {
    match backend {
        BackendName::Process | BackendName::Kubernetes => {
            state.processes().into_iter().filter_map(of_process).collect()
        }
        BackendName::Docker => containers(),
    }
}

fn of_process((pid, program): (i32, String)) -> Option<Worker> {
    let step = steps().find(|worker| *worker == program)?.to_owned();
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let variables: BTreeMap<&[u8], &[u8]> = environment
        .split(|byte| *byte == 0)
        .filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            Some((&pair[..at], &pair[at + 1..]))
        })
        .collect();
    let variable =
        |name: &str| variables.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned());
    // Every try has its own file for its termination message, in the folder of the Job.
    let last_words = variable("TERMINATION_LOG")?;
    let folder = Path::new(&last_words).parent()?.display().to_string();
    Some(Worker { id: pid.to_string(), step, job: format!("{folder} for {}", variable("EVENT_ID")?) })
}

fn containers() -> Vec<Worker> {
    let label = |name: &str| format!("{{{{.Label \"dispatcher.knapscen.disco/{name}\"}}}}");
    let listed = Command::new("docker")
        .args(["ps", "--filter", &format!("label=dispatcher.knapscen.disco/scope={}", scope())])
        .args(["--format", &format!("{{{{.ID}}}}\t{{{{.Image}}}}\t{}\t{}", label("name"), label("event-id"))])
        .output()
        .expect("docker ps");
    let text = String::from_utf8_lossy(&listed.stdout);
    let lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    lines
        .filter_map(|columns| {
            let [id, image, name, event] = columns[..] else { return None };
            let step = steps().find(|worker| image.contains(worker))?.to_owned();
            Some(Worker { id: id.to_owned(), step, job: format!("{name} for {event}") })
        })
        .collect()
}

/// Identifies this run's containers, because the engine may have others.
pub(crate) fn scope() -> String {
    format!("faults-{}", std::process::id())
}

/// Kills them without warning. Returns how many of each step.
pub(crate) fn kill(backend: BackendName, workers: &[Worker]) -> BTreeMap<String, usize> {
    let mut killed = BTreeMap::new();
    for worker in workers {
        // It may have ended meanwhile.
        let dead = match backend {
            BackendName::Process | BackendName::Kubernetes => worker
                .id
                .parse()
                .ok()
                .and_then(Pid::from_raw)
                .is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok()),
            BackendName::Docker => Command::new("docker")
                .args(["kill", &worker.id])
                .output()
                .is_ok_and(|output| output.status.success()),
        };
        if dead {
            *killed.entry(worker.step.clone()).or_default() += 1;
        }
    }
    killed
}

/// The Jobs that run more than once now for one event.
pub(crate) fn twice(backend: BackendName, state: &Scratch) -> BTreeSet<String> {
    let first = running(backend, state);
    let doubled = doubled(&first);
    if doubled.is_empty() {
        return doubled;
    }
    // The first may have ended while the second was looked for, so only those that still exist ran at the same time.
    let again = running(backend, state);
    let both: Vec<_> = first.into_iter().filter(|worker| again.contains(worker)).collect();
    self::doubled(&both)
}

fn doubled(workers: &[Worker]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let again = workers.iter().filter(|worker| !seen.insert((&worker.step, &worker.job)));
    again.map(|worker| format!("{} of {}", worker.step, worker.job)).collect()
}
