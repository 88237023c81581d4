//! The current key set and the one task at a time that renews it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch, time::timeout};

use super::{keys::KeySet, source::KeySource};
use crate::clock::SharedClock;

/// Hard limit of one fetch, whatever the source does.
const FETCH_LIMIT: Duration = Duration::from_secs(5);
/// How long a caller waits for a fetch that it needs: a fetch and the time to read it.
const WAIT_LIMIT: Duration = Duration::from_secs(6);
/// From this age on a set is renewed in the background while it serves.
const STALE_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// From this age on a set serves no more.
const UNUSABLE_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Between two refreshes for unknown keys, and between two attempts to renew a stale set.
const FLOOR: SignedDuration = SignedDuration::from_secs(30);
/// Between two attempts while there is no set at all: nothing can be served, so the endpoint's return is noticed soon.
const EMPTY_FLOOR: SignedDuration = SignedDuration::from_secs(2);

/// The current key set. Reading it takes no lock.
#[derive(Debug, Clone)]
pub(super) struct CurrentKeys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: Arc<dyn KeySource>,
    clock: SharedClock,
    set: ArcSwapOption<KeySet>,
    state: Mutex<State>,
    /// How many refreshes have ended, well or badly. Written under the lock of `state`.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    last_start: Option<Timestamp>,
    last_for_unknown: Option<Timestamp>,
}

/// Why a refresh is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The set is older than [`STALE_AFTER`].
    Stale,
    /// A token names a key that is not in the set, or its signature is not the named key's.
    Unknown,
    /// There is no usable set.
    Empty,
}

impl CurrentKeys {
    pub(super) fn new(source: Arc<dyn KeySource>, clock: SharedClock) -> Self {
        Self(Arc::new(Shared {
            source,
            clock,
            set: ArcSwapOption::empty(),
            state: Mutex::default(),
            ended: watch::Sender::new(0),
        }))
    }

    /// The set to verify with at `now`, without waiting for anything; a stale one is renewed in the background.
    pub(super) fn now(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        let set = self.0.set.load_full()?;
        let age = now.duration_since(set.fetched_at());
        if age >= UNUSABLE_AFTER {
            return None;
        }
        // Younger than nothing: the clock was set back, and the age says nothing any more.
        if age >= STALE_AFTER || age.is_negative() {
            self.start(Need::Stale, now);
        }
        Some(set)
    }

    /// The set to verify with when [`now`](Self::now) has none: waits for a fetch, unless one has just failed.
    pub(super) async fn fetched(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        if let Some(before) = self.start(Need::Empty, now) {
            self.wait(before).await;
        }
        // Also when nothing was started: another caller's fetch may have ended since this one looked.
        self.now(self.0.clock.now())
    }

    /// A set newer than `seen`, in which the caller's key is not: one that came since, or that of a refresh. `None` when
    /// there was a refresh for such a reason less than 30 seconds ago, or when it failed.
    pub(super) async fn newer(&self, seen: &Arc<KeySet>, now: Timestamp) -> Option<Arc<KeySet>> {
        let newer = |keys: Arc<KeySet>| (!Arc::ptr_eq(&keys, seen)).then_some(keys);
        if let Some(keys) = self.0.set.load_full().and_then(newer) {
            return Some(keys);
        }
        if let Some(before) = self.start(Need::Unknown, now) {
            self.wait(before).await;
        }
        self.now(self.0.clock.now()).and_then(newer)
    }

    /// Asks for a refresh because a signature was wrong: the issuer may have put a new key under an old name. Nobody
    /// waits for it, and it shares the floor of unknown keys.
    pub(super) fn doubt(&self, now: Timestamp) {
        self.start(Need::Unknown, now);
    }

    /// Starts a refresh, or joins the one that runs; `None` when the floor forbids it. The number is that of ended
    /// refreshes before it.
    fn start(&self, need: Need, now: Timestamp) -> Option<u64> {
        let mut state = self.0.state();
        let before = *self.0.ended.borrow();
        if state.running {
            return Some(before);
        }
        let (last, floor) = match need {
            Need::Stale => (state.last_start, FLOOR),
            Need::Unknown => (state.last_for_unknown, FLOOR),
            Need::Empty => (state.last_start, EMPTY_FLOOR),
        };
        // A start that lies in the future was before the clock was set back: it forbids nothing.
        if last.is_some_and(|last| last <= now && now.duration_since(last) < floor) {
            return None;
        }
        state.running = true;
        state.last_start = Some(now);
        if need == Need::Unknown {
            state.last_for_unknown = Some(now);
        }
        drop(state);
        // Its own task: a caller that goes away takes nothing with it.
        let round = Round(Arc::clone(&self.0));
        tokio::spawn(async move { round.run().await });
        Some(before)
    }

    async fn wait(&self, before: u64) {
        let mut ended = self.0.ended.subscribe();
        // Too late or never: the caller looks at the set that there is.
        let _ = timeout(WAIT_LIMIT, ended.wait_for(|count| *count > before)).await;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One refresh. Ends itself on drop, so neither a panic in the source nor a stopped runtime leaves it "running".
struct Round(Arc<Shared>);

impl Round {
    async fn run(self) {
        let Shared { source, clock, set, .. } = &*self.0;
        let fetched = match timeout(FETCH_LIMIT, source.fetch()).await {
            Ok(Ok(text)) => KeySet::parse(&text, clock.now()).map_err(str::to_owned),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no complete answer within 5 seconds".to_owned()),
        };
        match fetched {
            Ok(keys) => {
                if keys.len() == 0 {
                    tracing::warn!(
                        ?source,
                        skipped = keys.skipped(),
                        "the identity provider publishes no usable key"
                    );
                } else {
                    tracing::debug!(
                        ?source,
                        keys = keys.len(),
                        skipped = keys.skipped(),
                        "identity provider keys renewed"
                    );
                }
                set.store(Some(Arc::new(keys)));
            }
            Err(error) => tracing::warn!(?source, error, "the identity provider's keys could not be fetched"),
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = false;
        self.0.ended.send_modify(|count| *count += 1);
    }
}
