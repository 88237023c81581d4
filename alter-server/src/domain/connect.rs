//! Connect sessions: the way from "the app asks" to "the user has granted", as one value.
//!
//! What the app asked for ([`Asked`]) never changes. What happened since ([`Progress`]) is replaced as a whole, and only if
//! nobody else did so meanwhile ([`ConnectSession::version`]): whatever may happen once, such as a state being used up,
//! happens once on every replica.

use std::{collections::BTreeMap, fmt, str::FromStr};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{AppId, GrantId, Identity, KeyId, ProviderId, SessionId, UserId};
use crate::seal::SealedField;

/// SHA-256 of a secret that somebody else holds: a session's token, a browser's cookie, a state. Hex in JSON.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Digest of these bytes.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, secret).as_ref());
        Self(bytes)
    }

    /// A digest read back from a store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this is the digest of `secret`; takes the same time for every answer.
    #[must_use]
    pub fn is_of(&self, secret: &[u8]) -> bool {
        *self == Self::of(secret)
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenDigest {}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

/// The text was not 64 hex characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hex characters (SHA-256)")]
pub struct InvalidDigest;

impl FromStr for TokenDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let mut bytes = [0; 32];
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(InvalidDigest);
        }
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidDigest)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for TokenDigest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<TokenDigest> for String {
    fn from(digest: TokenDigest) -> Self {
        hex::encode(digest.0)
    }
}

/// Which session: of which app. As text, 43 characters of base64url; no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionRef {
    /// The app.
    pub app_id: AppId,
    /// The session.
    pub id: SessionId,
}

/// The text names no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this names no session")]
pub struct InvalidSessionRef;

impl SessionRef {
    pub(crate) fn bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(self.app_id.bytes());
        bytes[16..].copy_from_slice(self.id.bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (app_id, id) = (bytes.get(..16)?, bytes.get(16..32)?);
        Some(Self {
            app_id: AppId::from_uuid(uuid::Uuid::from_slice(app_id).ok()?),
            id: SessionId::from_uuid(uuid::Uuid::from_slice(id).ok()?),
        })
    }

    /// A text that names this session and carries 32 secret bytes: a session's token, a cookie, a state.
    #[must_use]
    pub fn with_secret(self, secret: &[u8; 32]) -> SecretString {
        SecretString::from(URL_SAFE_NO_PAD.encode([self.bytes(), *secret].concat()))
    }

    /// Takes such a text apart; the secret half is not checked by this.
    #[must_use]
    pub fn split(text: &str) -> Option<(Self, secrecy::SecretSlice<u8>)> {
        // 64 bytes: what is longer or shorter is none of ours, and is not decoded.
        if text.len() != 86 {
            return None;
        }
        let bytes = secrecy::SecretSlice::from(URL_SAFE_NO_PAD.decode(text).ok()?);
        let session = Self::from_bytes(bytes.expose_secret().get(..32)?)?;
        let secret = bytes.expose_secret().get(32..)?.to_vec();
        Some((session, secrecy::SecretSlice::from(secret)))
    }
}

impl fmt::Display for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.bytes()))
    }
}

impl FromStr for SessionRef {
    type Err = InvalidSessionRef;

    fn from_str(text: &str) -> Result<Self, InvalidSessionRef> {
        if text.len() != 43 {
            return Err(InvalidSessionRef);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidSessionRef)?;
        Self::from_bytes(&bytes).ok_or(InvalidSessionRef)
    }
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// Connecting accounts (spec/03 §1).
    Connect,
    /// Signing a user in for a program without a browser (spec/03 §2.2).
    SignIn,
}

/// A session as it is kept.
#[derive(Debug, Clone)]
pub struct ConnectSession {
    /// Which.
    pub session: SessionRef,
    /// What for.
    pub kind: SessionKind,
    /// Digest of its token's secret half.
    pub token: TokenDigest,
    /// One more with each change.
    pub version: u64,
    /// UTC.
    pub created_at: Timestamp,
    /// After this nothing more happens in it; it is kept a while longer to say so. UTC.
    pub expires_at: Timestamp,
    /// What the app asked for.
    pub asked: Asked,
    /// What happened since.
    pub progress: Progress,
    /// The user's token that a sign-in ended with.
    pub user_token: Option<SealedField>,
}

