//! An API server stand-in: keeps objects, versions and watches as Kubernetes does, refuses what Kubernetes refuses, misbehaves
//! on demand, and records every call. There is no controller and no kubelet: a [`Hand`] plays them, here and on a real cluster.

mod fault;
mod hand;
mod rules;
mod serve;
mod store;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::scratch::Scratch;
use crate::{runtime, wait};

pub use fault::{Effect, Fault};
pub use hand::{Ended, Hand};

use self::store::Store;

/// A running API server; stopped on drop.
#[derive(Debug)]
pub struct ApiServer {
    port: u16,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The newest version; watches wait on it.
    version: watch::Sender<u64>,
    /// Raised to end every open watch.
    cut: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    calls: Vec<String>,
    /// The query of each call.
    queries: Vec<String>,
    faults: Vec<Fault>,
    /// Watches tell nothing of what happens meanwhile.
    hiding: bool,
    /// A Job is complete as soon as it is there.
    completing: bool,
}

impl ApiServer {
    /// A server with one namespace, `default`, on a port of its own.
    pub fn start() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            version: watch::Sender::new(0),
            cut: watch::Sender::new(0),
        });
        let _context = runtime().enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        let service = serve::router(Arc::clone(&shared));
        let server = runtime().spawn(async move {
            axum::serve(listener, service).await.expect("the API server serves");
        });
        let server = Self { port, shared, server };
        server.shared.put("namespaces", "", "default", serde_json::json!({"metadata": {"name": "default"}}));
        server
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A kubeconfig for it, in this directory.
    pub fn kubeconfig(&self, scratch: &Scratch) -> PathBuf {
        kubeconfig(scratch, self.port)
    }

    /// The text of such a kubeconfig.
    pub fn kubeconfig_text(&self) -> String {
        kubeconfig_text(self.port)
    }

    /// The next calls that fit have this effect.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Faults that have not been used up.
    pub fn faults_left(&self) -> usize {
        self.state().faults.len()
    }

    /// Whether watches say nothing of what happens from now on; what was hidden stays so.
    pub fn hide(&self, hiding: bool) {
        self.state().hiding = hiding;
    }

    /// Whether a Job is complete as soon as it is there: for measurements.
    pub fn complete_at_once(&self, completing: bool) {
        self.state().completing = completing;
    }

    /// How many objects of a kind there are.
    pub fn count(&self, plural: &str) -> usize {
        self.state().store.list(plural, None).count()
    }

    /// Ends every open watch in the middle of its answer.
    pub fn cut_watches(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// Forgets all history: a watch from any version so far is answered with 410.
    pub fn expire(&self) {
        self.state().store.expire();
        self.shared.version.send_modify(|version| *version += 1);
    }

    /// Every call so far with its answer's status, such as `POST jobs/a 201`. Of the [`Hand`] there are none.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// The queries of the calls that begin with these words.
    pub fn queries(&self, call: &str) -> Vec<String> {
        let state = self.state();
        let each = state.calls.iter().zip(&state.queries);
        each.filter(|(made, _)| made.starts_with(call)).map(|(_, query)| query.clone()).collect()
    }

    /// The calls about Jobs and Pods that a dispatcher made, without lists and watches of all Jobs.
    pub fn job_calls(&self) -> Vec<String> {
        let of_watch = |call: &String| call.starts_with("LIST jobs ") || call.starts_with("WATCH jobs ");
        self.calls().into_iter().filter(|call| !of_watch(call)).collect()
    }

    /// Waits until a call has been made so many times.
    pub fn until_called(&self, call: &str, times: usize) {
        wait::until(wait::LIMIT, &format!("{call} was called {times} times: {:?}", self.calls()), || {
            (self.calls().iter().filter(|made| made.starts_with(call)).count() >= times).then_some(())
        });
    }

    /// The objects of a kind, by namespace and name.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        self.state().store.list(plural, None).cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

/// A kubeconfig for an API server without TLS on this port.
pub fn kubeconfig(scratch: &Scratch, port: u16) -> PathBuf {
    scratch.write(&format!("kubeconfig-{port}"), &kubeconfig_text(port))
}

fn kubeconfig_text(port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: stand-in\n\
         clusters: [{{name: stand-in, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         users: [{{name: nobody, user: {{}}}}]\n\
         contexts: [{{name: stand-in, context: {{cluster: stand-in, user: nobody}}}}]\n"
    )
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.server.abort();
        self.cut_watches();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the state")
    }

    fn put(&self, plural: &str, namespace: &str, name: &str, object: Value) {
        let mut state = self.state();
        let version = state.store.put(plural, namespace, name, object);
        drop(state);
        self.version.send_replace(version);
    }
}
