//! A real registry on loopback, which the engine reaches without TLS, and images made only of busybox.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::engine::{command, docker, run};
use tests::process::Process;
use tests::scratch::Scratch;
use tests::{http, port};

/// The user who may pull from a registry with a login.
pub(crate) const USER: &str = "puller";
/// It has characters that credentials lose in the wrong base64 alphabet.
pub(crate) const PASSWORD: &str = "pass>?~word";
const PASSWORD_HASH: &str = "$2b$04$7Grtvumz/E7E9JE4pzAYIOO.7eaLHlSlBKuvQsiHkDlzOeREuWJiC";
/// Marks the images, so that they can be removed under any name.
const LABEL: &str = "disco.knapscen.test.registry";

/// A registry. On drop it is killed, and its images are removed from the engine. Its port and content survive a stop.
pub(crate) struct Registry {
    process: Option<Process>,
    port: u16,
    is_locked: bool,
    scratch: Scratch,
}

impl Registry {
    /// A registry without a login.
    pub(crate) fn open() -> Self {
        Self::new(false)
    }

    /// A registry that only [`USER`] may use.
    pub(crate) fn locked() -> Self {
        Self::new(true)
    }

    fn new(is_locked: bool) -> Self {
        let mut registry =
            Self { process: None, port: port::free(), is_locked, scratch: Scratch::new("registry") };
        registry.scratch.write("htpasswd", &format!("{USER}:{PASSWORD_HASH}\n"));
        registry.scratch.write("login/config.json", &registry.login(PASSWORD));
        registry.start();
        registry
    }

    /// Starts it for the first time, or again.
    pub(crate) fn start(&mut self) {
        let folder = self.scratch.path().display();
        let lock = format!("auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}\n");
        let settings = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {folder}/images}}}}\n\
             http: {{addr: \"127.0.0.1:{}\"}}\n{}",
            self.port,
            if self.is_locked { &lock } else { "" }
        );
        let mut server = Command::new("docker-registry");
        server.arg("serve").arg(self.scratch.write("settings.yaml", &settings));
        let mut process = Process::spawn("docker-registry", server, &self.scratch.join("log"));
        process.until("answers", || http::get(self.port, "/v2/").ok());
        self.process = Some(process);
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// The name of an image in it.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}:1", self.port)
    }

    /// The contents of `docker login`'s file and of Secrets for it.
    pub(crate) fn login(&self, password: &str) -> String {
        let server = format!("127.0.0.1:{}", self.port);
        serde_json::json!({"auths": {server: {"username": USER, "password": password}}}).to_string()
    }

    /// The folder of a `docker login`.
    pub(crate) fn login_folder(&self) -> String {
        self.scratch.join("login").display().to_string()
    }

    /// Makes an image that prints this text, pushes it, removes its name from the engine, and returns the name.
    pub(crate) fn push(&self, name: &str, says: &str) -> String {
        let image = self.image(name);
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        self.scratch.write("root/says", says);
        fs::create_dir_all(self.scratch.join("root/bin")).expect("a folder");
        fs::copy(busybox.expect("busybox-static"), self.scratch.join("root/bin/busybox")).expect("a copy");
        let archive = self.scratch.join("root.tar").display().to_string();
        let root = self.scratch.join("root").display().to_string();
        run(command("tar", &["--directory", &root, "--create", "--file", &archive, "."]));
        let entry = r#"ENTRYPOINT ["/bin/busybox", "cat", "/says"]"#;
        let label = format!("LABEL {LABEL}={}", self.port);
        docker(&["import", "--change", entry, "--change", &label, &archive, &image]);
        docker(&["--config", &self.login_folder(), "push", "--quiet", &image]);
        docker(&["image", "rm", &image]);
        image
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let label = format!("label={LABEL}={}", self.port);
        let images = docker(&["image", "ls", "--all", "--quiet", "--filter", &label]);
        for image in images.lines().collect::<std::collections::BTreeSet<_>>() {
            docker(&["image", "rm", "--force", image]);
        }
    }
}
