//! Any bytes on a connection without a token: the server answers or closes it, and nothing changes.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use backend::{Backend, Recording};
use bus::{Access, Bus, Settings};
use dispatcher::engine::parked::Parked;
use dispatcher::manifest_source::Rules;
use dispatcher::server::{App, AppParts, Tokens, serve_one};
use history::{History, Keep};
use job::stop::{Stop, Stopper, channel};
use libfuzzer_sys::fuzz_target;
use rules::manifest::Manifests;
use rules::plan::{Cluster, Policy};
use shared::config::Secret;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

/// A token that no dictionary and no mutation finds.
const TOKEN: &str = "7f1e0c5a9b3d48e2a6c4f0b1d2e3a495";

struct Ground {
    runtime: Runtime,
    app: App,
    bus: Bus,
    stop: Stop,
    _stopper: Stopper,
    _folder: TempDir,
}

static GROUND: LazyLock<Ground> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // The clock jumps whenever no task can run, so every wait is over at once. The tests are built without that.
    #[cfg(not(test))]
    runtime.start_paused(true);
    let runtime = runtime.enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let (stopper, stop) = channel();
    let (app, bus) = runtime.block_on(async {
        let settings = Settings::embedded(folder.path().join("queue.db"));
        let bus = Bus::open(&settings, Access::Consume).await.expect("a bus");
        bus.ensure_subjects(&["customer-registered".to_owned()].into()).await.expect("its subject");
        let token = || Some(Secret::from(TOKEN.to_owned()));
        let app = App::new(AppParts {
            bus: bus.clone(),
            backend: Backend::Recording(Recording::default()),
            rules: Rules::new(Manifests::default()),
            metrics: Default::default(),
            parked: Parked::new(Duration::from_mins(1)),
            history: History::in_memory(Keep::days(1)).await.expect("a history"),
            cluster: Cluster::default(),
            policy: Policy::default(),
            tokens: Tokens { events: token(), admin: token(), workers: token(), loopback: false },
            stop: stop.clone(),
        });
        (app, bus)
    });
    Ground { runtime, app, bus, stop, _stopper: stopper, _folder: folder }
});

fuzz_target!(|data: &[u8]| {
    let ground = &*GROUND;
    let answer = ground.runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(data).await.expect("room");
        client.shutdown().await.expect("an end");
        let from = ([192, 0, 2, 1], 1).into();
        let serving = serve_one(server, from, ground.app.clone().router(), ground.stop.clone());
        tokio::time::timeout(Duration::from_mins(10), serving).await.expect("an end of the connection");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("an answer");
        assert_eq!(ground.bus.dead_letter_count().await, Ok(0));
        answer
    });
    let answer = String::from_utf8_lossy(&answer);
    // Only an event can be accepted, and without a token there is none.
    assert!(!answer.contains("HTTP/1.1 202") && !answer.contains(TOKEN), "{answer}");
});
