//! How long to leave a provider alone after it failed.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause that we choose.
const LONGEST: Duration = Duration::from_secs(300);
/// The longest pause that a provider can ask for with `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// No pause is longer: what lies further ahead was written before the clock was set back.
pub const LONGEST_PAUSE: Duration = LONGEST_ASKED;

/// The pause after the `failures`-th failure in a row (from 1): doubling from one second to five minutes, spread by a
/// quarter, and never shorter than what the provider asked for (of that, one hour at most).
///
/// `spread` is any number; the same number makes the same pause.
#[must_use]
pub fn backoff(failures: u32, asked: Option<Duration>, spread: u64) -> Duration {
    let doubled =
        FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1).min(16)).unwrap_or(u32::MAX));
    let ours = doubled.min(LONGEST);
    let quarter = u64::try_from(ours.as_millis() / 4).unwrap_or(u64::MAX).max(1);
    let ours = ours + Duration::from_millis(spread % quarter);
    asked.map_or(ours, |asked| asked.min(LONGEST_ASKED).max(ours))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_grow_and_end_growing() {
        let seconds: Vec<_> = (1..=12).map(|n| backoff(n, None, 0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(backoff(0, None, 0), FIRST);
    }

    #[test]
    fn a_provider_may_ask_for_a_longer_pause_within_reason() {
        assert_eq!(backoff(1, Some(Duration::from_secs(30)), 0).as_secs(), 30);
        assert_eq!(backoff(1, Some(Duration::ZERO), 0).as_secs(), 1);
        assert_eq!(backoff(1, Some(Duration::from_secs(1_000_000)), 0).as_secs(), 3600);
    }

    proptest! {
        #[test]
        fn no_pause_is_outside_the_limits(failures: u32, asked in proptest::option::of(any::<u32>()), spread: u64) {
            let asked = asked.map(|seconds| Duration::from_secs(seconds.into()));
            let pause = backoff(failures, asked, spread);
            prop_assert!(pause >= FIRST && pause <= LONGEST_ASKED);
        }
    }
}
