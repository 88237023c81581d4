//! One side of a transfer, whichever store it is.

use jiff::Timestamp;

use super::{
    Place, TransferError,
    marker::Marker,
    tables::{TABLES, Table},
    value::{Row, Value},
};
#[cfg(feature = "postgres")]
use crate::store::postgres::{PostgresStore, rows::PostgresRows};
use crate::{
    audit::{Action, AuditRow, ChainHead, Outcome, VerifyReport},
    domain::{AppId, Operator, RunId},
    seal::Envelope,
    store::{
        AuditVerifyScope, Store, StoreError,
        sqlite::{SqliteStore, rows::SqliteRows},
    },
    vault::is_vault,
};

/// An opened place.
pub(super) enum Side {
    Sqlite(SqliteRows),
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresRows>),
}

/// Calls a method of whichever it is.
macro_rules! either {
    ($side:expr, |$rows:ident| $call:expr) => {
        match $side {
            Side::Sqlite($rows) => $call,
            #[cfg(feature = "postgres")]
            Side::Postgres($rows) => $call,
        }
    };
}

impl Side {
    pub(super) async fn open(place: &Place, alone: bool) -> Result<Self, StoreError> {
        Ok(match place {
            Place::Folder(folder) => Self::Sqlite(SqliteRows::open(folder, alone).await?),
            #[cfg(feature = "postgres")]
            Place::Postgres(url) => Self::Postgres(Box::new(PostgresRows::open(url, alone).await?)),
        })
    }

    /// The place without a password, for people.
    pub(super) fn describe(&self) -> String {
        either!(self, |rows| rows.describe())
    }

    pub(super) async fn begin_snapshot(&self) -> Result<(), StoreError> {
        either!(self, |rows| rows.begin_snapshot().await)
    }

    pub(super) async fn end_snapshot(&self) -> Result<(), StoreError> {
        either!(self, |rows| rows.end_snapshot().await)
    }

    /// Rows after a key, in the order of the key; none at the end.
    pub(super) async fn page(
        &self,
        table: &'static Table,
        after: Option<Vec<Value>>,
    ) -> Result<Vec<Row>, StoreError> {
        either!(self, |rows| rows.page(table, after).await)
    }

    pub(super) async fn last_key(&self, table: &'static Table) -> Result<Option<Vec<Value>>, StoreError> {
        either!(self, |rows| rows.last_key(table).await)
    }

    pub(super) async fn write(
        &self,
        table: &'static Table,
        page: Vec<Row>,
        id: &str,
    ) -> Result<(), StoreError> {
        either!(self, |rows| rows.write(table, page, id).await)
    }

    pub(super) async fn marker(&self) -> Result<Option<Marker>, StoreError> {
        either!(self, |rows| rows.marker().await)
    }

    pub(super) async fn mark(&self, marker: Marker) -> Result<(), StoreError> {
        either!(self, |rows| rows.mark(marker).await)
    }

    pub(super) async fn unmark(&self) -> Result<(), StoreError> {
        either!(self, |rows| rows.unmark().await)
    }

    /// Frees a complete copy, with a row that says where it came from.
    pub(super) async fn finish(&self, id: &str, row: Chained) -> Result<(), StoreError> {
        either!(self, |rows| rows.finish(id, row.0, row.1).await)
    }

    pub(super) async fn append(&self, row: Chained) -> Result<(), StoreError> {
        either!(self, |rows| rows.append(row.0, row.1).await)
    }

    pub(super) async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(rows) => rows.close().await?,
            #[cfg(feature = "postgres")]
            Self::Postgres(rows) => rows.close(),
        }
        Ok(())
    }

    /// Whether there is not one row in any table.
    pub(super) async fn is_empty(&self) -> Result<bool, StoreError> {
        for table in TABLES {
            if self.last_key(table).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// # Errors
///
/// [`TransferError::Missing`] if there is no vault at the place. (A database is looked into when it is opened.)
pub(super) fn require_vault(place: &Place) -> Result<(), TransferError> {
    match place {
        Place::Folder(folder) if !is_vault(folder) => Err(TransferError::Missing(format!(
            "there is no vault in {}: is the path right?",
            folder.display()
        ))),
        _ => Ok(()),
    }
}

/// Walks the audit chains of a copy that is not freed yet.
pub(super) async fn verify_chains(place: &Place, envelope: &Envelope) -> Result<VerifyReport, StoreError> {
    let clock = alter_core::clock::SystemClock::shared();
    let store: Box<dyn Store> = match place {
        Place::Folder(folder) => {
            Box::new(SqliteStore::open_any(folder, envelope.clone(), clock, true).await?)
        }
        #[cfg(feature = "postgres")]
        Place::Postgres(url) => Box::new(PostgresStore::open_unfinished(url, envelope.clone(), clock)?),
    };
    let report = store.verify_audit(AuditVerifyScope::Everything).await;
    store.close().await?;
    report
}

/// A row, and the end of the chain that it alone is.
pub(super) struct Chained(AuditRow, ChainHead);

impl Chained {
    /// A row of the vault itself, under the operator's name.
    pub(super) fn of_operator(by: &Operator, action: Action, at: Timestamp, detail: String) -> Self {
        let run = RunId::random();
        let mut row = AuditRow::draft(AppId::VAULT, at, action, Outcome::Allowed);
        row.chain = run;
        row.caller = Some(by.name.clone());
        row.caller_type = Some("operator".to_owned());
        row.detail = Some(detail);
        let mut head = ChainHead::genesis(AppId::VAULT, run);
        head.append(&mut row, &mut Vec::new());
        Self(row, head)
    }
}
