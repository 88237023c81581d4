//! `POST /sdk/grants/list` and `POST /sdk/oauth/grants/{id}/revoke` (spec/03 §3.1, §3.2).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::secret::SecretText;

/// Path of the list.
pub const LIST_PATH: &str = "/sdk/grants/list";
/// Largest page.
pub const MAX_LIMIT: u32 = 1_000;

/// Path of the revocation of a grant.
#[must_use]
pub fn revoke_path(grant_id: &uuid::Uuid) -> String {
    format!("/sdk/oauth/grants/{grant_id}/revoke")
}

/// Which grants to list. All filters must match. Members are sent in this order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListRequest {
    /// Page size, 1 to 1,000.
    #[serde(default = "default_limit")]
    pub limit: u32,
    /// Grants to skip.
    #[serde(default)]
    pub offset: u32,
    /// An OAuth provider's id or a managed secret's slug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// `active`, `expired`, `revoked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The account at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The label among siblings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The JWT of the user whose grants are listed.
    #[serde(default, deserialize_with = "SecretText::present", skip_serializing_if = "Option::is_none")]
    pub user_token: Option<SecretText>,
}

impl Default for ListRequest {
    fn default() -> Self {
        Self {
            limit: default_limit(),
            offset: 0,
            provider_id: None,
            status: None,
            account: None,
            label: None,
            user_token: None,
        }
    }
}

fn default_limit() -> u32 {
    100
}

/// One page of grants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListResponse {
    /// The grants, newest first.
    pub grants: Vec<Grant>,
    /// How many match in all.
    pub total: u64,
    /// The page size that was used.
    pub limit: u32,
    /// The offset that was used.
    pub offset: u32,
    /// There are more after this page.
    pub has_more: bool,
}

/// A grant as it is listed; `grant_kind` tells which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "grant_kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Grant {
    /// A connection: a user's OAuth grant at a provider.
    Oauth(OauthGrant),
    /// A grant on a managed secret.
    ManagedSecret(ManagedSecretGrant),
}

/// Whom a grant belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PrincipalType {
    /// A user of the app's identity provider.
    User,
    /// A group of the app's identity provider.
    Group,
    /// The application itself: nobody in the loop.
    System,
    /// A managed agent.
    Agent,
}

/// How the caller comes by a grant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccessVia {
    /// It is the caller's own.
    #[default]
    Ownership,
    /// It was delegated at consent.
    OauthDelegation,
    /// A managed secret was delegated.
    MsDelegation,
}

/// A user's OAuth grant at a provider. Instants are RFC 3339, UTC. Members that are `None` are not sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OauthGrant {
    /// The grant's id.
    pub grant_id: String,
    /// The provider's id.
    pub provider_id: String,
    /// Scopes at the provider.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The account at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_identifier: Option<String>,
    /// The account in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_display_name: Option<String>,
    /// `active`, `expired` or `revoked`.
    pub status: String,
    /// The provider wants scopes that the grant lacks.
    #[serde(default)]
    pub scope_mismatch: bool,
    /// The credential no longer works, whatever the status says.
    #[serde(default)]
    pub needs_reconnect: bool,
    /// End of the access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// End of the grant itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_expires_at: Option<String>,
    /// When the grant was made.
    pub created_at: String,
    /// When it was last released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// `user`, `system` or `agent`.
    pub principal_type: PrincipalType,
    /// The label among siblings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Agents that the grant was delegated to.
    #[serde(default)]
    pub delegated_agent_ids: Vec<String>,
    /// How the caller comes by the grant.
    #[serde(default)]
    pub access_via: AccessVia,
    /// The grant that this one hangs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_grant_id: Option<String>,
    /// Distance from the root grant.
    #[serde(default)]
    pub depth: u32,
    /// May be delegated onward.
    #[serde(default)]
    pub delegable: bool,
    /// Limits of the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_policy: Option<Map<String, Value>>,
}

