//! When a job is tried again, and when it is given up. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// The first wait; each further one is three times as long.
pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3_600);
/// What an operator has to repair is not mended by asking often: the shortest wait then.
pub(super) const SLOW_WAIT: Duration = Duration::from_secs(3_600);
/// An event is given up when it is so old.
pub(super) const EVENTS_FOR: Duration = Duration::from_secs(3 * 24 * 3_600);
/// A revocation is given up when it is so old.
pub(super) const REVOCATIONS_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The longest time in which a target that does not answer is left alone. Its jobs wait, and one of them asks then.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How long a job waits after it was tried for the `attempt`th time: `first` × 3^(attempt − 1), at most six hours, spread by a
/// quarter in both directions, so that what failed together does not come back together.
pub(super) fn wait(first: Duration, attempt: u32, chance: u64) -> Duration {
    let base = first.saturating_mul(3_u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST_WAIT);
    spread(base, chance)
}

/// How long a target is left alone after so many failures in a row.
pub(super) fn pause(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE)
}

/// Three to five quarters of `base`.
pub(super) fn spread(base: Duration, chance: u64) -> Duration {
    let quarters = u32::try_from(chance % 1_000).unwrap_or_default();
    base * 3 / 4 + base * quarters / 2_000
}

/// Whether a job that was made at `created_at` is too old to be tried once more.
pub(super) fn is_over(created_at: Timestamp, now: Timestamp, limit: Duration) -> bool {
    Duration::try_from(now.duration_since(created_at)).is_ok_and(|age| age >= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_seconds_to_six_hours_and_are_spread() {
        let least: Vec<u64> = (1..=9).map(|attempt| wait(FIRST_WAIT, attempt, 0).as_secs()).collect();
        assert_eq!(least, [3, 11, 33, 101, 303, 911, 2_733, 8_201, 16_200]);
        assert!(wait(FIRST_WAIT, u32::MAX, u64::MAX) < LONGEST_WAIT * 5 / 4);
        assert!(wait(FIRST_WAIT, 0, 999) < FIRST_WAIT * 5 / 4);
        let spread: std::collections::BTreeSet<_> = (0..1_000).map(|n| wait(FIRST_WAIT, 3, n)).collect();
        assert_eq!(spread.len(), 1_000);
    }

    #[test]
    fn a_target_is_left_alone_for_ten_minutes_at_most() {
        assert_eq!(pause(FIRST_WAIT, 1), FIRST_WAIT);
        assert_eq!(pause(FIRST_WAIT, 4), FIRST_WAIT * 8);
        assert_eq!(pause(FIRST_WAIT, u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn a_job_is_over_when_it_is_old_and_not_when_the_clock_was_set_back() {
        let made = Timestamp::from_second(1_800_000_000).unwrap();
        let after = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        assert!(!is_over(made, after(259_199), EVENTS_FOR) && is_over(made, after(259_200), EVENTS_FOR));
        assert!(!is_over(made, after(-1_000_000), EVENTS_FOR));
    }
}
