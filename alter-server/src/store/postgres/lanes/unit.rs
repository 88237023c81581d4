//! One unit of work: what it has at hand in its transaction, how that begins and how it is committed.
//!
//! # Two flights
//!
//! The database may be a network away, so a unit of work waits for it as seldom as it can. What it may read goes out behind
//! `BEGIN` and the gate without waiting for them ([`Unbegun::begin_with`]); nonce, note of use, audit rows and `COMMIT` go out
//! together at its end ([`Write`]). A release is two such flights. The server works on a flight in order, one statement after
//! the other, each with its own view of the database, so what is said below holds as if each had been waited for:
//!
//! * Only reads go out behind a `BEGIN` that has not been answered yet. Should it fail, they see an aborted transaction or
//!   none, and what they answer is thrown away.
//! * A statement that fails aborts the transaction, and the `COMMIT` behind it then undoes everything. It is sent
//!   only when every statement before it is on its way, and the unit of work has happened only if each of them and the
//!   `COMMIT` were answered well.
//! * A nonce that was used before shows as a violation of its key, which therefore undoes whatever the unit of work did
//!   meanwhile. It is then begun again, knowing that.
//!
//! # Revocation against release (design promise 2)
//!
//! Each unit of work on an app first takes the app's gate, a transaction-level advisory lock: signed calls shared, everything
//! that takes away (revoking a grant; any change by an operator) exclusively. The gate is taken in a statement before the first
//! read, and under READ COMMITTED each statement sees what was committed before it began. So a release either holds the gate
//! when a revocation asks for it, and then the revocation waits until that release has committed (it is the earlier one, and
//! its answer is on its way); or it gets the gate after the revocation committed, and then reads the revoked state. There is
//! no third case, on any replica: once a revocation has returned, no release can commit any more. And there is
//! nothing remembered that could be wrong. The lock lives in the server's memory only: sharing it writes nothing, unlike
//! `SELECT … FOR SHARE` on a row that every call of an app would mark. It ends with its transaction, so a connection pooler in
//! transaction mode may stand in between, and waiters are served in order, so a busy app cannot starve a revocation.

use std::task::Poll;

use futures_util::{
    future::{join, try_join_all},
    poll,
};
use tokio_postgres::{
    Client,
    error::{Severity, SqlState},
};

use super::{
    super::{
        audit,
        columns::{execute, params, state},
        partitions::{Table, Wanted},
    },
    Lane, in_time,
};
use crate::{
    audit::{AuditRow, ChainHead},
    domain::{Admission, AppId, GrantId, KeyId, Nonce},
    seal::Envelope,
    store::StoreError,
};

/// Statements that are sent together with a commit, most.
const FLIGHT: usize = 8;

/// Who else may work on the app meanwhile; see the module.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::postgres) enum Gate {
    /// It is about no app.
    Open,
    /// Signed calls.
    Shared(AppId),
    /// What takes away.
    Exclusive(AppId),
}

impl Gate {
    pub(super) fn statement(self) -> String {
        // Two apps with the same number would only wait for each other without need.
        let number = |app_id: AppId| app_id.uuid().as_u64_pair().0.cast_signed();
        match self {
            Self::Open => String::new(),
            Self::Shared(app_id) => format!("; SELECT pg_advisory_xact_lock_shared({})", number(app_id)),
            Self::Exclusive(app_id) => format!("; SELECT pg_advisory_xact_lock({})", number(app_id)),
        }
    }
}

/// A transaction that has not been begun.
pub(in crate::store::postgres) struct Unbegun<'a> {
    pub(super) begin: String,
    pub(super) unit: Unit<'a>,
}

impl<'a> Unbegun<'a> {
    /// Begins it.
    pub(in crate::store::postgres) async fn begin(self) -> Result<Unit<'a>, StoreError> {
        self.unit.sql.batch_execute(&self.begin).await?;
        self.unit.end.begun = true;
        Ok(self.unit)
    }

    /// Begins it, and reads in the same flight. `look` only reads: see the module.
    pub(in crate::store::postgres) async fn begin_with<T, F>(
        self,
        look: impl FnOnce(&'a Client) -> F,
    ) -> Result<(Unit<'a>, T), StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let sql = self.unit.sql;
        // Polled in this order, and each is sent when it is polled for the first time.
        let (begun, seen) = join(sql.batch_execute(&self.begin), look(sql)).await;
        begun?;
        self.unit.end.begun = true;
        Ok((self.unit, seen?))
    }
}

/// What a unit of work has at hand.
pub(in crate::store::postgres) struct Unit<'a> {
    /// The connection, inside the transaction.
    pub(in crate::store::postgres) sql: &'a Client,
    /// Seals what is written.
    pub(in crate::store::postgres) envelope: &'a Envelope,
    pub(super) lane: &'a mut Lane,
    pub(super) end: &'a mut End,
    /// The nonce is known to have been used.
    pub(super) replayed: bool,
}

/// How a unit of work ends.
#[derive(Default)]
pub(super) struct End {
    /// Without it there is nothing to commit.
    pub(super) begun: bool,
    /// What is written last, in this order.
    pub(super) writes: Vec<Write>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) undone: bool,
}

/// What is written in the same flight as the commit.
pub(super) enum Write {
    Nonce {
        app_id: AppId,
        timestamp: i64,
        key_id: KeyId,
        nonce: Nonce,
    },
    /// When a grant was used last.
    Used {
        app_id: AppId,
        grant_id: GrantId,
        at: i64,
    },
    /// A row that is in its chain already, and the chain's new end.
    Row(Box<AuditRow>, ChainHead),
}

