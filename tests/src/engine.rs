//! The container engine, by its command line.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The repository's root: every command runs there.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs `docker` with these arguments; panics with its message if it fails.
pub fn docker(arguments: &[&str]) -> String {
    run(command("docker", arguments))
}

/// A command with its arguments.
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs a command, which must succeed, and returns its output.
pub fn run(mut command: Command) -> String {
    let output = try_run(&mut command);
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}\n{text}\n{errors}", output.status);
    text
}

/// Runs a command that may fail.
pub fn try_run(command: &mut Command) -> Output {
    command.current_dir(root()).output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// Builds the images of this checkout, once for each test process, after missing base images.
pub fn build_images() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        run(command("docker/offline.sh", &[]));
        let mut bake =
            command("docker", &["buildx", "bake", "--file", "docker/bake.hcl", "--progress", "plain"]);
        bake.env("REVISION", revision());
        run(bake);
    });
}

/// The commit of this checkout.
pub fn revision() -> String {
    run(command("git", &["rev-parse", "HEAD"]))
}
