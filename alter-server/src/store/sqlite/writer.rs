//! The one writer: a thread that takes units of work from a bounded queue, runs as many as are waiting in one transaction, commits
//! once, and only then answers all of them (group commit).
//!
//! A commit costs a wait for the disk. What nobody waits for, a report after the fact, is kept for a moment so that it shares
//! the commit of the next release.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use alter_core::clock::SharedClock;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::{
    columns::{Micros, integer},
    release::ProviderCache,
};
use crate::{
    audit::{AuditRow, ChainHead, CheckpointKind},
    domain::{AppId, RunId},
    seal::Envelope,
    store::{ChainEnd, StoreError},
};

/// Units of work that may wait; beyond it callers are told to come back.
const QUEUE: usize = 8192;
/// Units of work in one transaction.
const BATCH: usize = 512;
/// How long a report waits for company before it is committed alone.
const REPORT_PATIENCE: Duration = Duration::from_millis(10);
/// Pause before a full queue is asked again to take the order to close.
const CLOSE_PAUSE: Duration = Duration::from_millis(5);
/// Nonces that are removed with one batch.
const PRUNE_STEP: i64 = 1000;
/// Seconds between looks for old nonces.
const PRUNE_EVERY: i64 = 10;

/// Answers a unit of work once the fate of its transaction is known.
type Reply = Box<dyn FnOnce(Result<(), CommitFailed>) + Send>;
type Work = Box<dyn FnOnce(Result<&mut Unit<'_>, CommitFailed>) -> Finished + Send>;

/// What a unit of work leaves behind.
struct Finished {
    keep: bool,
    reply: Reply,
}

/// Whether somebody waits for the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Now,
    Patient,
}

enum Message {
    Work(Work, Urgency),
    Close(oneshot::Sender<()>),
}

/// The commit failed, so nothing of the batch happened.
#[derive(Clone)]
struct CommitFailed(Arc<rusqlite::Error>);

impl From<CommitFailed> for StoreError {
    fn from(failed: CommitFailed) -> Self {
        Self::Unavailable { what: "the transaction", source: Box::new(failed.0) }
    }
}

/// What a unit of work has at hand.
pub(super) struct Unit<'a> {
    /// The connection, inside the transaction.
    pub(super) sql: &'a Connection,
    /// Seals what is written.
    pub(super) envelope: &'a Envelope,
    /// Parsed provider definitions, each for one generation of its app's configuration.
    pub(super) providers: &'a mut ProviderCache,
    chains: &'a mut Chains,
    undone: bool,
}

impl Unit<'_> {
    /// Puts a row at the end of its app's chain and writes it.
    pub(super) fn audit(&mut self, mut row: AuditRow) -> Result<(), StoreError> {
        self.chains.append(&mut row);
        super::audit::insert(self.sql, &row)
    }

    /// What this unit of work did is to be undone although its answer is no error.
    pub(super) fn leave_nothing(&mut self) {
        self.undone = true;
    }

    /// Where this run's chains stand once this transaction is committed.
    pub(super) fn ends(&self) -> Vec<ChainEnd> {
        self.chains.ends()
    }
}

/// The heads of this run's chains.
struct Chains {
    run: RunId,
    heads: HashMap<AppId, Head>,
    /// Apps whose head moved in this transaction.
    moved: Vec<AppId>,
    /// Heads before the present unit of work touched them.
    undo: Vec<(AppId, ChainHead)>,
    scratch: Vec<u8>,
}

struct Head {
    committed: ChainHead,
    now: ChainHead,
}

impl Chains {
    fn append(&mut self, row: &mut AuditRow) {
        let run = self.run;
        row.chain = run;
        let head = self.heads.entry(row.app_id).or_insert_with(|| {
            let genesis = ChainHead::genesis(row.app_id, run);
            Head { committed: genesis, now: genesis }
        });
        if head.now == head.committed {
            self.moved.push(row.app_id);
        }
        self.undo.push((row.app_id, head.now));
        head.now.append(row, &mut self.scratch);
    }

    fn ends(&self) -> Vec<ChainEnd> {
        let chain = self.run;
        self.heads.iter().map(|(app_id, head)| ChainEnd { app_id: *app_id, chain, head: head.now }).collect()
    }

    /// The present unit of work is rolled back.
    fn undo(&mut self) {
        for (app_id, before) in self.undo.drain(..).rev() {
            if let Some(head) = self.heads.get_mut(&app_id) {
                head.now = before;
            }
        }
    }

    /// Writes the heads that moved.
    fn write(&mut self, sql: &Connection, at: Timestamp) -> rusqlite::Result<()> {
        self.moved.sort_unstable();
        self.moved.dedup();
        let mut statement = sql.prepare_cached(
            "INSERT INTO audit_chains (app_id, run_id, begun_at, head_seq, head_hash) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (app_id, run_id) DO UPDATE SET head_seq = excluded.head_seq, head_hash = excluded.head_hash",
        )?;
        for app_id in &self.moved {
            if let Some(head) = self.heads.get(app_id)
                && head.now != head.committed
            {
                let ChainHead { seq, hash } = head.now;
                statement.execute(params![app_id, self.run, Micros(at), integer(seq), hash])?;
            }
        }
        Ok(())
    }

