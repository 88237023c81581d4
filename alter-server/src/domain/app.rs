//! Apps and their identity provider.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AppId, PageSettings, SignInSettings};

/// Whether an app's keys are honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppStatus {
    /// Calls are served.
    Active,
    /// Every signed call is refused with `key_not_active` until an operator resumes the app.
    Suspended,
}

/// An application as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct App {
    /// Identifier.
    pub id: AppId,
    /// Name for people; unique in the vault, 1 to 100 characters.
    pub name: String,
    /// Whether its keys are honoured.
    pub status: AppStatus,
    /// UTC.
    pub created_at: Timestamp,
}

/// What the serving side may keep of an app, valid for exactly one `generation`.
///
/// A call carries the generation it was prepared with ([`super::Admission::config_generation`]); the store answers
/// [`crate::store::Outcome::Stale`] when it has moved on, and the caller loads again. So a cached value is never acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppConfig {
    /// The app.
    pub app_id: AppId,
    /// Grows by one with every change to the app's configuration (identity provider, providers, limits).
    pub generation: u64,
    /// Where the app's users come from; `None` until an operator sets it, and then no user token is accepted.
    pub idp: Option<IdpConfig>,
    /// Signed calls per minute and key when the key has no limit of its own; `None` is the vault's default.
    pub rate_limit_per_minute: Option<u32>,
    /// Name for people: [`App::name`].
    pub name: String,
    /// How the app appears on the vault's pages.
    pub page: PageSettings,
    /// How users sign in on the vault's pages; `None` until an operator sets it, and then nobody can.
    pub sign_in: Option<SignInSettings>,
}

/// The identity provider whose JWTs name an app's users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdpConfig {
    /// Exact value of the `iss` claim.
    pub issuer: String,
    /// Key set address; `None` means discovery at the issuer (OpenID Connect Discovery 1.0 §4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// Accepted `aud` values; a token must name at least one of them.
    pub audiences: Vec<String>,
    /// Accepted algorithms by their JOSE names (`RS256`, `ES256`, `EdDSA`).
    pub algorithms: Vec<String>,
    /// Clock difference that is forgiven, in seconds.
    pub leeway_seconds: u32,
    /// Which claims say what.
    #[serde(default)]
    pub claims: ClaimMapping,
}

/// Names of the claims that describe a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimMapping {
    /// The claim that identifies the user; normally `sub`.
    pub subject: String,
    /// The claim with the user's e-mail address, if any.
    pub email: Option<String>,
    /// The claim with the user's name, if any.
    pub name: Option<String>,
    /// The claim with the user's groups (an array of strings), if any.
    pub groups: Option<String>,
}

impl Default for ClaimMapping {
    fn default() -> Self {
        Self {
            subject: "sub".to_owned(),
            email: Some("email".to_owned()),
            name: Some("name".to_owned()),
            groups: Some("groups".to_owned()),
        }
    }
}
