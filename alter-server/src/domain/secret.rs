//! Managed secrets: material that an operator keeps in the vault for an app (an API key, a user and password).

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{AppId, ProviderId, SecretId};

/// What a managed secret consists of.
#[derive(Clone)]
pub struct SecretMaterial {
    /// The main value, injected where the provider's format says `{token}`.
    pub token: SecretString,
    /// Named further values (`additional_credentials`, spec/01 §5.1): at most 10, names `[a-z][a-z0-9_]*` of at most 50 characters.
    pub additional: BTreeMap<String, SecretString>,
}

impl SecretMaterial {
    /// Material of one value.
    #[must_use]
    pub fn token(token: impl Into<SecretString>) -> Self {
        Self { token: token.into(), additional: BTreeMap::new() }
    }

    /// The bytes that are sealed: length-prefixed, the token first.
    #[must_use]
    pub fn to_bytes(&self) -> SecretSlice<u8> {
        let more = self.additional.iter().map(|(name, value)| 16 + name.len() + value.expose_secret().len());
        // The exact size: growing would leave copies behind that nobody wipes.
        let size = 8 + self.token.expose_secret().len() + more.sum::<usize>();
        let mut out = Zeroizing::new(Vec::with_capacity(size));
        let mut put = |text: &str| {
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        put(self.token.expose_secret());
        for (name, value) in &self.additional {
            put(name);
            put(value.expose_secret());
        }
        SecretSlice::from(out.to_vec())
    }

    /// Reads back what [`Self::to_bytes`] wrote; `None` if it was something else.
    #[must_use]
    pub fn from_bytes(bytes: &SecretSlice<u8>) -> Option<Self> {
        let mut rest = bytes.expose_secret();
        let mut texts = Vec::new();
        while !rest.is_empty() {
            let (length, tail) = rest.split_first_chunk::<8>()?;
            let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
            let (text, tail) = tail.split_at_checked(length)?;
            texts.push(std::str::from_utf8(text).ok()?);
            rest = tail;
        }
        let (token, pairs) = texts.split_first()?;
        let (pairs, []) = pairs.as_chunks::<2>() else { return None };
        let additional =
            pairs.iter().map(|[name, value]| ((*name).to_owned(), SecretString::from(*value))).collect();
        Some(Self { token: SecretString::from(*token), additional })
    }
}

impl fmt::Debug for SecretMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretMaterial")
            .field("token", &"[redacted]")
            .field("additional", &self.additional.keys())
            .finish()
    }
}

/// A managed secret as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManagedSecret {
    /// The secret.
    pub id: SecretId,
    /// The app.
    pub app_id: AppId,
    /// The provider that says how and where it is injected. On the wire `managed_secret_slug`.
    pub provider: ProviderId,
    /// Name for people.
    pub name: String,
    /// Version of the material: 1, then one more with each rotation.
    pub generation: u64,
    /// UTC.
    pub created_at: Timestamp,
    /// UTC.
    pub rotated_at: Option<Timestamp>,
}

/// A managed secret to be created.
#[derive(Debug)]
pub struct NewSecret {
    /// Identifier.
    pub id: SecretId,
    /// The app.
    pub app_id: AppId,
    /// A provider of kind managed secret; it has at most one secret.
    pub provider: ProviderId,
    /// Name for people; 1 to 100 characters.
    pub name: String,
    /// The material; the store seals it.
    pub material: SecretMaterial,
}
