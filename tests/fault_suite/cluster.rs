//! The cluster of the run: an API server stand-in, and one node that runs a Job's image as a process, like Job
//! controller and kubelet.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tests::Setting;
use tests::kubernetes::{ApiServer, Ended, Hand};
use tests::scratch::Scratch;

/// How often the node looks for Jobs.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The pause before a second try; it doubles. A real cluster waits for ten seconds.
const BACKOFF: Duration = Duration::from_millis(200);

/// The exit codes for which the Job's policy gives up.
const FOR_GOOD: [i32; 3] = [65, 70, 78];

#[derive(Debug)]
pub(crate) struct Cluster {
    server: Arc<ApiServer>,
    pub(crate) kubeconfig: PathBuf,
    ended: Arc<AtomicBool>,
    /// Holds the kubeconfig.
    _scratch: Scratch,
}

/// What a node needs to run a Job.
#[derive(Debug)]
struct Node {
    hand: Hand,
    bin_dir: PathBuf,
    /// The content of the Secret.
    secret: Vec<Setting>,
    /// The folder with one folder for each Job, by which its processes are found.
    folder: PathBuf,
    ended: Arc<AtomicBool>,
}

impl Cluster {
    /// With a node that keeps a Job's files in this folder.
    pub(crate) fn start(bin_dir: &Path, secret: Vec<Setting>, folder: &Path) -> Self {
        let (server, scratch) = (Arc::new(ApiServer::start()), Scratch::new("cluster"));
        let kubeconfig = server.kubeconfig(&scratch);
        let ended = Arc::<AtomicBool>::default();
        let node = Arc::new(Node {
            hand: Hand::on(Some(&kubeconfig)),
            bin_dir: bin_dir.to_owned(),
            secret,
            folder: folder.join("node"),
            ended: Arc::clone(&ended),
        });
        let jobs = Arc::clone(&server);
        std::thread::spawn(move || node.run(&jobs));
        Self { server, kubeconfig, ended, _scratch: scratch }
    }

    /// Ends every open watch and forgets the history, so that all Jobs must be listed again.
    pub(crate) fn forget(&self) {
        self.server.expire();
        self.server.cut_watches();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Node {
    /// Each Job once, however long it runs.
    fn run(self: &Arc<Self>, server: &ApiServer) {
        let mut seen = BTreeSet::new();
        while !self.ended.load(Ordering::Relaxed) {
            for job in server.objects_where("jobs", |job| !seen.contains(&uid(job))) {
                seen.insert(uid(&job));
                let node = Arc::clone(self);
                std::thread::spawn(move || node.run_job(&job));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn run_job(&self, job: &Value) {
        let limit = job["spec"]["backoffLimit"].as_u64().unwrap_or(6);
        for attempt in 0..=limit {
            let pod = self.hand.start(job);
            let (status, message) = self.run_container(job, attempt);
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(9));
            let failure = match code {
                0 => "",
                code if FOR_GOOD.contains(&code) => "PodFailurePolicy",
                _ if attempt == limit => "BackoffLimitExceeded",
                _ => "",
            };
            self.hand.end(job, &pod, &Ended { code, message: &message, failure });
            if code == 0 || !failure.is_empty() {
                return;
            }
            std::thread::sleep(BACKOFF * (1 << attempt.min(6)));
        }
    }

    /// Runs the Job's container to its end. Returns how it ended, and its termination message.
    fn run_container(&self, job: &Value, attempt: u64) -> (ExitStatus, String) {
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        let image = container["image"].as_str().unwrap_or_default();
        let step = image.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or_default();
        let folder = self.folder.join(job["metadata"]["name"].as_str().unwrap_or_default());
        fs::create_dir_all(&folder).expect("a folder");
        let last_words = folder.join(format!("{}-{attempt}", uid(job)));
        let output = File::create(last_words.with_extension("log")).expect("a file");
        let mut command = Command::new(self.bin_dir.join(step.trim_start_matches("knapscen-")));
        command.env_clear().current_dir(&folder).process_group(0);
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a file")).stderr(output);
        assert_eq!(container["envFrom"][0]["secretRef"]["name"], "knapscen-config");
        command.envs(self.secret.iter().map(|(name, value)| (name, value)));
        for variable in container["env"].as_array().into_iter().flatten() {
            // It cannot be a reference to another variable, because every "$" of an event is doubled.
            let value = variable["value"].as_str().unwrap_or_default().replace("$$", "$");
            command.env(variable["name"].as_str().unwrap_or_default(), value);
        }
        command.env("TERMINATION_LOG", &last_words);
        // A node cannot start a program with a longer value.
        let Ok(mut child) = command.spawn() else {
            return (ExitStatus::from_raw(128 << 8), "the container cannot be started".to_owned());
        };
        let status = child.wait().expect("its end");
        (status, fs::read_to_string(last_words).unwrap_or_default())
    }
}

fn uid(job: &Value) -> String {
    job["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}
