//! Where a dispatcher keeps its history and the state of its Jobs: both determine what a Job costs in addition to its
//! process.

use std::path::{Path, PathBuf};

use tests::Setting;
use tests::database::Database;
use tests::mariadb::MariaDb;
use tests::program::binaries;
use tests::scratch::Scratch;

/// A folder in memory, on most machines.
const MEMORY: &str = "/dev/shm";

pub(crate) struct Storage {
    /// In the name of a figure.
    pub(crate) what: &'static str,
    history: Option<Database>,
    state: Scratch,
}

impl Storage {
    /// The history in memory, and the state in the folder of the programs, which is on a disk.
    pub(crate) fn usual() -> Self {
        Self { what: "", history: None, state: Scratch::within(&binaries(), "state") }
    }

    /// The history in its database.
    pub(crate) fn with_history() -> [Self; 2] {
        [
            Self {
                what: ", history in SQLite",
                history: Some(Database::sqlite().migrated()),
                ..Self::usual()
            },
            Self {
                what: ", history in MariaDB",
                history: Some(MariaDb::shared().database().migrated()),
                ..Self::usual()
            },
        ]
    }

    /// The state in memory, if there is such a folder, so that the cost of files does not count.
    pub(crate) fn in_memory() -> Option<Self> {
        let state = || Scratch::within(Path::new(MEMORY), "state");
        Path::new(MEMORY).is_dir().then(|| Self { what: ", state in memory", history: None, state: state() })
    }

    pub(crate) fn settings(&self) -> Vec<Setting> {
        self.history.as_ref().map(Database::settings).unwrap_or_default()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.state.join("state")
    }
}
