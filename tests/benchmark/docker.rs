//! Containers on the engine of this machine: a worker's and one that does nothing, and those of the stack of
//! `docker/`.

mod client;
mod cold;
mod start;

use std::path::Path;
use std::process::{Command, Stdio};

use tests::engine::{docker, root};
use tests::scratch::Scratch;

use crate::Size;
use crate::measure::{in_turn, run};
use crate::report::{Figure, Goal};
use crate::worker;

/// On the host's network, where the servers are. A network of its own would take longer than everything else.
const RUN: [&str; 4] = ["run", "--rm", "--network", "host"];

const NULL_IMAGE: &str = "benchmark/null:latest";
const WORKER_IMAGE: &str = "knapscen/save-user:latest";
const BUSYBOX: &str = "/bin/busybox";

/// Fails unless all images of the stack exist.
const IMAGES: &str =
    "images=$(docker compose --file docker/compose.yaml config --images) && docker image inspect $images";

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    if let Some(missing) = missing() {
        println!("  NOT MEASURED: {missing}");
        return Vec::new();
    }
    match NullImage::of(NULL_IMAGE) {
        Ok(_image) => {
            [program_of_the_image(size), one_worker(size), start::measure(size), cold::measure(size)].concat()
        }
        Err(missing) => {
            println!("  NOT MEASURED: {missing}");
            Vec::new()
        }
    }
}

/// The program in an image, without a container: static and built for size, unlike the worker of this build.
fn program_of_the_image(size: Size) -> Vec<Figure> {
    let (stage, scratch) = (worker::Stage::start(), Scratch::new("image"));
    let program = scratch.join("save-user").display().to_string();
    let container = docker(&["create", WORKER_IMAGE]);
    docker(&["cp", &format!("{container}:/save-user"), &program]);
    docker(&["rm", &container]);
    let [floor, ours] = in_turn(
        size.pick(20, 200),
        3,
        [&mut |_| stage.save("benchmark-floor"), &mut |_| stage.save(&program)],
    );
    stage.check();
    let figure = Figure::new("save-user out of its image, median", "ms", ours.median());
    vec![figure.beside("floor program", floor.median()).goal(Goal::RatioAtMost(1.3))]
}

fn one_worker(size: Size) -> Vec<Figure> {
    let stage = worker::Stage::start();
    let [null, ours] = in_turn(
        size.pick(5, 40),
        1,
        [&mut |_| run(Command::new("docker").args(RUN).arg(NULL_IMAGE)), &mut |_| {
            run(&mut contained(&stage.command("save-user")))
        }],
    );
    stage.check();
    let figure = |what: &str, percent| {
        Figure::new(what, "ms", ours.percentile(percent)).beside("null container", null.percentile(percent))
    };
    vec![figure("docker run save-user, median", 50.0), figure("docker run save-user, p95", 95.0)]
}

/// What is missing.
fn missing() -> Option<String> {
    if !works(Command::new("bash").args(["-c", IMAGES]).current_dir(root())) {
        let remedy = "docker/offline.sh && docker buildx bake -f docker/bake.hcl";
        return Some(format!("not all images of docker/compose.yaml are there: {remedy}"));
    }
    None
}

/// An image whose program does nothing, without libraries. Removed on drop.
pub(crate) struct NullImage(&'static str);

impl NullImage {
    /// Builds it under this name. If that fails, returns what is missing.
    pub(crate) fn of(name: &'static str) -> Result<Self, String> {
        if !works(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"])) {
            return Err("no container engine answers: start it, or set DOCKER_HOST".to_owned());
        }
        let import = format!(
            "tar --create --dereference --directory / .{BUSYBOX} | \
             docker import --change 'ENTRYPOINT [\"{BUSYBOX}\", \"true\"]' - {name}"
        );
        let made = Path::new(BUSYBOX).exists()
            && works(Command::new("bash").args(["-o", "pipefail", "-c", &import]));
        if made {
            Ok(Self(name))
        } else {
            Err(format!("{name} cannot be made of {BUSYBOX}: apt-get install busybox-static"))
        }
    }
}

impl Drop for NullImage {
    fn drop(&mut self) {
        works(Command::new("docker").args(["image", "rm", self.0]));
    }
}

fn works(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The same in a container that reaches the servers of this machine.
fn contained(command: &Command) -> Command {
    let mut client = Command::new("docker");
    client.args(RUN);
    let variables = command.get_envs().filter(|(name, _)| *name != "TERMINATION_LOG");
    for (name, value) in variables {
        // By name: the engine's client takes the value from its own environment.
        client.arg("--env").arg(name).env(name, value.unwrap_or_default());
    }
    client.arg(WORKER_IMAGE);
    client
}
