//! An API server stand-in: it keeps objects, versions and watches like Kubernetes, refuses what Kubernetes refuses,
//! misbehaves on demand, and records every call. There is no controller and no kubelet: a [`Hand`] plays them, here
//! and on a real cluster.

mod act;
mod fault;
mod follow;
mod hand;
mod record;
mod respond;
mod role;
mod rules;
mod serve;
mod store;
mod tls;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::authority::Authority;
use crate::scratch::Scratch;
use crate::{runtime, wait};

pub use fault::{Effect, Fault};
pub use hand::{Ended, Hand};
pub use record::Asked;
pub use role::{Grant, grants};

use self::record::{Call, Record};
use self::store::Store;

/// A running API server; stopped on drop.
#[derive(Debug)]
pub struct ApiServer {
    port: u16,
    has_tls: bool,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The newest version; watches wait on it.
    version: watch::Sender<u64>,
    /// Changed to end every open watch.
    cut: watch::Sender<u64>,
    /// Calls that begin with these words wait.
    held: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    record: Record,
    faults: Vec<Fault>,
    /// The required bearer token, if there is one.
    token: Option<String>,
    /// Whether a Job is complete as soon as it exists.
    completing: bool,
    /// Whether the definitions of EventSources and EventTriggers are those of Sveltos.
    of_sveltos: bool,
}

impl ApiServer {
    /// A server with one namespace, `default`, on a port of its own. It grants a dispatcher what the shipped Roles
    /// grant.
    pub fn start() -> Self {
        Self::serve(false)
    }

    /// The same over TLS, with the certificate that the shared [`Authority`] has signed.
    pub fn start_with_tls() -> Self {
        Self::serve(true)
    }

    fn serve(has_tls: bool) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            version: watch::Sender::new(0),
            cut: watch::Sender::new(0),
            held: watch::Sender::new(None),
        });
        let _context = runtime().enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        let service = serve::router(Arc::clone(&shared));
        let server = runtime().spawn(async move {
            let served = if has_tls {
                axum::serve(tls::Listener::new(listener, Authority::shared()), service).await
            } else {
                axum::serve(listener, service).await
            };
            served.expect("the API server serves");
        });
        let server = Self { port, has_tls, shared, server };
        server.shared.put("namespaces", "", "default", serde_json::json!({"metadata": {"name": "default"}}));
        server
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A kubeconfig for it, in this directory.
    pub fn kubeconfig(&self, scratch: &Scratch) -> PathBuf {
        scratch.write(&format!("kubeconfig-{}", self.port), &self.kubeconfig_text())
    }

    /// The text of such a kubeconfig.
    pub fn kubeconfig_text(&self) -> String {
        if self.has_tls {
            let authority = self.authority();
            let address = format!("https://127.0.0.1:{}", self.port);
            return kubeconfig_text(&format!(
                "server: '{address}', certificate-authority: '{}'",
                authority.display()
            ));
        }
        kubeconfig_text(&format!("server: 'http://127.0.0.1:{}'", self.port))
    }

    /// The certificate that a client of a server with TLS has to trust.
    pub fn authority(&self) -> PathBuf {
        Authority::shared().certificate()
    }

    /// From now on requires this bearer token, except from the [`Hand`].
    pub fn ask_for(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// The next matching calls have this effect.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Removes all effects.
    pub fn mend(&self) {
        self.state().faults.clear();
    }

    /// Calls that begin with these words can be held up.
    pub fn gate(&self) -> Gate {
        Gate(Arc::clone(&self.shared))
    }

    /// Faults that were not used up.
    pub fn faults_left(&self) -> usize {
        self.state().faults.len()
    }

    /// Sets whether watches hide what happens from now on; hidden changes stay hidden.
    pub fn hide(&self, hiding: bool) {
        self.state().store.hide(hiding);
    }

    /// Sets whether a Job is complete as soon as it exists, for measurements.
    pub fn complete_at_once(&self, completing: bool) {
        self.state().completing = completing;
    }

    /// From now on the definitions of EventSources and EventTriggers are those of Sveltos: with its defaults, and
    /// without a place for `status.conditions`.
    pub fn with_definitions_of_sveltos(&self) {
        self.state().of_sveltos = true;
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

    /// Every call so far with its answer's status, such as `POST jobs/a 201`, except those of the [`Hand`] and the
    /// dry runs, which come at any time.
    pub fn calls(&self) -> Vec<String> {
        self.record().iter().map(Call::line).filter(|call| !call.starts_with("PROBE ")).collect()
    }

    /// The user agents of all calls so far.
    pub fn agents(&self) -> BTreeSet<String> {
        self.record().into_iter().map(|call| call.agent).collect()
    }

    /// Every call so far in the words of a Role's rules.
    pub fn asked(&self) -> Vec<Asked> {
        self.record().into_iter().map(|call| call.asked).collect()
    }

    /// The queries of the calls that begin with these words.
    pub fn queries(&self, call: &str) -> Vec<String> {
        let calls = self.record().into_iter();
        calls.filter(|made| made.words.starts_with(call)).map(|made| made.query).collect()
    }

    fn record(&self) -> Vec<Call> {
        wait::until(wait::LIMIT, "every call is answered", || self.state().record.whole())
    }

    /// The calls about Jobs and Pods that a dispatcher made, without lists and watches of all Jobs.
    pub fn job_calls(&self) -> Vec<String> {
        let of_watch = |call: &String| call.starts_with("LIST jobs ") || call.starts_with("WATCH jobs ");
        self.calls().into_iter().filter(|call| !of_watch(call)).collect()
    }

    /// Waits until a call was made this many times.
    pub fn until_called(&self, call: &str, times: usize) {
        wait::until(wait::LIMIT, &format!("{call} was called {times} times: {:?}", self.calls()), || {
            (self.calls().iter().filter(|made| made.starts_with(call)).count() >= times).then_some(())
        });
    }

    /// The objects of a kind, by namespace and name.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        self.state().store.list(plural, None).cloned().collect()
    }

    /// Those of them that match.
    pub fn objects_where(&self, plural: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.state().store.list(plural, None).filter(|object| wanted(object)).cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

/// Holds up calls.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Shared>);

/// Holds up calls until it is dropped.
#[derive(Debug)]
pub struct Held(Arc<Shared>);

impl Gate {
    /// From now on calls that begin with these words wait; all others do not.
    pub fn hold(&self, call: &str) -> Held {
        self.0.held.send_replace(Some(call.to_owned()));
        Held(Arc::clone(&self.0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.send_replace(None);
    }
}

/// A kubeconfig for an API server without TLS on this port.
pub fn kubeconfig(scratch: &Scratch, port: u16) -> PathBuf {
    let text = kubeconfig_text(&format!("server: 'http://127.0.0.1:{port}'"));
    scratch.write(&format!("kubeconfig-{port}"), &text)
}

fn kubeconfig_text(cluster: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: stand-in\n\
         clusters: [{{name: stand-in, cluster: {{{cluster}}}}}]\n\
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
        self.state().store.put(plural, namespace, name, object);
        self.changed();
    }

    /// How often watches check for news.
    fn changed(&self) {
        let version = self.state().store.version();
        self.version.send_replace(version);
    }
}
