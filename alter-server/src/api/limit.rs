//! Rate limits: so many signed calls per minute and key (spec/01 §8.2).

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alter_core::{clock::SharedClock, wire::limit::RateLimit};
use arc_swap::ArcSwap;
use governor::{
    Quota, RateLimiter,
    clock::Clock as _,
    middleware::{NoOpMiddleware, StateInformationMiddleware},
    state::{InMemoryState, NotKeyed},
};
use jiff::SignedDuration;

/// Length of the window that limits are stated for.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// The vault's clock, as the limiter wants it: time since the Unix epoch.
#[derive(Debug, Clone)]
struct LimitClock(SharedClock);

impl governor::clock::Clock for LimitClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::try_from(self.0.now().as_duration()).unwrap_or_default()
    }
}

/// The limit of one key. The bucket holds one minute's worth of calls and fills evenly.
#[derive(Debug)]
pub(crate) struct KeyLimit {
    limiter: RateLimiter<NotKeyed, InMemoryState, LimitClock, StateInformationMiddleware>,
    per_minute: NonZeroU32,
}

/// Too many calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exceeded {
    /// State of the bucket, for the answer's headers.
    pub(crate) limit: RateLimit,
    /// Until one call is possible again, at least one second.
    pub(crate) retry_after: u64,
}

impl KeyLimit {
    pub(crate) fn new(per_minute: NonZeroU32, clock: SharedClock) -> Self {
        let limiter = RateLimiter::direct_with_clock(Quota::per_minute(per_minute), LimitClock(clock))
            .with_middleware::<StateInformationMiddleware>();
        Self { limiter, per_minute }
    }

    pub(crate) fn per_minute(&self) -> NonZeroU32 {
        self.per_minute
    }

    /// Takes one call out of the bucket.
    pub(crate) fn take(&self) -> Result<RateLimit, Exceeded> {
        let state = |remaining: u32| {
            let now = self.limiter.clock().0.now();
            let used = self.per_minute.get().saturating_sub(remaining);
            let full_in = WINDOW.mul_f64(f64::from(used) / f64::from(self.per_minute.get()));
            // Rounded up, so that a client that waits until then finds what it was promised.
            let reset_at = now
                .checked_add(SignedDuration::from_secs(1 + i64::try_from(full_in.as_secs()).unwrap_or(0)))
                .unwrap_or(now);
            RateLimit { limit: self.per_minute.get().into(), remaining: remaining.into(), reset_at }
        };
        match self.limiter.check() {
            Ok(snapshot) => Ok(state(snapshot.remaining_burst_capacity())),
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.limiter.clock().now());
                let retry_after = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                Err(Exceeded { limit: state(0), retry_after: retry_after.max(1) })
            }
        }
    }
}

/// How many rows per second a stranger can cause. Beyond it refusals are counted, and the next row says how many.
#[derive(Debug)]
pub(crate) struct RowBudget {
    limiter: ArcSwap<RowLimiter>,
    left_out: AtomicU64,
}

type RowLimiter = RateLimiter<NotKeyed, InMemoryState, LimitClock, NoOpMiddleware<Duration>>;

impl RowBudget {
    /// Rows per second for refusals that cost the sender nothing.
    const PER_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();

    pub(crate) fn new(clock: SharedClock) -> Arc<Self> {
        let limiter = ArcSwap::from_pointee(Self::fresh(LimitClock(clock)));
        Arc::new(Self { limiter, left_out: AtomicU64::new(0) })
    }

    fn fresh(clock: LimitClock) -> RowLimiter {
        RateLimiter::direct_with_clock(Quota::per_second(Self::PER_SECOND), clock)
    }

    fn has_room(&self) -> bool {
        let limiter = self.limiter.load();
        let Err(not_until) = limiter.check() else { return true };
        // The budget fills within a second. A longer wait is that of a clock that was set back.
        if not_until.wait_time_from(limiter.clock().now()) <= Duration::from_secs(1) {
            return false;
        }
        let fresh = Self::fresh(limiter.clock().clone());
        let room = fresh.check().is_ok();
        self.limiter.store(Arc::new(fresh));
        room
    }

    /// `Some(n)` if a row may be written, where `n` refusals before it got none; `None` if this one gets none.
    pub(crate) fn take(&self) -> Option<u64> {
        if self.has_room() {
            Some(self.left_out.swap(0, Ordering::Relaxed))
        } else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use alter_core::clock::ManualClock;

    use super::*;

    #[test]
    fn a_key_gets_its_minutes_worth_of_calls_and_is_told_when_to_come_back() {
        let clock = ManualClock::at(1_767_225_600);
        let limit = KeyLimit::new(NonZeroU32::new(3).unwrap(), clock.clone());
        assert_eq!(limit.take().unwrap().remaining, 2);
        assert_eq!(limit.take().unwrap().remaining, 1);
        let last = limit.take().unwrap();
        assert_eq!((last.limit, last.remaining), (3, 0));
        let exceeded = limit.take().unwrap_err();
        assert_eq!(exceeded.retry_after, 20);
        assert!(exceeded.limit.reset_at.as_second() >= 1_767_225_660);
        clock.advance(20);
        assert!(limit.take().is_ok());
    }

    #[test]
    fn refusals_without_a_row_are_counted() {
        let clock = ManualClock::at(1_767_225_600);
        let budget = RowBudget::new(clock.clone());
        let written = (0..100).filter(|_| budget.take().is_some()).count();
        assert_eq!(written, 20);
        clock.advance(1);
        assert_eq!(budget.take(), Some(80));
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_rows() {
        let clock = ManualClock::at(1_767_225_600 + 3_600);
        let budget = RowBudget::new(clock.clone());
        while budget.take().is_some() {}
        clock.advance(-3_600);
        assert_eq!(budget.take(), Some(1));
        assert_eq!((0..100).filter(|_| budget.take().is_some()).count(), 19);
    }
}
