//! Work after the fact: telling providers that tokens are to die, and telling applications what happened to grants.
//!
//! A job is written down in the unit of work that caused it ([`crate::store::Outbox`]) and taken from there under a **lease**
//! of two minutes. Whoever finishes it names the attempt it was taken as; a job whose holder died is taken again when its
//! lease is over, by whichever process looks first. So each is done at least once, and what is done twice does no harm:
//! revoking again changes nothing, and a receiver knows an event by its id.
//!
//! ```text
//! look    every five seconds, and at once when this process ended a grant: a few jobs that are due
//! lane    jobs of one target, four at a time; a target that is slow or gone holds up nobody else (`lane`)
//! run     one call, or a few at most, within the lease (`revoke`, `crate::webhook::Sender`)
//! finish  a receipt; or another wait, 5 s × 3^n up to 6 h (`schedule`); or a dead letter: after three days for an event,
//!         after seven for a revocation, or at once when trying again cannot help
//! ```
//!
//! It runs where calls are served, from the first [`crate::Vault::router`] on, and ends with [`crate::Vault::close`], which
//! waits for what is being sent and gives back the rest. It also removes sessions that are over.

mod deliver;
mod lane;
mod revoke;
mod schedule;
#[cfg(all(test, feature = "dev"))]
mod tests;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alter_core::clock::SharedClock;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::lane::{Lanes, Placed, Taken, Target};
pub(crate) use self::schedule::FIRST_WAIT;
use crate::{
    domain::{Job, Task},
    keys::Keys,
    oauth::{Limits, TokenEndpoint},
    store::{JobEnd, Store, StoreError, TakeJobs},
    telemetry,
    webhook::Sender,
};

/// How long a taken job is nobody else's.
const LEASE: Duration = Duration::from_secs(120);
/// A job that waited so long in its lane is not begun: it would outlast its lease.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);
/// A job takes so long at most.
const RUN_FOR: Duration = Duration::from_secs(75);
/// Between two looks, in seconds; spread by half as much again by chance.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Jobs per look.
const AT_ONCE: u32 = 32;
/// Calls of one process at the same time.
const CALLS: usize = 64;
/// How long closing waits for calls that are under way.
const DRAIN: Duration = Duration::from_secs(30);
/// Between two sweeps of sessions.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long a session is kept after its end, for an application that asks late how it went.
const KEEP_SESSIONS: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
/// Sessions per unit of work of a sweep.
const SWEEP_AT_ONCE: u32 = 500;

/// What the worker of one vault is made of.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clock: SharedClock,
    /// The first wait of a job that failed.
    pub(crate) first_wait: Duration,
    pub(crate) sender: Sender,
}

/// The worker of one process. Clones share it.
#[derive(Clone)]
pub(crate) struct Worker(Arc<Inner>);

