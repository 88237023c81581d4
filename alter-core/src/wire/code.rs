//! Error codes and the HTTP status each travels under (spec/02 §1.3).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest code that is kept of an answer, in characters.
const MAX_LEN: usize = 128;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// What went wrong, as the vault names it. Open: a code that this version does not know is kept as
        /// [`Code::Other`].
        ///
        /// ```
        /// use alter_core::wire::code::Code;
        ///
        /// assert_eq!(Code::from("grant_revoked"), Code::GrantRevoked);
        /// assert_eq!(Code::GrantRevoked.status(), Some(403));
        /// assert_eq!(Code::from("invented_later").as_str(), "invented_later");
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
            /// A code that this version does not know, cut to 128 characters.
            Other(Box<str>),
        }

        impl Code {
            /// The code as it is written on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// The HTTP status that our vault sends with this code; `None` for a code it does not know.
            #[must_use]
            pub fn status(&self) -> Option<u16> {
                match self {
                    $(Self::$name => Some($status),)*
                    Self::Other(_) => None,
                }
            }

            /// Every code that this version knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$name,)*];
        }

        impl From<&str> for Code {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$name,)*
                    other => Self::Other(
                        other.chars().filter(|c| !c.is_control()).take(MAX_LEN).collect::<String>().into()
                    ),
                }
            }
        }
    };
}

