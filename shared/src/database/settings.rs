//! The settings of the database.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{ConnectOptions, Connection as _, MySqlConnection};
#[cfg(feature = "sqlite")]
use sqlx::{SqliteConnection, sqlite::SqliteConnectOptions, sqlite::SqliteJournalMode};

use super::address;
use super::connection::{Connection, explain};
use super::server::Server;
use crate::config::{Described, Environment, FilePath, FromText, Host, Secret, Variables};
use crate::error::{Error, Result};
use crate::tls::{self, File, Remedy};
use crate::variables;

/// The longest name of a database in MySQL and MariaDB.
const LONGEST_NAME: usize = 64;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// SQLite has one writer at a time; others wait this long.
#[cfg(feature = "sqlite")]
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(30);

variables! {
    struct Given {
        settings {
            database_url: Option<Secret> = "DATABASE_URL", "mysql://… or sqlite://…, or the parts:";
            db_host: Option<String> = "DB_HOST", "the server: a name, an address, name:port, or the path of a socket";
            db_port: Option<u16> = "DB_PORT", "its port (3306)";
            db_user: Option<Secret> = "DB_USER", "the user";
            db_password: Option<Secret> = "DB_PASSWORD", "the password of DB_USER";
            db_name: Option<Secret> = "DB_NAME", "the database";
            db_tls: Option<Secret> = "DB_TLS", "disabled, preferred, required, verify-ca, verify-identity";
            db_ca: Option<FilePath> = "DB_CA", "a PEM file of a private authority";
        }
    }
}

/// A database to connect to, with checked settings.
#[derive(Clone)]
pub enum Settings {
    /// A server, and its name in errors.
    MySql(Box<MySqlConnectOptions>, String),
    /// A file.
    #[cfg(feature = "sqlite")]
    Sqlite(Box<SqliteConnectOptions>, String),
}

impl Settings {
    /// Its variables, for the help.
    pub(crate) fn variables() -> Vec<Described> {
        Given::settings()
    }

