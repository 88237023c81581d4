//! The answers: the session that was made, and how far it is (spec/03 §1.1, §1.2).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::MAX_ITEMS;
use crate::wire::{error::clean, limit::whole_number, secret::SecretText};

/// A session that was made. Texts are never empty.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectSessionResponse {
    /// What the session is polled with, and what opens its page.
    pub session_token: SecretText,
    /// The page, with the token in its fragment: whoever has it can take part in the session.
    pub connect_url: SecretText,
    /// Seconds until the session ends. An integer; `600.0` is refused by clients.
    pub expires_in: u64,
    /// The same as an instant, RFC 3339, UTC.
    pub expires_at: String,
    /// Providers for which the scope constraint makes no sense, in words.
    #[serde(default, deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub scope_constraint_warnings: Vec<String>,
    /// Exactly one provider: the page has no picker.
    #[serde(default, deserialize_with = "literal_true")]
    pub single_provider: bool,
    /// The page goes straight to the provider.
    #[serde(default, deserialize_with = "literal_true")]
    pub direct: bool,
}

impl ConnectSessionResponse {
    /// Reads an answer and checks the rules of spec/03 §1.1.
    ///
    /// # Errors
    ///
    /// [`PollFormatError`], which never quotes the answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, PollFormatError> {
        let answer: Self = serde_json::from_slice(bytes).map_err(|_| PollFormatError::Shape)?;
        let empty = [
            ("session_token", answer.session_token.expose()),
            ("connect_url", answer.connect_url.expose()),
            ("expires_at", &answer.expires_at),
        ]
        .into_iter()
        .find_map(|(field, text)| text.is_empty().then_some(field));
        empty.map_or(Ok(answer), |field| Err(PollFormatError::Field(field)))
    }
}

/// How far a session is. An unknown or expired token is [`Expired`](Self::Expired), never a 404: that would read as a
/// missing grant. A terminal answer stays readable until the session's own end.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ConnectPoll {
    /// The person is not done.
    Pending {
        /// Providers that said no; the person may still choose another one.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        declined_providers: Vec<DeclinedProvider>,
    },
    /// Done. A vault never sends it with both lists empty.
    Completed {
        /// What came of it.
        grants: Vec<ConnectedGrant>,
        /// What did not.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        failed_grants: Vec<FailedGrant>,
    },
    /// Over without a grant.
    Error {
        /// Why. Nested here, flat in the poll of a sign-in.
        error: FlowError,
    },
    /// Unknown, or past its end.
    Expired,
}

/// An answer to a poll that cannot be read. Names the member, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PollFormatError {
    /// Not a JSON object with a `status`.
    #[error("the answer is not an object with the documented members")]
    Shape,
    /// A member that is there and wrong, or missing.
    #[error("the answer's {0} is not of the documented form")]
    Field(&'static str),
    /// A status that this version does not know. Terminal (spec/03 §1.2).
    #[error("the answer has the unknown status {0}")]
    UnknownStatus(String),
}

impl ConnectPoll {
    /// Reads an answer by the rules of spec/03 §1.2: one malformed grant or failure refuses the whole; malformed
    /// declines are skipped, and the first one of a provider counts.
    ///
    /// # Errors
    ///
    /// [`PollFormatError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PollFormatError> {
        let mut fields: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|_| PollFormatError::Shape)?;
        match status(&fields)? {
            "pending" => Ok(Self::Pending {
                declined_providers: fields.get("declined_providers").map(declines).unwrap_or_default(),
            }),
            "completed" => {
                let grants: Vec<ConnectedGrant> = list(&mut fields, "grants")?;
                let failed_grants: Vec<FailedGrant> = list(&mut fields, "failed_grants")?;
                let told = |failed: &FailedGrant| {
                    ![&failed.provider_id, &failed.reason, &failed.message].iter().any(|text| text.is_empty())
                };
                if !failed_grants.iter().all(told) {
                    return Err(PollFormatError::Field("failed_grants"));
                }
                Ok(Self::Completed { grants, failed_grants })
            }
            "error" => {
                let nested = fields.get("error").and_then(Value::as_object);
                nested
                    .and_then(FlowError::read)
                    .map(|error| Self::Error { error })
                    .ok_or(PollFormatError::Field("error"))
            }
            "expired" => Ok(Self::Expired),
            other => Err(PollFormatError::UnknownStatus(clean(other))),
        }
    }
}

