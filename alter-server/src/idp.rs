//! Identity providers: one verifier of users' JWTs per app, made from the app's stored configuration.
//!
//! A configuration is valid for exactly one generation. A call that was prepared with an older one is sent back by the
//! store ([`crate::store::Outcome::Stale`]); the verifier itself survives changes that do not concern it, so that its keys
//! need not be fetched again.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use alter_core::{
    UserToken,
    clock::SharedClock,
    jwt::{
        Algorithm, BoxFuture, ClaimNames, HttpKeys, JwtError, JwtVerifier, KeySource, KeySourceError,
        TokenRules, VerifiedUser,
    },
};
use bytes::Bytes;
use quick_cache::sync::Cache;

use crate::{
    domain::{AppConfig, AppId, Identity, IdpConfig},
    signin::RelyingParty,
    store::{Store, StoreError},
};

/// Most apps whose configuration is remembered.
const MAX_APPS: usize = 10_000;

/// Why an identity provider's description cannot be used; the text says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidIdp(pub(crate) String);

/// Why a user's token does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenRefused {
    /// The app has no identity provider.
    NoIdp,
    /// Not a bearer token at all.
    Form(alter_core::TokenFormatError),
    /// Refused, or not to be judged at the moment.
    Jwt(JwtError),
}

impl TokenRefused {
    /// Whether the same token may be accepted a little later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Jwt(error) if error.is_transient())
    }
}

impl fmt::Display for TokenRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdp => f.write_str(
                "this app has no identity provider, so no user token can be verified: set one with `alter-server idp set`",
            ),
            Self::Form(error) => error.fmt(f),
            Self::Jwt(error) => error.fmt(f),
        }
    }
}

/// One app's configuration at one generation, ready for use.
#[derive(Debug)]
pub(crate) struct AppEntry {
    pub(crate) config: AppConfig,
    verifier: Option<JwtVerifier>,
    /// The vault as a client of the app's identity provider, if the operator set it up.
    pub(crate) relying_party: Option<RelyingParty>,
}

impl AppEntry {
    /// Verifies a user's token by the app's rules.
    pub(crate) async fn identify(&self, token: &str) -> Result<Identity, TokenRefused> {
        let (Some(verifier), Some(idp)) = (&self.verifier, &self.config.idp) else {
            return Err(TokenRefused::NoIdp);
        };
        let token = UserToken::parse(token).map_err(TokenRefused::Form)?;
        let user = verifier.verify(token.expose()).await.map_err(TokenRefused::Jwt)?;
        Ok(identity(idp, &user))
    }
}

/// What a verified token says, as far as the app's claims are mapped.
pub(crate) fn identity(idp: &IdpConfig, user: &VerifiedUser) -> Identity {
    let read = |claim: &Option<String>, value: &Option<String>| claim.as_ref().and(value.clone());
    Identity {
        issuer: user.issuer.clone(),
        subject: user.subject.clone(),
        email: read(&idp.claims.email, &user.email),
        name: read(&idp.claims.name, &user.display_name),
        groups: if idp.claims.groups.is_some() { user.groups.clone() } else { Vec::new() },
    }
}

/// The apps whose calls were served lately.
#[derive(Debug)]
pub(crate) struct Apps {
    clock: SharedClock,
    entries: Cache<AppId, Arc<AppEntry>>,
}

impl Apps {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock, entries: Cache::new(MAX_APPS) }
    }

    /// The app's configuration as it was when last loaded.
    pub(crate) async fn get(
        &self,
        app: AppId,
        store: &dyn Store,
    ) -> Result<Option<Arc<AppEntry>>, StoreError> {
        match self.entries.get(&app) {
            Some(entry) => Ok(Some(entry)),
            None => self.reload(app, store).await,
        }
    }

    /// The app's configuration as it is now.
    pub(crate) async fn reload(
        &self,
        app: AppId,
        store: &dyn Store,
    ) -> Result<Option<Arc<AppEntry>>, StoreError> {
        let Some(config) = store.app_config(app).await? else { return Ok(None) };
        let before = self.entries.get(&app);
        let verifier = match &before {
            Some(before) if before.config.idp == config.idp => before.verifier.clone(),
            _ => config.idp.as_ref().and_then(|idp| {
                // What is stored was checked when it was set; should it not pass now, no token does.
                verifier(idp, Arc::clone(&self.clock))
                    .inspect_err(
                        |error| tracing::error!(%app, %error, "the stored identity provider cannot be used"),
                    )
                    .ok()
            }),
        };
        let same = |before: &&Arc<AppEntry>| {
            before.config.idp == config.idp && before.config.sign_in == config.sign_in
        };
        let relying_party = match (before.as_ref().filter(same), &config.idp, &config.sign_in) {
            (Some(before), ..) => before.relying_party.clone(),
            (None, Some(idp), Some(sign_in)) => RelyingParty::new(idp, sign_in, Arc::clone(&self.clock))
                .inspect_err(
                    |error| tracing::error!(%app, %error, "the stored sign-in settings cannot be used"),
                )
                .ok(),
            (None, ..) => None,
        };
        let entry = Arc::new(AppEntry { config, verifier, relying_party });
        self.entries.insert(app, Arc::clone(&entry));
        Ok(Some(entry))
    }
}

