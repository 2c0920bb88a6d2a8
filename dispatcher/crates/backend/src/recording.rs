//! Runs nothing and records its calls: the backend of the engine's tests.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use shared::error::Result;

use super::{EndedJobPolicy, Outcome, Ran, Report};
use job::stop::Stop;
use rules::plan::{Identity, PlannedJob};

/// Records Jobs, and answers from a script. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recording(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Outcome>,
    panics: bool,
    started: Vec<PlannedJob>,
    policies: Vec<EndedJobPolicy>,
    deleted: Vec<Identity>,
    pruned: Vec<BTreeSet<(String, String)>>,
}

impl Recording {
    /// Answers with these outcomes in turn, and then with success.
    pub fn with(script: impl IntoIterator<Item = Outcome>) -> Self {
        let state = State { script: script.into_iter().collect(), ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Makes the next Job panic, like a bug of ours.
    pub fn panic_next(&self) {
        self.state().panics = true;
    }

    /// The Jobs that it was asked to run, in order.
    pub fn started(&self) -> Vec<PlannedJob> {
        self.state().started.clone()
    }

    /// The policy for an ended Job of another event, for each Job.
    pub fn policies(&self) -> Vec<EndedJobPolicy> {
        self.state().policies.clone()
    }

    /// The identities to delete, in order.
    pub fn deleted(&self) -> Vec<Identity> {
        self.state().deleted.clone()
    }

    /// The Jobs to keep at each call that removes the others, in order.
    pub fn pruned(&self) -> Vec<BTreeSet<(String, String)>> {
        self.state().pruned.clone()
    }

    #[expect(clippy::unused_async, reason = "every backend is asked the same way")]
    pub(super) async fn prune(&self, _identity: &Identity, kept: &BTreeSet<(String, String)>) -> Result<()> {
        self.state().pruned.push(kept.clone());
        Ok(())
    }

    #[expect(clippy::unused_async, reason = "every backend is asked the same way")]
    pub(super) async fn run(&self, job: &PlannedJob, if_ended: EndedJobPolicy, _stop: &Stop) -> Ran {
        let mut state = self.state();
        state.started.push(job.clone());
        state.policies.push(if_ended);
        assert!(!std::mem::take(&mut state.panics), "a bug");
        let outcome = state.script.pop_front().unwrap_or(Outcome::Complete { report: Report::default() });
        let started_at = Some(SystemTime::now());
        Ran { outcome, tries: 1, adopted: false, started_at, earlier: Vec::new() }
    }

    #[expect(clippy::unused_async, reason = "every backend is asked the same way")]
    pub(super) async fn delete(&self, identity: &Identity) -> Result<()> {
        self.state().deleted.push(identity.clone());
        Ok(())
    }

    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.0.lock()
    }
}
