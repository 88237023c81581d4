//! API keys: their two formats, the checksum, minting (spec/01 §1.5).
//!
//! The checksum catches a mistyped key before anything is sent. It authenticates nothing.

use std::fmt;

use aws_lc_rs::{digest, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

use super::sign::SigningKey;

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const RANDOM_LEN: usize = 22;
const CHECKSUM_LEN: usize = 6;
const LEGACY_LEN: usize = 40;

/// What a key is for, as far as its spelling tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `alter_rk_…`: an application's key.
    Runtime,
    /// `alter_ak_…`: an agent's key.
    Agent,
    /// `alter_dk_…`: derived from another key, with fewer scopes.
    Derived,
    /// `alter_pk_…`: publishable.
    Publishable,
    /// `alter_key_…`: no checksum, says nothing of its purpose. Managed agents' keys are spelled like this.
    Legacy,
}

impl KeyKind {
    /// The segment between the first two underscores.
    #[must_use]
    pub fn segment(self) -> &'static str {
        match self {
            Self::Runtime => "rk",
            Self::Agent => "ak",
            Self::Derived => "dk",
            Self::Publishable => "pk",
            Self::Legacy => "key",
        }
    }

    fn scoped(segment: &str) -> Option<Self> {
        [Self::Runtime, Self::Agent, Self::Derived, Self::Publishable]
            .into_iter()
            .find(|kind| kind.segment() == segment)
    }
}

/// Why a text is not an API key. Says nothing of the text itself, which may be half a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFormatError {
    /// Nothing was given.
    #[error("an API key is required")]
    Empty,
    /// Neither of the two formats.
    #[error(
        "not an API key: expected alter_rk_… (or ak, dk, pk) with 22 + 6 characters, or alter_key_ with 40"
    )]
    Malformed,
    /// The format is right, the checksum is not: a character was changed or lost.
    #[error("the API key's checksum does not match: a character was changed or lost on the way")]
    Checksum,
}

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes could be had from the operating system")]
pub struct RandomUnavailable;

/// An API key. `Debug` shows its kind and first characters, never the whole.
///
/// ```
/// use alter_core::wire::key::{ApiKey, KeyKind};
///
/// let key = ApiKey::parse("alter_rk_abcdefghijklmnopqrstuv_iwpykn")?;
/// assert_eq!(key.kind(), KeyKind::Runtime);
/// assert_eq!(key.prefix(), "alter_rk_abcd");
/// assert!(ApiKey::parse("alter_rk_abcdefghijklmnopqrstuv_iwpyka").is_err());
/// # Ok::<(), alter_core::wire::key::KeyFormatError>(())
/// ```
#[derive(Clone)]
pub struct ApiKey {
    text: SecretString,
    kind: KeyKind,
}

impl ApiKey {
    /// Takes a key from its text, which is compared as it is: no trimming, no change of case.
    ///
    /// # Errors
    ///
    /// [`KeyFormatError`] when the text is in neither format or its checksum is wrong.
    pub fn parse(text: impl Into<SecretString>) -> Result<Self, KeyFormatError> {
        let text = text.into();
        let kind = classify(text.expose_secret())?;
        Ok(Self { text, kind })
    }

    /// Makes a new key: 110 random bits for the scoped kinds, 240 for [`KeyKind::Legacy`].
    ///
    /// # Errors
    ///
    /// [`RandomUnavailable`] when the operating system gives no random bytes.
    pub fn mint(kind: KeyKind) -> Result<Self, RandomUnavailable> {
        let mut random = [0_u8; 30];
        rand::fill(&mut random).map_err(|_| RandomUnavailable)?;
        let text = if kind == KeyKind::Legacy {
            format!("alter_key_{}", URL_SAFE_NO_PAD.encode(random))
        } else {
            let body: String =
                random[..RANDOM_LEN].iter().map(|byte| char::from(BASE32[usize::from(byte & 31)])).collect();
            let segment = kind.segment();
            format!("alter_{segment}_{body}_{}", checksum(segment, &body))
        };
        Ok(Self { text: SecretString::from(text), kind })
    }

    /// What the key is for, as far as its spelling tells.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The whole key. Named so that a review sees it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// The first characters, enough to tell keys apart in a list and too few to use: everything up to four
    /// characters after the second underscore.
    #[must_use]
    pub fn prefix(&self) -> &str {
        let visible = "alter__".len() + self.kind.segment().len() + 4;
        self.expose().get(..visible).unwrap_or_default()
    }

