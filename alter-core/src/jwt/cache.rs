//! Tokens that were verified a moment ago.

use std::sync::Arc;

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;

use super::{
    keys::{Fingerprint, KeySet},
    token::VerifiedUser,
};

/// How long a verdict is kept at most.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(5);

/// SHA-256 of a token: the cache must not keep live tokens in memory.
pub(super) type TokenDigest = [u8; 32];

/// What the cache knows a token by.
pub(super) fn token_digest(token: &str) -> TokenDigest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

/// Accepted tokens, bounded by count. Refusals are never kept, so junk cannot push out good entries.
#[derive(Debug)]
pub(super) struct VerifiedTokens(Cache<TokenDigest, Verdict>);

#[derive(Debug, Clone)]
struct Verdict {
    user: Arc<VerifiedUser>,
    key: Fingerprint,
    verified_at: Timestamp,
    until: Timestamp,
}

impl VerifiedTokens {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self(Cache::new(entries))
    }

    /// The user of a token whose verdict still holds: the very key that verified it is still published, `exp` has not
    /// passed, and the clock has not been set back to before the verification (`nbf` and `iat` were only known to be
    /// past then). Anything else is a miss and is judged anew, so a hit never differs from a full verification.
    pub(super) fn get(
        &self,
        token: &TokenDigest,
        keys: &KeySet,
        now: Timestamp,
    ) -> Option<Arc<VerifiedUser>> {
        let verdict = self.0.get(token)?;
        let holds = verdict.verified_at <= now && now < verdict.until && keys.holds(&verdict.key);
        holds.then_some(verdict.user)
    }

    pub(super) fn insert(
        &self,
        token: TokenDigest,
        user: Arc<VerifiedUser>,
        key: Fingerprint,
        now: Timestamp,
    ) {
        let until = user.expires_at.min(now.saturating_add(MAX_AGE).unwrap_or(now));
        self.0.insert(token, Verdict { user, key, verified_at: now, until });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_of_no_entries_works() {
        let keys = KeySet::parse(br#"{"keys":[]}"#, Timestamp::UNIX_EPOCH).unwrap();
        let user = Arc::new(VerifiedUser {
            issuer: "https://id.example.com".into(),
            subject: "user-1".into(),
            email: None,
            display_name: None,
            groups: Vec::new(),
            expires_at: Timestamp::MAX,
            key_id: None,
        });
        let (cache, token) = (VerifiedTokens::with_capacity(0), token_digest("a"));
        cache.insert(token, user, [0; 32], Timestamp::UNIX_EPOCH);
        assert!(cache.get(&token, &keys, Timestamp::UNIX_EPOCH).is_none());
    }
}