/// The rules for tokens of `idp`.
///
/// # Errors
///
/// [`InvalidIdp`] naming the rule that the description breaks.
pub fn rules(idp: &IdpConfig) -> Result<TokenRules, InvalidIdp> {
    let invalid = |error: &dyn fmt::Display| InvalidIdp(error.to_string());
    let algorithm = |name: &String| {
        serde_json::from_value::<Algorithm>(serde_json::Value::String(name.clone()))
            .map_err(|_| InvalidIdp("an algorithm must be RS256, ES256 or EdDSA".to_owned()))
    };
    let algorithms = idp.algorithms.iter().map(algorithm).collect::<Result<Vec<_>, _>>()?;
    let defaults = ClaimNames::default();
    let claims = ClaimNames {
        user_id: idp.claims.subject.clone(),
        email: idp.claims.email.clone().unwrap_or(defaults.email),
        display_name: idp.claims.name.clone().unwrap_or(defaults.display_name),
        groups: idp.claims.groups.clone().unwrap_or(defaults.groups),
    };
    let mut rules = TokenRules::new(idp.issuer.clone())
        .and_then(|rules| rules.with_algorithms(algorithms))
        .and_then(|rules| rules.with_leeway_seconds(idp.leeway_seconds))
        .and_then(|rules| rules.with_claims(claims))
        .map_err(|error| invalid(&error))?;
    for audience in &idp.audiences {
        rules = rules.with_audience(audience.clone()).map_err(|error| invalid(&error))?;
    }
    Ok(rules)
}

/// Fetches the keys of `idp` once, as proof that they can be had.
///
/// # Errors
///
/// [`InvalidIdp`] if discovery or the key set does not answer as it must.
pub async fn probe(idp: &IdpConfig) -> Result<(), InvalidIdp> {
    let failed = |error: KeySourceError| match &idp.jwks_url {
        Some(_) => InvalidIdp(format!("the key set at --jwks-url cannot be used: {error}")),
        None => InvalidIdp(format!("discovery at the issuer failed: {error}")),
    };
    let set = source(idp).fetch().await.map_err(failed)?;
    let keys = serde_json::from_slice::<serde_json::Value>(&set).ok();
    match keys.as_ref().and_then(|set| set.get("keys")).and_then(serde_json::Value::as_array) {
        Some(keys) if !keys.is_empty() => Ok(()),
        _ => Err(InvalidIdp("the key set holds no key".to_owned())),
    }
}

pub(crate) fn verifier(idp: &IdpConfig, clock: SharedClock) -> Result<JwtVerifier, InvalidIdp> {
    Ok(JwtVerifier::new(rules(idp)?, Arc::new(source(idp)), clock))
}

fn source(idp: &IdpConfig) -> IssuerKeys {
    IssuerKeys { issuer: idp.issuer.clone(), jwks_url: idp.jwks_url.clone(), found: Mutex::new(None) }
}

/// An issuer's keys, looked up when they are first wanted. What discovery found is used until it stops answering.
#[derive(Debug)]
struct IssuerKeys {
    issuer: String,
    jwks_url: Option<String>,
    found: Mutex<Option<HttpKeys>>,
}

impl IssuerKeys {
    fn found(&self) -> Option<HttpKeys> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, keys: Option<HttpKeys>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

impl KeySource for IssuerKeys {
    fn fetch(&self) -> BoxFuture<'_, Result<Bytes, KeySourceError>> {
        Box::pin(async move {
            let keys = match (self.found(), &self.jwks_url) {
                (Some(keys), _) => keys,
                (None, Some(url)) => HttpKeys::at(url)?,
                (None, None) => HttpKeys::discover(&self.issuer).await?,
            };
            let answer = keys.fetch().await;
            // A key set that moved is found again next time.
            self.remember(answer.is_ok().then_some(keys));
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ClaimMapping;

    fn config() -> IdpConfig {
        IdpConfig {
            issuer: "https://id.example.test".to_owned(),
            jwks_url: None,
            audiences: vec!["api".to_owned()],
            algorithms: vec!["ES256".to_owned()],
            leeway_seconds: 30,
            claims: ClaimMapping::default(),
        }
    }

    #[test]
    fn stored_rules_are_the_rules_that_tokens_are_held_to() {
        let rules = rules(&config()).unwrap();
        assert_eq!(rules.audiences(), ["api"]);
        assert_eq!(rules.algorithms(), [Algorithm::Es256]);
    }

    #[test]
    fn what_would_accept_anything_is_refused() {
        for broken in [
            IdpConfig { algorithms: vec!["none".to_owned()], ..config() },
            IdpConfig { algorithms: vec!["HS256".to_owned()], ..config() },
            IdpConfig { algorithms: Vec::new(), ..config() },
            IdpConfig { issuer: "http://id.example.test".to_owned(), ..config() },
            IdpConfig { leeway_seconds: 301, ..config() },
        ] {
            assert!(rules(&broken).is_err(), "{broken:?}");
        }
    }
}
