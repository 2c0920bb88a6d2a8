//! Jobs as real processes: how they end, what they are given, and what a crash leaves to the next dispatcher.

mod adoption;
mod ending;
mod given;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::{Absent, Images, Process, Settings};
use crate::tests::{anywhere, identity, job as planned, message};
use crate::{EndedJobPolicy, Outcome, Place, Ran, Source, Sources};
use job::stop::{Stop, Stopper, channel};
use rules::plan::{EnvValue, EnvVariable, ExitCodes, FailureAction, FailureRule, JobSpec, PlannedJob};

/// A process backend with a state folder of its own.
struct Ground {
    folder: TempDir,
    settings: Settings,
    stopper: Stopper,
    stop: Stop,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (stopper, stop) = channel();
        let settings = Settings {
            images: Images { bin_dir: folder.path().join("bin"), overrides: BTreeMap::new() },
            sources: Sources::default(),
            state_dir: folder.path().join("state"),
            backoff: Duration::from_millis(10),
            absent: Absent::new(Duration::ZERO),
            sink: None,
            leaves_jobs: true,
        };
        Self { folder, settings, stopper, stop }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn secret(mut self, name: &str, text: &str) -> Self {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        self.settings.sources.secrets.insert(name.to_owned(), Source(path));
        self
    }

    /// The backend of a dispatcher that has just been started.
    fn backend(&self) -> Process {
        Process::open(self.settings.clone()).unwrap()
    }

    async fn run(&self, job: &PlannedJob) -> Ran {
        self.backend().run(job, EndedJobPolicy::Replace, anywhere(), &self.stop).await
    }

    /// The files that are kept for Jobs.
    fn kept(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.settings.state_dir.join("jobs")).unwrap();
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }

    fn counted(&self, name: &str) -> usize {
        std::fs::read_to_string(self.path().join(name)).map_or(0, |text| text.lines().count())
    }

    /// Polls until the pid of a Job is in its record.
    async fn pid_noted(&self) {
        let noted = |name: &String| {
            let path = self.settings.state_dir.join("jobs").join(name);
            std::fs::read_to_string(path).is_ok_and(|text| text.contains(r#""pid":"#))
        };
        for _ in 0..1000 {
            if self.kept().iter().any(noted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no pid was noted");
    }

    /// Polls until the file is there.
    async fn file(&self, name: &str) -> String {
        for _ in 0..1000 {
            match std::fs::read_to_string(self.path().join(name)) {
                Ok(text) if !text.is_empty() => return text,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        panic!("{name} never came");
    }
}

/// A Job that runs this script; `$HERE` is the test's folder.
fn job(ground: &Ground, script: &str) -> PlannedJob {
    let here = EnvVariable {
        name: "HERE".to_owned(),
        value: EnvValue::Literal(ground.path().display().to_string()),
    };
    let fatal = FailureRule {
        action: FailureAction::FailJob,
        exit_codes: Some(ExitCodes::In(vec![65, 70, 78])),
        container: None,
    };
    let spec = JobSpec {
        container: "worker".to_owned(),
        image: "knapscen/worker:latest".to_owned(),
        // Doubled, because `$$` in a Job's command means `$` in the shell.
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.replace('$', "$$")],
        args: Vec::new(),
        working_dir: None,
        env_from: Vec::new(),
        env: vec![here],
        termination_message_path: "/dev/termination-log".to_owned(),
        active_deadline: Some(Duration::from_secs(20)),
        backoff_limit: 2,
        failure_rules: vec![fatal],
        ttl_after_finished: Some(Duration::from_mins(1)),
        grace: Duration::from_millis(200),
    };
    planned(spec)
}
