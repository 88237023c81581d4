//! How far a provider's clock is from ours, learnt from the `Date` of its answers.

use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;

/// Most hosts that are remembered.
const MAX_HOSTS: usize = 1_000;
/// So many of the last answers count.
const SAMPLES: usize = 5;
/// A greater difference is a mistake, not a clock: no certificate would hold there.
const MOST: SignedDuration = SignedDuration::from_hours(24);

/// The last differences of one host, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Samples {
    seconds: [i64; SAMPLES],
    known: usize,
    next: usize,
}

/// Per host: its clock less ours, the median of the last five answers, so that one wrong `Date` changes nothing.
///
/// Used to read instants by which some providers say when a token ends. Lives that are given in seconds need no clock.
#[derive(Debug)]
pub struct ClockOffsets(Cache<String, Samples>);

impl Default for ClockOffsets {
    fn default() -> Self {
        Self(Cache::new(MAX_HOSTS))
    }
}

impl ClockOffsets {
    /// Notes that `host` said `theirs` when our clock showed `ours`. A difference of more than a day is ignored.
    pub fn observe(&self, host: &str, theirs: Timestamp, ours: Timestamp) {
        let difference = theirs.duration_since(ours);
        if difference.abs() > MOST {
            return;
        }
        // Two answers at once may lose one sample; that does no harm.
        let mut samples = self.0.get(host).unwrap_or_default();
        samples.seconds[samples.next] = difference.as_secs();
        samples.next = (samples.next + 1) % SAMPLES;
        samples.known = (samples.known + 1).min(SAMPLES);
        self.0.insert(host.to_owned(), samples);
    }

    /// Their clock less ours; zero for a host that is not known.
    #[must_use]
    pub fn offset(&self, host: &str) -> SignedDuration {
        let Some(mut samples) = self.0.get(host) else { return SignedDuration::ZERO };
        let known = &mut samples.seconds[..samples.known];
        known.sort_unstable();
        known.get(known.len() / 2).map_or(SignedDuration::ZERO, |seconds| SignedDuration::from_secs(*seconds))
    }

    /// What the host's clock shows when ours shows `ours`.
    #[must_use]
    pub fn their_time(&self, host: &str, ours: Timestamp) -> Timestamp {
        ours.checked_add(self.offset(host)).unwrap_or(ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    #[test]
    fn a_clock_that_is_wrong_is_learnt_and_one_wrong_answer_is_not() {
        let offsets = ClockOffsets::default();
        assert_eq!(offsets.their_time("a", at(0)), at(0));
        for _ in 0..3 {
            offsets.observe("a", at(600), at(0));
        }
        assert_eq!(offsets.offset("a").as_secs(), 600);
        offsets.observe("a", at(-7_000), at(0));
        assert_eq!(offsets.their_time("a", at(10)), at(610));
        assert_eq!(offsets.offset("b"), SignedDuration::ZERO);
    }

    #[test]
    fn a_clock_that_was_set_is_learnt_again() {
        let offsets = ClockOffsets::default();
        for _ in 0..5 {
            offsets.observe("a", at(-600), at(0));
        }
        for _ in 0..3 {
            offsets.observe("a", at(1), at(0));
        }
        assert_eq!(offsets.offset("a").as_secs(), 1);
    }

    #[test]
    fn absurd_dates_are_ignored_and_memory_is_bounded() {
        let offsets = ClockOffsets::default();
        offsets.observe("a", Timestamp::MAX, at(0));
        offsets.observe("a", Timestamp::MIN, at(0));
        assert_eq!(offsets.offset("a"), SignedDuration::ZERO);
        for host in 0..3 * MAX_HOSTS {
            offsets.observe(&host.to_string(), at(1), at(0));
        }
        assert!(offsets.0.len() <= MAX_HOSTS);
    }
}
