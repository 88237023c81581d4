//! The signature of a request: canonical form, signing, verification (spec/01 §2).
//!
//! Every request to `/sdk/…` carries a timestamp, a nonce used once, the hash of its body and an HMAC over these,
//! the method, the canonical target and the headers that say who acts. [`sign`] makes the headers, [`Signed::read`]
//! takes them apart and [`Signed::verify`] checks them; both build the same string from the same code.

use std::fmt::{self, Write as _};

use aws_lc_rs::{constant_time, digest, hmac, rand};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroizing;

use super::{header, key::RandomUnavailable};

/// The message under which an API key yields its signing key (spec/01 §2.1).
const DERIVATION: &[u8] = b"alter-signing-v1";
const NONCE_LEN: usize = 32;
/// What form-encoding leaves as it is: letters, digits, `_`, `.`, `-`, `~` (spec/01 §2.3).
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// The key that signs requests: 32 bytes derived from an API key. A vault keeps it sealed, since it stores only a
/// digest of the API key itself. `Debug` shows nothing.
#[derive(Clone)]
pub struct SigningKey {
    bytes: Zeroizing<[u8; 32]>,
    hmac: hmac::Key,
}

impl SigningKey {
    /// HMAC-SHA256 of a fixed text under the whole API key.
    #[must_use]
    pub fn derive(api_key: &str) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, api_key.as_bytes()), DERIVATION);
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(tag.as_ref());
        Self::from_bytes(bytes)
    }

    /// A signing key that was stored.
    #[must_use]
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref());
        Self { bytes, hmac }
    }

    /// The 32 bytes, for sealing. Named so that a review sees it.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([secret])")
    }
}

/// When a request was signed, and its single-use number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Unix seconds.
    pub timestamp: i64,
    /// 32 lower-case hex digits.
    pub nonce: String,
}

impl Stamp {
    /// A stamp with a fresh nonce of 128 random bits.
    ///
    /// # Errors
    ///
    /// [`RandomUnavailable`] when the operating system gives no random bytes.
    pub fn fresh(unix_seconds: i64) -> Result<Self, RandomUnavailable> {
        let mut random = [0_u8; NONCE_LEN / 2];
        rand::fill(&mut random).map_err(|_| RandomUnavailable)?;
        Ok(Self { timestamp: unix_seconds, nonce: hex::encode(random) })
    }
}

/// Why a signature was refused. None of them says which part of the secret was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// A header of the signature is not there.
    #[error("the request has no {0} header")]
    Missing(HeaderName),
    /// A signed header came twice, so that two readers could disagree on it.
    #[error("the {0} header came more than once")]
    Repeated(HeaderName),
    /// A header of the signature is not of its form.
    #[error("the {0} header is malformed")]
    Malformed(HeaderName),
    /// The body is not the one that was signed.
    #[error("the body does not match its signed hash")]
    BodyMismatch,
    /// An actor header without the second signature, or the second signature without an actor header.
    #[error("actor headers and the second signature must come together")]
    ActorMismatch,
    /// The signature is not that of this request under this key.
    #[error("the signature does not match the request")]
    Mismatch,
}

/// The hex SHA-256 of a body, as it is signed.
#[must_use]
pub fn content_sha256(body: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, body))
}

/// The canonical form of a request target such as `/sdk/agents?limit=1` (spec/01 §2.3): the path decoded, the
/// query decoded, sorted and encoded again. It is compared and signed, never sent.
///
/// ```
/// use alter_core::wire::sign::canonical_target;
///
/// assert_eq!(canonical_target("/sdk/x?b=2&a=%2F"), "/sdk/x?a=%2F&b=2");
/// ```
#[must_use]
pub fn canonical_target(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut canonical = percent_decode_str(path).decode_utf8_lossy().into_owned();
    if query.is_empty() {
        return canonical;
    }
    let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    pairs.sort();
    canonical.push('?');
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            canonical.push('&');
        }
        form_encode(name, &mut canonical);
        canonical.push('=');
        form_encode(value, &mut canonical);
    }
    canonical
}

fn form_encode(text: &str, out: &mut String) {
    for (at, word) in text.split(' ').enumerate() {
        if at > 0 {
            out.push('+');
        }
        out.extend(utf8_percent_encode(word, FORM));
    }
}

/// The headers beside the four of the signature that it covers, in the order in which they are signed
/// (spec/01 §2.4, lines 6 to 11).
const COVERED: [(HeaderName, &str); 5] = [
    (header::REQUEST_RULE, "request-rule:"),
    (header::CALLER, "caller:"),
    (header::CALLER_TYPE, "caller-type:"),
    (header::ACTOR_ID, "actor-id:"),
    (header::CONTEXT, "actor-context:"),
];

/// The string that is signed, from the headers that are present.
fn string_to_sign(
    method: &Method,
    target: &str,
    stamp: &Stamp,
    body_hash: &str,
    headers: &HeaderMap,
) -> Result<String, SignatureError> {
    let constraints = covered(headers, &header::SCOPE_CONSTRAINTS)?.unwrap_or_default();
    let mut text = format!(
        "{}\n{}\n{}\n{}\n{body_hash}\n{constraints}",
        method.as_str().to_uppercase(),
        canonical_target(target),
        stamp.timestamp,
        stamp.nonce,
    );
    for (name, label) in &COVERED {
        if let Some(value) = covered(headers, name)? {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{label}{value}");
        }
    }
    Ok(text)
}

