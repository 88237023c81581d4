//! What a token must look like to be taken.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

/// Leeway for the clocks of issuer and verifier, in seconds, when nothing else is said.
pub const DEFAULT_LEEWAY_SECONDS: u32 = 30;
/// Largest leeway, in seconds.
pub const MAX_LEEWAY_SECONDS: u32 = 300;
/// Longest issuer, audience or claim name, in bytes.
const MAX_NAME_LEN: usize = 2_048;

/// A signature algorithm that a user's token may have. `none` and the HMAC family are not in the list and cannot be
/// expressed: a published key must never serve as a shared secret (RFC 8725 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 to 8192 bits (RFC 7518 §3.3).
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519 (RFC 8037 §3.1). `Ed25519` is taken as another spelling of the name (RFC 9864 §2.2).
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
}

impl Algorithm {
    /// All of them: what [`TokenRules`] allow by default.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The algorithm of a JOSE name; `None` for one that is never taken.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// Which top-level claims tell who the user is. A namespaced claim is written in full: `https://example.com/groups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimNames {
    /// The claim that identifies the user for good; must be in every token. `sub` by default.
    pub user_id: String,
    /// `email` by default.
    pub email: String,
    /// `name` by default.
    pub display_name: String,
    /// `groups` by default: an array of strings, or one string.
    pub groups: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            user_id: "sub".into(),
            email: "email".into(),
            display_name: "name".into(),
            groups: "groups".into(),
        }
    }
}

/// What a token must look like to be taken: issuer, audiences, algorithms, leeway, and where the user's facts are.
///
/// Always valid: whoever holds one has passed the checks, also when it came from JSON.
///
/// ```
/// use alter_core::jwt::TokenRules;
///
/// let rules = TokenRules::new("https://example.eu.auth0.com/")?.with_audience("https://api.example.com")?;
/// let stored = serde_json::to_string(&rules)?;
/// assert_eq!(serde_json::from_str::<TokenRules>(&stored)?, rules);
/// assert!(TokenRules::new("http://example.com").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredRules")]
pub struct TokenRules {
    issuer: String,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    leeway_seconds: u32,
    claims: ClaimNames,
}

impl TokenRules {
    /// Rules for tokens of `issuer`: any audience, all [`Algorithm`]s, 30 seconds of leeway, the usual claim names.
    ///
    /// # Errors
    ///
    /// [`RulesError::Issuer`] unless it is an `https` URL (`http` only on loopback) without user, query, fragment or
    /// well-known path (OpenID Connect Discovery §2). It is kept as written: a trailing slash counts.
    pub fn new(issuer: impl Into<String>) -> Result<Self, RulesError> {
        let issuer = issuer.into();
        issuer_url(&issuer)?;
        Ok(Self {
            issuer,
            audiences: Vec::new(),
            algorithms: Algorithm::ALL.to_vec(),
            leeway_seconds: DEFAULT_LEEWAY_SECONDS,
            claims: ClaimNames::default(),
        })
    }

    /// Adds an audience. A token must name at least one of those added. **With none, `aud` is not checked**, and a token
    /// that the issuer made for another service of the same tenant is taken: set one wherever the provider sets `aud`.
    ///
    /// # Errors
    ///
    /// [`RulesError::Audience`] when it is blank or longer than 2,048 bytes.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Result<Self, RulesError> {
        self.audiences.push(audience.into());
        self.checked()
    }

    /// Replaces the allowed algorithms.
    ///
    /// # Errors
    ///
    /// [`RulesError::NoAlgorithms`] when there is none.
    pub fn with_algorithms(
        mut self,
        algorithms: impl IntoIterator<Item = Algorithm>,
    ) -> Result<Self, RulesError> {
        self.algorithms = algorithms.into_iter().collect();
        self.checked()
    }

    /// Sets how far the clocks of issuer and verifier may differ, in seconds.
    ///
    /// # Errors
    ///
    /// [`RulesError::Leeway`] above 300.
    pub fn with_leeway_seconds(mut self, seconds: u32) -> Result<Self, RulesError> {
        self.leeway_seconds = seconds;
        self.checked()
    }

    /// Replaces the claim names.
    ///
    /// # Errors
    ///
    /// [`RulesError::ClaimName`] when one is blank or longer than 2,048 bytes.
    pub fn with_claims(mut self, claims: ClaimNames) -> Result<Self, RulesError> {
        self.claims = claims;
        self.checked()
    }

    /// The only issuer taken, as in the token's `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audiences of which a token must name one; empty when `aud` is not checked.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The allowed algorithms.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// The leeway, in seconds.
    #[must_use]
    pub fn leeway_seconds(&self) -> u32 {
        self.leeway_seconds
    }

    /// The claim names.
    #[must_use]
    pub fn claims(&self) -> &ClaimNames {
        &self.claims
    }

    fn checked(self) -> Result<Self, RulesError> {
        issuer_url(&self.issuer)?;
        if !self.audiences.iter().all(|audience| is_name(audience)) {
            return Err(RulesError::Audience);
        }
        if self.algorithms.is_empty() {
            return Err(RulesError::NoAlgorithms);
        }
        if self.leeway_seconds > MAX_LEEWAY_SECONDS {
            return Err(RulesError::Leeway);
        }
        let ClaimNames { user_id, email, display_name, groups } = &self.claims;
        if ![user_id, email, display_name, groups].into_iter().all(|name| is_name(name)) {
            return Err(RulesError::ClaimName);
        }
        Ok(self)
    }
}