/// A grant on a managed secret. Instants are RFC 3339, UTC. Members that are `None` are not sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManagedSecretGrant {
    /// The grant's id.
    pub grant_id: String,
    /// The managed secret's id.
    pub managed_secret_id: String,
    /// Its slug, by which requests address it.
    pub managed_secret_slug: String,
    /// Its name in words.
    pub managed_secret_name: String,
    /// The agent, for an agent's grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The label among siblings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `active`, `expired` or `revoked`.
    pub status: String,
    /// When the grant was made.
    pub created_at: String,
    /// When it was last released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// End of the grant itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_expires_at: Option<String>,
    /// Whom the grant belongs to.
    pub principal_type: PrincipalType,
    /// How the caller comes by the grant.
    #[serde(default)]
    pub access_via: AccessVia,
    /// The grant that this one hangs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_grant_id: Option<String>,
    /// Distance from the root grant.
    #[serde(default)]
    pub depth: u32,
    /// May be delegated onward.
    #[serde(default)]
    pub delegable: bool,
    /// Limits of the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_policy: Option<Map<String, Value>>,
}

impl Grant {
    /// The grant's id.
    #[must_use]
    pub fn grant_id(&self) -> &str {
        match self {
            Self::Oauth(grant) => &grant.grant_id,
            Self::ManagedSecret(grant) => &grant.grant_id,
        }
    }

    /// What a request's `.provider(…)` must name: the provider's id or the managed secret's slug.
    #[must_use]
    pub fn provider(&self) -> &str {
        match self {
            Self::Oauth(grant) => &grant.provider_id,
            Self::ManagedSecret(grant) => &grant.managed_secret_slug,
        }
    }

    /// `active`, `expired` or `revoked`.
    #[must_use]
    pub fn status(&self) -> &str {
        match self {
            Self::Oauth(grant) => &grant.status,
            Self::ManagedSecret(grant) => &grant.status,
        }
    }
}

/// The revocation of a grant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RevokeRequest {
    /// Why, for the audit row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When given, only this user's grants may be revoked.
    #[serde(default, deserialize_with = "SecretText::present", skip_serializing_if = "Option::is_none")]
    pub user_token: Option<SecretText>,
}

/// The receipt of a revocation. Texts are never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeResponse {
    /// Whether the grant is revoked now.
    pub success: bool,
    /// What happened, in words.
    pub message: String,
    /// The grant's id.
    pub grant_id: String,
    /// When, RFC 3339, UTC.
    pub revoked_at: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_members_are_left_out_and_the_kind_is_there() {
        let grant = Grant::Oauth(OauthGrant {
            grant_id: "g".into(),
            provider_id: "google".into(),
            scopes: vec![],
            account_identifier: None,
            account_display_name: None,
            status: "active".into(),
            scope_mismatch: false,
            needs_reconnect: false,
            expires_at: None,
            grant_expires_at: None,
            created_at: "2026-01-01T00:00:00Z".into(),
            last_used_at: None,
            principal_type: PrincipalType::User,
            label: None,
            delegated_agent_ids: vec![],
            access_via: AccessVia::Ownership,
            parent_grant_id: None,
            depth: 0,
            delegable: false,
            grant_policy: None,
        });
        let spelled = serde_json::to_value(&grant).unwrap();
        assert_eq!(spelled["grant_kind"], "oauth");
        assert_eq!(spelled["access_via"], "ownership");
        assert!(!spelled.as_object().unwrap().values().any(Value::is_null));
        assert_eq!(serde_json::from_value::<Grant>(spelled).unwrap(), grant);
    }

    #[test]
    fn the_list_request_is_spelled_in_wire_order() {
        let request = ListRequest { provider_id: Some("google".into()), ..ListRequest::default() };
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"limit":100,"offset":0,"provider_id":"google"}"#
        );
        let empty: ListRequest = serde_json::from_value(json!({})).unwrap();
        assert_eq!((empty.limit, empty.offset), (100, 0));
    }
}
