//! Where a vault's data is, for all of its processes.

use std::{fmt, path::PathBuf};

use alter_server::{KekSource, Vault, VaultConfig, seal::KeyRing};
use alter_test_postgres::Database;
use tempfile::TempDir;
use tokio::process::Command;

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// A folder of one's own, or a database of one's own, and the keys.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) database: Option<Database>,
}

impl Place {
    /// An empty one. `alone`: on a server of its own, which may be stopped.
    pub(crate) async fn make(store: Store, alone: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = match store {
            Store::Sqlite => None,
            Store::Postgres if alone => Some(Database::alone().await),
            Store::Postgres => Some(Database::create().await),
        };
        let place = Self { folder, database };
        KeyRing::from_file_or_generate(&place.keys()).unwrap();
        place
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("kek")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What a vault is opened with.
    pub(crate) fn config(&self) -> VaultConfig {
        let config = match &self.database {
            None => VaultConfig::new(self.data()),
            Some(database) => VaultConfig::postgres(database.text()),
        };
        config.kek(KekSource::File(self.keys()))
    }

    /// Opens the vault in this process: for operators, nobody is served.
    pub(crate) async fn open(&self) -> Vault {
        Vault::open(self.config()).await.unwrap()
    }

    /// Names it to a process that is about to be started.
    pub(crate) fn name_in(&self, command: &mut Command) {
        command.arg("--kek-file").arg(self.keys());
        match &self.database {
            None => command.arg("--data-dir").arg(self.data()),
            Some(database) => command.arg("--database-url").arg(database.text()),
        };
    }
}
