//! What an app's pages look like, where they may lead, and where its users sign in.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AppId, SessionId, SessionRef, TokenDigest, UserId};

/// How an app appears on the vault's pages, and where those may lead back to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PageSettings {
    /// Name for people; the app's own name if not set.
    pub display_name: Option<String>,
    /// A picture as `data:image/png;base64,…` (or jpeg, webp, svg+xml), at most 64 KiB of text.
    pub logo: Option<String>,
    /// Accent colour, `#rrggbb`.
    pub color: Option<String>,
    /// Origins (`https://shop.example`) that results may be sent to and browsers may return to. On loopback the port may be
    /// `*`. Without one, nothing is sent anywhere.
    pub origins: Vec<String>,
}

/// Which of the tokens of a sign-in is the one that the app takes for its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserTokenKind {
    /// The ID token.
    #[default]
    IdToken,
    /// The access token, for identity providers that issue JWTs for an API.
    AccessToken,
}

/// How users sign in on the vault's pages: the vault as a client of the app's identity provider (OpenID Connect Core §3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInSettings {
    /// Client id at the identity provider.
    pub client_id: String,
    /// Authorization endpoint; discovery says it if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// Token endpoint; discovery says it if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// Scopes that are asked for; `openid` is always among them.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Further parameters of the authorization request, such as an `audience`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorize_params: BTreeMap<String, String>,
    /// Which token `authenticate()` hands to the app.
    #[serde(default)]
    pub user_token: UserTokenKind,
}

/// A browser in which somebody signed in to the wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserSession {
    /// Which; its app is the one whose identity provider was asked.
    pub session: SessionRef,
    /// Digest of the cookie's secret half.
    pub secret: TokenDigest,
    /// Who signed in.
    pub user: UserId,
    /// Issuer of the user's tokens.
    pub issuer: String,
    /// Subject of the user's tokens.
    pub subject: String,
    /// UTC.
    pub created_at: Timestamp,
    /// Last use, UTC, to the minute.
    pub seen_at: Timestamp,
    /// The absolute end, UTC.
    pub expires_at: Timestamp,
}

/// A browser session to be kept.
#[derive(Debug, Clone)]
pub struct NewBrowserSession {
    /// The app.
    pub app_id: AppId,
    /// Identifier.
    pub id: SessionId,
    /// Digest of the cookie's secret half.
    pub secret: TokenDigest,
    /// Who signed in; known from then on.
    pub identity: super::Identity,
    /// The absolute end, UTC.
    pub expires_at: Timestamp,
}
