//! A real MariaDB or MySQL with a data directory of its own.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, MySqlConnection};

use crate::authority::Authority;
use crate::database::Database;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::{block_on, port, server, wait};

const USER: &str = "onboarding";
const PASSWORD: &str = "a password & more";
const ADMIN: &str = "harness";

/// The product and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The MariaDB of this machine's Debian.
    MariaDb,
    /// The MariaDB of the next Debian.
    MariaDb118,
    /// MySQL, whose accounts log in by `caching_sha2_password`.
    MySql,
}

impl Product {
    /// The one that `TEST_DATABASE` names (`mysql`, `mariadb-11.8`), so that every test can use it; otherwise that of
    /// the machine.
    fn chosen() -> Self {
        match std::env::var("TEST_DATABASE").as_deref() {
            Ok("mysql") => Self::MySql,
            Ok("mariadb-11.8") => Self::MariaDb118,
            _ => Self::MariaDb,
        }
    }

    /// Where it is installed, unless it is that of the machine.
    fn place(self) -> Option<&'static Path> {
        match self {
            Self::MariaDb => None,
            Self::MariaDb118 => Some(server::place("mariadb-11.8")),
            Self::MySql => Some(server::place("mysql")),
        }
    }
}

/// A MariaDB or MySQL server; killed on drop. Its port and data survive a stop and a new start.
#[derive(Debug)]
pub struct MariaDb {
    process: Option<Process>,
    port: u16,
    product: Product,
    tls: bool,
    options: Vec<String>,
    scratch: Scratch,
}

impl MariaDb {
    /// The server that all tests of this process share, each with its own databases. Never stop or pause it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// The MySQL that all tests of this process share, with a certificate that the shared [`Authority`] has signed.
    pub fn mysql() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_with(Product::MySql, true, &[]))
    }

    /// A server for one test, without TLS.
    pub fn start() -> Self {
        Self::start_with(Product::chosen(), false, &[])
    }

    /// A server for one test, whose certificate the shared [`Authority`] has signed.
    pub fn start_with_tls() -> Self {
        Self::start_with(Product::chosen(), true, &[])
    }

    /// A server for one test, of this product and with further options.
    pub fn start_with(product: Product, tls: bool, options: &[&str]) -> Self {
        let scratch = Scratch::new("mariadb");
        match product.place() {
            None => install(&scratch),
            Some(place) => copy(&place.join("data"), &scratch.join("data")),
        }
        scratch.write("init.sql", &accounts());
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { process: None, port: port::free(), product, tls, options, scratch };
        server.start_again();
        server
    }

    /// Starts it again after [`Self::stop`], on the same port with the same data.
    pub fn start_again(&mut self) {
        let mut command = match self.product.place() {
            None => Command::new(program("mariadbd")),
            Some(place) => Command::new(place.join("run")),
        };
        command.env("TMPDIR", self.scratch.path());
        if self.product == Product::MariaDb {
            command.arg("--no-defaults"); // must be the first argument
        }
        command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"]);
        // Small and quick to start. A killed process loses nothing that the kernel has already taken.
        command.args(["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=2"]);
        if self.product == Product::MySql {
            command.args(["--mysqlx=OFF", "--secure-file-priv=NULL"]);
        } else {
            command.arg("--innodb-log-file-size=4M");
        }
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
        } else if self.product == Product::MySql {
            // By default it creates a certificate, and then statements cannot be seen on the wire.
            command.arg("--tls-version=");
        }
        command.args(&self.options);
        let mut process = Process::spawn("mariadbd", command, &self.scratch.join("log"));
        process.until("answers", || block_on(self.admin("mysql")).ok());
        self.process = Some(process);
    }

    /// Kills it; what it has committed is on the disk.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Freezes it: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.process.as_ref().expect("a running server").pause();
    }

    /// Continues a frozen server.
    pub fn resume(&self) {
        self.process.as_ref().expect("a running server").resume();
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new empty database with an unused name.
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

    /// A session of the server's administrator.
    pub fn administrator(&self) -> Administrator {
        Administrator(block_on(self.admin("mysql")).expect("the administrator gets in"))
    }

    async fn admin(&self, database: &str) -> Result<MySqlConnection, sqlx::Error> {
        let url = format!("mysql://{ADMIN}:{ADMIN}@127.0.0.1:{}/{database}?ssl-mode=disabled", self.port);
        tokio::time::timeout(wait::LIMIT, MySqlConnection::connect(&url))
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
    }
}

/// A session that stays open, so that it can repair a server that refuses new logins.
#[derive(Debug)]
pub struct Administrator(MySqlConnection);

impl Administrator {
    /// Runs statements.
    pub fn run(&mut self, statements: &str) {
        block_on(sqlx::raw_sql(statements).execute(&mut self.0))
            .unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// One of the server's own counters.
    pub fn counter(&mut self, name: &str) -> u64 {
        let query = format!("SHOW GLOBAL STATUS LIKE '{name}'");
        let row: (String, String) = block_on(sqlx::query_as(&query).fetch_one(&mut self.0))
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        row.1.parse().expect("a count")
    }

    /// Ends every session of the product. Returns how many there were.
    pub fn end_sessions(&mut self) -> usize {
        let query =
            format!("SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE user = '{USER}'");
        let ids: Vec<(i64,)> = block_on(sqlx::query_as(&query).fetch_all(&mut self.0)).expect("the sessions");
        for (id,) in &ids {
            // It may have ended meanwhile.
            let _ = block_on(sqlx::raw_sql(&format!("KILL {id}")).execute(&mut self.0));
        }
        ids.len()
    }

    /// Changes the password of the product's user; `None` restores the original.
    pub fn set_password(&mut self, password: Option<&str>) {
        let password = password.unwrap_or(PASSWORD);
        self.run(&format!("ALTER USER '{USER}'@'%' IDENTIFIED BY '{password}'"));
    }
}

/// A data folder for this server only.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp runs").success(), "cannot copy {}", from.display());
}

fn install(scratch: &Scratch) {
    let mut command = Command::new(program("mariadb-install-db"));
    // A starting server removes the temporary tables that it finds, including those of others.
    command.env("TMPDIR", scratch.path());
    command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    command.args(["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M"]).args(as_root());
    let output = command
        .arg(format!("--datadir={}", scratch.join("data").display()))
        .output()
        .expect("mariadb-install-db runs");
    assert!(output.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&output.stderr));
}

/// The init file: one statement on each line.
fn accounts() -> String {
    format!(
        "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
         CREATE USER IF NOT EXISTS '{ADMIN}'@'%' IDENTIFIED BY '{ADMIN}';\n\
         GRANT ALL ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n"
    )
}

/// Debian installs servers in a folder that is not in an ordinary user's PATH.
fn program(name: &str) -> String {
    let system = format!("/usr/sbin/{name}");
    if Path::new(&system).exists() { system } else { name.to_owned() }
}

/// MariaDB refuses to run as root unless this is set.
fn as_root() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}
