//! Where the database is.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{ConnectOptions, Connection as _, MySqlConnection};
#[cfg(feature = "sqlite")]
use sqlx::{SqliteConnection, sqlite::SqliteConnectOptions, sqlite::SqliteJournalMode};

use super::connection::{Connection, explain};
use super::server::Server;
use crate::config::{Environment, Secret};
use crate::error::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// SQLite has one writer at a time; the others wait this long.
#[cfg(feature = "sqlite")]
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Variables {
    database_url: Option<Secret>,
    db_host: Option<String>,
    db_port: Option<u16>,
    db_user: Option<String>,
    db_password: Option<Secret>,
    db_name: Option<String>,
    db_tls: Option<String>,
    db_ca: Option<PathBuf>,
}

/// A database to connect to, read and checked.
#[derive(Clone)]
pub enum Settings {
    /// A server, and how errors call it.
    MySql(Box<MySqlConnectOptions>, String),
    /// A file.
    #[cfg(feature = "sqlite")]
    Sqlite(Box<SqliteConnectOptions>, String),
}

impl Settings {
    /// Reads which database is configured.
    pub fn read(environment: &Environment) -> Result<Self> {
        let variables: Variables = environment.read()?;
        match &variables.database_url {
            Some(url) => Self::from_url(url, &variables),
            None => Self::from_parts(&variables),
        }
    }

    fn from_url(url: &Secret, variables: &Variables) -> Result<Self> {
        // An error may show the address, and with it the password.
        let invalid = || {
            Error::configuration("DATABASE_URL is not valid; it is like mysql://user:password@host:3306/name")
        };
        match url.expose().split_once(':').map(|(scheme, _)| scheme) {
            Some("mysql" | "mariadb") => {
                let options = MySqlConnectOptions::from_str(url.expose()).map_err(|_| invalid())?;
                let shown = format!("{}:{}", options.get_host(), options.get_port());
                Ok(Self::MySql(Box::new(tuned(options, variables)?), shown))
            }
            #[cfg(not(feature = "sqlite"))]
            Some("sqlite") => Err(Error::configuration(
                "DATABASE_URL names an SQLite file, and this program is built without SQLite, as in the images; \
                 name a server (mysql://…), or use a program built with the feature sqlite",
            )),
            #[cfg(feature = "sqlite")]
            Some("sqlite") => {
                let options = SqliteConnectOptions::from_str(url.expose()).map_err(|_| invalid())?;
                let shown = options.get_filename().display().to_string();
                let options = options.journal_mode(SqliteJournalMode::Wal).busy_timeout(SQLITE_BUSY_TIMEOUT);
                Ok(Self::Sqlite(Box::new(options), shown))
            }
            _ => Err(Error::configuration("DATABASE_URL starts with neither mysql:// nor sqlite://")),
        }
    }

    fn from_parts(variables: &Variables) -> Result<Self> {
        let required = |name: &str, value: &Option<String>| {
            value
                .clone()
                .ok_or_else(|| Error::configuration(format!("{name} is not set (nor is DATABASE_URL)")))
        };
        let host = required("DB_HOST", &variables.db_host)?;
        let port = variables.db_port.unwrap_or(3306);
        let mut options = MySqlConnectOptions::new()
            .host(&host)
            .port(port)
            .username(&required("DB_USER", &variables.db_user)?)
            .database(&required("DB_NAME", &variables.db_name)?);
        if let Some(password) = &variables.db_password {
            options = options.password(password.expose());
        }
        Ok(Self::MySql(Box::new(tuned(options, variables)?), format!("{host}:{port}")))
    }

    /// How errors call this database: never with its credentials.
    pub fn shown(&self) -> &str {
        match self {
            Self::MySql(_, shown) => shown,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_, shown) => shown,
        }
    }

    /// The same, but an SQLite file that is not there is made.
    #[must_use]
    pub fn creating(self) -> Self {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(options, shown) => Self::Sqlite(Box::new(options.create_if_missing(true)), shown),
            server @ Self::MySql(..) => server,
        }
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
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(explain(&format!("cannot reach the database at {}", self.shown()), error)),
            Err(_) => Err(Error::unavailable(format!("the database at {} does not answer", self.shown()))),
        }
    }
}

/// What every connection to a server needs, and nothing that costs another round trip.
fn tuned(options: MySqlConnectOptions, variables: &Variables) -> Result<MySqlConnectOptions> {
    let mut options = options
        .charset("utf8mb4")
        .set_names(false)
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .disable_statement_logging();
    if let Some(mode) = &variables.db_tls {
        options = options.ssl_mode(match mode.as_str() {
            "disabled" => MySqlSslMode::Disabled,
            "preferred" => MySqlSslMode::Preferred,
            "required" => MySqlSslMode::Required,
            "verify-ca" => MySqlSslMode::VerifyCa,
            "verify-identity" => MySqlSslMode::VerifyIdentity,
            _ => {
                return Err(Error::configuration(
                    "DB_TLS is not one of disabled, preferred, required, verify-ca, verify-identity",
                ));
            }
        });
    }
    if let Some(ca) = &variables.db_ca {
        options = options.ssl_ca(ca);
    }
    Ok(options)
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
    #[cfg(feature = "sqlite")]
    fn an_address_shows_without_its_password() {
        assert_eq!(from_url("mysql://ann:hunter2@db/knapscen").unwrap().shown(), "db:3306");
        assert_eq!(from_url("sqlite:///tmp/knapscen.db").unwrap().shown(), "/tmp/knapscen.db");
    }
}