/// What the app asked for (spec/03 §1.1), checked and normalised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The key that created the session.
    pub key_id: Option<KeyId>,
    /// For whom, if a user's token came along; else the grants will be the app's own.
    pub user: Option<SessionUser>,
    /// Which providers may be chosen; empty is all of the app's.
    pub providers: Vec<ProviderId>,
    /// Where the browser goes at the end.
    pub return_url: Option<String>,
    /// To whom the page's opener is told the result.
    pub allowed_origin: Option<String>,
    /// Skip consent and choice of lifetime.
    pub direct: bool,
    /// Do not offer accounts that are connected already.
    pub switch_account: bool,
    /// Scopes that are needed, by provider; else the provider's own.
    pub required_scopes: BTreeMap<ProviderId, Vec<String>>,
    /// Label of the grant that will be made.
    pub label: Option<String>,
    /// The longest lifetime that the user may choose, in seconds.
    pub max_ttl_seconds: Option<u64>,
    /// The lifetime that is proposed, in seconds.
    pub default_ttl_seconds: Option<u64>,
    /// Give this grant a new credential.
    pub repair: Option<GrantId>,
    /// Digest of a cookie that the app has set in its user's browser.
    pub browser_binding: Option<TokenDigest>,
    /// Address of the user's device, in the app's words.
    pub client_ip: Option<String>,
    /// The user's browser, in the app's words.
    pub client_user_agent: Option<String>,
}

/// The user that a session is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionUser {
    /// The user.
    pub id: UserId,
    /// Issuer of the user's tokens.
    pub issuer: String,
    /// Subject of the user's tokens.
    pub subject: String,
    /// The user's name or e-mail address, for pages.
    pub name: Option<String>,
}

impl SessionUser {
    /// Whether this is the same person.
    #[must_use]
    pub fn is(&self, identity: &Identity) -> bool {
        self.issuer == identity.issuer && self.subject == identity.subject
    }
}

/// What happened in a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Digest of the cookie of the one browser that works on it.
    pub browser: Option<TokenDigest>,
    /// How that browser proved to be the user's.
    pub proof: Option<Proof>,
    /// An authorization that is under way.
    pub leaving: Option<Leaving>,
    /// Grants that were made or renewed.
    pub grants: Vec<ConnectedGrant>,
    /// What could not be done.
    pub failed: Vec<FailedGrant>,
    /// Providers that the user declined; another may still be chosen.
    pub declined: Vec<DeclinedProvider>,
    /// How it ended.
    pub end: Option<SessionEnd>,
}

/// How a browser proved to be the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The user signed in at the app's identity provider.
    SignedIn,
    /// The browser has the cookie that the app set.
    HostBinding,
}

/// An authorization that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// At which provider.
    pub provider: ProviderId,
    /// Digest of the state's secret half.
    pub state: TokenDigest,
    /// Scopes that were asked for.
    pub scopes: Vec<String>,
    /// Lifetime that the user chose, in seconds.
    pub ttl_seconds: Option<u64>,
    /// The provider was opened in a window of its own.
    pub own_window: bool,
    /// UTC.
    pub at: Timestamp,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A new grant.
    Creation,
    /// An existing grant, with a new credential or the one it had.
    Reauth,
}

/// A grant that a session made or renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedGrant {
    /// The grant.
    pub grant_id: GrantId,
    /// Its provider.
    pub provider: ProviderId,
    /// What became of it.
    pub operation: Operation,
    /// Scopes that the provider granted.
    pub scopes: Vec<String>,
    /// The account.
    pub account_identifier: Option<String>,
    /// End of the grant's lifetime, UTC.
    pub grant_expires_at: Option<Timestamp>,
    /// UTC.
    pub at: Timestamp,
}

/// A connection that could not be made although the provider agreed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedGrant {
    /// The provider.
    pub provider: ProviderId,
    /// Wire reason, such as `activation_failed`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// The user said no at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclinedProvider {
    /// The provider.
    pub provider: ProviderId,
    /// Wire code.
    pub error_code: String,
    /// UTC.
    pub at: Timestamp,
}

/// How a session ended. Expiry is a matter of time and not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum SessionEnd {
    /// With at least one grant, or with the user signed in.
    Completed,
    /// Without.
    Error {
        /// Wire code (spec/03 §1.2).
        code: String,
        /// For people.
        message: String,
    },
}

impl ConnectSession {
    /// Whether anything more can happen at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.progress.end.is_none() && now < self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_and_found_again_by_text() {
        let session = SessionRef { app_id: AppId::random(), id: SessionId::random() };
        assert_eq!(session.to_string().parse(), Ok(session));
        let token = session.with_secret(&[7; 32]);
        let (found, secret) = SessionRef::split(token.expose_secret()).unwrap();
        assert_eq!((found, secret.expose_secret()), (session, &[7_u8; 32][..]));
    }

    #[test]
    fn other_texts_name_no_session() {
        for text in ["", "x", &"A".repeat(42), &"A".repeat(44), &"!".repeat(43)] {
            assert!(text.parse::<SessionRef>().is_err(), "{text}");
        }
        for text in [String::new(), "A".repeat(85), "A".repeat(87), "?".repeat(86)] {
            assert!(SessionRef::split(&text).is_none(), "{text}");
        }
    }
}
