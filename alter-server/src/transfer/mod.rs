//! Moving a whole vault between its stores, and writing it into a file and back.
//!
//! Everything goes row by row, as it is: sealed values stay sealed, hashes and orders stay what they were, and nothing is unsealed but
//! to check, at both ends, that it opens. `tables.rs` describes every table once; a schema that has more is refused.
//!
//! # A move
//!
//! 1. Nobody else may have source or target open; every key-encryption key that the source needs must be there.
//! 2. The source is marked and **fenced**: triggers refuse every change, so whatever process comes (or was overlooked) can
//!    neither release nor change anything. The target is marked as unfinished: it cannot be opened.
//! 3. Rows are copied in the order of their keys, some at a time, each time in one transaction. What is there is therefore always
//!    the beginning of each table, and an interrupted move goes on after the last key.
//! 4. Both sides are read again, side by side, and compared; sealed values are opened on both; the audit chains are verified at
//!    the target.
//! 5. The source is marked as moved, then the target is freed, with a row in its trail. Interrupted in between, the same command
//!    finishes. At no time can both be used.
//!
//! # A file
//!
//! See [`export`] and `docs/migration.md`. An export does not fence: it is the vault at one moment, while it goes on.

mod compare;
mod copy;
mod file;
mod keys;
pub(crate) mod marker;
mod read;
mod side;
pub(crate) mod tables;
pub(crate) mod value;

use std::path::PathBuf;

use serde::Serialize;

pub use copy::{migrate, reopen};
pub use file::export;
pub use keys::ring_for;
pub use read::import;

#[cfg(feature = "postgres")]
use crate::store::postgres::DatabaseUrl;
use crate::{
    seal::{KeyRingError, SealError},
    store::StoreError,
};

/// Where a vault is.
#[derive(Debug, Clone)]
pub enum Place {
    /// A data folder with an SQLite database.
    Folder(PathBuf),
    /// A PostgreSQL database. Connect directly, not through a pooler.
    #[cfg(feature = "postgres")]
    Postgres(DatabaseUrl),
}

/// How many sealed values are opened on both sides and compared. All rows are compared as they are in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Depth {
    /// Of every sealed column the first hundred and then one in a hundred.
    Sample,
    /// All of them.
    Full,
}

impl Depth {
    /// Whether the value in this row (counted from 0) is opened.
    const fn covers(self, row: u64) -> bool {
        matches!(self, Self::Full) || row < 100 || row.is_multiple_of(100)
    }
}

/// What was moved, and what was found when it was compared.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of the move; both sides know it.
    pub id: String,
    /// Where it came from, without a password.
    pub from: String,
    /// Where it is now.
    pub to: String,
    /// An interrupted run had begun it.
    pub resumed: bool,
    /// Every table, in the order in which they were copied.
    pub tables: Vec<TableReport>,
    /// Audit chains that were walked at the target, all of them complete and unchanged.
    pub chains: u64,
    /// Rows of those chains.
    pub audit_rows: u64,
    /// Sealed values that were opened (at both ends where there are two) and found the same.
    pub opened: u64,
    /// Names of the key-encryption keys that the vault needs.
    pub keys: Vec<String>,
    /// Seconds for copying.
    pub copy_seconds: f64,
    /// Seconds for comparing and verifying.
    pub verify_seconds: f64,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct TableReport {
    /// Its name.
    pub name: String,
    /// Rows that are there.
    pub rows: u64,
    /// Rows that this run wrote; the others were there from a run before.
    #[serde(default, skip_deserializing)]
    pub copied: u64,
    /// SHA-256 over all its rows in the order of its key, in hexadecimal: the same at both ends.
    pub sha256: String,
}

/// What was written into a file.
#[derive(Debug, Clone, Serialize)]
pub struct ExportReport {
    /// The file.
    pub file: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Every table.
    pub tables: Vec<TableReport>,
    /// Names of the key-encryption keys without which the file is worth nothing. They are not in it.
    pub keys: Vec<String>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Why something was not moved, exported or imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// One of the stores failed.
    #[error("{place}: {error}")]
    Store {
        /// Which side.
        place: &'static str,
        /// What went wrong.
        error: StoreError,
    },
    /// It must not be done as things are; the text says why, and what to do. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// There is no vault, or no file.
    #[error("{0}")]
    Missing(String),
    /// What arrived is not what left. The target stays unusable.
    #[error("the two sides are not the same: {0}. The target is not freed")]
    Differs(String),
    /// The file is damaged, cut, changed, or of another vault's keys. Nothing of it was kept.
    #[error("the file is not a complete, unchanged export: {0}")]
    Altered(String),
    /// The key-encryption keys cannot be read.
    #[error(transparent)]
    Ring(#[from] KeyRingError),
    /// A key that the vault needs is missing or wrong.
    #[error("{0}")]
    Keys(String),
    /// A value cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The file cannot be read or written.
    #[error("cannot use the file {path}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Puts the name of a side on its errors.
trait At<T> {
    fn at(self, place: &'static str) -> Result<T, TransferError>;
}

impl<T> At<T> for Result<T, StoreError> {
    fn at(self, place: &'static str) -> Result<T, TransferError> {
        self.map_err(|error| match error {
            StoreError::Conflict(text) => TransferError::Refused(text),
            error => TransferError::Store { place, error },
        })
    }
}

const SOURCE: &str = "the source";
const TARGET: &str = "the target";
