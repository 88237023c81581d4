//! `POST /sdk/oauth/connect/session` and its poll: how a person's access at a provider becomes a grant (spec/03 §1).
//!
//! The request has bounds that hold on both sides: [`ConnectSessionRequest::check`] is called by the client before
//! anything is sent and by the vault before anything is stored. The answers of a poll are in [`ConnectPoll`], which
//! the vault serialises and a client reads with [`ConnectPoll::parse`].

mod answer;
mod check;
mod origin;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::secret::SecretText;

pub(crate) use answer::required_text;
pub use answer::{
    ConnectPoll, ConnectSessionResponse, ConnectedGrant, DeclinedProvider, Delegation, FailedGrant,
    FlowClass, FlowCode, FlowError, GrantPolicySummary, Operation, PollFormatError,
};
pub use check::{ConnectRequestError, normalize_provider};
pub use origin::{check_origin, check_return_url};

/// Path of the creation.
pub const SESSION_PATH: &str = "/sdk/oauth/connect/session";
/// Path of the poll.
pub const POLL_PATH: &str = "/sdk/oauth/connect/session/poll";
/// Path of the page that the person sees; the session's token rides in its fragment as `session=`.
pub const PAGE_PATH: &str = "/sdk/oauth/connect";
/// Where providers send the browser back to, below the vault's public URL. Ours.
pub const CALLBACK_PATH: &str = "/sdk/oauth/callback";
/// The key scope that creation and poll need.
pub const KEY_SCOPE: &str = "connect:initiate";

/// Most providers, and most scopes of one provider, that a session may name. Ours.
pub const MAX_ITEMS: usize = 100;
/// Longest provider id, label, agent name, in characters (spec/03 §1.1; for the first and last ours).
pub const MAX_NAME: usize = 255;
/// Longest scope, in characters.
pub const MAX_SCOPE: usize = 512;
/// Longest time to live of a grant, in seconds: a hundred years of 365 days. Ours.
pub const MAX_TTL_SECONDS: u64 = 100 * 365 * 24 * 3_600;
/// Longest `return_url`, in bytes. Ours.
pub const MAX_URL: usize = 2_048;
/// Characters that are kept of each member of [`ConnectMetadata`]. Ours.
pub const MAX_METADATA: usize = 512;

/// What a session is to bring about. The first four members are always sent, `null` when unset; the others only
/// when set, and in them `null` is refused: whoever sends `null` where a restriction belongs has lost it.
///
/// ```
/// use alter_core::wire::{connect::ConnectSessionRequest, json::to_ascii_vec};
///
/// let request = ConnectSessionRequest {
///     allowed_providers: Some(vec![" Google ".into(), "google".into()]),
///     ..ConnectSessionRequest::default()
/// };
/// request.check()?;
/// assert_eq!(request.providers().unwrap(), ["google"]);
/// assert_eq!(
///     to_ascii_vec(&request).unwrap(),
///     br#"{"allowed_providers":[" Google ","google"],"return_url":null,"allowed_origin":null,"metadata":null}"#
/// );
/// # Ok::<(), alter_core::wire::connect::ConnectRequestError>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct ConnectSessionRequest {
    /// Providers to choose from, as they were written; read them with [`providers`](Self::providers). `None` means
    /// every provider that the app has.
    #[serde(default)]
    pub allowed_providers: Option<Vec<String>>,
    /// Where the browser goes in the end when no window opened the page.
    #[serde(default)]
    pub return_url: Option<String>,
    /// The origin of the window that gets the result by `postMessage`.
    #[serde(default)]
    pub allowed_origin: Option<String>,
    /// Where the person sits, as the application saw it.
    #[serde(default)]
    pub metadata: Option<ConnectMetadata>,
    /// Without confirmation, choice of lifetime, and rules: straight to the provider. Needs exactly one provider.
    #[serde(default, skip_serializing_if = "is_false")]
    pub direct: bool,
    /// The whole dance, even where the person is connected already: another account is to be chosen.
    #[serde(default, skip_serializing_if = "is_false")]
    pub switch_account: bool,
    /// The person may add rules of their own.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub allow_user_policy_rules: bool,
    /// How long the grant may live.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub grant_policy: Option<GrantPolicyInput>,
    /// Scopes by provider. They narrow what the operator configured; others are refused as `scope_not_allowed`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub required_scopes: Option<BTreeMap<String, Vec<String>>>,
    /// Another grant beside those for the same account, with a label.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub requested_grant: Option<RequestedGrant>,
    /// The grant that is to work again, under the same id. Needs exactly one provider; excludes `requested_grant`,
    /// `agent` and `switch_account`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub repair_grant_id: Option<Uuid>,
    /// The agent that is to act with the grant: its id or its name. Needs a user.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The agent may delegate onward: `true` asks the person, `false` says no, absent keeps what is stored.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub delegable: Option<bool>,
    /// The delegation reaches these scopes at most.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub scope_constraint: Option<Vec<String>>,
    /// The JWT of the user whom the grant will belong to. Without it the grant is the application's own.
    #[serde(default, deserialize_with = "SecretText::present", skip_serializing_if = "Option::is_none")]
    pub user_token: Option<SecretText>,
    /// SHA-256 of the cookie value that binds the session to the browser in which the application knows its user,
    /// in hex. Ours: not a member of the published protocol.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub browser_binding: Option<String>,
}