/// The `status` of an answer to a poll.
fn status(fields: &Map<String, Value>) -> Result<&str, PollFormatError> {
    required_text(fields, "status")
}

/// A text that must be there and not be empty.
pub(crate) fn required_text<'a>(
    fields: &'a Map<String, Value>,
    name: &'static str,
) -> Result<&'a str, PollFormatError> {
    let text = fields.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty()).ok_or(PollFormatError::Field(name))
}

fn list<T: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &'static str,
) -> Result<Vec<T>, PollFormatError> {
    match fields.remove(name) {
        None => Ok(Vec::new()),
        Some(value) => serde_json::from_value(value).map_err(|_| PollFormatError::Field(name)),
    }
}

/// A provider that said no while the session goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeclinedProvider {
    /// The provider.
    pub provider_id: String,
    /// Why, such as `connect_denied`.
    pub error_code: String,
    /// When, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declined_at: Option<String>,
}

fn declines(value: &Value) -> Vec<DeclinedProvider> {
    let mut kept: Vec<DeclinedProvider> = Vec::new();
    for entry in value.as_array().into_iter().flatten() {
        let text = |name| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(clean);
        let (Some(provider_id), Some(error_code)) = (text("provider_id"), text("error_code")) else {
            continue;
        };
        if kept.len() < MAX_ITEMS && kept.iter().all(|seen| seen.provider_id != provider_id) {
            kept.push(DeclinedProvider { provider_id, error_code, declined_at: text("declined_at") });
        }
    }
    kept
}

/// A grant that came of a session. `None` members are not sent.
///
/// `Debug` leaves the account out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedGrant {
    /// The grant.
    pub grant_id: String,
    /// Its provider.
    pub provider_id: String,
    /// What the provider granted.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// A new grant, or one that existed.
    #[serde(default, deserialize_with = "or_default")]
    pub operation: Operation,
    /// The account at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_identifier: Option<String>,
    /// Where the provider's API is for this account: a bare `https://host`.
    #[serde(default, deserialize_with = "bare_host", skip_serializing_if = "Option::is_none")]
    pub api_base_url: Option<String>,
    /// Its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_policy: Option<GrantPolicySummary>,
    /// What became of the delegation, when the session named an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<Delegation>,
}

impl fmt::Debug for ConnectedGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectedGrant")
            .field("grant_id", &self.grant_id)
            .field("provider_id", &self.provider_id)
            .field("scopes", &self.scopes)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

/// What a session did with a grant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// It made it.
    #[default]
    Creation,
    /// It gave one that existed: repaired, or connected all along.
    Reauth,
}

/// Limits of a grant. Instants are RFC 3339, UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantPolicySummary {
    /// End of the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// `developer` or `end_user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When they were set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

/// What became of a delegation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// The agent.
    pub agent_id: Uuid,
    /// It may delegate onward: the stored outcome of the person's choice.
    pub delegable: bool,
    /// The person said yes and the provider's policy said no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_refused: Option<bool>,
}

/// A grant that did not come about. Texts are never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedGrant {
    /// The provider.
    pub provider_id: String,
    /// [`NOT_SELECTED`](Self::NOT_SELECTED), [`ACTIVATION_FAILED`](Self::ACTIVATION_FAILED), or another one, which
    /// counts as "its limits could not be applied".
    pub reason: String,
    /// What happened, in words.
    pub message: String,
}

impl FailedGrant {
    /// The person did not choose it.
    pub const NOT_SELECTED: &'static str = "not_selected";
    /// The provider said yes, and the grant could not be stored.
    pub const ACTIVATION_FAILED: &'static str = "activation_failed";
}

/// Why a session, or a sign-in, is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlowError {
    /// The code, never blank.
    pub error_code: FlowCode,
    /// What happened, in words for the person, never blank.
    pub error_message: String,
    /// Seconds after which a new session may succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl FlowError {
    /// An end with a code and a text.
    #[must_use]
    pub fn new(error_code: FlowCode, error_message: impl Into<String>) -> Self {
        Self { error_code, error_message: error_message.into(), retry_after_seconds: None }
    }

    fn read(fields: &Map<String, Value>) -> Option<Self> {
        let text = |name| fields.get(name)?.as_str().filter(|text| !text.trim().is_empty());
        Some(Self {
            error_code: FlowCode::from(text("error_code")?),
            error_message: clean(text("error_message")?),
            retry_after_seconds: fields.get("retry_after_seconds").and_then(whole_number),
        })
    }
}

