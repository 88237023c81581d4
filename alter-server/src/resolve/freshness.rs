//! Whether an access token may still be handed out, and when it is time for the next one.

use jiff::Timestamp;

use crate::domain::{CredentialVersion, DEFAULT_MARGIN_SECONDS, RefreshSettings};

/// A token with fewer seconds than this left is not handed out while there is a way to a fresh one: it would end on its way.
pub const FLOOR_SECONDS: i64 = 20;

/// What is known of a grant's present access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTimes {
    /// When it stops working, UTC; `None` if the provider did not say.
    pub expires_at: Option<Timestamp>,
    /// When it was obtained, UTC.
    pub obtained_at: Option<Timestamp>,
    /// A client reported that the provider refuses it.
    pub refused: bool,
}

/// What to do with the present token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Hand it out.
    Fresh,
    /// Hand it out, and fetch the next one in the background.
    Due,
    /// Fetch the next one first. Only if that is not possible at the moment, this one will do until its end.
    Spent,
    /// Fetch the next one first; this one is never handed out again.
    Expired,
}

/// Decides about the present token of a grant that can be refreshed.
///
/// The time to refresh is the token's end less the margin less a jitter that only depends on grant and generation: tokens
/// that were issued at the same moment do not come back at the same moment. Margin and jitter shrink with short lives.
#[must_use]
pub fn freshness(
    version: CredentialVersion,
    token: TokenTimes,
    settings: &RefreshSettings,
    at: Timestamp,
) -> Freshness {
    let assumed = || {
        let life = i64::try_from(settings.assumed_lifetime_seconds?).ok()?;
        Timestamp::from_second(token.obtained_at?.as_second().checked_add(life)?).ok()
    };
    let Some(end) = token.expires_at.or_else(assumed) else {
        return if token.refused { Freshness::Spent } else { Freshness::Fresh };
    };
    let left = end.as_second() - at.as_second();
    if end <= at {
        return Freshness::Expired;
    }
    let life = token.obtained_at.map_or(i64::MAX, |from| (end.as_second() - from.as_second()).max(0));
    if token.refused || left < FLOOR_SECONDS.min(life / 10) {
        return Freshness::Spent;
    }
    let margin = i64::from(settings.margin_seconds.unwrap_or(DEFAULT_MARGIN_SECONDS)).min(life / 4);
    if left <= margin + jitter(version, margin / 2) { Freshness::Due } else { Freshness::Fresh }
}

/// 0 to `most` seconds, the same for the same version of the same grant everywhere.
fn jitter(version: CredentialVersion, most: i64) -> i64 {
    let (high, low) = version.grant_id.uuid().as_u64_pair();
    // One round of splitmix64: grant ids are random already, the generation is not.
    let mut mixed = (high ^ low).wrapping_add(version.generation.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let range = u64::try_from(most).unwrap_or(0) + 1;
    i64::try_from((mixed ^ (mixed >> 31)) % range).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{AppId, GrantId};

    const NOW: i64 = 1_767_225_600;

    fn version(seed: u128, generation: u64) -> CredentialVersion {
        let grant_id = GrantId::from_uuid(uuid::Uuid::from_u128(seed));
        CredentialVersion { app_id: AppId::VAULT, grant_id, generation }
    }

    fn hour(left: i64) -> TokenTimes {
        let at = |seconds| Some(Timestamp::from_second(NOW + seconds).unwrap());
        TokenTimes { expires_at: at(left), obtained_at: at(left - 3600), refused: false }
    }

    fn judge(seed: u128, token: TokenTimes) -> Freshness {
        let now = Timestamp::from_second(NOW).unwrap();
        freshness(version(seed, 1), token, &RefreshSettings::default(), now)
    }

    #[test]
    fn a_token_goes_from_fresh_over_due_and_spent_to_expired() {
        assert_eq!(judge(1, hour(3000)), Freshness::Fresh);
        assert_eq!(judge(1, hour(299)), Freshness::Due);
        assert_eq!(judge(1, hour(10)), Freshness::Spent);
        assert_eq!(judge(1, hour(0)), Freshness::Expired);
        assert_eq!(judge(1, hour(-5)), Freshness::Expired);
    }

    #[test]
    fn what_a_client_reported_as_refused_is_spent_whatever_its_time() {
        assert_eq!(judge(1, TokenTimes { refused: true, ..hour(3000) }), Freshness::Spent);
        assert_eq!(judge(1, TokenTimes { refused: true, ..hour(-1) }), Freshness::Expired);
        let endless = TokenTimes { expires_at: None, obtained_at: None, refused: false };
        assert_eq!(judge(1, endless), Freshness::Fresh);
        assert_eq!(judge(1, TokenTimes { refused: true, ..endless }), Freshness::Spent);
    }

    #[test]
    fn a_life_that_the_provider_does_not_tell_can_be_assumed() {
        let settings = RefreshSettings { assumed_lifetime_seconds: Some(600), ..RefreshSettings::default() };
        let now = Timestamp::from_second(NOW).unwrap();
        let obtained = |ago| TokenTimes {
            expires_at: None,
            obtained_at: Some(Timestamp::from_second(NOW - ago).unwrap()),
            refused: false,
        };
        assert_eq!(freshness(version(1, 1), obtained(10), &settings, now), Freshness::Fresh);
        assert_eq!(freshness(version(1, 1), obtained(601), &settings, now), Freshness::Expired);
    }

    #[test]
    fn grants_of_the_same_moment_come_due_at_different_moments() {
        let due = |seed: u128| (300..=451).rev().find(|left| judge(seed, hour(*left)) == Freshness::Due);
        let moments: std::collections::BTreeSet<_> = (1..200_u128).map(due).collect();
        assert!(moments.len() > 80, "{moments:?}");
    }

    proptest! {
        #[test]
        fn an_expired_token_is_never_anything_else(
            seed: u128, generation: u64, ago in 0_i64..100_000, life in 0_i64..100_000, refused: bool,
            margin in proptest::option::of(any::<u32>()),
        ) {
            let end = NOW - ago;
            let token = TokenTimes {
                expires_at: Some(Timestamp::from_second(end).unwrap()),
                obtained_at: Some(Timestamp::from_second(end - life).unwrap()),
                refused,
            };
            let settings = RefreshSettings { margin_seconds: margin, ..RefreshSettings::default() };
            let now = Timestamp::from_second(NOW).unwrap();
            prop_assert_eq!(freshness(version(seed, generation), token, &settings, now), Freshness::Expired);
        }

        #[test]
        fn a_short_life_still_has_a_fresh_part(seed: u128, generation: u64, life in 1_i64..100_000) {
            let token = TokenTimes {
                expires_at: Some(Timestamp::from_second(NOW + life).unwrap()),
                obtained_at: Some(Timestamp::from_second(NOW).unwrap()),
                refused: false,
            };
            let now = Timestamp::from_second(NOW).unwrap();
            let judged = freshness(version(seed, generation), token, &RefreshSettings::default(), now);
            prop_assert_eq!(judged, Freshness::Fresh);
        }
    }
}