    /// The names of the variables that may contain a secret.
    pub(crate) fn secrets() -> Vec<&'static str> {
        Given::secrets()
    }

    /// Reads which database is configured.
    pub fn read(environment: &Environment) -> Result<Self> {
        let variables = Given::read(environment)?;
        match &variables.database_url {
            Some(url) => Self::from_url(url, &variables),
            None => Self::from_parts(&variables),
        }
    }

    fn from_url(url: &Secret, variables: &Given) -> Result<Self> {
        let text = url.expose();
        // An error may show the address, and with it the password.
        match text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
            Some("mysql" | "mariadb") => {
                address::check(text)?;
                let given =
                    address::option(text, "ssl-mode").map(|mode| ("the ssl-mode of DATABASE_URL", mode));
                // Checked even if DB_TLS wins. Kept from the library, which does not know all of our spellings.
                given.map(|(name, text)| mode(name, text)).transpose()?;
                let options = MySqlConnectOptions::from_str(&address::without(text, "ssl-mode"))
                    .map_err(|_| address::wrong("cannot be read as an address"))?;
                // Without the brackets of an IPv6 address.
                let host = options.get_host().trim_matches(['[', ']']).to_owned();
                let shown = shown(&host, options.get_port());
                let ca = address::option(text, "ssl-ca").map(|path| FilePath::from(PathBuf::from(path)));
                let ca = ca.as_ref().map(|path| File { variable: "the ssl-ca of DATABASE_URL", path });
                Ok(Self::MySql(Box::new(tuned(options.host(&host), variables, given, ca)?), shown))
            }
            #[cfg(not(feature = "sqlite"))]
            Some("sqlite") => Err(Error::configuration(
                "DATABASE_URL names an SQLite file, and this program is built without SQLite, as in the images; \
                 name a server (mysql://…), or use a program built with the feature sqlite",
            )),
            #[cfg(feature = "sqlite")]
            Some("sqlite") => {
                let options = SqliteConnectOptions::from_str(&address::check_file(text)?).map_err(|_| {
                    Error::configuration(
                        "DATABASE_URL is not the address of a file; it is like sqlite:///path/of/file.db",
                    )
                })?;
                let shown = options.get_filename().display().to_string();
                let options = options.journal_mode(SqliteJournalMode::Wal).busy_timeout(SQLITE_BUSY_TIMEOUT);
                Ok(Self::Sqlite(Box::new(options), shown))
            }
            _ => Err(Error::configuration("DATABASE_URL starts with neither mysql:// nor sqlite://")),
        }
    }

    fn from_parts(variables: &Given) -> Result<Self> {
        let missing = |name: &str| Error::configuration(format!("{name} is not set (nor is DATABASE_URL)"));
        let required = |name: &str, value: &Option<Secret>| value.clone().ok_or_else(|| missing(name));
        let host = variables.db_host.as_deref().ok_or_else(|| missing("DB_HOST"))?;
        let server = ServerAddress::read(host, variables.db_port)?;
        let name = required("DB_NAME", &variables.db_name)?;
        // The server would repeat the beginning of a longer name.
        if name.expose().chars().count() > LONGEST_NAME {
            let words =
                format!("DB_NAME is not the name of a database: it has more than {LONGEST_NAME} characters");
            return Err(Error::configuration(words));
        }
        let mut options = MySqlConnectOptions::new()
            .username(required("DB_USER", &variables.db_user)?.expose())
            .database(name.expose());
        let shown = match &server {
            ServerAddress::Network(host, port) => {
                options = options.host(host.as_str()).port(*port);
                format!("{host}:{port}")
            }
            ServerAddress::Socket(path) => {
                options = options.socket(path.as_path());
                path.to_string()
            }
        };
        if let Some(password) = &variables.db_password {
            options = options.password(password.expose());
        }
        Ok(Self::MySql(Box::new(tuned(options, variables, None, None)?), shown))
    }

    /// The name of this database in errors, without its credentials.
    pub fn shown(&self) -> &str {
        match self {
            Self::MySql(_, shown) => shown,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_, shown) => shown,
        }
    }

    /// Like [`Self::connect`]; a missing SQLite file is created first, for its owner only.
    pub fn creating(self) -> Result<Self> {
        #[cfg(feature = "sqlite")]
        if let Self::Sqlite(options, shown) = &self {
            crate::private::open(options.get_filename()).map_err(|error| {
                Error::configuration(format!("the database file {shown} cannot be made")).because(error)
            })?;
        }
        Ok(self)
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Connection> {
        let connecting = async {
            match self {
                Self::MySql(options, _) => {
                    let connected = MySqlConnection::connect_with(options).await;
                    connected.map(|connection| Connection::MySql(Server::new(connection)))
                }
                #[cfg(feature = "sqlite")]
                Self::Sqlite(options, _) => {
                    SqliteConnection::connect_with(options).await.map(Connection::Sqlite)
                }
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, Box::pin(connecting)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(refused(self.shown(), error)),
            Err(_) => Err(Error::unavailable(format!("the database at {} does not answer", self.shown()))),
        }
    }
}

/// Where a server listens.
#[derive(Debug)]
enum ServerAddress {
    Network(Host, u16),
    Socket(FilePath),
}

impl ServerAddress {
    /// Reads `DB_HOST`: a name or an address, with or without a port, or the path of a socket.
    fn read(text: &str, port: Option<u16>) -> Result<Self> {
        if text.starts_with('/') {
            return Ok(Self::Socket(FilePath::from(PathBuf::from(text))));
        }
        let (host, own_port) = match text.rsplit_once(':') {
            // More than one colon belongs to an IPv6 address, unless that is in brackets.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let own_port = own_port.map(|port| {
            port.parse::<u16>()
                .map_err(|_| Error::configuration("DB_HOST has a port that is no number up to 65535"))
        });
        let port = match (own_port.transpose()?, port) {
            (Some(own), Some(port)) if own != port => {
                return Err(Error::configuration(format!(
                    "DB_HOST names the port {own}, and DB_PORT says {port}"
                )));
            }
            (own, port) => own.or(port).unwrap_or(3306),
        };
        if port == 0 {
            return Err(Error::configuration(
                "the port in DB_HOST or DB_PORT is 0, and ports are from 1 to 65535",
            ));
        }
        let host = Host::from_text(host).map_err(|wrong| Error::configuration(format!("DB_HOST {wrong}")))?;
        Ok(Self::Network(host, port))
    }
}

fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Why the connection failed; the server may be reachable all the same.
fn refused(server: &str, error: sqlx::Error) -> Error {
    let whom = format!("the database at {server}");
    match &error {
        sqlx::Error::Database(_) => explain(&format!("{whom} refuses the connection"), error),
        sqlx::Error::Tls(cause) if cause.to_string().contains("does not support TLS") => {
            Error::configuration(format!("no TLS with {whom}: it has none; give it a certificate, or set DB_TLS=preferred"))
        }
        sqlx::Error::Protocol(text) if text.contains("authentication plugin") => Error::configuration(format!(
            "{whom} wants a login method that we do not speak: give the account caching_sha2_password or mysql_native_password"
        ))
        .because(text.clone()),
        error_of_tls => match tls::failure(&whom, error_of_tls, REMEDY) {
            Some(failure) => failure,
            None => explain(&format!("cannot reach {whom}"), error),
        },
    }
}

const REMEDY: Remedy = Remedy {
    ca: "DB_CA",
    identity: "let its account in without one (REQUIRE SSL instead of REQUIRE X509)",
    plain: "check host and port, or set DB_TLS=disabled",
};

/// Settings of every connection to a server that cost no extra round trip. If an authority is named, it must be used:
/// without a mode it means `verify-ca`, as in `mysql`.
fn tuned(
    options: MySqlConnectOptions,
    variables: &Given,
    mode_of_url: Option<(&str, &str)>,
    ca_of_url: Option<File<'_>>,
) -> Result<MySqlConnectOptions> {
    let mut options = options
        .charset("utf8mb4")
        .set_names(false)
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .disable_statement_logging();
    let ca = variables.db_ca.as_ref().map(|path| File { variable: "DB_CA", path }).or(ca_of_url);
    let given = variables.db_tls.as_ref().map(|mode| ("DB_TLS", mode.expose())).or(mode_of_url);
    let given = given.map(|(name, text)| mode(name, text)).transpose()?;
    if let Some(mode) = given.or(ca.map(|_| MySqlSslMode::VerifyCa)) {
        options = options.ssl_mode(mode);
    }
    if let Some(ca) = ca {
        ca.certificates()?;
        options = options.ssl_ca(ca.path.as_path());
    }
    Ok(options)
}

