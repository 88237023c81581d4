//! Why a token was refused.

/// Why a token was refused, or could not be judged.
///
/// The messages say what was wrong and never repeat a value of the token, so they may be shown to the caller and logged.
/// The claim names in them are the ones of the operator's own [`TokenRules`](super::TokenRules).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// More than [`MAX_TOKEN_LEN`](crate::MAX_TOKEN_LEN) bytes. Refused before anything is decoded.
    #[error("the token is larger than 8192 bytes")]
    TooLarge,
    /// Not three base64url parts around two JSON objects without repeated members (RFC 7515 §3.1, RFC 7519 §4), or a
    /// time in it that is not a number.
    #[error("the token is not a well-formed signed JWT")]
    Malformed,
    /// The header's `alg` is not one of the rules' algorithms, or not the one of the key that it names. `none` and the
    /// HMAC family always end here (RFC 8725 §3.1).
    #[error("the token's signature algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// A header member that this verifier does not take: `crit`, `b64`, `jku`, `jwk`, `x5u`, `x5c`, `zip`, or a `typ` of
    /// a token that is not a user's.
    #[error("the token's header holds `{0}`, which is not supported")]
    UnsupportedHeader(&'static str),
    /// No published key has the token's `kid`; or the token has none and the set does not hold exactly one key of its
    /// algorithm.
    #[error("the token was signed with a key that the identity provider does not publish")]
    UnknownKey,
    /// The signature is not the named key's.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is not the configured issuer, character for character.
    #[error("the token was issued by somebody else")]
    WrongIssuer,
    /// `aud` names none of the configured audiences.
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// A required claim is absent or null.
    #[error("the token has no `{0}` claim")]
    MissingClaim(String),
    /// A claim has the wrong type or size, or a blank value where there must be one.
    #[error("the token's `{0}` claim cannot be used")]
    InvalidClaim(String),
    /// There is no usable key set: none was ever fetched, or the last one is too old, and the endpoint does not answer.
    /// Says nothing about the token.
    #[error("the identity provider's keys cannot be fetched at the moment")]
    KeysUnavailable,
}

impl JwtError {
    /// Whether the same token may be accepted a little later without anybody doing anything: only
    /// [`KeysUnavailable`](Self::KeysUnavailable). Answer 503 to these, 401 to the others.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::KeysUnavailable)
    }
}
