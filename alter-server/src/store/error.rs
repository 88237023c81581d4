//! What can go wrong in a store.

use crate::{domain::InvalidProvider, seal::SealError};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a store did not do it. Refusals of signed calls are not errors; see [`super::Outcome`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// More work is waiting than the store takes. Nothing happened; 503 with `Retry-After`.
    #[error("the store has more work waiting than it takes")]
    Busy,
    /// The store was closed. Nothing happened.
    #[error("the store is closed")]
    Closed,
    /// The database does not work at the moment. Nothing of the unit of work happened, unless the answer to the commit was what
    /// got lost: then it may have happened as a whole (nothing of it was handed out).
    #[error("the database failed: {what}")]
    Unavailable {
        /// Which step.
        what: &'static str,
        /// What the database said.
        #[source]
        source: Source,
    },
    /// There is no such thing in this app.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It contradicts what is there; the text says what.
    #[error("{0}")]
    Conflict(String),
    /// The input breaks a rule; the text says which.
    #[error("{0}")]
    Invalid(String),
    /// What is kept does not make sense: damaged or written by something else.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    /// A value cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The data folder cannot be used.
    #[error("cannot use the data folder {path}: {what}")]
    Folder {
        /// The folder or file.
        path: std::path::PathBuf,
        /// What to change.
        what: &'static str,
        /// What the system said.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The database was written by a newer version of this program.
    #[error("the database has schema version {found}, this program knows {known}: use the newer program")]
    SchemaTooNew {
        /// Version in the database.
        found: u32,
        /// Newest version that this program knows.
        known: u32,
    },
    /// The vault was moved elsewhere, is being moved, or is the unfinished end of a move; the text says which, and what to do.
    #[error("{0}")]
    Moved(String),
    /// A migration that was applied is not the one this program has.
    #[error("migration {version} of the database is not the one that this program knows")]
    SchemaDiffers {
        /// The migration.
        version: u32,
    },
}

impl From<InvalidProvider> for StoreError {
    fn from(error: InvalidProvider) -> Self {
        Self::Invalid(error.to_string())
    }
}
