//! Keys that have called: their immutable facts, opened once, and their rate limit.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use alter_core::{
    clock::SharedClock,
    wire::{key::is_valid_key, limit::RateLimit, sign::SigningKey},
};
use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::{
    answer::Failure,
    limit::{Exceeded, KeyLimit, WINDOW},
};
use crate::{
    domain::{AppConfig, KeyDigest, KeyMaterial},
    vault::Core,
};

/// Most keys that are remembered; the least used are looked up again.
const MAX_KEYS: usize = 10_000;

/// A key of the vault, whatever its state: that is judged in each call's unit of work.
pub(crate) struct KnownKey {
    pub(crate) material: KeyMaterial,
    pub(crate) signing: SigningKey,
    limit: ArcSwap<KeyLimit>,
    /// What the last release said. A hint for a warning header, never a decision.
    deprecated: AtomicBool,
}

impl fmt::Debug for KnownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownKey").field("key_id", &self.material.key_id).finish_non_exhaustive()
    }
}

impl KnownKey {
    /// Takes one call out of the key's bucket. The limit is the key's own, else the app's, else the vault's.
    pub(crate) fn take(
        &self,
        config: &AppConfig,
        default: NonZeroU32,
        clock: &SharedClock,
    ) -> Result<RateLimit, Exceeded> {
        let per_minute = self
            .material
            .rate_limit_per_minute
            .or(config.rate_limit_per_minute)
            .and_then(NonZeroU32::new)
            .unwrap_or(default);
        let limit = self.limit.load();
        if limit.per_minute() == per_minute {
            match limit.take() {
                // A bucket fills within one window. A longer wait is that of a clock that was set back.
                Err(exceeded) if exceeded.retry_after > WINDOW.as_secs() => {}
                taken => return taken,
            }
        }
        let fresh = Arc::new(KeyLimit::new(per_minute, Arc::clone(clock)));
        self.limit.store(Arc::clone(&fresh));
        fresh.take()
    }

    pub(crate) fn deprecated(&self) -> bool {
        self.deprecated.load(Ordering::Relaxed)
    }

    pub(crate) fn set_deprecated(&self, deprecated: bool) {
        self.deprecated.store(deprecated, Ordering::Relaxed);
    }
}

/// Keys by the digest of their text. Only immutable facts are remembered, and never that a key does not exist.
#[derive(Debug)]
pub(crate) struct KeyRoom {
    known: Cache<KeyDigest, Arc<KnownKey>>,
}

impl KeyRoom {
    pub(crate) fn new() -> Self {
        Self { known: Cache::new(MAX_KEYS) }
    }

    /// The key with this text; `None` if the vault has none.
    pub(crate) async fn find(&self, text: &str, core: &Core) -> Result<Option<Arc<KnownKey>>, Failure> {
        let digest = KeyDigest::of(text);
        if let Some(known) = self.known.get(&digest) {
            return Ok(Some(known));
        }
        // A text that is no key needs no look into the store.
        if !is_valid_key(text) {
            return Ok(None);
        }
        let Some(material) = core.store.signing_material(digest).await? else { return Ok(None) };
        let opened = core
            .open(&material.signing_key)
            .map_err(|error| Failure::Internal(format!("signing key of {}: {error}", material.key_id)))?;
        let bytes: [u8; 32] = opened.expose_secret().try_into().map_err(|_| {
            Failure::Internal(format!("signing key of {} has an odd length", material.key_id))
        })?;
        let known = Arc::new(KnownKey {
            signing: SigningKey::from_bytes(Zeroizing::new(bytes)),
            limit: ArcSwap::from_pointee(KeyLimit::new(core.default_rate_limit, Arc::clone(&core.clock))),
            deprecated: AtomicBool::new(false),
            material,
        });
        // Two calls at once may both get here; the bucket that stays is the one that counts from then on.
        self.known.insert(digest, Arc::clone(&known));
        Ok(Some(known))
    }
}

#[cfg(test)]
mod tests {
    use alter_core::clock::ManualClock;

    use super::*;
    use crate::{
        domain::{AppId, KeyId, KeyKind},
        seal::{Field, SealContext, Sealed, SealedField},
    };

    #[test]
    fn a_clock_that_is_set_back_locks_no_key_out() {
        let (app_id, key_id) = (AppId::random(), KeyId::random());
        let context = SealContext::of(app_id, Field::KeySigning, key_id.uuid(), 1);
        let clock = ManualClock::at(1_767_225_600 + 3_600);
        let shared: SharedClock = clock.clone();
        let two = NonZeroU32::new(2).unwrap();
        let key = KnownKey {
            material: KeyMaterial {
                app_id,
                key_id,
                kind: KeyKind::App,
                prefix: "alter_rk_".to_owned(),
                scopes: Vec::new(),
                rate_limit_per_minute: None,
                signing_key: SealedField { context, sealed: Sealed::from_bytes(Vec::new()) },
            },
            signing: SigningKey::from_bytes(Zeroizing::new([0; 32])),
            limit: ArcSwap::from_pointee(KeyLimit::new(two, Arc::clone(&shared))),
            deprecated: AtomicBool::new(false),
        };
        let config = AppConfig {
            app_id,
            generation: 1,
            idp: None,
            rate_limit_per_minute: None,
            name: "shop".to_owned(),
            page: crate::domain::PageSettings::default(),
            sign_in: None,
        };
        let take = || key.take(&config, two, &shared).is_ok();
        assert!(take() && take() && !take());
        clock.advance(-3_600);
        // An hour back is not an hour's wait: the key has its two calls, and no more.
        assert!(take() && take() && !take());
    }
}