/// A mode, in our spelling or that of `mysql`.
fn mode(name: &str, text: &str) -> Result<MySqlSslMode> {
    Ok(match text.to_ascii_lowercase().replace('_', "-").as_str() {
        "disabled" => MySqlSslMode::Disabled,
        "preferred" => MySqlSslMode::Preferred,
        "required" => MySqlSslMode::Required,
        "verify-ca" => MySqlSslMode::VerifyCa,
        "verify-identity" => MySqlSslMode::VerifyIdentity,
        _ => {
            return Err(Error::configuration(format!(
                "{name} is not one of disabled, preferred, required, verify-ca, verify-identity"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_url(url: &str) -> Result<Settings> {
        Settings::read(&Environment::from_pairs([("DATABASE_URL", url)]))
    }

    #[test]
    #[cfg(not(feature = "sqlite"))]
    fn a_file_without_sqlite_is_a_configuration_error_that_names_the_remedy() {
        let error = from_url("sqlite:///tmp/knapscen.db").err().unwrap();
        assert_eq!(error.class().exit_code(), 78);
        let text = error.to_string();
        assert!(text.contains("built without SQLite") && text.contains("mysql://"), "{text}");
    }

    #[test]
    fn a_host_may_have_its_port_or_be_a_socket() {
        let read = |host: &str, port: &str| {
            let parts = [
                ("DB_HOST", host),
                ("DB_PORT", port),
                ("DB_USER", "u"),
                ("DB_PASSWORD", "hunter2"),
                ("DB_NAME", "k"),
            ];
            Settings::read(&Environment::from_pairs(parts))
        };
        for (host, port, shown) in [
            ("db", "", "db:3306"),
            ("db", "13306", "db:13306"),
            ("127.0.0.1:13306", "", "127.0.0.1:13306"),
            ("db:13306", "13306", "db:13306"),
            ("::1", "", "[::1]:3306"),
            ("[::1]:13306", "", "[::1]:13306"),
            ("/run/mysqld/mysqld.sock", "", "/run/mysqld/mysqld.sock"),
        ] {
            assert_eq!(read(host, port).unwrap().shown(), shown, "{host}");
        }
        for (host, port, said) in [
            ("db:13306", "3306", "DB_HOST names the port 13306, and DB_PORT says 3306"),
            ("db:port", "", "a port that is no number"),
            ("db:0", "", "ports are from 1 to 65535"),
            ("db", "0", "ports are from 1 to 65535"),
            ("mysql://u:hunter2@db", "", "DB_HOST"),
            ("u:hunter2@db:1", "", "DB_HOST is not a host name"),
        ] {
            let error = read(host, port).err().unwrap();
            assert_eq!(error.class().exit_code(), 78);
            assert!(error.to_string().contains(said) && !error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_authority_that_is_named_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let ca = ca.to_str().unwrap();
        let mode = |url: &str, more: &[(&str, &str)]| {
            let pairs = [("DATABASE_URL", url)].into_iter().chain(more.iter().copied());
            match Settings::read(&Environment::from_pairs(pairs)).unwrap() {
                Settings::MySql(options, _) => format!("{:?}", options.get_ssl_mode()),
                #[cfg(feature = "sqlite")]
                Settings::Sqlite(..) => unreachable!("its address is a server's"),
            }
        };
        let url = "mysql://h/k";
        assert_eq!(mode(url, &[]), "Preferred");
        assert_eq!(mode(url, &[("DB_CA", ca)]), "VerifyCa");
        assert_eq!(mode(url, &[("DB_CA", ca), ("DB_TLS", "required")]), "Required");
        assert_eq!(mode(url, &[("DB_TLS", "VERIFY_IDENTITY")]), "VerifyIdentity");
        assert_eq!(mode(&format!("{url}?ssl-ca={ca}"), &[]), "VerifyCa");
        assert_eq!(mode(&format!("{url}?ssl_mode=disabled"), &[("DB_CA", ca)]), "Disabled");
        assert_eq!(mode(&format!("{url}?ssl-mode=verify-identity"), &[]), "VerifyIdentity");
        let missing = [("DATABASE_URL", url), ("DB_TLS", "verify-ca"), ("DB_CA", "nope.pem")];
        let error = Settings::read(&Environment::from_pairs(missing)).err().unwrap();
        assert!(
            error.class().exit_code() == 78
                && error.to_string().contains("DB_CA: cannot use the file nope.pem"),
            "{error}"
        );
    }

    #[test]
    #[cfg(feature = "sqlite")]
    fn an_address_shows_without_its_password() {
        assert_eq!(from_url("mysql://ann:hunter2@db/knapscen").unwrap().shown(), "db:3306");
        for url in ["sqlite:///tmp/knapscen.db", "SQLite:///tmp/knapscen.db?mode=rwc"] {
            assert_eq!(from_url(url).unwrap().shown(), "/tmp/knapscen.db");
        }
        for url in ["sqlite://", "sqlite:///tmp/knapscen.db?mode=ro"] {
            assert_eq!(from_url(url).err().unwrap().class().exit_code(), 78);
        }
    }

    #[test]
    fn a_mode_of_tls_that_is_not_known_is_told_from_a_wrong_password() {
        for (url, said) in [
            (
                "mysql://u:p@db/k?ssl-mode=foo",
                "the ssl-mode of DATABASE_URL is not one of disabled, preferred, required, verify-ca, verify-identity",
            ),
            ("mysql://u:%ff@db/k", "DATABASE_URL has an escape in its user or password that is not UTF-8"),
        ] {
            let error = from_url(url).err().unwrap();
            assert_eq!(error.class().exit_code(), 78);
            assert!(error.to_string().starts_with(said), "{error}");
        }
        let both = [("DATABASE_URL", "mysql://u:p@db/k?ssl-mode=verify-ca"), ("DB_TLS", "disabled")];
        assert!(Settings::read(&Environment::from_pairs(both)).is_ok());
    }
}
