//! Checks whether Jobs can be created: a dry run from time to time shows a missing permission, a refused token or a
//! missing namespace before an event meets it. Every real creation of a Job updates the result as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde_json::json;
use tokio::task::AbortHandle;

use super::api::Calls;
use super::api_error::ApiError;

const WHILE_WELL: Duration = Duration::from_mins(1);
const WHILE_REFUSED: Duration = Duration::from_secs(5);
/// The name of the Job for dry runs, which is never created.
const NAME: &str = "knapscen-dispatcher-probe";

/// What is wrong, by namespace.
type Troubles = Arc<Mutex<BTreeMap<String, String>>>;

/// Checks until it is dropped.
#[derive(Debug)]
pub(super) struct Probe {
    troubles: Troubles,
    tasks: Vec<AbortHandle>,
}

impl Probe {
    pub(super) fn start(calls: &Arc<Calls>, namespaces: &BTreeSet<String>) -> Self {
        let troubles = Troubles::default();
        let tasks = namespaces.iter().map(|namespace| {
            let (calls, troubles, namespace) = (Arc::clone(calls), Arc::clone(&troubles), namespace.clone());
            let task = async move {
                loop {
                    learn(&troubles, &namespace, &calls.dry_run(&namespace, job()).await);
                    let is_refused = lock(&troubles).contains_key(&namespace);
                    tokio::time::sleep(if is_refused { WHILE_REFUSED } else { WHILE_WELL }).await;
                }
            };
            tokio::spawn(task).abort_handle()
        });
        let tasks = tasks.collect();
        Self { troubles, tasks }
    }

    /// What one creation tells about the next ones.
    pub(super) fn learn<T>(&self, namespace: &str, made: &Result<T, ApiError>) {
        learn(&self.troubles, namespace, made);
    }

    /// Why no Job can be created; `None` if Jobs can be.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.troubles).values().next().cloned()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn learn<T>(troubles: &Troubles, namespace: &str, made: &Result<T, ApiError>) {
    let mut troubles = lock(troubles);
    match made {
        Err(fault) if fault.stops_all_creation() => {
            let trouble = format!("no Job can be made in namespace {namespace}: {fault}");
            if troubles.insert(namespace.to_owned(), trouble.clone()).is_none() {
                tracing::warn!(namespace, error = trouble, "no Job can be made");
            }
        }
        // The server has judged this one Job, so it would judge others as well.
        _ => {
            if troubles.remove(namespace).is_some() {
                tracing::info!(namespace, "Jobs can be made again");
            }
        }
    }
}

/// A Job that *restricted* namespaces accept.
fn job() -> Vec<u8> {
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"}});
    let resources =
        json!({"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}});
    let container = json!({"name": "probe", "image": "knapscen/none", "securityContext": security, "resources": resources});
    let spec =
        json!({"restartPolicy": "Never", "automountServiceAccountToken": false, "containers": [container]});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": NAME}, "spec": {"template": {"spec": spec}}});
    job.to_string().into_bytes()
}

fn lock(troubles: &Troubles) -> MutexGuard<'_, BTreeMap<String, String>> {
    troubles.lock()
}