    /// The transaction ended.
    fn settle(&mut self, committed: bool) {
        for app_id in self.moved.drain(..) {
            if let Some(head) = self.heads.get_mut(&app_id) {
                if committed { head.committed = head.now } else { head.now = head.committed }
            }
        }
    }
}

/// The handle to the writer's thread.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    queue: mpsc::SyncSender<Message>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(sql: Connection, envelope: Envelope, clock: SharedClock) -> Result<Self, StoreError> {
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let thread = Thread {
            sql,
            envelope,
            clock,
            providers: ProviderCache::default(),
            chains: Chains {
                run: RunId::random(),
                heads: HashMap::new(),
                moved: Vec::new(),
                undo: Vec::new(),
                scratch: Vec::with_capacity(1024),
            },
            prune_after: 0,
        };
        thread::Builder::new().name("alter-writer".to_owned()).spawn(move || thread.run(messages)).map_err(
            |error| StoreError::Unavailable { what: "starting the writer", source: Box::new(error) },
        )?;
        Ok(Self { queue })
    }

    /// Runs `work` in a transaction and answers when that is durable. An `Err` of `work` undoes what it did.
    ///
    /// The work goes on when the caller stops waiting.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Unit<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.enqueue(work, Urgency::Now).await
    }

    /// As [`Self::run`], for work that may wait some milliseconds to share somebody else's commit.
    pub(super) async fn run_patiently<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Unit<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.enqueue(work, Urgency::Patient).await
    }

    async fn enqueue<T, F>(&self, work: F, urgency: Urgency) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Unit<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel::<Result<T, StoreError>>();
        let work: Work = Box::new(move |unit| {
            let mut undone = false;
            let result = unit.map_err(StoreError::from).and_then(|unit| {
                let result = work(unit);
                undone = unit.undone;
                result
            });
            let keep = result.is_ok() && !undone;
            let reply: Reply = Box::new(move |committed| {
                // What failed by itself keeps its own error. The caller may be gone.
                let result = result.and_then(|value| committed.map_err(StoreError::from).map(|()| value));
                let _ = answer.send(result);
            });
            Finished { keep, reply }
        });
        self.queue.try_send(Message::Work(work, urgency)).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => StoreError::Busy,
            mpsc::TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        // The thread answers everything it took, unless the work panicked; then it was undone.
        answered.await.unwrap_or_else(|gone| {
            Err(StoreError::Unavailable { what: "a unit of work ended abnormally", source: Box::new(gone) })
        })
    }

    /// Finishes what waits, marks the chains as closed and ends the thread.
    pub(super) async fn close(&self) {
        let (done, finished) = oneshot::channel();
        let mut order = Message::Close(done);
        loop {
            order = match self.queue.try_send(order) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Full(order)) => order,
                Err(mpsc::TrySendError::Disconnected(_)) => return,
            };
            tokio::time::sleep(CLOSE_PAUSE).await;
        }
        let _ = finished.await;
    }
}

/// Units of work for one transaction.
#[derive(Default)]
struct Batch {
    works: Vec<Work>,
    /// Somebody waits for one of them.
    urgent: bool,
    closing: Option<oneshot::Sender<()>>,
}

impl Batch {
    fn take(&mut self, message: Message) {
        match message {
            Message::Work(work, urgency) => {
                self.urgent |= urgency == Urgency::Now;
                self.works.push(work);
            }
            Message::Close(done) => {
                self.urgent = true;
                self.closing = Some(done);
            }
        }
    }

    /// Takes what is there already; whether that is anything.
    fn take_waiting(&mut self, messages: &mpsc::Receiver<Message>) -> bool {
        while self.works.len() < BATCH
            && let Ok(message) = messages.try_recv()
        {
            self.take(message);
        }
        !self.works.is_empty()
    }

    /// Takes what is there already, and while nobody waits for any of it, what comes in a moment.
    fn fill(&mut self, messages: &mpsc::Receiver<Message>) {
        self.take_waiting(messages);
        let until = Instant::now() + REPORT_PATIENCE;
        while !self.urgent && self.works.len() < BATCH {
            let Ok(message) = messages.recv_timeout(until.saturating_duration_since(Instant::now())) else {
                return;
            };
            self.take(message);
            self.take_waiting(messages);
        }
    }
}

struct Thread {
    sql: Connection,
    envelope: Envelope,
    clock: SharedClock,
    providers: ProviderCache,
    chains: Chains,
    prune_after: i64,
}

impl Thread {
    fn run(mut self, messages: mpsc::Receiver<Message>) {
        let mut batch = Batch::default();
        while batch.closing.is_none()
            && let Ok(message) = messages.recv()
        {
            batch.take(message);
            batch.fill(&messages);
            self.commit_batch(&mut batch.works);
            batch.urgent = false;
        }
        // What came before the order to close, and was not in its batch.
        while batch.take_waiting(&messages) {
            self.commit_batch(&mut batch.works);
        }
        if let Err(error) = self.mark_closed() {
            tracing::warn!(%error, "the audit chains of this run could not be marked as closed");
        }
        // Whoever comes now is told that the store is closed.
        drop(messages);
        drop(self);
        if let Some(done) = batch.closing {
            let _ = done.send(());
        }
    }

