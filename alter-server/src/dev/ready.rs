//! What development mode has set up, as the line that `alter-server dev --json` prints.

use alter_core::wire::key::ApiKey;
use secrecy::SecretString;
use serde::Serialize;

use crate::domain::{AppId, GrantId, ProviderId, SecretId};

/// What was set up. Serialises to the line that `alter-server dev --json` prints; its names are a contract that may grow
/// and never changes.
#[derive(Debug, Serialize)]
pub struct Ready {
    /// Base URL of the vault.
    pub base_url: String,
    /// The app and its key.
    pub app: ReadyApp,
    /// The agent and its key.
    pub agent: ReadyAgent,
    /// Where users come from.
    pub idp: ReadyIdp,
    /// The OAuth provider.
    pub provider: ReadyProvider,
    /// What people connect accounts with.
    pub connect: ReadyConnect,
    /// Where people see what they connected, and take it back.
    pub wallet_url: String,
    /// The users with their grants.
    pub users: Vec<ReadyUser>,
    /// The managed secret.
    pub managed_secret: ReadySecret,
}

/// The app.
#[derive(Debug, Serialize)]
pub struct ReadyApp {
    /// Its id.
    pub id: AppId,
    /// Its key.
    #[serde(serialize_with = "exposed")]
    pub key: ApiKey,
}

/// The agent.
#[derive(Debug, Serialize)]
pub struct ReadyAgent {
    /// Its id.
    pub id: crate::domain::AgentId,
    /// Its name.
    pub name: String,
    /// Its key.
    #[serde(serialize_with = "exposed")]
    pub key: ApiKey,
}

/// The identity provider.
#[derive(Debug, Serialize)]
pub struct ReadyIdp {
    /// `iss` of its tokens.
    pub issuer: String,
    /// `aud` of its tokens.
    pub audience: String,
    /// `GET` it with `?sub=&ttl=` for a token of anybody.
    pub mint_url: String,
}

/// The OAuth provider.
#[derive(Debug, Serialize)]
pub struct ReadyProvider {
    /// Its id in the vault.
    pub id: ProviderId,
    /// Its API.
    pub api_url: String,
    /// Counts and faults.
    pub control_url: String,
}

/// What people connect accounts with.
#[derive(Debug, Serialize)]
pub struct ReadyConnect {
    /// What the browser widget is given as `baseURL`; empty when the vault is on no socket.
    pub base_url: String,
    /// Providers whose accounts can be connected.
    pub providers: Vec<ProviderId>,
    /// Origins that results are told to, and that browsers may return to.
    pub origins: Vec<String>,
}

/// A user.
#[derive(Debug, Serialize)]
pub struct ReadyUser {
    /// `sub` of the user's tokens.
    pub sub: String,
    /// A token of the user, good for a day.
    #[serde(serialize_with = "exposed_token")]
    pub token: SecretString,
    /// The user's grants.
    pub grants: Vec<ReadyGrant>,
}

/// A grant.
#[derive(Debug, Clone, Serialize)]
pub struct ReadyGrant {
    /// Its id.
    pub grant_id: GrantId,
    /// Its provider.
    pub provider: ProviderId,
    /// The account.
    pub account: String,
}

/// The managed secret.
#[derive(Debug, Serialize)]
pub struct ReadySecret {
    /// Its id.
    pub id: SecretId,
    /// By which requests address it.
    pub slug: ProviderId,
    /// The app's own grant.
    pub grant_id: GrantId,
    /// The agent's grant.
    pub agent_grant_id: GrantId,
}

fn exposed<S: serde::Serializer>(key: &ApiKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.expose())
}

fn exposed_token<S: serde::Serializer>(token: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    use secrecy::ExposeSecret;

    serializer.serialize_str(token.expose_secret())
}
