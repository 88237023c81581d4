//! Units of work: each in a transaction of its own, several at a time, one per lane.
//!
//! A lane is one writer of audit chains: it has a run of its own, so the lanes of all replicas append side by side and no row is
//! ever waited for. One lane runs one unit of work at a time and is the only one that knows the heads of its chains. Commits of
//! several lanes share a flush of the database's log (PostgreSQL does that by itself), which is why nothing is batched here, and
//! why one unit's error, deadlock or rollback touches no other.
//!
//! Why that keeps revocation and release apart, and what goes out together, says [`mod@unit`].

mod unit;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use alter_core::clock::SharedClock;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::{Client, error::SqlState};
use tokio_util::task::TaskTracker;

use unit::{Committed, End, Refused, commit, rolled_back};
pub(super) use unit::{Gate, Unbegun, Unit};

use super::{
    checkpoints,
    columns::{execute, micros, params, state},
    connect::{Connections, LANES, MAX_CONNECTIONS, Mode, TRANSACTION, TURN, WAIT},
    partitions,
};
use crate::{
    audit::{AuditRow, ChainHead, CheckpointKind},
    domain::{AppId, RunId},
    seal::Envelope,
    store::{ChainEnd, StoreError},
};

/// Units of work that may wait; beyond it callers are told to come back.
const QUEUE: usize = 8192;
/// How often it is looked for lanes that are not at work, and the pause in between.
const LOOKS: usize = 50;
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// How often a unit of work is begun, when what went wrong is known to have undone all of it.
const ATTEMPTS: usize = 4;

/// Connections that only renewals of leases use.
pub(super) const RENEWALS: usize = 2;

/// A unit of work: what to do in the transaction, given what it is about. It may be begun again, so it takes nothing away.
pub(super) type Work<T, C> = for<'a> fn(Unbegun<'a>, &'a C) -> BoxFuture<'a, Result<T, StoreError>>;
/// A read.
pub(super) type Look<T, C> = for<'a> fn(&'a Client, &'a C) -> BoxFuture<'a, Result<T, StoreError>>;

/// One writer of chains.
struct Lane {
    run: RunId,
    /// Ends of the chains, as committed.
    heads: HashMap<AppId, ChainHead>,
    /// Ends that moved in the present transaction.
    moved: HashMap<AppId, ChainHead>,
    scratch: Vec<u8>,
}

impl Lane {
    fn new() -> Self {
        Self {
            run: RunId::random(),
            heads: HashMap::new(),
            moved: HashMap::new(),
            scratch: Vec::with_capacity(1024),
        }
    }

    fn ends(&self) -> Vec<ChainEnd> {
        let end =
            |(app_id, head): (&AppId, &ChainHead)| ChainEnd { app_id: *app_id, chain: self.run, head: *head };
        self.heads.iter().map(end).collect()
    }

    fn append(&mut self, row: &mut AuditRow) -> ChainHead {
        row.chain = self.run;
        let committed = self.heads.get(&row.app_id).copied();
        let head = self
            .moved
            .entry(row.app_id)
            .or_insert_with(|| committed.unwrap_or_else(|| ChainHead::genesis(row.app_id, self.run)));
        head.append(row, &mut self.scratch);
        *head
    }
}

struct Shared {
    connections: Connections,
    envelope: Envelope,
    clock: SharedClock,
    free: Semaphore,
    /// Reads leave every lane its connection, however many there are and however long they take.
    reads: Semaphore,
    /// Renewals of leases wait for no read: a lease that is lost for want of a turn can cost the user's connection.
    renewals: Semaphore,
    lanes: Mutex<Vec<Lane>>,
    waiting: AtomicUsize,
    look_after: AtomicI64,
    work: TaskTracker,
}

/// The handle to the lanes.
#[derive(Clone)]
pub(super) struct Lanes(Arc<Shared>);

