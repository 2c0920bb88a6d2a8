//! A real MariaDB with a data directory of its own.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, MySqlConnection};

use crate::authority::Authority;
use crate::database::Database;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::{block_on, port, wait};

const USER: &str = "onboarding";
const PASSWORD: &str = "a password & more";
const ADMIN: &str = "harness";

/// A MariaDB server; killed on drop. Its port and data survive a stop and a new start.
#[derive(Debug)]
pub struct MariaDb {
    process: Option<Process>,
    port: u16,
    tls: bool,
    scratch: Scratch,
}

impl MariaDb {
    /// The server that all tests of this process share, each with databases of its own. Never stop or pause it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of one's own, without TLS.
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// A server of one's own whose certificate the shared [`Authority`] has signed.
    pub fn start_with_tls() -> Self {
        Self::start_with(true)
    }

    fn start_with(tls: bool) -> Self {
        let scratch = Scratch::new("mariadb");
        install(&scratch);
        scratch.write("init.sql", &accounts());
        let mut server = Self { process: None, port: port::free(), tls, scratch };
        server.start_again();
        server
    }

    /// Starts it again after [`Self::stop`], on the same port with the same data.
    pub fn start_again(&mut self) {
        let mut command = Command::new(program("mariadbd"));
        command.env("TMPDIR", self.scratch.path());
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"]);
        // Small and quick to start; a killed process loses nothing that the kernel has taken.
        command.args([
            "--innodb-buffer-pool-size=16M",
            "--innodb-log-file-size=4M",
            "--innodb-flush-log-at-trx-commit=2",
        ]);
        command.args(["--performance-schema=off", "--max-connections=400", "--key-buffer-size=1M"]);
        command.args([
            format!("--port={}", self.port),
            format!("--datadir={}", self.scratch.join("data").display()),
        ]);
        command.args([format!("--socket={}", self.scratch.join("s").display())]);
        command.args([format!("--pid-file={}", self.scratch.join("pid").display())]);
        command.args([format!("--init-file={}", self.scratch.join("init.sql").display())]);
        command.args(as_root());
        if self.tls {
            let authority = Authority::shared();
            command.arg(format!("--ssl-ca={}", authority.certificate().display()));
            command.arg(format!("--ssl-cert={}", authority.server_certificate().display()));
            command.arg(format!("--ssl-key={}", authority.server_key().display()));
        }
        let mut process = Process::spawn("mariadbd", command, &self.scratch.join("log"));
        process.until("answers", || block_on(self.admin("mysql")).ok());
        self.process = Some(process);
    }

    /// Kills it; what it has committed is on disk.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Freezes it: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.process.as_ref().expect("a running server").pause();
    }

    /// Lets a frozen one go on.
    pub fn resume(&self) {
        self.process.as_ref().expect("a running server").resume();
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new empty database with a name nobody else uses.
    pub fn database(&self) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("onboarding_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4");
        let grant = format!("GRANT ALL ON {name}.* TO '{USER}'@'%'");
        block_on(async {
            let mut connection = self.admin("mysql").await?;
            sqlx::raw_sql(&create).execute(&mut connection).await?;
            sqlx::raw_sql(&grant).execute(&mut connection).await?;
            connection.close().await
        })
        .expect("a new database");
        Database::mariadb(self.port, USER, PASSWORD, name)
    }

    async fn admin(&self, database: &str) -> Result<MySqlConnection, sqlx::Error> {
        let url = format!("mysql://{ADMIN}:{ADMIN}@127.0.0.1:{}/{database}?ssl-mode=disabled", self.port);
        tokio::time::timeout(wait::LIMIT, MySqlConnection::connect(&url))
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
    }
}

fn install(scratch: &Scratch) {
    let mut command = Command::new(program("mariadb-install-db"));
    // A server that starts removes the temporary tables that it finds, those of others too.
    command.env("TMPDIR", scratch.path());
    command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    command.args(["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M"]).args(as_root());
    let output = command
        .arg(format!("--datadir={}", scratch.join("data").display()))
        .output()
        .expect("mariadb-install-db runs");
    assert!(output.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&output.stderr));
}

/// The init file: one statement a line.
fn accounts() -> String {
    format!(
        "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
         CREATE USER IF NOT EXISTS '{ADMIN}'@'%' IDENTIFIED BY '{ADMIN}';\n\
         GRANT ALL ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n"
    )
}

/// Debian keeps servers where an ordinary user's PATH does not look.
fn program(name: &str) -> String {
    let system = format!("/usr/sbin/{name}");
    if Path::new(&system).exists() { system } else { name.to_owned() }
}

/// MariaDB refuses to run as root unless told to.
fn as_root() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}