macro_rules! flow_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $class:ident;)*) => {
        /// Why a session is over. Open: a code that this version does not know is kept, cut to 128 characters.
        ///
        /// ```
        /// use alter_core::wire::connect::{FlowClass, FlowCode};
        ///
        /// assert_eq!(FlowCode::from("connect_denied").class(), FlowClass::Denied);
        /// assert_eq!(FlowCode::from("invented_later").as_str(), "invented_later");
        /// assert_eq!(FlowCode::from("invented_later").class(), FlowClass::Flow);
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FlowCode {
            $($(#[$doc])* $name,)*
            /// A code that this version does not know.
            Other(Box<str>),
        }

        impl FlowCode {
            /// Every code that this version knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it is written on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// What a caller can do about it (spec/03 §1.2).
            #[must_use]
            pub fn class(&self) -> FlowClass {
                match self {
                    $(Self::$name => FlowClass::$class,)*
                    Self::Other(_) => FlowClass::Flow,
                }
            }
        }

        impl From<&str> for FlowCode {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$name,)*
                    other => Self::Other(
                        other.chars().filter(|c| !c.is_control()).take(128).collect::<String>().into()
                    ),
                }
            }
        }
    };
}

flow_codes! {
    /// The person said no.
    ConnectDenied = "connect_denied", Denied;
    /// The provider's entry in the vault cannot work as it is.
    ConnectConfigError = "connect_config_error", Configuration;
    /// The provider does not know the vault's redirect URI.
    InvalidRedirectUri = "invalid_redirect_uri", Configuration;
    /// The provider does not know the OAuth client, or its secret.
    InvalidClient = "invalid_client", Configuration;
    /// The OAuth client may not do this.
    UnauthorizedClient = "unauthorized_client", Configuration;
    /// The provider's configuration cannot be had.
    ProviderConfigurationUnavailable = "provider_configuration_unavailable", Configuration;
    /// The shared OAuth client for development cannot be had.
    SharedDevCredentialUnavailable = "shared_dev_credential_unavailable", Configuration;
    /// The provider's scopes wait for approval.
    ManagedOauthScopeApprovalRequired = "managed_oauth_scope_approval_required", Configuration;
    /// The vault cannot serve for now.
    ServiceUnavailable = "service_unavailable", Unavailable;
    /// The identity provider is switched off.
    IdentityProviderInactive = "identity_provider_inactive", IdentityProvider;
    /// Two groups of the identity provider have the same name.
    IdentityGroupNameAmbiguous = "identity_group_name_ambiguous", IdentityProvider;
    /// No grant came about, though the person said yes. Made by clients of a `completed` without grants.
    GrantActivationFailed = "grant_activation_failed", Flow;
    /// No grant came about: its limits could not be applied. Made by clients of a `completed` without grants.
    GrantPolicyApplicationFailed = "grant_policy_application_failed", Flow;
}

impl fmt::Display for FlowCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FlowCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for FlowCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::from(text.as_str()))
    }
}

/// What a caller can do about the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowClass {
    /// The person's choice: offer it again.
    Denied,
    /// An operator must change the configuration.
    Configuration,
    /// Come back later (503).
    Unavailable,
    /// An operator must mend the identity provider (409).
    IdentityProvider,
    /// Start a new session.
    Flow,
}

/// A list of texts; anything else is no list, and whatever is no text is dropped.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(texts.map(clean).take(MAX_ITEMS).collect())
}

/// `true`; anything else is false.
fn literal_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Value::deserialize(deserializer)? == Value::Bool(true))
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A bare `https://host` of lower-case DNS labels; anything else is dropped.
fn bare_host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let fits = |text: &&str| {
        text.len() <= 270 && text.strip_prefix("https://").is_some_and(|host| host.split('.').all(label))
    };
    Ok(value.as_str().filter(fits).map(ToOwned::to_owned))
}
