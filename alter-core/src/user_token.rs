//! The token of the person on whose behalf a call is made.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;
use secrecy::{ExposeSecret, SecretString};

/// Largest token that is taken, in bytes; the limit of the vault's identity endpoints (spec/01 §4.2).
pub const MAX_TOKEN_LEN: usize = 8_192;

/// Whether a byte may stand in a token before its padding (RFC 9110 §11.2): letters, digits and `-._~+/`. Without a
/// branch, so that the compiler looks at sixteen at a time: every request passes here.
const fn is_token68(byte: u8) -> bool {
    // `-`, `.`, `/` and the digits stand in a row.
    (byte.wrapping_sub(b'-') <= b'9' - b'-')
        | ((byte | 0x20).wrapping_sub(b'a') < 26)
        | (byte == b'+')
        | (byte == b'_')
        | (byte == b'~')
}

/// Why a text is not a token. Says nothing of the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFormatError {
    /// Nothing was given.
    #[error("the user token is empty")]
    Empty,
    /// More than [`MAX_TOKEN_LEN`] bytes.
    #[error("the user token is larger than 8192 bytes")]
    TooLarge,
    /// A character that no bearer token has (RFC 6750 §2.1, `b64token`).
    #[error("the user token holds a character that no bearer token has")]
    Malformed,
}

/// A user's JWT, as it came in: of the right form, **not verified**. The vault verifies it on every call.
///
/// `Debug` prints a short fingerprint, so that two log lines can be told to be about the same token. It is wiped from
/// memory when the last clone is dropped; clones share it.
///
/// ```
/// use alter_core::UserToken;
///
/// let token = UserToken::parse("eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl")?;
/// assert!(!format!("{token:?}").contains("eyJ"));
/// assert!(UserToken::parse("two words").is_err());
/// # Ok::<(), alter_core::TokenFormatError>(())
/// ```
#[derive(Clone)]
pub struct UserToken(Arc<SecretString>);

impl UserToken {
    /// Takes a token of the form that RFC 6750 §2.1 allows in a header.
    ///
    /// # Errors
    ///
    /// [`TokenFormatError`] when it is empty, larger than 8,192 bytes, or holds another character.
    pub fn parse(text: impl Into<SecretString>) -> Result<Self, TokenFormatError> {
        let secret = text.into();
        let text = secret.expose_secret();
        if text.is_empty() {
            return Err(TokenFormatError::Empty);
        }
        if text.len() > MAX_TOKEN_LEN {
            return Err(TokenFormatError::TooLarge);
        }
        let body = text.trim_end_matches('=');
        let fits = body.bytes().fold(true, |fits, byte| fits & is_token68(byte));
        if body.is_empty() || !fits {
            return Err(TokenFormatError::Malformed);
        }
        Ok(Self(Arc::new(secret)))
    }

    /// The token itself. Named so that a review sees it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Eight hex digits of its SHA-256: the same for the same token, of no use to anybody else.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, self.expose().as_bytes());
        hex::encode(&digest.as_ref()[..4])
    }
}

impl fmt::Debug for UserToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserToken(#{})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_judged_as_rfc_9110_says() {
        for byte in 0..=u8::MAX {
            let fits = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(is_token68(byte), fits, "{byte:#x}");
        }
    }

    #[test]
    fn padding_stands_at_the_end_only() {
        assert!(UserToken::parse("a.b==").is_ok());
        for refused in ["=", "a=b", "==a"] {
            assert_eq!(UserToken::parse(refused).unwrap_err(), TokenFormatError::Malformed, "{refused}");
        }
    }
}
