//! One stack of `docker/` with a project and ports of its own; nothing of it is left when it ends.

pub mod books;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::container::Container;
use crate::engine::{build_images, command, docker, root, run, try_run};
use crate::{http, port, reaper, wait};

/// Long enough for anything in containers on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(5);

/// The compose file.
#[derive(Clone, Copy)]
pub enum Kind {
    /// One of each.
    Single,
    /// Two dispatchers, three NATS servers.
    Cluster,
}

/// A running stack.
pub struct Stack {
    /// The engine's volumes before it started.
    volumes: BTreeSet<String>,
    project: String,
    file: &'static str,
    ports: [(&'static str, u16); 5],
}

impl Stack {
    /// Builds what has changed, starts the services, and waits until the dispatcher is ready.
    pub fn up(kind: Kind) -> Self {
        build_images();
        Self::up_without_build(kind)
    }

    /// The same with the images that are there.
    pub fn up_without_build(kind: Kind) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let stack = Self {
            volumes: volumes(),
            project: format!("knapscen-test-{}-{number}", std::process::id()),
            file: match kind {
                Kind::Single => "docker/compose.yaml",
                Kind::Cluster => "docker/compose.cluster.yaml",
            },
            ports: ["NATS_PORT", "MAIL_PORT", "PARTNER_PORT", "DISPATCHER_PORT", "DISPATCHER_2_PORT"]
                .map(|name| (name, port::free())),
        };
        reaper::watch_project(&stack.project);
        run(stack.compose(&["up", "--detach", "--no-build"]));
        wait::until(LIMIT, "the dispatcher is ready", || stack.is_ready().then_some(()));
        stack
    }

    /// Whether the first dispatcher reports that it could take an event and start its Job.
    pub fn is_ready(&self) -> bool {
        http::get(self.port("DISPATCHER_PORT"), "/readyz").is_ok_and(|answer| answer.status == 200)
    }

    /// The answer of a service as JSON; null if it is not JSON.
    pub fn ask(&self, port: &str, path: &str) -> Value {
        http::get(self.port(port), path).map(|answer| answer.json()).unwrap_or_default()
    }

    /// Publishes registrations with the script that the README names. Returns its output.
    pub fn publish(&self, arguments: &[&str]) -> String {
        let mut script = command("./publish-customer-registered.sh", arguments);
        script.env("COMPOSE_PROJECT_NAME", &self.project);
        for name in ["NATS_URL", "NATS_SERVER", "EVENTS_URL"] {
            script.env_remove(name);
        }
        run(script)
    }

    /// The address of a service's page.
    pub fn page(&self, port: &str) -> String {
        format!("http://127.0.0.1:{}/", self.port(port))
    }

    /// The address of NATS for a client on this machine, with the user and password that the stack has generated.
    pub fn nats(&self) -> String {
        let shown = run(self.compose(&["run", "--rm", "--no-deps", "secrets", "show"]));
        let token = |name: &str| {
            let found = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("no {name} in what secrets.sh shows")).to_owned()
        };
        let (user, password) = (token("NATS_USER"), token("NATS_PASSWORD"));
        format!("nats://{user}:{password}@127.0.0.1:{}", self.port("NATS_PORT"))
    }

    /// The rows of a query, values separated by tabs.
    pub fn rows(&self, query: &str) -> Vec<String> {
        let login = "MYSQL_PWD=\"$(cat $MYSQL_PASSWORD_FILE)\" exec $(command -v mariadb || command -v mysql) \
            --protocol=tcp --host=127.0.0.1 --user=$MYSQL_USER --skip-column-names --batch --execute \"$0\" $MYSQL_DATABASE";
        let printed = docker(&["exec", &self.container("database"), "sh", "-c", login, query]);
        printed.lines().map(str::to_owned).collect()
    }

    /// The number of rows in a table, or of those that a `WHERE` after its name selects.
    pub fn count(&self, table: &str) -> usize {
        self.rows(&format!("SELECT COUNT(*) FROM {table}")).concat().parse().expect("a count")
    }

    /// A command of the dispatcher inside a service's container.
    pub fn dispatcher(&self, service: &str, arguments: &[&str]) -> String {
        self.exec(service, &[&["/dispatcher"], arguments].concat())
    }

    /// A command inside a service's container.
    pub fn exec(&self, service: &str, arguments: &[&str]) -> String {
        docker(&[&["exec", &self.container(service)], arguments].concat())
    }

    /// Kills a service's container as in a power cut; the engine does not restart it by itself.
    pub fn kill(&self, service: &str) {
        docker(&["kill", "--signal", "KILL", &self.container(service)]);
    }

    /// Starts a killed service's container again.
    pub fn start(&self, service: &str) {
        docker(&["start", &self.container(service)]);
    }