fn has_actor(headers: &HeaderMap) -> bool {
    COVERED[1..].iter().any(|(name, _)| headers.contains_key(name))
}

/// The value of a covered header. An empty one would be signed like an absent one, so that anybody on the way could add
/// it; no signer sends one.
fn covered<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, SignatureError> {
    match only(headers, name)? {
        Some("") => Err(SignatureError::Malformed(name.clone())),
        value => Ok(value),
    }
}

/// The value of a header that may come once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(SignatureError::Repeated(name.clone()));
    }
    // Obs-text bytes are read as they were sent: a signer that sent them signed them.
    first
        .map(|value| std::str::from_utf8(value.as_bytes()))
        .transpose()
        .map_err(|_| SignatureError::Malformed(name.clone()))
}

/// Signs a request: adds the signature headers to `headers`, in which the caller, context and constraint headers
/// must already stand. `target` is the path and query as they are sent, without the prefix of a mounted vault.
///
/// # Errors
///
/// [`SignatureError`] when a covered header is there twice, is empty or is not text.
pub fn sign(
    key: &SigningKey,
    method: &Method,
    target: &str,
    stamp: &Stamp,
    body: &[u8],
    headers: &mut HeaderMap,
) -> Result<(), SignatureError> {
    let body_hash = content_sha256(body);
    let text = string_to_sign(method, target, stamp, &body_hash, headers)?;
    let signature = hex::encode(hmac::sign(&key.hmac, text.as_bytes()));
    let ascii = |name: HeaderName, text: &str| {
        HeaderValue::from_str(text).map_err(|_| SignatureError::Malformed(name))
    };
    if has_actor(headers) {
        headers.insert(header::SIGNATURE_V2, ascii(header::SIGNATURE_V2, &signature)?);
    }
    headers.insert(header::TIMESTAMP, HeaderValue::from(stamp.timestamp));
    headers.insert(header::NONCE, ascii(header::NONCE, &stamp.nonce)?);
    headers.insert(header::CONTENT_SHA256, ascii(header::CONTENT_SHA256, &body_hash)?);
    headers.insert(header::SIGNATURE, ascii(header::SIGNATURE, &signature)?);
    Ok(())
}

/// The signature headers of a request that arrived, taken apart but not yet believed.
#[derive(Debug, Clone)]
pub struct Signed {
    /// When the request says it was signed, and its single-use number. The receiver checks the window and that the
    /// nonce is new.
    pub stamp: Stamp,
    body_hash: String,
    signature: String,
    second: Option<String>,
}

impl Signed {
    /// Reads the signature headers.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Missing`], [`SignatureError::Repeated`] or [`SignatureError::Malformed`], each with the
    /// header's name.
    pub fn read(headers: &HeaderMap) -> Result<Self, SignatureError> {
        let required = |name: HeaderName| match only(headers, &name)? {
            Some(value) => Ok(value),
            None => Err(SignatureError::Missing(name)),
        };
        let lower_hex = |name: HeaderName, value: &str, len: usize| {
            let fits =
                value.len() == len && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if fits { Ok(value.to_owned()) } else { Err(SignatureError::Malformed(name)) }
        };
        let timestamp = required(header::TIMESTAMP)?;
        // One spelling only: what is signed is the number.
        let digits = (1..=12).contains(&timestamp.len())
            && timestamp.bytes().all(|byte| byte.is_ascii_digit())
            && (timestamp == "0" || !timestamp.starts_with('0'));
        let timestamp =
            timestamp.parse().ok().filter(|_| digits).ok_or(SignatureError::Malformed(header::TIMESTAMP))?;
        let nonce = lower_hex(header::NONCE, required(header::NONCE)?, NONCE_LEN)?;
        let body_hash = lower_hex(header::CONTENT_SHA256, required(header::CONTENT_SHA256)?, 64)?;
        let signature = lower_hex(header::SIGNATURE, required(header::SIGNATURE)?, 64)?;
        let second = only(headers, &header::SIGNATURE_V2)?
            .map(|value| lower_hex(header::SIGNATURE_V2, value, 64))
            .transpose()?;
        Ok(Self { stamp: Stamp { timestamp, nonce }, body_hash, signature, second })
    }

    /// Checks the signature of a request. `target` is the raw path and query as they arrived, after a mount prefix
    /// was cut off. The comparison takes the same time whatever differs.
    ///
    /// # Errors
    ///
    /// [`SignatureError`]; nothing of the request may be believed then.
    pub fn verify(
        &self,
        key: &SigningKey,
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), SignatureError> {
        if content_sha256(body) != self.body_hash {
            return Err(SignatureError::BodyMismatch);
        }
        let text = string_to_sign(method, target, &self.stamp, &self.body_hash, headers)?;
        let expected = hex::encode(hmac::sign(&key.hmac, text.as_bytes()));
        let same = |given: &str| {
            constant_time::verify_slices_are_equal(given.as_bytes(), expected.as_bytes()).is_ok()
        };
        if !same(&self.signature) {
            return Err(SignatureError::Mismatch);
        }
        match (&self.second, has_actor(headers)) {
            (None, false) => Ok(()),
            (Some(second), true) if same(second) => Ok(()),
            (Some(_), true) => Err(SignatureError::Mismatch),
            _ => Err(SignatureError::ActorMismatch),
        }
    }
}

#[cfg(test)]
mod tests;
