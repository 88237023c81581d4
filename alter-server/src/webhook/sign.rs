//! Signatures as Standard Webhooks and Svix make them: HMAC-SHA256 over `{id}.{timestamp}.{body}`, in base64 behind `v1,`.

use std::fmt;

use aws_lc_rs::{digest as sha, hmac};
use base64::{Engine, alphabet, engine::GeneralPurpose, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::domain::TokenDigest;

/// What a secret begins with where people see it.
const PREFIX: &str = "whsec_";
/// Bytes of a secret (Standard Webhooks: 24 to 64).
const BYTES: usize = 32;
/// Fewer bytes are no secret.
const FEWEST: usize = 16;
/// Some write base64 without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// The secret of one endpoint or one source.
pub(crate) struct SigningSecret(hmac::Key);

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

/// Why a text is no signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is whsec_ and at least 16 bytes in base64")]
pub(crate) struct InvalidSecret;

impl SigningSecret {
    /// Reads `whsec_<base64>`, or the base64 alone.
    pub(crate) fn parse(text: &SecretString) -> Result<Self, InvalidSecret> {
        let text = text.expose_secret().trim();
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = Zeroizing::new(LENIENT.decode(text).map_err(|_| InvalidSecret)?);
        if bytes.len() < FEWEST {
            return Err(InvalidSecret);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A fresh one, as people see it; `None` if the system gave no random bytes.
    pub(crate) fn generate() -> Option<SecretString> {
        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        aws_lc_rs::rand::fill(&mut *bytes).ok()?;
        let text = Zeroizing::new(STANDARD.encode(*bytes));
        Some(SecretString::from(format!("{PREFIX}{}", *text)))
    }

    /// The value of `webhook-signature`. `timestamp` is in seconds since 1970.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(self.tag(id, &timestamp.to_string(), body)))
    }

    /// Whether one of the signatures in `header`, which are separated by spaces, is ours. `timestamp` is the header as it came.
    pub(crate) fn is_signed(&self, id: &str, timestamp: &str, body: &[u8], header: &str) -> bool {
        let tag = self.tag(id, timestamp, body);
        let given = header.split(' ').filter_map(|part| part.strip_prefix("v1,"));
        let mut found = false;
        for signature in given.take(16).filter_map(|part| LENIENT.decode(part).ok()) {
            found |= bool::from(subtle::ConstantTimeEq::ct_eq(tag.as_ref(), signature.as_slice()));
        }
        found
    }

    fn tag(&self, id: &str, timestamp: &str, body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            context.update(part);
        }
        context.sign()
    }
}

/// What a message is remembered by: SHA-256 over what tells it from others, each part preceded by its length.
pub(crate) fn digest(parts: &[&[u8]]) -> TokenDigest {
    let mut context = sha::Context::new(&sha::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    TokenDigest::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Svix's documentation, by which receivers test their own code.
    #[test]
    fn the_published_example_is_signed_alike() {
        let secret = SigningSecret::parse(&"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let (id, signature) =
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(secret.sign(id, 1_614_265_330, body), signature);
        let several = format!("v1,AAAA v2,x {signature}");
        assert!(secret.is_signed(id, "1614265330", body, &several));
        for (id, at, body, signature) in [
            ("msg_other", "1614265330", &body[..], signature),
            (id, "1614265331", body, signature),
            (id, "1614265330", b"{}", signature),
            (id, "1614265330", body, "v1,"),
            (id, "1614265330", body, ""),
            (id, "1614265330", body, &signature[3..]),
        ] {
            assert!(!secret.is_signed(id, at, body, signature), "{id} {at} {signature}");
        }
    }

    #[test]
    fn a_fresh_secret_is_read_back_and_a_short_one_is_none() {
        let (one, other) = (SigningSecret::generate().unwrap(), SigningSecret::generate().unwrap());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert!(one.expose_secret().starts_with("whsec_"));
        assert!(SigningSecret::parse(&one).is_ok());
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_?????????????????????????"] {
            assert!(SigningSecret::parse(&bad.into()).is_err(), "{bad}");
        }
        assert_eq!(format!("{:?}", SigningSecret::parse(&one).unwrap()), "SigningSecret");
    }
}
