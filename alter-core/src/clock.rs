//! Time as a parameter: whatever decides by the clock takes a [`Clock`], so that no test sleeps for time.

use std::{fmt, sync::Arc, sync::atomic::AtomicI64, sync::atomic::Ordering};

use jiff::Timestamp;

/// Where the present moment comes from. All instants are UTC.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// A clock that may be shared and stored.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock, ready to be shared.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is told to move. For tests.
///
/// ```
/// use alter_core::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::at(1_767_225_600);
/// clock.advance(60);
/// assert_eq!(clock.now().as_second(), 1_767_225_660);
/// ```
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `unix_seconds`, shared so that a test can keep a handle to it.
    #[must_use]
    pub fn at(unix_seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(unix_seconds)))
    }

    /// Moves the clock by `seconds`; a negative number moves it back.
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        // Out of jiff's range only for a test that asks for a year beyond 9999.
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }
}
