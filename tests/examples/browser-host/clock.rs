//! The machine's clock, moved.

use std::sync::atomic::{AtomicI64, Ordering};

use alter_core::clock::Clock;
use jiff::{SignedDuration, Timestamp};

/// The machine's clock and some seconds more.
#[derive(Debug, Default)]
pub(crate) struct Shifted(AtomicI64);

impl Shifted {
    /// Moves it so many seconds away from the machine's.
    pub(crate) fn shift(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        let by = SignedDuration::from_secs(self.0.load(Ordering::SeqCst));
        let now = Timestamp::now();
        now.checked_add(by).unwrap_or(now)
    }
}