impl Default for ConnectSessionRequest {
    fn default() -> Self {
        Self {
            allowed_providers: None,
            return_url: None,
            allowed_origin: None,
            metadata: None,
            direct: false,
            switch_account: false,
            allow_user_policy_rules: true,
            grant_policy: None,
            required_scopes: None,
            requested_grant: None,
            repair_grant_id: None,
            agent: None,
            delegable: None,
            scope_constraint: None,
            user_token: None,
            browser_binding: None,
        }
    }
}

impl ConnectSessionRequest {
    /// The SHA-256 of [`browser_binding`](Self::browser_binding); `None` when there is none or it is malformed,
    /// which [`check`](Self::check) refuses.
    #[must_use]
    pub fn binding_digest(&self) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        hex::decode_to_slice(self.browser_binding.as_deref()?, &mut digest).ok()?;
        Some(digest)
    }
}

impl fmt::Debug for ConnectSessionRequest {
    // Without what is about the person: metadata, the return URL's query, the binding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectSessionRequest")
            .field("allowed_providers", &self.allowed_providers)
            .field("allowed_origin", &self.allowed_origin)
            .field("direct", &self.direct)
            .field("repair_grant_id", &self.repair_grant_id)
            .field("agent", &self.agent)
            .field("user_token", &self.user_token)
            .finish_non_exhaustive()
    }
}

/// Where the person sits, as the application saw it. For the audit row; never trusted.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectMetadata {
    /// Their address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// Their browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

impl ConnectMetadata {
    /// Cut to [`MAX_METADATA`] characters each and freed of control characters: what a vault stores.
    #[must_use]
    pub fn cut(self) -> Self {
        let cut = |text: Option<String>| {
            text.map(|text| text.chars().filter(|c| !c.is_control()).take(MAX_METADATA).collect())
        };
        Self { ip_address: cut(self.ip_address), user_agent: cut(self.user_agent) }
    }
}

impl fmt::Debug for ConnectMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectMetadata").finish_non_exhaustive()
    }
}

/// How long a grant may live (spec/03 §3.6). On this route there is no `expires_at`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GrantPolicyInput {
    /// Longest time to live that the person can choose, in seconds.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub max_ttl_seconds: Option<u64>,
    /// What is chosen for the person at first, in seconds.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub default_ttl_seconds: Option<u64>,
    /// Members that do not belong here, kept so that [`check`](ConnectSessionRequest::check) can name them.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// A grant beside those that exist for the same account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedGrant {
    /// What tells it from its siblings, 1 to 255 characters.
    pub label: String,
    /// What it is restricted to; such a grant is used through the vault's proxy only.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub restrictions: Option<GrantRestrictions>,
}

/// Calls that a grant is restricted to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRestrictions {
    /// Methods.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub allowed_methods: Option<Vec<String>>,
    /// Endpoints.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub allowed_endpoints: Option<Vec<String>>,
}

/// Asks how far a session is. Signed: the token alone is not enough to poll (spec/03 §1.2).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectPollRequest {
    /// From the session.
    pub session_token: SecretText,
}

/// Reads a member that may be absent but not `null`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if wants a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if wants a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
