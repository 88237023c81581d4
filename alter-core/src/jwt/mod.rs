//! Verification of users' JWTs against the keys that their identity provider publishes.
//!
//! The vault verifies every user token with this; a service may verify at its own edge too.
//!
//! ```
//! use std::sync::Arc;
//! use alter_core::{clock::SystemClock, jwt::{JwtError, JwtVerifier, StaticKeys, TokenRules}};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rules = TokenRules::new("https://id.example.com")?.with_audience("https://api.example.com")?;
//! // In production: HttpKeys::discover("https://id.example.com").await?
//! let keys = StaticKeys::new(r#"{"keys": []}"#);
//! let verifier = JwtVerifier::new(rules, Arc::new(keys), SystemClock::shared());
//!
//! assert_eq!(verifier.verify("not.a.token").await.unwrap_err(), JwtError::Malformed);
//! # Ok(()) }
//! ```
//!
//! # What a token must be
//!
//! At most 8,192 bytes; three base64url parts; no JSON member twice in header or claims; RS256, ES256 or `EdDSA`; no header
//! that steers the check (`crit`, `b64`, `jku`, `jwk`, `x5u`, `x5c`). `iss` equals the configured issuer, `aud` names a
//! configured audience, `exp`, `nbf` and `iat` are numbers and fit the clock, the user-id claim is there. The signature is
//! that of a published key, and each key verifies **one algorithm only**, whatever the header says: an RSA key can never
//! serve as an HMAC secret (RFC 8725 §3.1).
//!
//! # When keys are fetched
//!
//! By a task of the verifier's own, one at a time, five seconds and 1 MiB at most:
//!
//! - at the first token, and then whenever there is no usable set (retried every two seconds while tokens come);
//! - in the background once the set is ten minutes old, while it goes on serving; after a failure again in 30 seconds;
//! - for a token whose key is unknown, **at most once in 30 seconds** whoever asks; that token waits for the answer, no
//!   other does. A wrong signature asks as well (a provider may reuse a key's name), and does not wait.
//!
//! The last good set serves while the endpoint is down, for 24 hours. A key that leaves the set takes its cached tokens
//! with it.
//!
//! # What is remembered
//!
//! Accepted tokens, by their SHA-256, until `exp` or for five minutes, 10,000 of them. A remembered verdict never differs
//! from a fresh one: it also needs the very key that verified it still to be published.

mod cache;
mod error;
mod keys;
mod refresh;
mod rules;
mod source;
#[cfg(test)]
mod tests;
mod token;
mod verifier;

pub use self::{
    error::JwtError,
    rules::{
        Algorithm, ClaimNames, DEFAULT_LEEWAY_SECONDS, IssuerFault, MAX_LEEWAY_SECONDS, RulesError,
        TokenRules,
    },
    source::{BoxFuture, KeySource, KeySourceError, StaticKeys},
    token::VerifiedUser,
    verifier::JwtVerifier,
};
#[cfg(feature = "reqwest")]
pub use source::{Discovery, HttpKeys};