/// Why an attempt failed.
enum Failed {
    /// Nothing of it happened: its nonce was used before.
    Replayed,
    /// Nothing of it happened, and the next attempt may go better.
    Again(StoreError),
    /// There is no point in another.
    Final(StoreError),
}

impl Lanes {
    pub(super) fn new(connections: Connections, envelope: Envelope, clock: SharedClock) -> Self {
        let look_after = clock.now().as_second() + partitions::LOOK_EVERY;
        Self(Arc::new(Shared {
            connections,
            envelope,
            clock,
            free: Semaphore::new(LANES),
            reads: Semaphore::new(MAX_CONNECTIONS - LANES - RENEWALS),
            renewals: Semaphore::new(RENEWALS),
            lanes: Mutex::new((0..LANES).map(|_| Lane::new()).collect()),
            waiting: AtomicUsize::new(0),
            look_after: AtomicI64::new(look_after),
            work: TaskTracker::new(),
        }))
    }

    /// Runs `work` in a transaction and answers when that is durable. An `Err` of `work` undoes what it did.
    ///
    /// The work goes on when the caller stops waiting.
    pub(super) async fn run<T, C>(&self, gate: Gate, context: C, work: Work<T, C>) -> Result<T, StoreError>
    where
        T: Send + 'static,
        C: Send + Sync + 'static,
    {
        let counted = self.0.work.token();
        if self.0.work.is_closed() {
            return Err(StoreError::Closed);
        }
        if self.0.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            self.0.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(StoreError::Busy);
        }
        let shared = Arc::clone(&self.0);
        let ran = tokio::spawn(async move {
            let waiting = Waiting(&shared.waiting);
            let lane = InUse::take(&shared).await?;
            drop(waiting);
            let result = lane.run(gate, &context, work).await;
            drop(counted);
            shared.look_after_partitions();
            result
        });
        ended(ran.await)
    }

    /// Runs `look` in a transaction that only reads.
    pub(super) async fn read<T, C>(&self, mode: Mode, context: C, look: Look<T, C>) -> Result<T, StoreError>
    where
        T: Send + 'static,
        C: Send + Sync + 'static,
    {
        let shared = Arc::clone(&self.0);
        let ran = tokio::spawn(async move {
            // What writes without a lane is a renewal.
            let turns = if matches!(mode, Mode::Write) { &shared.renewals } else { &shared.reads };
            let permit = tokio::time::timeout(WAIT, turns.acquire()).await;
            let _permit = permit.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closed)?;
            let connections = &shared.connections;
            // A connection that broke meanwhile shows at its next use; a read can be begun again.
            for _ in 1..ATTEMPTS {
                match read_once(connections, mode, &context, look).await {
                    Err(error) if is_broken(&error) => {}
                    other => return other,
                }
            }
            read_once(connections, mode, &context, look).await
        });
        ended(ran.await)
    }

    /// The connections, for work that is no unit.
    pub(super) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// Where the chains of this process stand, as committed. A lane that is at work all the time is left out; it is in the next
    /// look.
    pub(super) async fn ends(&self) -> Vec<ChainEnd> {
        let mut seen = HashMap::new();
        for _ in 0..LOOKS {
            {
                let lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
                for lane in lanes.iter() {
                    seen.entry(lane.run).or_insert_with(|| lane.ends());
                }
            }
            if seen.len() >= LANES {
                break;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        seen.into_values().flatten().collect()
    }

    /// Takes no more work, finishes what was taken, marks this run's chains as cleanly closed.
    pub(super) async fn close(&self) {
        if self.0.work.close() {
            self.0.work.wait().await;
            if let Err(error) = in_time(self.0.mark_closed()).await {
                tracing::warn!(%error, "the audit chains of this run could not be marked as closed");
            } else if let Err(error) = in_time(self.0.sign_closed()).await {
                // The next walk misses nothing but the signature.
                tracing::warn!(%error, "the audit chains of this run could not be signed");
            }
            self.0.connections.let_go();
        } else {
            self.0.work.wait().await;
        }
    }
}

fn ended<T>(ran: Result<Result<T, StoreError>, tokio::task::JoinError>) -> Result<T, StoreError> {
    ran.unwrap_or_else(|gone| {
        Err(StoreError::Unavailable { what: "a unit of work ended abnormally", source: Box::new(gone) })
    })
}

async fn read_once<T, C>(
    connections: &Connections,
    mode: Mode,
    context: &C,
    look: Look<T, C>,
) -> Result<T, StoreError> {
    let connection = connections.take().await?;
    let sql = connection.sql()?;
    let read = async {
        sql.batch_execute(&mode.begin()).await?;
        let result = look(sql, context).await;
        // Also after an error: it ends the transaction either way.
        sql.batch_execute("COMMIT").await?;
        result
    };
    // A walk over the whole trail takes as long as it takes; each of its statements has its limit.
    let result = match mode {
        Mode::Snapshot => read.await?,
        Mode::Read | Mode::Write => in_time(read).await?,
    };
    connection.give_back();
    Ok(result)
}

async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(TRANSACTION, work).await.unwrap_or_else(|late| Err(too_late(late)))
}