    fn commit_batch(&mut self, batch: &mut Vec<Work>) {
        if batch.is_empty() {
            return;
        }
        let now = self.clock.now();
        if let Err(error) = run_cached(&self.sql, "BEGIN IMMEDIATE") {
            tracing::error!(%error, "a transaction could not be begun");
            let failed = CommitFailed(Arc::new(error));
            refuse(batch.drain(..), &failed);
            return;
        }
        let mut replies: Vec<Reply> = Vec::with_capacity(batch.len());
        let mut broken = None;
        let mut works = batch.drain(..);
        for work in works.by_ref() {
            match self.run_one(work) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => {}
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        let committed = match broken {
            Some(error) => Err(error),
            None => self.finish(now),
        };
        if let Err(error) = &committed {
            tracing::error!(%error, "a transaction failed");
            // After some errors SQLite has rolled back by itself already.
            let _ = self.sql.execute_batch("ROLLBACK");
            self.providers.clear();
        }
        self.chains.settle(committed.is_ok());
        let outcome = committed.map_err(|error| CommitFailed(Arc::new(error)));
        for reply in replies {
            reply(outcome.clone());
        }
        if let Err(failed) = outcome {
            refuse(works, &failed);
        }
    }

    /// Runs one unit of work in a savepoint of its own. `Err` means that the whole transaction is beyond repair.
    fn run_one(&mut self, work: Work) -> rusqlite::Result<Option<Reply>> {
        run_cached(&self.sql, "SAVEPOINT unit")?;
        self.chains.undo.clear();
        let mut unit = Unit {
            sql: &self.sql,
            envelope: &self.envelope,
            providers: &mut self.providers,
            chains: &mut self.chains,
            undone: false,
        };
        let finished = catch_unwind(AssertUnwindSafe(|| work(Ok(&mut unit)))).ok();
        let keep = finished.as_ref().is_some_and(|finished| finished.keep);
        if !keep {
            // What the work may have read of its own changes must not stay.
            self.providers.clear();
            self.chains.undo();
            run_cached(&self.sql, "ROLLBACK TO unit")?;
        }
        run_cached(&self.sql, "RELEASE unit")?;
        Ok(finished.map(|finished| finished.reply))
    }

    fn finish(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        self.chains.write(&self.sql, now)?;
        self.prune(now)?;
        run_cached(&self.sql, "COMMIT")
    }

    /// Takes away nonces whose timestamp no longer passes the window, some with each batch.
    fn prune(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        let now = now.as_second();
        if now < self.prune_after {
            return Ok(());
        }
        let mut more = false;
        let mut apps = self.sql.prepare_cached("SELECT id FROM apps")?;
        let apps: Vec<AppId> = apps.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut delete = self.sql.prepare_cached(
            "DELETE FROM nonces WHERE (app_id, timestamp, key_id, nonce) IN \
             (SELECT app_id, timestamp, key_id, nonce FROM nonces WHERE app_id = ?1 AND timestamp < ?2 LIMIT ?3)",
        )?;
        for app_id in apps {
            let gone = delete.execute(params![app_id, now - super::NONCE_SECONDS, PRUNE_STEP])?;
            more |= i64::try_from(gone).is_ok_and(|gone| gone == PRUNE_STEP);
        }
        if !more {
            self.prune_after = now + PRUNE_EVERY;
        }
        Ok(())
    }

    fn mark_closed(&mut self) -> rusqlite::Result<()> {
        self.sql.execute(
            "UPDATE audit_chains SET closed_at = ?2 WHERE run_id = ?1",
            params![self.chains.run, Micros(self.clock.now())],
        )?;
        if let Err(error) = self.sign_closed() {
            // The next walk misses nothing but the signature.
            tracing::warn!(%error, "the audit chains of this run could not be signed");
            let _ = self.sql.execute_batch("ROLLBACK");
        }
        // The next start finds an empty log.
        self.sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

impl Thread {
    fn sign_closed(&self) -> Result<(), StoreError> {
        let ends = self.chains.ends();
        if ends.is_empty() {
            return Ok(());
        }
        run_cached(&self.sql, "BEGIN IMMEDIATE")?;
        let (kind, at) = (CheckpointKind::Closed, self.clock.now());
        super::checkpoints::sign(&self.sql, &self.envelope, at, kind, &ends)?;
        run_cached(&self.sql, "COMMIT")?;
        Ok(())
    }
}

/// Answers work that was not even begun.
fn refuse(works: impl Iterator<Item = Work>, failed: &CommitFailed) {
    for work in works {
        (work(Err(failed.clone())).reply)(Err(failed.clone()));
    }
}

fn run_cached(sql: &Connection, text: &'static str) -> rusqlite::Result<()> {
    sql.prepare_cached(text)?.execute([]).map(|_| ())
}