/// The stored form, before the checks. Unknown members are refused: a misspelt rule must not be a missing rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRules {
    issuer: String,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default = "all_algorithms")]
    algorithms: Vec<Algorithm>,
    #[serde(default = "default_leeway")]
    leeway_seconds: u32,
    #[serde(default)]
    claims: ClaimNames,
}

fn all_algorithms() -> Vec<Algorithm> {
    Algorithm::ALL.to_vec()
}

fn default_leeway() -> u32 {
    DEFAULT_LEEWAY_SECONDS
}

impl TryFrom<StoredRules> for TokenRules {
    type Error = RulesError;

    fn try_from(stored: StoredRules) -> Result<Self, RulesError> {
        let StoredRules { issuer, audiences, algorithms, leeway_seconds, claims } = stored;
        Self { issuer, audiences, algorithms, leeway_seconds, claims }.checked()
    }
}

/// Why rules were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// See [`TokenRules::new`].
    #[error("the issuer {0}")]
    Issuer(IssuerFault),
    /// See [`TokenRules::with_audience`].
    #[error("an audience is blank or longer than 2048 bytes")]
    Audience,
    /// See [`TokenRules::with_algorithms`].
    #[error("at least one algorithm must be allowed")]
    NoAlgorithms,
    /// See [`TokenRules::with_leeway_seconds`].
    #[error("the leeway must be at most 300 seconds")]
    Leeway,
    /// See [`TokenRules::with_claims`].
    #[error("a claim name is blank or longer than 2048 bytes")]
    ClaimName,
}

/// What is wrong with an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssuerFault {
    /// Not an absolute URL with a host, or too long.
    NotAUrl,
    /// Neither `https` nor `http` on loopback.
    Insecure,
    /// User, password, query or fragment.
    Extras,
    /// A discovery document's address; give the issuer itself.
    WellKnown,
}

impl fmt::Display for IssuerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAUrl => "must be an absolute URL",
            Self::Insecure => "must be an https URL (http only on loopback)",
            Self::Extras => "must have no user, password, query or fragment",
            Self::WellKnown => "must be the issuer itself, not its /.well-known/ address",
        })
    }
}

/// The issuer as a URL.
pub(super) fn issuer_url(issuer: &str) -> Result<Url, RulesError> {
    let fault = |fault| Err(RulesError::Issuer(fault));
    // The URL parser trims and drops what an exact comparison with `iss` would still see.
    if issuer.len() > MAX_NAME_LEN || issuer.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return fault(IssuerFault::NotAUrl);
    }
    let Ok(url) = Url::parse(issuer) else {
        return fault(IssuerFault::NotAUrl);
    };
    if !is_secure_or_loopback(&url) {
        return fault(IssuerFault::Insecure);
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return fault(IssuerFault::Extras);
    }
    if url.path().contains("/.well-known/") {
        return fault(IssuerFault::WellKnown);
    }
    Ok(url)
}

/// Whether keys may be fetched from here: `https`, or `http` on this machine.
pub(super) fn is_secure_or_loopback(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether the host is this machine, by name or by address.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_NAME_LEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_https_or_loopback_and_nothing_more() {
        for good in [
            "https://id.example.com",
            "https://id.example.com/",
            "https://api.workos.com/user_management/client_1",
            "http://127.0.0.1:8080",
            "http://localhost:3000/tenant",
            "http://[::1]:99",
        ] {
            assert!(TokenRules::new(good).is_ok(), "{good}");
        }
        for (bad, fault) in [
            ("id.example.com", IssuerFault::NotAUrl),
            ("", IssuerFault::NotAUrl),
            (" https://id.example.com", IssuerFault::NotAUrl),
            ("https://id.example.com\n", IssuerFault::NotAUrl),
            ("http://id.example.com", IssuerFault::Insecure),
            ("http://127.0.0.1.example.com", IssuerFault::Insecure),
            ("ftp://localhost", IssuerFault::Insecure),
            ("https://user@id.example.com", IssuerFault::Extras),
            ("https://id.example.com/?a=b", IssuerFault::Extras),
            ("https://id.example.com/#a", IssuerFault::Extras),
            ("https://id.example.com/.well-known/openid-configuration", IssuerFault::WellKnown),
        ] {
            assert_eq!(TokenRules::new(bad).unwrap_err(), RulesError::Issuer(fault), "{bad}");
        }
    }

    #[test]
    fn stored_rules_pass_the_same_checks() {
        let minimal: TokenRules = serde_json::from_str(r#"{"issuer":"https://id.example.com"}"#).unwrap();
        assert_eq!(minimal, TokenRules::new("https://id.example.com").unwrap());
        for bad in [
            r#"{"issuer":"http://id.example.com"}"#,
            r#"{"issuer":"https://id.example.com","audience":["a"]}"#,
            r#"{"issuer":"https://id.example.com","audiences":[" "]}"#,
            r#"{"issuer":"https://id.example.com","algorithms":[]}"#,
            r#"{"issuer":"https://id.example.com","algorithms":["HS256"]}"#,
            r#"{"issuer":"https://id.example.com","algorithms":["none"]}"#,
            r#"{"issuer":"https://id.example.com","leeway_seconds":301}"#,
            r#"{"issuer":"https://id.example.com","claims":{"user_id":""}}"#,
        ] {
            assert!(serde_json::from_str::<TokenRules>(bad).is_err(), "{bad}");
        }
    }
}