struct Inner {
    parts: Parts,
    endpoint: TokenEndpoint,
    /// Where it runs: not wherever a request happens to.
    runtime: Handle,
    lanes: Mutex<Lanes>,
    /// Held from taking jobs until they are in their lanes.
    looking: tokio::sync::Mutex<()>,
    calls: Semaphore,
    wake: Notify,
    /// The last look took as much as there was room for.
    more: AtomicBool,
    /// Told when nothing runs or waits any more.
    idle: Notify,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

/// How one attempt ended.
#[derive(Debug)]
enum Outcome {
    /// Done; what was answered.
    Done(String),
    /// It did not work, and may later.
    Failed(Failed),
    /// Trying again cannot help.
    Dead(String),
}

/// A failure that may pass. The text is cleaned, and no secret is in it.
#[derive(Debug)]
struct Failed {
    error: String,
    /// What the other side asked us to wait.
    retry_after: Option<Duration>,
    /// An operator has to repair something.
    slow: bool,
    /// The target as a whole does not answer.
    down: bool,
}

impl Worker {
    /// It runs on the present runtime, once it is started.
    pub(crate) fn new(parts: Parts) -> Self {
        let limits = Limits {
            connect: Duration::from_secs(10),
            whole: Duration::from_secs(20),
            idle: Duration::from_secs(10),
            body: 64 * 1024,
        };
        let endpoint = TokenEndpoint::with_limits(Arc::clone(&parts.clock), limits);
        Self(Arc::new(Inner {
            parts,
            endpoint,
            runtime: Handle::current(),
            lanes: Mutex::new(Lanes::default()),
            looking: tokio::sync::Mutex::new(()),
            calls: Semaphore::new(CALLS),
            wake: Notify::new(),
            more: AtomicBool::new(false),
            idle: Notify::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Looks for jobs, and removes sessions that are over, until the vault closes.
    pub(crate) fn start(&self) {
        let (worker, sweeper) = (self.clone(), self.clone());
        let runtime = &self.0.runtime;
        // Tracked: a look that has taken jobs is not cut off before they are in their lanes.
        self.0.tasks.spawn_on(async move { worker.work().await }, runtime);
        runtime.spawn(
            self.0.stop.clone().run_until_cancelled_owned(async move { sweeper.sweep_now_and_then().await }),
        );
    }

    /// There may be something to do: this process has ended or changed a grant.
    pub(crate) fn wake(&self) {
        self.0.wake.notify_one();
    }

    async fn work(&self) {
        loop {
            match self.look().await {
                // There may be more, unless the lanes are full: then the end of a job wakes.
                Ok(taken) if taken == AT_ONCE as usize => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the outbox could not be looked at"),
            }
            let pause = LOOK_EVERY + LOOK_EVERY.mul_f64(f64::from(chance() as u32 % 100) / 200.0);
            tokio::select! {
                biased;
                () = self.0.stop.cancelled() => return,
                () = self.0.wake.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// One look: takes jobs that are due and puts them into their lanes. Answers how many.
    async fn look(&self) -> Result<usize, StoreError> {
        let _looking = self.0.looking.lock().await;
        let room = {
            let mut lanes = self.lanes();
            lanes.tidy(Instant::now());
            u32::try_from(lanes.room()).unwrap_or(AT_ONCE).min(AT_ONCE)
        };
        if room == 0 || self.0.stop.is_cancelled() {
            self.0.more.store(true, Ordering::Relaxed);
            return Ok(0);
        }
        let at = Instant::now();
        let jobs = self.0.parts.store.take_jobs(TakeJobs { limit: room, lease: LEASE }).await?;
        let taken = jobs.len();
        self.0.more.store(taken == room as usize, Ordering::Relaxed);
        let mut back = Vec::new();
        for job in jobs {
            let placed = self.lanes().place(Box::new(Taken { job, at }), Instant::now());
            match placed {
                Placed::Run(taken) => self.run(taken),
                Placed::Kept => {}
                placed @ Placed::Back(..) => back.push(placed),
            }
        }
        self.put_back(back).await;
        Ok(taken)
    }

    fn run(&self, taken: Box<Taken>) {
        let worker = self.clone();
        let place = Place { worker: self.clone(), target: Target::of(&taken.job), given_up: false };
        let lane = async move { worker.run_lane(taken, place).await };
        self.0.tasks.spawn_on(lane, &self.0.runtime);
    }

    /// Runs one job after the other, as long as its lane has any.
    async fn run_lane(&self, first: Box<Taken>, mut place: Place) {
        let mut next = Some(first);
        while let Some(taken) = next {
            // The semaphore is never closed.
            let _permit = self.0.calls.acquire().await;
            // What waited too long is left to its lease: it will be taken again, by whoever looks first.
            if taken.at.elapsed() < BEGIN_WITHIN {
                self.attempt(&taken.job, &place.target).await;
            }
            let (following, back) = self.lanes().next(&place.target, Instant::now());
            place.given_up = following.is_none();
            next = following;
            self.put_back(back).await;
        }
        drop(place);
        if self.0.more.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// One attempt, from the call to what is written down about it.
    async fn attempt(&self, job: &Job, target: &Target) {
        let outcome = match timeout(RUN_FOR, self.execute(job)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failed(Failed {
                error: "no answer in time".to_owned(),
                retry_after: None,
                slow: false,
                down: true,
            }),
        };
        let first = self.0.parts.first_wait;
        match &outcome {
            Outcome::Done(_) | Outcome::Dead(_) => self.lanes().answered(target, None, first, Instant::now()),
            Outcome::Failed(failed) if failed.down => {
                let failure = (failed.error.as_str(), failed.retry_after);
                self.lanes().answered(target, Some(failure), first, Instant::now());
            }
            Outcome::Failed(_) => {}
        }
        let end = self.end(job, outcome);
        let (task, what) = (task_name(&job.task), end_name(&end));
        telemetry::outbox(task, what);
        match &end {
            JobEnd::Done { receipt } => {
                tracing::debug!(job = %job.id, grant_id = %job.grant_id, task, %receipt, "done");
            }
            JobEnd::Again { wait, error } => {
                let (attempt, seconds) = (job.attempt, wait.as_secs());
                tracing::info!(job = %job.id, grant_id = %job.grant_id, task, attempt, seconds, %error, "will be tried again");
            }
            JobEnd::Dead { error } => {
                tracing::warn!(job = %job.id, grant_id = %job.grant_id, task, %error, "given up: `alter-server webhook dead` lists it");
            }
        }
        let told = matches!(job.task, Task::RevokeAtProvider { .. }) && !matches!(end, JobEnd::Again { .. });
        self.finish(job, end).await;
        if told {
            // The receipt is an event.
            self.wake();
        }
    }

    async fn execute(&self, job: &Job) -> Outcome {
        match &job.task {
            Task::RevokeAtProvider { provider, access_token, refresh_token } => {
                self.0.revoke(job.app_id, provider, access_token.as_ref(), refresh_token.as_ref()).await
            }
            Task::Deliver { url, secret, payload, .. } => self.0.deliver(job, url, secret, payload).await,
        }
    }

    /// What an outcome means for the job.
    fn end(&self, job: &Job, outcome: Outcome) -> JobEnd {
        let failed = match outcome {
            Outcome::Done(receipt) => return JobEnd::Done { receipt },
            Outcome::Dead(error) => return JobEnd::Dead { error },
            Outcome::Failed(failed) => failed,
        };
        let limit = match job.task {
            Task::RevokeAtProvider { .. } => schedule::REVOCATIONS_FOR,
            Task::Deliver { .. } => schedule::EVENTS_FOR,
        };
        if schedule::is_over(job.created_at, self.0.parts.clock.now(), limit) {
            let days = limit.as_secs() / 86_400;
            return JobEnd::Dead { error: format!("{}; tried for {days} days", failed.error) };
        }
        let wait = schedule::wait(self.0.parts.first_wait, job.attempt, chance());
        let least = if failed.slow { schedule::SLOW_WAIT } else { Duration::ZERO };
        let asked = failed.retry_after.unwrap_or_default().min(schedule::LONGEST_WAIT);
        JobEnd::Again { wait: wait.max(least).max(asked), error: failed.error }
    }

    /// Writes down how it ended, for as long as the lease can last.
    async fn finish(&self, job: &Job, end: JobEnd) {
        let (began, mut pause) = (Instant::now(), Duration::from_millis(100));
        loop {
            match self.0.parts.store.finish_job(job.app_id, job.id, job.attempt, end.clone()).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::debug!(job = %job.id, "somebody else has it by now");
                    return;
                }
                Err(error) if began.elapsed() > DRAIN || self.0.stop.is_cancelled() => {
                    tracing::warn!(job = %job.id, %error, "how it ended could not be written down: it will be done again");
                    return;
                }
                Err(error) => {
                    tracing::debug!(job = %job.id, %error, "how it ended could not be written down yet");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Puts jobs back that were not tried.
    async fn put_back(&self, back: Vec<Placed>) {
        for placed in back {
            if let Placed::Back(taken, wait, error) = placed {
                let wait = schedule::spread(wait, chance());
                self.finish(&taken.job, JobEnd::Again { wait, error }).await;
            }
        }
    }

    async fn sweep_now_and_then(&self) {
        loop {
            sleep(SWEEP_EVERY + SWEEP_EVERY.mul_f64(f64::from(chance() as u32 % 100) / 100.0)).await;
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "sessions that are over could not be removed");
            }
        }
    }

    /// Removes sessions that ended an hour ago.
    async fn sweep(&self) -> Result<(), StoreError> {
        let Ok(before) = self.0.parts.clock.now().checked_sub(KEEP_SESSIONS) else { return Ok(()) };
        while self.0.parts.store.sweep_sessions(before, SWEEP_AT_ONCE).await? >= u64::from(SWEEP_AT_ONCE) {}
        Ok(())
    }

    /// Does everything that is due, and what follows from it. For tests.
    #[cfg(feature = "dev")]
    pub(crate) async fn work_off(&self) -> Result<(), StoreError> {
        loop {
            let taken = self.look().await?;
            loop {
                let idle = self.0.idle.notified();
                if self.lanes().held() == 0 {
                    break;
                }
                let _ = timeout(Duration::from_millis(100), idle).await;
            }
            if taken == 0 {
                return self.sweep().await;
            }
        }
    }

    /// Takes no more jobs, gives back those that wait, and waits for what is being sent.
    pub(crate) async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        let waiting = self.lanes().empty();
        let closing = || "the vault was closing".to_owned();
        let back = waiting.into_iter().map(|taken| Placed::Back(Box::new(taken), Duration::ZERO, closing()));
        self.put_back(back.collect()).await;
        if timeout(DRAIN, self.0.tasks.wait()).await.is_err() {
            tracing::warn!("work after the fact that is still under way is cut off: it will be done again");
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a lane. It is given back also when a job panics.
struct Place {
    worker: Worker,
    target: Target,
    /// [`Lanes::next`] has taken it back.
    given_up: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.given_up {
            // Whatever else waits in the lane is left to its lease.
            while self.worker.lanes().next(&self.target, Instant::now()).0.is_some() {}
        }
        if self.worker.lanes().held() == 0 {
            self.worker.0.idle.notify_waiters();
        }
    }
}

fn task_name(task: &Task) -> &'static str {
    match task {
        Task::RevokeAtProvider { .. } => "revoke_at_provider",
        Task::Deliver { .. } => "deliver",
    }
}

fn end_name(end: &JobEnd) -> &'static str {
    match end {
        JobEnd::Done { .. } => "done",
        JobEnd::Again { .. } => "again",
        JobEnd::Dead { .. } => "dead",
    }
}

/// A number by chance, for spreading.
fn chance() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}