fn too_late(late: tokio::time::error::Elapsed) -> StoreError {
    StoreError::Unavailable { what: "the transaction took too long", source: Box::new(late) }
}

/// Counts a unit of work that waits for a lane.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A lane that is working. Dropped in the middle (a panic), it comes back with a new run: what of its chains is committed is
/// no longer known.
struct InUse<'a> {
    shared: &'a Shared,
    lane: Option<Lane>,
    _permit: SemaphorePermit<'a>,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let lane = self.lane.take().unwrap_or_else(Lane::new);
        self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
    }
}

impl<'a> InUse<'a> {
    async fn take(shared: &'a Shared) -> Result<Self, StoreError> {
        let permit = tokio::time::timeout(TURN, shared.free.acquire()).await;
        let permit = permit.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closed)?;
        // The lane that was used last: with little to do there is one chain, not eight.
        let lane = shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Self { shared, lane, _permit: permit })
    }

    async fn run<T, C>(mut self, gate: Gate, context: &C, work: Work<T, C>) -> Result<T, StoreError> {
        let mut attempt = 1;
        let mut replayed = false;
        loop {
            // Taken out, so that a panic leaves none behind.
            let mut lane = self.lane.take().unwrap_or_else(Lane::new);
            let mut end = End::default();
            let result = self.attempt(&mut lane, &mut end, replayed, gate, context, work).await;
            lane.moved.clear();
            self.lane = Some(lane);
            match result {
                // Once is enough: it uses no nonce any more.
                Err(Failed::Replayed) => replayed = true,
                Err(Failed::Again(error)) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tracing::debug!(%error, attempt, "a unit of work is begun again");
                    if partitions::missing(&error) {
                        in_time(partitions::make(&self.shared.connections, &end.wanted)).await?;
                    }
                }
                Err(Failed::Again(error) | Failed::Final(error)) => return Err(error),
                Ok(value) => return Ok(value),
            }
        }
    }

    async fn attempt<T, C>(
        &self,
        lane: &mut Lane,
        end: &mut End,
        replayed: bool,
        gate: Gate,
        context: &C,
        work: Work<T, C>,
    ) -> Result<T, Failed> {
        let shared = self.shared;
        let connection = shared.connections.take().await.map_err(Failed::Final)?;
        let sql = connection.sql().map_err(Failed::Final)?;
        let result = in_time(async {
            let begin = Mode::Write.begin() + &gate.statement();
            let (lane, end) = (&mut *lane, &mut *end);
            let unit = Unit { sql, envelope: &shared.envelope, lane, end, replayed };
            work(Unbegun { begin, unit }, context).await
        })
        .await;
        let value = match result {
            Ok(value) => value,
            Err(error) => {
                // Otherwise the connection is closed, which undoes the transaction as well. One that was too slow to
                // answer is not asked again.
                if !is_late(&error) && rolled_back(sql).await {
                    connection.give_back();
                }
                return Err(if may_go_better(&error) { Failed::Again(error) } else { Failed::Final(error) });
            }
        };
        if end.undone || !end.begun {
            // Otherwise the connection is closed, which undoes the transaction as well.
            if rolled_back(sql).await {
                connection.give_back();
            }
            return Ok(value);
        }
        let committed = tokio::time::timeout(TRANSACTION, commit(sql, &end.writes)).await;
        match committed.unwrap_or_else(|late| Committed::Unknown(too_late(late))) {
            Committed::Yes => {
                connection.give_back();
                lane.heads.extend(lane.moved.drain());
                Ok(value)
            }
            Committed::No { refused, clean } => {
                if clean {
                    connection.give_back();
                }
                Err(match refused {
                    Refused::Replayed => Failed::Replayed,
                    Refused::Failed(error) if may_go_better(&error) => Failed::Again(error),
                    Refused::Failed(error) => Failed::Final(error),
                })
            }
            Committed::Unknown(error) => {
                // The caller is told that it failed, so nothing leaves the vault; the rows may be there, complete and in
                // their chain. New chains begin where nothing is in doubt.
                tracing::error!(%error, "a commit failed, or its answer was lost");
                *lane = Lane::new();
                Err(Failed::Final(error))
            }
        }
    }
}