    /// SHA-256 of the whole key: what a vault stores to find it again.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        digest_of(self.expose())
    }

    /// The key that signs requests (spec/01 §2.1).
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::derive(self.expose())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}…)", self.prefix())
    }
}

/// Whether `text` is spelled like an API key. Says nothing of whether any vault knows it.
#[must_use]
pub fn is_valid_key(text: &str) -> bool {
    classify(text).is_ok()
}

/// SHA-256 of a key's text, for looking up a key that arrived in a header.
#[must_use]
pub fn digest_of(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    out
}

fn classify(text: &str) -> Result<KeyKind, KeyFormatError> {
    if text.is_empty() {
        return Err(KeyFormatError::Empty);
    }
    let rest = text.strip_prefix("alter_").ok_or(KeyFormatError::Malformed)?;
    if let Some(random) = rest.strip_prefix("key_") {
        let fits = random.len() == LEGACY_LEN
            && random.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        return if fits { Ok(KeyKind::Legacy) } else { Err(KeyFormatError::Malformed) };
    }
    let mut segments = rest.split('_');
    let (Some(segment), Some(random), Some(check), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return Err(KeyFormatError::Malformed);
    };
    let kind = KeyKind::scoped(segment).ok_or(KeyFormatError::Malformed)?;
    let base32 = |part: &str, len| part.len() == len && part.bytes().all(|byte| BASE32.contains(&byte));
    if !base32(random, RANDOM_LEN) || !base32(check, CHECKSUM_LEN) {
        return Err(KeyFormatError::Malformed);
    }
    if checksum(segment, random) == check { Ok(kind) } else { Err(KeyFormatError::Checksum) }
}

fn checksum(segment: &str, random: &str) -> String {
    let crc = crc32fast::hash(format!("{segment}:{random}").as_bytes());
    (0..CHECKSUM_LEN).map(|i| char::from(BASE32[(crc >> (5 * i)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_specification_hold() {
        for (segment, random, check) in [
            ("rk", "abcdefghijklmnopqrstuv", "iwpykn"),
            ("ak", "222222222222222222zzzz", "2fv3tx"),
            ("dk", "aaaaaaaaaaaaaaaaaaaaaa", "dbnaws"),
            ("pk", "mnopqrstuvwxyz23456723", "aglyfa"),
        ] {
            assert_eq!(checksum(segment, random), check);
            assert!(is_valid_key(&format!("alter_{segment}_{random}_{check}")));
        }
        assert!(is_valid_key("alter_key_A1b2C3d4E5f6G7h8I9j0-_K1l2M3n4O5p6Q7r8S9"));
    }

    #[test]
    fn what_is_not_a_key_is_refused_with_the_reason() {
        for (text, why) in [
            ("", KeyFormatError::Empty),
            ("alter_key_short", KeyFormatError::Malformed),
            ("alter_rk_abcdefghijklmnopqrstuv_iwpyka", KeyFormatError::Checksum),
            ("alter_xx_abcdefghijklmnopqrstuv_iwpykn", KeyFormatError::Malformed),
            ("alter_rk_ABCDEFGHIJKLMNOPQRSTUV_iwpykn", KeyFormatError::Malformed),
            (" alter_rk_abcdefghijklmnopqrstuv_iwpykn", KeyFormatError::Malformed),
            ("alter_rk_abcdefghijklmnopqrstuv_iwpykn_", KeyFormatError::Malformed),
            ("alter_rk_abcdefghijklmnopqrstuv", KeyFormatError::Malformed),
        ] {
            assert_eq!(classify(text), Err(why), "{text}");
        }
    }

    #[test]
    fn minted_keys_are_valid_distinct_and_print_only_their_beginning() {
        for kind in
            [KeyKind::Runtime, KeyKind::Agent, KeyKind::Derived, KeyKind::Publishable, KeyKind::Legacy]
        {
            let (one, other) = (ApiKey::mint(kind).unwrap(), ApiKey::mint(kind).unwrap());
            assert_eq!(ApiKey::parse(one.expose()).unwrap().kind(), kind);
            assert_ne!(one.expose(), other.expose());
            assert!(!format!("{one:?}").contains(&one.expose()[18..]));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_one_wrong_character_is_noticed(text in ".{0,80}", at in 9_usize..38, to in 0_usize..32) {
            let _ = classify(&text);
            let mut key = b"alter_rk_abcdefghijklmnopqrstuv_iwpykn".to_vec();
            if key[at] != b'_' && key[at] != BASE32[to] {
                key[at] = BASE32[to];
                proptest::prop_assert!(!is_valid_key(std::str::from_utf8(&key).unwrap()));
            }
        }
    }
}
