//! Fairness between targets: one that is slow or gone holds up its own jobs and nobody else's.
//!
//! A **lane** is one endpoint of an app, or one provider of an app. A few of its jobs run at the same time, a few more wait
//! here, and what goes beyond that is put back with a short wait, so that the next look finds the jobs of others. A target
//! that does not answer is left alone for a while that grows; then one job asks.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::schedule;
use crate::domain::{AppId, Job, ProviderId, Task, WebhookId};

/// Jobs of one lane that run at the same time.
const RUNNING: usize = 4;
/// Jobs of one lane that wait here.
const WAITING: usize = 32;
/// Jobs of all lanes together.
const HELD: usize = 256;
/// Rough time after which a job is looked at again that found its lane full.
const FULL: Duration = Duration::from_secs(10);

/// Where a job goes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Provider(AppId, ProviderId),
    Endpoint(AppId, WebhookId),
}

impl Target {
    pub(super) fn of(job: &Job) -> Self {
        match &job.task {
            Task::RevokeAtProvider { provider, .. } => Self::Provider(job.app_id, provider.clone()),
            Task::Deliver { endpoint, .. } => Self::Endpoint(job.app_id, *endpoint),
        }
    }
}

/// A job, and when it was taken: its lease counts from there.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) job: Job,
    pub(super) at: Instant,
}

#[derive(Debug, Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<Taken>,
    /// Times in a row that the target did not answer.
    failures: u32,
    paused_until: Option<Instant>,
    last_error: String,
}

/// What to do with a job.
#[derive(Debug)]
pub(super) enum Placed {
    /// Run it now; its place in the lane is taken.
    Run(Box<Taken>),
    /// It waits here.
    Kept,
    /// Put it back for so long, because of this.
    Back(Box<Taken>, Duration, String),
}

/// All lanes of one process.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<Target, Lane>,
    held: usize,
}

impl Lanes {
    /// How many more jobs can be taken.
    pub(super) fn room(&self) -> usize {
        HELD.saturating_sub(self.held)
    }

    /// How many jobs run or wait.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn place(&mut self, taken: Box<Taken>, now: Instant) -> Placed {
        let lane = self.lanes.entry(Target::of(&taken.job)).or_default();
        if let Some(rest) = lane.rest(now) {
            return Placed::Back(taken, rest, lane.last_error.clone());
        }
        // After a failure one asks for all.
        let most = if lane.failures > 0 { 1 } else { RUNNING };
        if lane.running < most {
            lane.running += 1;
            self.held += 1;
            return Placed::Run(taken);
        }
        if lane.waiting.len() < WAITING {
            lane.waiting.push_back(*taken);
            self.held += 1;
            return Placed::Kept;
        }
        Placed::Back(taken, FULL, "many jobs wait for the same target".to_owned())
    }

    /// Notes whether the target answered. `None`: it did. Otherwise what went wrong, and how long it wants to be left alone.
    pub(super) fn answered(
        &mut self,
        target: &Target,
        failure: Option<(&str, Option<Duration>)>,
        first: Duration,
        now: Instant,
    ) {
        let lane = self.lanes.entry(target.clone()).or_default();
        match failure {
            None => (lane.failures, lane.paused_until) = (0, None),
            Some((error, asked)) => {
                lane.failures = lane.failures.saturating_add(1);
                let pause = schedule::pause(first, lane.failures);
                let pause = pause.max(asked.unwrap_or_default().min(schedule::LONGEST_WAIT));
                lane.paused_until = now.checked_add(pause);
                error.clone_into(&mut lane.last_error);
            }
        }
    }

    /// A job has ended: its place goes to the next one of the lane. While the target is left alone there is none, and those
    /// that waited are put back.
    pub(super) fn next(&mut self, target: &Target, now: Instant) -> (Option<Box<Taken>>, Vec<Placed>) {
        let Some(lane) = self.lanes.get_mut(target) else { return (None, Vec::new()) };
        let mut back = Vec::new();
        if let Some(rest) = lane.rest(now) {
            let error = lane.last_error.clone();
            back.extend(
                lane.waiting.drain(..).map(|taken| Placed::Back(Box::new(taken), rest, error.clone())),
            );
            self.held -= back.len();
        }
        match lane.waiting.pop_front() {
            Some(taken) => {
                self.held -= 1;
                (Some(Box::new(taken)), back)
            }
            None => {
                lane.running -= 1;
                self.held -= 1;
                (None, back)
            }
        }
    }

    /// Everything that waits, to be put back.
    pub(super) fn empty(&mut self) -> Vec<Taken> {
        let waiting: Vec<_> = self.lanes.values_mut().flat_map(|lane| lane.waiting.drain(..)).collect();
        self.held -= waiting.len();
        waiting
    }

    /// Forgets lanes about which there is nothing to know.
    pub(super) fn tidy(&mut self, now: Instant) {
        let forgotten = Duration::from_secs(3_600);
        self.lanes.retain(|_, lane| {
            let failing =
                lane.paused_until.is_some_and(|until| now.saturating_duration_since(until) < forgotten);
            lane.running > 0 || !lane.waiting.is_empty() || failing
        });
    }
}

impl Lane {
    /// How long the target is still left alone.
    fn rest(&self, now: Instant) -> Option<Duration> {
        self.paused_until.and_then(|until| until.checked_duration_since(now)).filter(|rest| !rest.is_zero())
    }
}