/// Whether the error undid everything by itself and a second try makes sense: a partition is missing, two units waited for each
/// other, or the connection was already broken when it was taken.
fn may_go_better(error: &StoreError) -> bool {
    let waited = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
    partitions::missing(error) || is_broken(error) || state(error).is_some_and(|state| waited.contains(state))
}

fn is_late(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { source, .. } if source.is::<tokio::time::error::Elapsed>())
}

fn is_broken(error: &StoreError) -> bool {
    let ended = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN];
    let StoreError::Unavailable { source, .. } = error else { return false };
    let Some(error) = source.downcast_ref::<tokio_postgres::Error>() else { return false };
    error.is_closed() || error.code().is_some_and(|state| ended.contains(state))
}

impl Shared {
    /// Now and then, beside the work, while a unit of work is going on anyway.
    fn look_after_partitions(self: &Arc<Self>) {
        let now = self.clock.now();
        let due = self.look_after.load(Ordering::Relaxed);
        if now.as_second() < due {
            return;
        }
        let next = now.as_second() + partitions::LOOK_EVERY;
        if self.look_after.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = partitions::look_after(&shared.connections, now).await {
                // What is missing when it is needed is made then.
                tracing::warn!(%error, "the partitions could not be looked after");
            }
        });
    }

    async fn mark_closed(&self) -> Result<(), StoreError> {
        let runs: Vec<RunId> = {
            let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.iter().filter(|lane| !lane.heads.is_empty()).map(|lane| lane.run).collect()
        };
        let at = micros(self.clock.now());
        let connection = self.connections.take().await?;
        let sql = connection.sql()?;
        sql.batch_execute(&Mode::Write.begin()).await?;
        for run in runs {
            execute(sql, "UPDATE audit_chains SET closed_at = $2 WHERE run_id = $1", params![run, at])
                .await?;
        }
        sql.batch_execute("COMMIT").await?;
        connection.give_back();
        Ok(())
    }

    async fn sign_closed(&self) -> Result<(), StoreError> {
        let ends: Vec<ChainEnd> = {
            let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.iter().flat_map(Lane::ends).collect()
        };
        if ends.is_empty() {
            return Ok(());
        }
        let connection = self.connections.take().await?;
        let sql = connection.sql()?;
        sql.batch_execute(&Mode::Write.begin()).await?;
        checkpoints::sign(sql, &self.envelope, self.clock.now(), CheckpointKind::Closed, &ends).await?;
        sql.batch_execute("COMMIT").await?;
        connection.give_back();
        Ok(())
    }
}
