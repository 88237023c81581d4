//! The verifier.

use std::sync::Arc;

use super::{
    cache::{VerifiedTokens, token_digest},
    error::JwtError,
    keys::{Fingerprint, Found, KeySet},
    refresh::CurrentKeys,
    rules::TokenRules,
    source::KeySource,
    token::{Token, VerifiedUser},
};
use crate::{MAX_TOKEN_LEN, clock::SharedClock};

/// Verified tokens that are remembered when nothing else is said.
const DEFAULT_CACHE: usize = 10_000;

/// Verifies the tokens of one issuer. Cheap to clone; clones share keys and cache.
///
/// See the [module docs](super) for what is checked and when keys are fetched.
#[derive(Debug, Clone)]
pub struct JwtVerifier {
    rules: Arc<TokenRules>,
    clock: SharedClock,
    keys: CurrentKeys,
    cache: Arc<VerifiedTokens>,
}

impl JwtVerifier {
    /// A verifier of tokens that satisfy `rules`, with the keys of `source`. Nothing is fetched before the first token.
    #[must_use]
    pub fn new(rules: TokenRules, source: Arc<dyn KeySource>, clock: SharedClock) -> Self {
        Self {
            rules: Arc::new(rules),
            keys: CurrentKeys::new(source, clock.clone()),
            clock,
            cache: Arc::new(VerifiedTokens::with_capacity(DEFAULT_CACHE)),
        }
    }

    /// Sets how many verified tokens are remembered; 10,000 by default. The cache starts empty.
    #[must_use]
    pub fn with_cache_capacity(mut self, tokens: usize) -> Self {
        self.cache = Arc::new(VerifiedTokens::with_capacity(tokens));
        self
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &TokenRules {
        &self.rules
    }

    /// Verifies a token. Must be called inside a tokio runtime.
    ///
    /// A token that was verified a moment ago is answered from the cache, which needs no lock of ours and no waiting. A
    /// token that names a key in the current set is verified at once. Only a token with an unknown key, or any token
    /// while there is no key set, waits for a fetch: at most six seconds. Dropping the future is always safe.
    ///
    /// # Errors
    ///
    /// [`JwtError`]; [`JwtError::is_transient`] tells whether it says anything about the token.
    pub async fn verify(&self, token: &str) -> Result<Arc<VerifiedUser>, JwtError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(JwtError::TooLarge);
        }
        let now = self.clock.now();
        let digest = token_digest(token);
        let current = self.keys.now(now);
        if let Some(user) = current.as_ref().and_then(|keys| self.cache.get(&digest, keys, now)) {
            return Ok(user);
        }
        // Form and claims before keys and signature: they decide refusals only, cost a tenth, and a token of another
        // issuer or of yesterday is told so, without a fetch for its unknown key.
        let token = Token::parse(token)?;
        if !self.rules.algorithms().contains(&token.algorithm) {
            return Err(JwtError::AlgorithmNotAllowed);
        }
        let mut user = token.user(&self.rules, now)?;
        let keys = match current {
            Some(keys) => keys,
            None => self.keys.fetched(now).await.ok_or(JwtError::KeysUnavailable)?,
        };
        let signed_by = match signer(&keys, &token) {
            Err(JwtError::UnknownKey) => {
                let newer = self.keys.newer(&keys, now).await.ok_or(JwtError::UnknownKey)?;
                signer(&newer, &token)
            }
            known => known,
        };
        if signed_by == Err(JwtError::BadSignature) {
            self.keys.doubt(now);
        }
        let (key, key_id) = signed_by?;
        user.key_id = key_id;
        let user = Arc::new(user);
        self.cache.insert(digest, Arc::clone(&user), key, now);
        Ok(user)
    }

    /// How many verified tokens are remembered.
    #[cfg(test)]
    pub(super) fn cached(&self) -> usize {
        self.cache.len()
    }
}

/// The key that signed the token, of those that may have.
fn signer(keys: &KeySet, token: &Token<'_>) -> Result<(Fingerprint, Option<String>), JwtError> {
    match keys.find(token.key_id.as_deref(), token.algorithm) {
        Found::Keys(keys) => keys
            .into_iter()
            .find(|key| key.verifies(token.message, &token.signature))
            .map(|key| (key.fingerprint, key.id.clone()))
            .ok_or(JwtError::BadSignature),
        Found::OtherAlgorithm => Err(JwtError::AlgorithmNotAllowed),
        Found::Nothing => Err(JwtError::UnknownKey),
    }
}
