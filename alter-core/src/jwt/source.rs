//! Where published keys come from.

use std::{fmt, future::Future, pin::Pin};

use bytes::Bytes;

#[cfg(feature = "reqwest")]
mod http;

#[cfg(feature = "reqwest")]
pub use http::{Discovery, HttpKeys};

/// A future behind a pointer, so that [`KeySource`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that knows an issuer's published key set (a JWKS, RFC 7517 §5).
///
/// The verifier calls [`fetch`](Self::fetch) from a task of its own, never twice at a time, and gives up after five
/// seconds. Its `Debug` form is logged when fetching fails: keep it short and free of secrets.
pub trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// The set as JSON text, at most 1 MiB.
    fn fetch(&self) -> BoxFuture<'_, Result<Bytes, KeySourceError>>;
}

/// Why a key set, or the way to it, could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySourceError {
    /// No answer: no connection, TLS refused, or no complete answer within five seconds.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// An answer other than 200. Redirects are answers too; they are not followed.
    #[error("answered with status {0}")]
    Status(u16),
    /// More than 1 MiB.
    #[error("the answer is larger than 1 MiB")]
    TooLarge,
    /// The answer is not what it should be.
    #[error("the answer cannot be used: {0}")]
    Invalid(String),
    /// The discovery document speaks for another issuer (OpenID Connect Discovery §4.3).
    #[error("the discovery document belongs to another issuer than the configured one")]
    OtherIssuer,
    /// The address is not `https` (`http` only on loopback).
    #[error("the address {0}")]
    Address(String),
}

/// A key set given up front: for tests, and for issuers that hand out their keys by other ways.
///
/// ```
/// use alter_core::jwt::StaticKeys;
///
/// let keys = StaticKeys::new(r#"{"keys":[]}"#);
/// ```
#[derive(Clone)]
pub struct StaticKeys(Bytes);

impl StaticKeys {
    /// A source that always answers with `jwks`.
    #[must_use]
    pub fn new(jwks: impl Into<Bytes>) -> Self {
        Self(jwks.into())
    }
}

impl fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKeys")
    }
}

impl KeySource for StaticKeys {
    fn fetch(&self) -> BoxFuture<'_, Result<Bytes, KeySourceError>> {
        let set = self.0.clone();
        Box::pin(async move { Ok(set) })
    }
}
