//! A token call from its arrival until it is answered or its caller hangs up.

use std::sync::Arc;

use crate::{
    counts::{Event, Owner},
    state::World,
};

/// Counts the call in, and out when it is dropped. Not to be dropped while the state is locked.
pub(super) struct InFlight {
    world: Arc<World>,
    owner: Option<Owner>,
}

impl InFlight {
    /// `refresh_token` is what the caller presented, if it did.
    pub(super) fn begin(world: &Arc<World>, refresh_token: Option<&str>) -> Self {
        let mut state = world.lock();
        let owner = refresh_token.and_then(|token| state.ledger.owner(token));
        state.tally.record(owner.as_ref(), Event::Began);
        Self { world: Arc::clone(world), owner }
    }

    pub(super) fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.world.lock().tally.record(self.owner.as_ref(), Event::Ended);
    }
}
