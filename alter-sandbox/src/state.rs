//! Everything the sandbox remembers, behind one mutex that is never held across an await.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest;

use crate::{
    api::{ApiKey, Call},
    bounded::Bounded,
    clock::Clock,
    counts::{Owner, Tally},
    faults::Faults,
    keys::{KeyRing, KeySet, TokenAlgorithm},
    oauth::{Clients, Ledger},
    site::Site,
    visit::Visits,
};

const API_KEYS: usize = 10_000;
const ACCOUNT_FAULTS: usize = 200_000;

/// SHA-256 of a secret: what is kept instead of it.
pub(crate) type Digest = [u8; 32];

/// What every handler is given.
pub(crate) struct World {
    /// `http://host:port`, without a slash at the end.
    pub(crate) base: String,
    pub(crate) clock: Clock,
    /// One registered client for each provider.
    pub(crate) clients: Clients,
    /// The algorithms whose keys are published.
    pub(crate) algorithms: Vec<TokenAlgorithm>,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) faults: Faults,
    /// `None` where they have been taken back.
    pub(crate) account_faults: Bounded<Owner, Option<Faults>>,
    pub(crate) tally: Tally,
    pub(crate) keys: KeyRing,
    pub(crate) ledger: Ledger,
    pub(crate) visits: Visits,
    pub(crate) api_keys: Bounded<Digest, ApiKey>,
    pub(crate) calls: VecDeque<Call>,
}

impl State {
    /// The faults that the token endpoint has for this account: its own, or everybody's.
    pub(crate) fn token_faults(&mut self, owner: Option<&Owner>) -> &mut Faults {
        match owner.and_then(|owner| self.account_faults.get_mut(owner)) {
            Some(Some(own)) => own,
            _ => &mut self.faults,
        }
    }
}

impl World {
    pub(crate) fn new(
        base: String,
        clients: Clients,
        algorithms: Vec<TokenAlgorithm>,
        faults: Faults,
    ) -> Self {
        let state = State {
            faults,
            account_faults: Bounded::new(ACCOUNT_FAULTS),
            tally: Tally::new(),
            keys: KeyRing::new(KeySet::generate()),
            ledger: Ledger::new(),
            visits: Visits::new(),
            api_keys: Bounded::new(API_KEYS),
            calls: VecDeque::new(),
        };
        Self { base, clock: Clock::default(), clients, algorithms, state: Mutex::new(state) }
    }

    /// The state. A handler that panicked left it usable: every change is a single insertion or assignment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn issuer(&self) -> String {
        Site::Idp.issuer(&self.base)
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}
