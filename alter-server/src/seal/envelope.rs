//! Envelope encryption: AES-256-GCM under a fresh data key, the data key wrapped by the key ring.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use secrecy::{ExposeSecret, SecretSlice};
use zeroize::Zeroizing;

use super::{KeyRing, SealContext};

const FORMAT: u8 = 1;
const DATA_KEY: usize = 32;
const TAG: usize = 16;
const WRAPPED: usize = NONCE_LEN + DATA_KEY + TAG;

/// Why something could not be sealed or opened. Never says anything about the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The bytes are not a sealed value of a format that this version knows.
    #[error("a sealed value is damaged or was written by a newer version")]
    Malformed,
    /// The key-encryption key is not in the ring.
    #[error("the key ring has no key named {0:?}: add the key that this vault was sealed with")]
    UnknownKey(String),
    /// The value does not belong here, was changed, or the key of that name is another one.
    #[error(
        "a sealed value does not open: it was changed, moved, or sealed with another key of the same name"
    )]
    Refused,
    /// The system gave no randomness or the cipher failed.
    #[error("the system's cryptography failed")]
    Crypto,
}

/// A sealed value as it is stored: format version, name of the key-encryption key, wrapped data key, encrypted content.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Takes bytes read from a store. They are looked at only when opened.
    #[must_use]
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The part that re-sealing under another key does not change: nonce, ciphertext and tag of the content.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`].
    pub fn content(&self) -> Result<&[u8], SealError> {
        self.parts().map(|(_, _, content)| content)
    }

    /// Name of the key-encryption key.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`].
    pub fn key_name(&self) -> Result<&str, SealError> {
        self.parts().map(|(name, _, _)| name)
    }

    fn parts(&self) -> Result<(&str, &[u8], &[u8]), SealError> {
        let (&[version, length], rest) = self.0.split_first_chunk::<2>().ok_or(SealError::Malformed)?;
        if version != FORMAT {
            return Err(SealError::Malformed);
        }
        let (name, rest) = rest.split_at_checked(usize::from(length)).ok_or(SealError::Malformed)?;
        let (wrapped, content) = rest.split_at_checked(WRAPPED).ok_or(SealError::Malformed)?;
        if content.len() < NONCE_LEN + TAG {
            return Err(SealError::Malformed);
        }
        let name = std::str::from_utf8(name).map_err(|_| SealError::Malformed)?;
        Ok((name, wrapped, content))
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// A sealed value together with the place it was read from; see [`Envelope::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedField {
    /// Where the value was found. It opens only if it was sealed for this place.
    pub context: SealContext,
    /// The value.
    pub sealed: Sealed,
}

/// Seals and opens. Cheap to clone; clones share the ring, and [`Self::replace_ring`] reaches all of them.
///
/// ```
/// use alter_server::{domain::AppId, seal::{Envelope, Field, KeyRing, SealContext, SealedField}};
/// use secrecy::{ExposeSecret, SecretSlice};
///
/// let envelope = Envelope::new(KeyRing::generate("first")?);
/// let context = SealContext::of(AppId::random(), Field::GrantAccessToken, AppId::random().uuid(), 1);
/// let sealed = envelope.seal(&context, &SecretSlice::from(b"token".to_vec()))?;
/// let opened = envelope.open(&SealedField { context: context.clone(), sealed: sealed.clone() })?;
/// assert_eq!(opened.expose_secret(), b"token");
///
/// let elsewhere = SealContext { generation: 2, ..context };
/// assert!(envelope.open(&SealedField { context: elsewhere, sealed }).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Envelope {
    ring: Arc<ArcSwap<KeyRing>>,
}

impl Envelope {
    /// An envelope over `ring`.
    #[must_use]
    pub fn new(ring: KeyRing) -> Self {
        Self { ring: Arc::new(ArcSwap::from_pointee(ring)) }
    }

    /// Uses another ring from now on. To rotate: add the new key in front, replace the ring on every process, re-seal the
    /// store ([`crate::store::Store::reseal`]), then take the old key out.
    pub fn replace_ring(&self, ring: KeyRing) {
        self.ring.store(Arc::new(ring));
    }

    /// Name of the key that new values are wrapped with.
    #[must_use]
    pub fn writing_key(&self) -> String {
        self.ring.load().writing().0.to_owned()
    }