codes! {
    // 401: who is calling.
    /// No stored key matches.
    InvalidKey = "invalid_key", 401;
    /// The key was revoked. (409 when a revoked key is to be changed.)
    KeyRevoked = "key_revoked", 401;
    /// The key is past its expiry.
    KeyExpired = "key_expired", 401;
    /// The overlap after a rotation is over.
    KeyRotatedGraceExpired = "key_rotated_grace_expired", 401;
    /// The key is in another state than active.
    KeyNotActive = "key_not_active", 401;
    /// The calling agent is paused.
    AgentInactive = "agent_inactive", 401;
    /// The calling agent is revoked.
    AgentRevoked = "agent_revoked", 401;
    /// The user's JWT was refused.
    JwtValidationError = "jwt_validation_error", 401;
    /// A signature header is missing, repeated or malformed. Ours.
    SignatureRequired = "signature_required", 401;
    /// The signature is not that of the request. Ours.
    InvalidSignature = "invalid_signature", 401;
    /// The timestamp is outside the window. Ours.
    TimestampOutOfWindow = "timestamp_out_of_window", 401;
    /// The nonce was used before. Ours.
    NonceReplayed = "nonce_replayed", 401;
    // 403: policy, scope, state of the grant.
    /// The API key lacks a scope.
    InsufficientScope = "insufficient_scope", 403;
    /// The grant's lifetime is over.
    GrantExpired = "grant_expired", 403;
    /// The grant was revoked on purpose.
    GrantRevoked = "grant_revoked", 403;
    /// The link to the provider is broken for good.
    CredentialRevoked = "credential_revoked", 403;
    /// Agent-to-agent delegation was refused.
    GrantNotDelegable = "grant_not_delegable", 403;
    /// The grant lacks scopes that the provider wants.
    ScopeMismatch = "scope_mismatch", 403;
    /// The user's session is older than a rule allows.
    StepUpRequired = "step_up_required", 403;
    /// A body could not be redacted and was therefore refused.
    RedactDischargeFailed = "redact_discharge_failed", 403;
    /// A rule binds callers to networks, and this is none of them.
    IpNotAllowed = "ip_not_allowed", 403;
    /// An agent key on the operator's path.
    UseSelfRevokePath = "use_self_revoke_path", 403;
    /// An application key where an agent's is needed.
    AgentKeyRequired = "agent_key_required", 403;
    /// Agents may not mint grants.
    AgentsCannotMint = "agents_cannot_mint", 403;
    /// `me` with an application key.
    MeRequiresAgentKey = "me_requires_agent_key", 403;
    /// An agent key on a management route.
    AgentCannotMintSubagents = "agent_cannot_mint_subagents", 403;
    // 404 and 410: absent, or hidden.
    /// No such grant, or it is hidden from the caller.
    GrantNotFound = "grant_not_found", 404;
    /// The agent has no way to this provider.
    NoDelegatedGrant = "no_delegated_grant", 404;
    /// The caller header names no active agent of this application.
    CallerAgentUnresolved = "caller_agent_unresolved", 404;
    /// No such agent.
    AgentNotFound = "agent_not_found", 404;
    /// No such managed secret.
    SecretNotFound = "secret_not_found", 404;
    /// No such key of this agent.
    KeyNotFound = "key_not_found", 404;
    /// No such route. Ours.
    NotFound = "not_found", 404;
    /// The grant existed and is gone.
    GrantDeleted = "grant_deleted", 410;
    // 409: state.
    /// Another call is refreshing the token.
    TokenRefreshInProgress = "token_refresh_in_progress", 409;
    /// The identity matches several grants.
    AmbiguousGrant = "ambiguous_grant", 409;
    /// An active sibling grant has this label.
    SiblingLabelConflict = "sibling_label_conflict", 409;
    /// Several developer credentials; one must be named.
    CredentialIdRequired = "credential_id_required", 409;
    /// The named credential is a user's own.
    EndUserCredentialNotAssignable = "end_user_credential_not_assignable", 409;
    /// The provider's scopes wait for approval.
    ManagedOauthScopeApprovalRequired = "managed_oauth_scope_approval_required", 409;
    /// The identity provider's sign-in is not set up.
    IdpSigninNotConfigured = "idp_signin_not_configured", 409;
    /// Nothing can be delegated.
    NoEligibleGrants = "no_eligible_grants", 409;
    /// The provider has no host patterns.
    BindingHostsRequired = "binding_hosts_required", 409;
    /// The provider's credential must be rotated once.
    ProviderContractRepairRequired = "provider_contract_repair_required", 409;
    /// The identity provider is switched off.
    IdentityProviderInactive = "identity_provider_inactive", 409;
    /// Two groups of the identity provider have the same name.
    IdentityGroupNameAmbiguous = "identity_group_name_ambiguous", 409;
    /// The name is held by another agent.
    AgentNameExists = "agent_name_exists", 409;
    /// The agent was changed meanwhile.
    AgentConcurrentUpdate = "agent_concurrent_update", 409;
    /// The agent would be left without a key.
    LastActiveKey = "last_active_key", 409;
    /// Too many active keys.
    AgentKeyLimitReached = "agent_key_limit_reached", 409;
    /// The idempotency key came with another body.
    IdempotencyKeyBodyMismatch = "idempotency_key_body_mismatch", 409;
    /// A replay, but that agent is revoked.
    IdempotencyKeyAgentRevoked = "idempotency_key_agent_revoked", 409;
    /// A replay, but that agent is paused.
    IdempotencyKeyAgentInactive = "idempotency_key_agent_inactive", 409;
    /// The approver said no.
    ApprovalDenied = "approval_denied", 409;
    /// Nobody decided in time.
    ApprovalExpired = "approval_expired", 409;
    /// Approved, but the call failed.
    ApprovalExecutionFailed = "approval_execution_failed", 409;
    // 400: the call must be made in another way.
    /// The asserted caller is not the key's agent.
    CallerAgentMismatch = "caller_agent_mismatch", 400;
    /// The grant has limits that only the proxy can enforce.
    RestrictedGrantRequiresProxy = "restricted_grant_requires_proxy", 400;
    /// The grant is delegated: proxy only.
    DelegatedGrantRequiresProxy = "delegated_grant_requires_proxy", 400;
    /// The grant needs an approval: proxy only.
    HitlGrantRequiresProxy = "hitl_grant_requires_proxy", 400;
    /// The user set limits: proxy only.
    UserLimitsRequireProxy = "user_limits_require_proxy", 400;
    /// A constraint that is not a subset of the key's scopes, or malformed.
    ConstraintNotNarrowing = "constraint_not_narrowing", 400;
    /// An agent is to act for a user, and no user was named.
    AgentRequiresUserToken = "agent_requires_user_token", 400;
    /// An agent's key asked for a delegation to another agent.
    AgentCannotDelegateToOtherAgent = "agent_cannot_delegate_to_other_agent", 400;
    /// A scope outside of what the operator allowed.
    ScopeNotAllowed = "scope_not_allowed", 400;
    /// An origin that is malformed, or that nobody registered for the app.
    InvalidOrigin = "invalid_origin", 400;
    /// A return URL that is malformed, or whose origin nobody registered for the app. Ours.
    InvalidReturnUrl = "invalid_return_url", 400;
    /// The body is not JSON of the documented form. Ours.
    InvalidRequest = "invalid_request", 400;
    // 402: what was paid for.
    /// The app has as many grants as it may have.
    GrantLimitExceeded = "grant_limit_exceeded", 402;
    // 413, 422: the call as such.
    /// The body is larger than the vault takes. Ours.
    BodyTooLarge = "body_too_large", 413;
    /// The URL may not be reached under this provider, or is unsafe.
    BlockedDestination = "blocked_destination", 422;
    /// Provider and template disagree.
    SecretTemplateMismatch = "secret_template_mismatch", 422;
    /// A grant policy that is malformed.
    InvalidGrantPolicy = "invalid_grant_policy", 422;
    /// A scope constraint that is malformed.
    InvalidScopeConstraint = "invalid_scope_constraint", 422;
    /// The audience is not a URI.
    InvalidAudience = "invalid_audience", 422;
    // 429: throttles and quotas.
    /// The vault's own throttle.
    RateLimitExceeded = "rate_limit_exceeded", 429;
    /// A policy's quota window is used up.
    QuotaExceeded = "quota_exceeded", 429;
    // 5xx.
    /// The caller could not be looked up for now.
    CallerAgentResolutionError = "caller_agent_resolution_error", 503;
    /// The key is fine, its application is missing.
    AppNotFoundForKey = "app_not_found_for_key", 500;
    /// The vault cannot serve for now; nothing was released.
    ServiceUnavailable = "service_unavailable", 503;
    /// The vault failed; nothing was released. Ours.
    InternalError = "internal_error", 500;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::from(text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_code_reads_back_and_has_an_error_status() {
        for code in Code::KNOWN {
            assert_eq!(&Code::from(code.as_str()), code);
            assert!((400..600).contains(&code.status().unwrap()));
        }
    }

    #[test]
    fn an_unknown_code_is_kept_cut_and_cleaned() {
        assert_eq!(Code::from("a\u{1b}b").as_str(), "ab");
        assert_eq!(Code::from("x".repeat(1_000).as_str()).as_str().len(), MAX_LEN);
        assert_eq!(Code::from("new").status(), None);
    }
}