impl Write {
    async fn send(&self, sql: &Client) -> Result<(), Refused> {
        let sent = match self {
            Self::Nonce { app_id, timestamp, key_id, nonce } => {
                let text = "INSERT INTO nonces (app_id, timestamp, key_id, nonce) VALUES ($1, $2, $3, $4)";
                let sent =
                    execute(sql, text, params![*app_id, *timestamp, *key_id, nonce.bytes().as_slice()]).await;
                if sent.as_ref().is_err_and(|error| state(error) == Some(&SqlState::UNIQUE_VIOLATION)) {
                    return Err(Refused::Replayed);
                }
                sent.map(drop)
            }
            Self::Used { app_id, grant_id, at } => {
                // Calls of the same moment do not wait for each other to note the same.
                let text = "UPDATE grants SET last_used_at = $3 WHERE app_id = $1 AND id = (SELECT id FROM grants \
                     WHERE app_id = $1 AND id = $2 FOR NO KEY UPDATE SKIP LOCKED)";
                execute(sql, text, params![*app_id, *grant_id, *at]).await.map(drop)
            }
            Self::Row(row, head) => audit::insert(sql, row, *head).await,
        };
        sent.map_err(Refused::Failed)
    }
}

/// Why something was not written.
pub(super) enum Refused {
    /// The nonce was used before.
    Replayed,
    Failed(StoreError),
}

impl Unit<'_> {
    /// Puts a row at the end of its app's chain; it is written at the end.
    pub(in crate::store::postgres) fn audit(&mut self, mut row: AuditRow) {
        self.end.wanted.push(Wanted::at(Table::AuditRows, row.at));
        let head = self.lane.append(&mut row);
        self.end.writes.push(Write::Row(Box::new(row), head));
    }

    /// What this unit of work did is to be undone although its answer is no error.
    pub(in crate::store::postgres) fn leave_nothing(&mut self) {
        self.end.undone = true;
    }

    /// Uses up a nonce at the end; `false` if it was used before, by whichever replica. That shows only then: this unit of
    /// work is undone and begun again, and is told here.
    pub(in crate::store::postgres) fn use_nonce(&mut self, admission: &Admission) -> bool {
        let Admission { app_id, timestamp, key_id, nonce, .. } = admission;
        self.use_once(*app_id, *key_id, *timestamp, *nonce)
    }

    /// The same for anything that counts once while its timestamp (Unix seconds) is accepted; `by` is whose it is.
    pub(in crate::store::postgres) fn use_once(
        &mut self,
        app_id: AppId,
        by: KeyId,
        timestamp: i64,
        nonce: Nonce,
    ) -> bool {
        if self.replayed {
            return false;
        }
        self.end.wanted.push(Wanted(Table::Nonces, timestamp));
        self.end.writes.push(Write::Nonce { app_id, timestamp, key_id: by, nonce });
        true
    }

    /// Notes at the end that a grant was used, in microseconds.
    pub(in crate::store::postgres) fn used(&mut self, app_id: AppId, grant_id: GrantId, at: i64) {
        self.end.writes.push(Write::Used { app_id, grant_id, at });
    }

    /// The partition of a report's bodies is needed, too.
    pub(in crate::store::postgres) fn keeps_bodies(&mut self, row: &AuditRow) {
        self.end.wanted.push(Wanted::at(Table::AuditBodies, row.at));
    }
}

/// How a commit went.
pub(super) enum Committed {
    Yes,
    /// The transaction is undone; `clean` if the connection can be used again.
    No {
        refused: Refused,
        clean: bool,
    },
    /// Whether it was committed is not known.
    Unknown(StoreError),
}

/// Sends the last writes and the commit in one flight.
pub(super) async fn commit(sql: &Client, writes: &[Write]) -> Committed {
    // A flight has a handful of statements; whatever is beyond that is waited for before.
    let (before, last) = writes.split_at(writes.len().saturating_sub(FLIGHT));
    for write in before {
        if let Err(refused) = write.send(sql).await {
            return Committed::No { refused, clean: rolled_back(sql).await };
        }
    }
    let mut sent = std::pin::pin!(try_join_all(last.iter().map(|write| write.send(sql))));
    // Polled once, each is on its way, or it failed here and no commit may follow it.
    if let Poll::Ready(Err(refused)) = poll!(&mut sent) {
        return Committed::No { refused, clean: rolled_back(sql).await };
    }
    let (sent, committed) = join(sent, sql.batch_execute("COMMIT")).await;
    match (sent, committed) {
        (Ok(_), Ok(())) => Committed::Yes,
        (Ok(_), Err(error)) => Committed::Unknown(error.into()),
        // The connection broke: what the server got to do is not known.
        (Err(Refused::Failed(error)), _) if !was_answered(&error) => Committed::Unknown(error),
        // The server refused a statement, so the commit behind it was a rollback.
        (Err(refused), committed) => Committed::No { refused, clean: committed.is_ok() },
    }
}

/// Undoes the transaction.
pub(super) async fn rolled_back(sql: &Client) -> bool {
    in_time(async { Ok(sql.batch_execute("ROLLBACK").await?) }).await.is_ok()
}

/// Whether the server itself said that this statement failed, and goes on.
fn was_answered(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable { source, .. } => {
            let error =
                source.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::as_db_error);
            error.is_some_and(|error| error.parsed_severity() == Some(Severity::Error))
        }
        // What the server said about a value.
        _ => true,
    }
}
