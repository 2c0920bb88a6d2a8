//! A watch: sends what happens until the client disconnects.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::act::fits;
use super::respond::{Piece, stream};
use super::serve::{Queries, Target};
use super::store::Change;

/// How often an idle watch sends the newest version.
const BOOKMARK_EVERY: Duration = Duration::from_secs(1);

pub(super) fn watch(shared: &Arc<Shared>, target: &Target, queries: &Queries) -> Response {
    let from: u64 = queries.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let seconds = queries.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(290);
    let (lines, received) = mpsc::channel(16);
    let watcher = Watcher {
        shared: Arc::clone(shared),
        plural: target.plural.clone(),
        namespace: target.namespace.clone(),
        queries: queries.clone(),
        lines,
        versions: shared.version.subscribe(),
        cut: shared.cut.subscribe(),
    };
    tokio::spawn(async move {
        drop(tokio::time::timeout(Duration::from_secs(seconds), watcher.run(from)).await);
    });
    stream(received).into_response()
}

struct Watcher {
    shared: Arc<Shared>,
    plural: String,
    namespace: String,
    queries: Queries,
    lines: mpsc::Sender<Piece>,
    versions: watch::Receiver<u64>,
    /// The state when the call was made.
    cut: watch::Receiver<u64>,
}

impl Watcher {
    /// Until the client disconnects, the history is gone, or it is cut.
    async fn run(mut self, mut from: u64) {
        loop {
            self.versions.borrow_and_update();
            let (news, newest) = {
                let state = self.shared.state();
                let news = state
                    .store
                    .since(from)
                    .map(|news| news.iter().filter(|c| self.concerns(c)).cloned().collect());
                (news, state.store.version())
            };
            let Some(news): Option<Vec<Change>> = news else {
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "too old resource version", "reason": "Expired", "code": 410});
                self.send("ERROR", &status).await;
                return;
            };
            for change in news {
                if !self.send(change.kind, &change.object).await {
                    return;
                }
            }
            from = newest;
            tokio::select! {
                _ = self.versions.changed() => {}
                _ = self.cut.changed() => {
                    drop(self.lines.send(Err(std::io::Error::other("cut"))).await);
                    return;
                }
                () = tokio::time::sleep(BOOKMARK_EVERY) => {
                    let bookmark = json!({"kind": "Job", "apiVersion": "batch/v1",
                        "metadata": {"resourceVersion": newest.to_string(), "creationTimestamp": null}});
                    let wanted = self.queries.get("allowWatchBookmarks").is_some_and(|wanted| wanted == "true");
                    if wanted && !self.send("BOOKMARK", &bookmark).await {
                        return;
                    }
                }
            }
        }
    }

    fn concerns(&self, change: &Change) -> bool {
        !change.hidden
            && change.plural == self.plural
            && (self.namespace.is_empty() || change.object["metadata"]["namespace"] == self.namespace)
            && fits(&change.object, &self.queries)
    }

    async fn send(&self, kind: &str, object: &Value) -> bool {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.lines.send(Ok(line.into())).await.is_ok()
    }
}
