//! Finding the caller's token in the headers of an incoming request (RFC 6750 §2.1, RFC 9110 §11.4).
//!
//! A token that is there but broken is refused: it never counts as no token at all.

use http::{HeaderMap, header::AUTHORIZATION};

use crate::user_token::{TokenFormatError, UserToken};

/// Why the `Authorization` header gives no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BearerError {
    /// The header came more than once, so that two readers could disagree on who calls.
    #[error("the Authorization header came more than once")]
    Repeated,
    /// Another scheme than `Bearer`.
    #[error("the Authorization header is not of the Bearer scheme")]
    OtherScheme,
    /// Not one token after the scheme.
    #[error("the Authorization header holds no well-formed bearer token: {0}")]
    Malformed(#[from] TokenFormatError),
}

/// The bearer token of a request. `Ok(None)` only when there is no `Authorization` header at all; the scheme is
/// compared without regard to case.
///
/// ```
/// use alter_core::bearer::{self, BearerError};
/// use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
///
/// let mut headers = HeaderMap::new();
/// assert!(bearer::token(&headers)?.is_none());
/// headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer a.b.c"));
/// assert_eq!(bearer::token(&headers)?.unwrap().expose(), "a.b.c");
/// # Ok::<(), BearerError>(())
/// ```
///
/// # Errors
///
/// [`BearerError`] when the header is repeated, of another scheme, or holds no well-formed token.
pub fn token(headers: &HeaderMap) -> Result<Option<UserToken>, BearerError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(BearerError::Repeated);
    }
    parse(value.as_bytes()).map(Some)
}

/// The token in one header value.
///
/// # Errors
///
/// [`BearerError`] when the value is of another scheme or holds no well-formed token.
pub fn parse(value: &[u8]) -> Result<UserToken, BearerError> {
    let text = std::str::from_utf8(value).map_err(|_| TokenFormatError::Malformed)?;
    let (scheme, token) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(BearerError::OtherScheme);
    }
    Ok(UserToken::parse(token.trim_start_matches(' '))?)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, BearerError> {
        let headers = values
            .iter()
            .map(|value| (AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect();
        token(&headers).map(|token| token.map(|token| token.expose().to_owned()))
    }

    #[test]
    fn the_scheme_is_taken_in_any_case() {
        for value in ["Bearer a.b-c_d~e+f/g==", "bearer a.b-c_d~e+f/g==", "BEARER   a.b-c_d~e+f/g== "] {
            assert_eq!(read(&[value]).unwrap().unwrap(), "a.b-c_d~e+f/g==", "{value}");
        }
    }

    #[test]
    fn what_is_broken_is_refused_and_never_anonymous() {
        assert_eq!(read(&[]), Ok(None));
        for (values, why) in [
            (&["Bearer a", "Bearer b"][..], BearerError::Repeated),
            (&["Basic dTpw"], BearerError::OtherScheme),
            (&[""], BearerError::OtherScheme),
            (&["Bearer"], BearerError::Malformed(TokenFormatError::Empty)),
            (&["Bearer "], BearerError::Malformed(TokenFormatError::Empty)),
            (&["Bearer a b"], BearerError::Malformed(TokenFormatError::Malformed)),
            (&["Bearer a,b"], BearerError::Malformed(TokenFormatError::Malformed)),
            (&["Bearer ==="], BearerError::Malformed(TokenFormatError::Malformed)),
            (&["Bearer é"], BearerError::Malformed(TokenFormatError::Malformed)),
        ] {
            assert_eq!(read(values), Err(why), "{values:?}");
        }
        let large = format!("Bearer {}", "a".repeat(8_193));
        assert_eq!(read(&[&large]), Err(BearerError::Malformed(TokenFormatError::TooLarge)));
    }

    proptest::proptest! {
        #[test]
        fn no_value_panics_and_what_is_accepted_fits_a_header(value in proptest::collection::vec(0x20_u8.., 0..60)) {
            if let Ok(token) = parse(&value) {
                proptest::prop_assert!(HeaderValue::from_str(token.expose()).is_ok());
            }
        }
    }
}
