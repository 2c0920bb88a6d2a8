//! A certificate authority of this run, made with `openssl`, and a certificate for loopback signed by it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::scratch::Scratch;

/// PEM files of one authority and one server certificate for `localhost` and `127.0.0.1`.
#[derive(Debug)]
pub struct Authority {
    scratch: Scratch,
}

impl Authority {
    /// The authority shared by all tests of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Authority> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    /// A new authority that nothing else trusts.
    pub fn new() -> Self {
        let scratch = Scratch::new("authority");
        let names =
            scratch.write("names", "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n");
        let path = scratch.path();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let authority = [
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=Knapscen test authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ];
        openssl(path, &[&["req"], &key[..], &authority[..]].concat());
        let request = ["-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
        openssl(path, &[&["req"], &key[..], &request[..]].concat());
        let sign =
            ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        let names = names.display().to_string();
        openssl(path, &[&sign[..], &["-days", "2", "-extfile", &names, "-out", "server.pem"]].concat());
        Self { scratch }
    }

    /// The authority's own certificate, which clients trust.
    pub fn certificate(&self) -> PathBuf {
        self.scratch.join("ca.pem")
    }

    /// The server's certificate.
    pub fn server_certificate(&self) -> PathBuf {
        self.scratch.join("server.pem")
    }

    /// The server's private key.
    pub fn server_key(&self) -> PathBuf {
        self.scratch.join("server.key")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn openssl(directory: &Path, arguments: &[&str]) {
    let output =
        Command::new("openssl").args(arguments).current_dir(directory).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
