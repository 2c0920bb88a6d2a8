//! A scope of its own on a real engine, with an image made of busybox. Everything is removed afterwards.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bollard::Docker as Engine;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::TryStreamExt;
use tempfile::TempDir;

use super::super::record::{Record, SCOPE_LABEL};
use super::super::{Docker, Settings, container};
use super::{EndedJobPolicy, PlannedJob, Ran, anywhere};
use crate::{Source, Sources};
use job::stop::{Stop, Stopper, channel};

/// Marks every name as made by these tests, and by which process.
const WORD: &str = "knapscen-test";
const APPLETS: [&str; 9] = ["sh", "sleep", "cat", "id", "env", "ls", "head", "tail", "dd"];

/// A docker backend with a scope of its own.
pub(super) struct Ground {
    pub(super) settings: Settings,
    pub(super) stop: Stop,
    pub(super) stopper: Stopper,
    pub(super) engine: Engine,
    folder: TempDir,
    image: Arc<Image>,
}

impl Ground {
    /// `None` if no engine answers.
    pub(super) async fn new() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        let answering = match Engine::connect_with_host(&host) {
            Ok(engine) => engine.negotiate_version().await,
            Err(failure) => Err(failure),
        };
        let engine = match answering {
            Ok(engine) => engine,
            Err(failure) if std::env::var_os("CI").is_some() => panic!("no engine answers: {failure}"),
            Err(failure) => {
                eprintln!("not tried, for no engine answers at {host}: {failure}");
                return None;
            }
        };
        let image = Image::shared(&engine).await;
        let (stopper, stop) = channel();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let settings = Settings {
            host,
            network: Some("none".to_owned()),
            scope: format!("{WORD}-{}-{count}", std::process::id()),
            labels: BTreeMap::new(),
            sources: Sources::default(),
            docker_config: None,
            backoff: Duration::from_millis(10),
        };
        Some(Self { settings, stop, stopper, engine, folder: tempfile::tempdir().unwrap(), image })
    }

    pub(super) fn image(&self) -> &str {
        &self.image.0
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn secret(mut self, name: &str, text: &str) -> Self {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        self.settings.sources.secrets.insert(name.to_owned(), Source(path));
        self
    }

    /// The backend of a dispatcher that has just been started.
    pub(super) fn backend(&self) -> Docker {
        Docker::open(self.settings.clone()).unwrap()
    }

    pub(super) async fn run(&self, job: &PlannedJob) -> Ran {
        self.backend().run(job, EndedJobPolicy::Replace, anywhere(), &self.stop).await
    }

    /// The current container of the Job.
    pub(super) async fn inspect(&self, job: &PlannedJob) -> Option<ContainerInspectResponse> {
        let name = format!("{}.{}.{}", self.settings.scope, job.namespace, job.name);
        self.engine.inspect_container(&name, None).await.ok()
    }

    /// The id of the container of this try, once it runs.
    pub(super) async fn running(&self, job: &PlannedJob, try_number: u32) -> String {
        for _ in 0..3000 {
            if let Some(found) = self.inspect(job).await {
                let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
                let is_running = found.state.and_then(|state| state.running) == Some(true);
                if is_running && labels.get("dispatcher.knapscen.disco/try") == Some(&try_number.to_string())
                {
                    return found.id.unwrap();
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("try {try_number} never ran");
    }

    /// Writes a file into a running container: [`WAIT_FOR_GO`] reads it.
    pub(super) async fn tell(&self, id: &str, script: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_size(script.len() as u64);
        header.set_mode(0o644);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, "go", script.as_bytes()).unwrap();
        let body = bollard::body_full(archive.into_inner().unwrap().into());
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        self.engine.upload_to_container(id, Some(options), body).await.unwrap();
    }

    /// Waits until the Job's container has ended.
    pub(super) async fn ended(&self, job: &PlannedJob) {
        for _ in 0..3000 {
            let state = self.inspect(job).await.and_then(|found| found.state);
            if state.is_some_and(|state| state.running == Some(false)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it never ended");
    }

    /// A container of the Job that was created and not started, as after a crash.
    pub(super) async fn made(&self, job: &PlannedJob, run: &str) -> String {
        let labels = Record::first(job, run).labels(job, EndedJobPolicy::Replace, &self.settings.scope);
        let body = container::plan(job, BTreeMap::new(), labels, &self.settings).unwrap();
        self.create(job, body).await
    }

    /// A container that has the Job's name but does not belong to it.
    pub(super) async fn stranger(&self, job: &PlannedJob) -> String {
        let labels = HashMap::from([(SCOPE_LABEL.to_owned(), self.settings.scope.clone())]);
        let image = Some(self.image().to_owned());
        let body = ContainerCreateBody {
            image,
            labels: Some(labels),
            cmd: Some(vec!["/bin/sh".to_owned()]),
            ..ContainerCreateBody::default()
        };
        self.create(job, body).await
    }

    async fn create(&self, job: &PlannedJob, body: ContainerCreateBody) -> String {
        let name = format!("{}.{}.{}", self.settings.scope, job.namespace, job.name);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        self.engine.create_container(Some(options), body).await.unwrap().id
    }

    /// Kills a container.
    pub(super) async fn kill(&self, id: &str) {
        let options = None::<bollard::query_parameters::KillContainerOptions>;
        self.engine.kill_container(id, options).await.unwrap();
    }

    /// Removes a container, running or not.
    pub(super) async fn remove(&self, id: &str) {
        remove(&self.engine, id).await;
    }

    /// How many containers there are in this scope.
    pub(super) async fn containers(&self) -> usize {
        listed(&self.engine, &format!("{SCOPE_LABEL}={}", self.settings.scope)).await.len()
    }
}

/// A script that obeys [`Ground::tell`].
pub(super) const WAIT_FOR_GO: &str = "while [ ! -s /go ]; do sleep 0.05; done; . /go";

impl Drop for Ground {
    fn drop(&mut self) {
        let label = format!("{SCOPE_LABEL}={}", self.settings.scope);
        on_a_thread(|engine| async move {
            for (id, _) in listed(&engine, &label).await {
                remove(&engine, &id).await;
            }
        });
    }
}

/// An image with only busybox; removed with its last user.
struct Image(String);

impl Image {
    /// The image of this test process.
    async fn shared(engine: &Engine) -> Arc<Self> {
        static IMAGE: tokio::sync::Mutex<Weak<Image>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = IMAGE.lock().await;
        if let Some(image) = shared.upgrade() {
            return image;
        }
        sweep(engine).await;
        let tag = format!("{}-{}", std::process::id(), shared::Uuid::new_v4().simple());
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(WORD).tag(&tag).build();
        let body = bollard::body_full(root().into());
        let made = engine.create_image(Some(options), Some(body), None);
        made.try_for_each(|_progress| async { Ok(()) }).await.unwrap();
        let image = Arc::new(Self(format!("{WORD}:{tag}")));
        *shared = Arc::downgrade(&image);
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let name = self.0.clone();
        on_a_thread(|engine| async move {
            drop(
                engine.remove_image(&name, None::<bollard::query_parameters::RemoveImageOptions>, None).await,
            );
        });
    }
}

/// An archive of a root with busybox and links to it.
fn root() -> Vec<u8> {
    let program = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok());
    let program =
        program.unwrap_or_else(|| panic!("busybox-static is needed: it is the program of the tests' image"));
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, "bin/busybox", program.as_slice()).unwrap();
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    archive.into_inner().unwrap()
}

/// Removes what killed test processes have left.
async fn sweep(engine: &Engine) {
    let is_gone = |name: &str, separator: &str| {
        let rest = name.strip_prefix(WORD).and_then(|rest| rest.strip_prefix(separator));
        let process = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists())
    };
    for (id, scope) in listed(engine, SCOPE_LABEL).await {
        if is_gone(&scope, "-") {
            remove(engine, &id).await;
        }
    }
    let images = engine.list_images(None::<bollard::query_parameters::ListImagesOptions>).await.unwrap();
    for tag in images.iter().flat_map(|image| &image.repo_tags).filter(|tag| is_gone(tag, ":")) {
        drop(engine.remove_image(tag, None::<bollard::query_parameters::RemoveImageOptions>, None).await);
    }
}

/// Containers with this label: id and scope.
async fn listed(engine: &Engine, label: &str) -> Vec<(String, String)> {
    let filters = HashMap::from([("label", vec![label.to_owned()])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let all = engine.list_containers(Some(options)).await.unwrap();
    let scope = |labels: Option<HashMap<String, String>>| labels?.remove(SCOPE_LABEL);
    all.into_iter().filter_map(|one| Some((one.id?, scope(one.labels)?))).collect()
}

async fn remove(engine: &Engine, id: &str) {
    let options = RemoveContainerOptionsBuilder::new().v(true).force(true).build();
    drop(engine.remove_container(id, Some(options)).await);
}

/// Runs a future where nothing can be awaited: in a drop.
fn on_a_thread<F: Future<Output = ()>>(work: impl FnOnce(Engine) -> F + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let engine = Engine::connect_with_defaults().unwrap().negotiate_version().await.unwrap();
                work(engine).await;
            });
        });
    });
}
