//! Finding the caller's token in the headers of an incoming request (RFC 6750 §2.1, RFC 9110 §11.4).
//!
//! A token that is there but broken is refused: it never counts as no token at all.

use http::{HeaderMap, header::AUTHORIZATION};

use crate::user_token::{TokenFormatError, UserToken};

/// Why the `Authorization` header gives no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BearerError {
    /// The token came more than once, so that two readers could disagree on who calls.
    #[error("the request carries its token more than once")]
    Repeated,
    /// Another scheme than `Bearer`.
    #[error("the Authorization header is not of the Bearer scheme")]
    OtherScheme,
    /// Not one token where there should be one.
    #[error("the request carries no well-formed token: {0}")]
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
    find(headers.get_all(AUTHORIZATION).iter().map(http::HeaderValue::as_bytes))
}

/// As [`token`], for header maps of other makes: `values` are those of `Authorization`.
///
/// # Errors
///
/// As of [`token`].
pub fn find<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<UserToken>, BearerError> {
    only(values)?.map(parse).transpose()
}

/// The token in a header that holds it and nothing else; `values` are those of the header.
///
/// # Errors
///
/// [`BearerError`] when there are several, or the one is no well-formed token.
pub fn find_bare<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<UserToken>, BearerError> {
    only(values)?.map(|value| bare(value.trim_ascii())).transpose()
}

/// The token in a cookie that holds it and nothing else (RFC 6265 §5.4); `values` are those of `Cookie`. The name is
/// compared exactly.
///
/// # Errors
///
/// [`BearerError`] when the cookie came more than once, or holds no well-formed token.
pub fn find_cookie<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
    name: &str,
) -> Result<Option<UserToken>, BearerError> {
    let pairs =
        values.into_iter().flat_map(|value| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let named = pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    let unquoted = |value: &'a [u8]| {
        value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
    };
    only(named)?.map(|value| bare(unquoted(value))).transpose()
}

fn only<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<&'a [u8]>, BearerError> {
    let mut values = values.into_iter();
    let first = values.next();
    if values.next().is_some() { Err(BearerError::Repeated) } else { Ok(first) }
}

fn bare(value: &[u8]) -> Result<UserToken, BearerError> {
    let text = std::str::from_utf8(value).map_err(|_| TokenFormatError::Malformed)?;
    Ok(UserToken::parse(text)?)
}

/// The token in one header value.
///
/// # Errors
///
/// [`BearerError`] when the value is of another scheme or holds no well-formed token.
pub fn parse(value: &[u8]) -> Result<UserToken, BearerError> {
    let text = std::str::from_utf8(value).map_err(|_| TokenFormatError::Malformed)?;
    let text = text.trim();
    // A tab ends the scheme as well, so that a bearer token behind one is a broken token and not another scheme.
    let (scheme, token) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
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
            (&["Bearer\ta"], BearerError::Malformed(TokenFormatError::Malformed)),
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
