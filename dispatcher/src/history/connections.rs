//! A few connections for those who read, and one for the writer; made when they are needed.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared::database::{Connection, Settings};
use shared::error::{Error, Result};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Readers at once.
const READERS: usize = 4;

/// A connection that was idle for longer is asked whether it still works.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

/// How long a reader waits for its turn.
const TURN: Duration = Duration::from_secs(5);

pub(super) struct Connections {
    settings: Settings,
    idle: Mutex<Vec<(Connection, Instant)>>,
    readers: Semaphore,
    /// A database in memory lives as long as one connection to it.
    _kept: Option<Mutex<Connection>>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connections({})", self.settings.shown())
    }
}

impl Connections {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, idle: Mutex::default(), readers: Semaphore::new(READERS), _kept: None }
    }

    pub(super) fn keeping(settings: Settings, kept: Connection) -> Self {
        Self { _kept: Some(Mutex::new(kept)), ..Self::new(settings) }
    }

    /// A connection of one's own.
    pub(super) async fn connect(&self) -> Result<Connection> {
        self.settings.connect().await
    }

    /// How errors call the database.
    pub(super) fn shown(&self) -> &str {
        self.settings.shown()
    }

    /// A connection to read with. One that is not given back by [`Lease::done`] is closed: a call that was broken off may
    /// have left it in any state.
    pub(super) async fn lease(&self) -> Result<Lease<'_>> {
        let busy = |_| Error::unavailable("too many readers of the history at once");
        let permit = tokio::time::timeout(TURN, self.readers.acquire()).await.map_err(busy)?;
        let permit = permit.map_err(|error| Error::bug("the history is closed").because(error))?;
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((mut connection, since)) = idle else { break };
            if since.elapsed() < TRUSTED_FOR || connection.row("SELECT 1", &[]).await.is_ok() {
                return Ok(Lease { connection: Some(connection), home: self, _permit: permit });
            }
        }
        Ok(Lease { connection: Some(self.settings.connect().await?), home: self, _permit: permit })
    }
}

/// A borrowed connection.
pub(super) struct Lease<'a> {
    /// There until [`Self::done`].
    connection: Option<Connection>,
    home: &'a Connections,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// Gives it back in order.
    pub(super) fn done(mut self) {
        if let Some(connection) = self.connection.take() {
            let mut idle = self.home.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push((connection, Instant::now()));
        }
    }

    /// The connection.
    pub(super) fn get(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(|| Error::bug("a connection was used after it was given back"))
    }
}