    /// Encrypts `plain` for `context`.
    ///
    /// # Errors
    ///
    /// [`SealError::Crypto`] when the system gives no randomness.
    pub fn seal(&self, context: &SealContext, plain: &SecretSlice<u8>) -> Result<Sealed, SealError> {
        let mut data_key = Zeroizing::new([0_u8; DATA_KEY]);
        rand::fill(data_key.as_mut_slice()).map_err(|_| SealError::Crypto)?;
        let plain = plain.expose_secret();
        let mut out = self.wrap(&data_key, NONCE_LEN + plain.len() + TAG)?;
        let nonce = fresh_nonce()?;
        out.extend_from_slice(&nonce);
        let start = out.len();
        // Capacity was reserved, so the plain bytes are never left behind by a reallocation.
        out.extend_from_slice(plain);
        let (_, content) = out.split_at_mut(start);
        let tag = key(data_key.as_slice())?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.encode()),
                content,
            )
            .map_err(|_| SealError::Crypto)?;
        out.extend_from_slice(tag.as_ref());
        Ok(Sealed(out))
    }

    /// Decrypts a value that belongs to the place it was found in.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`], [`SealError::UnknownKey`], or [`SealError::Refused`] when it belongs elsewhere or was changed.
    pub fn open(&self, field: &SealedField) -> Result<SecretSlice<u8>, SealError> {
        let (name, wrapped, content) = field.sealed.parts()?;
        let data_key = self.unwrap(name, wrapped)?;
        let (nonce, ciphertext) = content.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Malformed)?;
        let mut plain = Zeroizing::new(ciphertext.to_vec());
        let length = key(data_key.as_slice())?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(field.context.encode()),
                plain.as_mut_slice(),
            )
            .map_err(|_| SealError::Refused)?
            .len();
        Ok(SecretSlice::from(plain[..length].to_vec()))
    }

    /// Wraps the data key with the ring's writing key; the content stays as it is. `None` if it is wrapped with that key
    /// already.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]. The content is not checked.
    pub fn rewrap(&self, sealed: &Sealed) -> Result<Option<Sealed>, SealError> {
        let (name, wrapped, content) = sealed.parts()?;
        if name == self.ring.load().writing().0 {
            return Ok(None);
        }
        let data_key = self.unwrap(name, wrapped)?;
        let mut out = self.wrap(&data_key, content.len())?;
        out.extend_from_slice(content);
        Ok(Some(Sealed(out)))
    }

    fn wrap(&self, data_key: &[u8; DATA_KEY], room: usize) -> Result<Vec<u8>, SealError> {
        let ring = self.ring.load();
        let (name, kek) = ring.writing();
        let length = u8::try_from(name.len()).map_err(|_| SealError::Crypto)?;
        let mut out = Vec::with_capacity(2 + name.len() + WRAPPED + room);
        out.extend_from_slice(&[FORMAT, length]);
        out.extend_from_slice(name.as_bytes());
        let aad = wrap_context(name);
        let nonce = fresh_nonce()?;
        out.extend_from_slice(&nonce);
        let mut wrapped = Zeroizing::new(*data_key);
        let tag = kek
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, wrapped.as_mut_slice())
            .map_err(|_| SealError::Crypto)?;
        out.extend_from_slice(wrapped.as_slice());
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    fn unwrap(&self, name: &str, wrapped: &[u8]) -> Result<Zeroizing<[u8; DATA_KEY]>, SealError> {
        let ring = self.ring.load();
        let kek = ring.find(name).ok_or_else(|| SealError::UnknownKey(name.to_owned()))?;
        let (nonce, rest) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Malformed)?;
        let mut buffer = Zeroizing::new([0_u8; DATA_KEY + TAG]);
        if rest.len() != buffer.len() {
            return Err(SealError::Malformed);
        }
        buffer.copy_from_slice(rest);
        kek.open_in_place(Nonce::assume_unique_for_key(*nonce), wrap_context(name), buffer.as_mut_slice())
            .map_err(|_| SealError::Refused)?;
        let mut data_key = Zeroizing::new([0; DATA_KEY]);
        data_key.copy_from_slice(&buffer[..DATA_KEY]);
        Ok(data_key)
    }
}

/// The wrapping is bound to format and key name. The content's place is bound by the content itself, so that re-wrapping
/// needs to know nothing about the row.
fn wrap_context(name: &str) -> Aad<Vec<u8>> {
    let mut out = b"alter-wrap-v1".to_vec();
    out.push(FORMAT);
    out.extend_from_slice(name.as_bytes());
    Aad::from(out)
}

fn key(bytes: &[u8]) -> Result<LessSafeKey, SealError> {
    UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new).map_err(|_| SealError::Crypto)
}

fn fresh_nonce() -> Result<[u8; NONCE_LEN], SealError> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| SealError::Crypto)?;
    Ok(nonce)
}