    /// Whether a service's own health check reports that it is healthy.
    pub fn is_healthy(&self, service: &str) -> bool {
        docker(&["inspect", "--format", "{{.State.Health.Status}}", &self.container(service)]) == "healthy"
    }

    /// Freezes a service: its connections stay open, and nothing answers.
    pub fn pause(&self, service: &str) {
        docker(&["pause", &self.container(service)]);
    }

    /// Lets a frozen service go on.
    pub fn resume(&self, service: &str) {
        docker(&["unpause", &self.container(service)]);
    }

    /// Disconnects a service from the network: its connections hang, and its name is unknown.
    pub fn isolate(&self, service: &str) {
        docker(&["network", "disconnect", &self.network(), &self.container(service)]);
    }

    /// Connects it to the network again.
    pub fn rejoin(&self, service: &str) {
        docker(&["network", "connect", "--alias", service, &self.network(), &self.container(service)]);
    }

    /// The network that the services and the Jobs share.
    pub fn network(&self) -> String {
        format!("{}_default", self.project)
    }

    /// The containers of Jobs, running or ended.
    pub fn jobs(&self) -> Vec<Container> {
        self.containers(&["--filter", "label=com.docker.compose.oneoff=True"])
    }

    /// Those that run now.
    pub fn running_jobs(&self) -> Vec<Container> {
        self.containers(&["--filter", "label=com.docker.compose.oneoff=True", "--filter", "status=running"])
    }

    /// Ends it as the README says. Checks that first only its data is left, and then nothing.
    pub fn end(self) {
        let mut down = command("bash", &["-euo", "pipefail", "-c", &take_down().replace(FILE, self.file)]);
        down.env("COMPOSE_PROJECT_NAME", &self.project);
        let output = try_run(&mut down);
        let errors = String::from_utf8_lossy(&output.stderr);
        // Engines before 28 sometimes count the endpoints of a network wrongly, and keep it when nobody uses it.
        let keeps_network = errors.contains("has active endpoints");
        assert!(output.status.success() || keeps_network, "{down:?} ended with {}\n{errors}", output.status);
        let label = format!("label=com.docker.compose.project={}", self.project);
        for (list, kept) in [(["ps", "--all"], 0), (["network", "ls"], usize::from(keeps_network))] {
            let left = docker(&[&list[..], &["--quiet", "--filter", &label]].concat());
            assert_eq!(left.lines().count(), kept, "left behind: {left}");
        }
        // Other users of the engine have volumes too, which come and go.
        let data = format!("{}_", self.project);
        let mut left = &volumes() - &self.volumes;
        wait::until(Duration::from_mins(1), "no volume is left but its data", || {
            left = &left & &volumes();
            left.iter().all(|volume| volume.starts_with(&data)).then_some(())
        });
        assert!(!left.is_empty(), "its data is gone");
        let output = try_run(&mut self.compose(&["down", "--volumes"]));
        assert!(output.status.success() || keeps_network, "{output:?}");
        assert_eq!(&left & &volumes(), BTreeSet::new(), "left behind");
    }

    fn containers(&self, filters: &[&str]) -> Vec<Container> {
        let label = format!("label=com.docker.compose.project={}", self.project);
        let listed =
            docker(&[&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label], filters].concat());
        Container::look_at(&listed.lines().collect::<Vec<_>>())
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        let mut command =
            command("docker", &["compose", "--project-name", &self.project, "--file", self.file]);
        command.args(arguments).envs(self.ports.map(|(name, port)| (name, port.to_string())));
        command
    }

    fn container(&self, service: &str) -> String {
        format!("{}-{service}-1", self.project)
    }

    fn port(&self, name: &str) -> u16 {
        self.ports.iter().find(|(known, _)| *known == name).expect("a known port").1
    }
}

/// The README's compose file; another stack uses another file.
const FILE: &str = "docker/compose.yaml";

/// The README's commands that take the stack down and keep its data.
fn take_down() -> String {
    let readme = fs::read_to_string(root().join("docker/README.md")).expect("the README");
    let mut blocks = readme.split("```bash\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.find(|block| block.contains(" down ")).expect("a block that takes it down").to_owned()
}

/// All volumes of the engine.
fn volumes() -> BTreeSet<String> {
    docker(&["volume", "ls", "--quiet"]).lines().map(str::to_owned).collect()
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Print the logs before they are gone.
            let logs = try_run(&mut self.compose(&["logs", "--no-color", "--tail", "60"]));
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
            for job in self.jobs().iter().filter(|job| job.exit_code() != 0) {
                eprintln!("{} ended with {}", job.name(), job.exit_code());
            }
        }
        // After a successful end there is nothing to do, which is quick.
        let down = try_run(&mut self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "1"]));
        eprint!("{}", if down.status.success() { "".into() } else { String::from_utf8_lossy(&down.stderr) });
        reaper::forget_project(&self.project);
    }
}
