//! Refreshing: who does it, once, and how everybody else gets the result.
//!
//! A **flight** replaces one generation of one grant's credential. It belongs to the grant and not to the request that
//! found the token at its end: a caller who hangs up changes nothing. In one process there is one flight per generation,
//! and whoever else needs it waits for its end. Across processes the flight holds a **lease**, a row of the store with an
//! owner, a deadline by the store's own clock and a **fence** number.
//!
//! ```text
//! begin   one unit of work: take the lease, write the note "spending generation g"  ─ the store can be written, and a
//!                                                                                     crash from here on is recognised
//! ask     the provider, on no connection of the store, while the lease is renewed at a third of its life
//! finish  one unit of work: fence and generation still the same? then both tokens, their end, generation g + 1 and the
//!         audit row; the note and the lease go
//! ```
//!
//! Whoever finds a lease that ran out with its note still there knows that a holder died in the middle, and
//! [`crate::resolve::recovery`] says whether the refresh token may be presented again. What a late holder writes is
//! refused by the fence. `docs/refresh.md` has the matrix of storms and crashes, `docs/refresh-model.md` the model.

mod flight;
mod keep_alive;
mod lease;
mod step;
mod wait;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alter_core::clock::SharedClock;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use step::{RefreshObserver, RefreshStep};
pub(crate) use wait::{Held, Waited};

use self::wait::Progress;
use crate::{
    domain::{CredentialVersion, ProviderId},
    keys::Keys,
    oauth::TokenEndpoint,
    store::Store,
    telemetry,
};

/// How long a lease lasts unless it is renewed, which happens at a third of it.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// Flights of one process at the same time. More would only make providers slow down; callers are told to come back.
const MAX_FLIGHTS: usize = 10_000;
/// How long closing waits for flights, each of which may hold a token that the provider gave and nobody kept yet.
const DRAIN: Duration = Duration::from_secs(130);

/// What the refreshing of one vault is made of.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clock: SharedClock,
    pub(crate) lease: Duration,
    pub(crate) observer: Option<RefreshObserver>,
}

/// The flights of one process. Clones share them.
#[derive(Clone)]
pub(crate) struct Refresher(Arc<Inner>);

struct Inner {
    parts: Parts,
    endpoint: TokenEndpoint,
    /// Where flights run. Not wherever a request happens to: a web framework's worker may end before its flight.
    runtime: Handle,
    flights: Mutex<HashMap<CredentialVersion, watch::Receiver<Progress>>>,
    tasks: TaskTracker,
    /// Told to those who only wait. A flight that asked its provider is not interrupted.
    stop: CancellationToken,
}

impl fmt::Debug for Refresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresher").finish_non_exhaustive()
    }
}

impl Refresher {
    /// Flights run on the present runtime.
    pub(crate) fn new(parts: Parts, endpoint: TokenEndpoint) -> Self {
        Self(Arc::new(Inner {
            parts,
            endpoint,
            runtime: Handle::current(),
            flights: Mutex::new(HashMap::new()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Starts the flight of `version` unless there is one, and waits for nothing.
    pub(crate) fn start(&self, version: CredentialVersion, provider: &ProviderId) {
        let _ = self.join(version, provider);
    }

    /// The flight of `version`, begun now if there is none; whether it was there already. `None` once the vault closes or
    /// has too many.
    fn join(
        &self,
        version: CredentialVersion,
        provider: &ProviderId,
    ) -> Option<(watch::Receiver<Progress>, bool)> {
        let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&version) {
            return Some((flight.clone(), true));
        }
        if self.0.tasks.is_closed() || flights.len() >= MAX_FLIGHTS {
            return None;
        }
        let (progress, watched) = watch::channel(Progress::Flying);
        flights.insert(version, watched.clone());
        let (inner, entry) = (Arc::clone(&self.0), Entry { inner: Arc::clone(&self.0), version });
        let provider = provider.clone();
        self.0.tasks.spawn_on(
            async move {
                let _in_flight = telemetry::in_flight();
                let end = inner.fly(version, &provider, &progress).await;
                // Out of the map first: whoever comes later reads the store anew.
                drop(entry);
                progress.send_replace(Progress::Ended(Arc::new(end)));
            },
            &self.0.runtime,
        );
        Some((watched, false))
    }

    /// Begins no more flights, and waits for those that are under way.
    pub(crate) async fn close(&self) {
        {
            // Whoever looked before that whether it is closed has begun its flight by then.
            let _flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.tasks.close();
        }
        self.0.stop.cancel();
        if tokio::time::timeout(DRAIN, self.0.tasks.wait()).await.is_err() {
            tracing::error!("refreshes still under way are cut off: their outcome will have to be found out");
        }
    }
}

/// Takes the flight out of the map, also when it panics or its runtime ends.
struct Entry {
    inner: Arc<Inner>,
    version: CredentialVersion,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.version);
    }
}
