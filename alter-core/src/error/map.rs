//! The one mapper from a vault's refusal to an [`Error`]: every endpoint, the same rules (spec/02 §1.3).

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{
    Error,
    kind::{
        Ambiguous, Approval, Auth, Conflict, Connect, ConnectTimeout, Grant, KeyScopes, Kind, Policy,
        Provider, Recovery, Retry, Throttle,
    },
};
use crate::wire::{
    code::Code,
    error::{ErrorBody, NestedFields, ParsedError, clean},
    header,
    limit::{QUOTA_CEILING, THROTTLE_CEILING, retry_after},
};

/// What an answer means. A known code decides wherever it stands; the status decides when there is none.
pub(super) fn vault(status: StatusCode, headers: &HeaderMap, parsed: &ParsedError) -> Error {
    let empty = ErrorBody::default();
    let (body, json) = match parsed {
        ParsedError::Body(body) => (body.as_ref(), true),
        ParsedError::Foreign { json } => (&empty, *json),
    };
    let kind = body.code.as_ref().and_then(|code| by_code(code, status, body)).unwrap_or_else(|| {
        // A page of a proxy in between: its status is all there is.
        by_status(status, !json, body.code.as_ref())
    });
    let text = match body.code {
        // The vault's own text may name an internal address (spec/02 §0, trap 11).
        Some(Code::BlockedDestination) => None,
        _ => body.message.clone(),
    };
    let message = text.unwrap_or_else(|| fallback(&kind, status));
    let retry = retry(&kind, status, body.code.as_ref());
    let ceiling =
        if matches!(kind, Kind::Throttled(Throttle::Quota)) { QUOTA_CEILING } else { THROTTLE_CEILING };
    let wait = body.retry_after.map(Value::from);
    let waits =
        matches!(retry, Retry::AfterBackoff | Retry::AfterWindow) || matches!(kind, Kind::Throttled(_));
    let after = waits.then(|| retry_after(headers, wait.as_ref(), ceiling)).flatten();
    let recovery = recovery(body);
    let mut error =
        Error::new(kind, message).with_status(status).with_retry(retry, after).with_recovery(recovery);
    error.0.code.clone_from(&body.code);
    if body.code != Some(Code::BlockedDestination) {
        error.0.hint.clone_from(&body.hint);
    }
    error.0.request_id = headers.get(header::REQUEST_ID).and_then(|id| id.to_str().ok()).map(clean);
    error
}

/// What is known of the grant. Nested fields count below those at the top (rows 403-b, 403-j), except that
/// `scope_mismatch` has nested ones only and those at the top may be about something else (row 403-g).
fn recovery(body: &ErrorBody) -> Recovery {
    let empty = NestedFields::default();
    let nested = body.details.as_ref().unwrap_or(&empty);
    let nested_first = body.code == Some(Code::ScopeMismatch);
    let choose = |top: &Option<String>, nested: &Option<String>| {
        let (first, second) = if nested_first { (nested, top) } else { (top, nested) };
        first.clone().or_else(|| second.clone())
    };
    Recovery {
        grant_id: choose(&body.grant_id, &nested.grant_id),
        provider_id: choose(&body.provider_id, &nested.provider_id),
        agent_id: choose(&body.agent_id, &nested.agent_id),
        app_user_id: choose(&body.app_user_id, &nested.app_user_id),
    }
}

fn by_code(code: &Code, status: StatusCode, body: &ErrorBody) -> Option<Kind> {
    Some(match code {
        // The same code on 409 is about a key that is to be changed, not about the caller's own.
        Code::KeyRevoked if status == StatusCode::CONFLICT => Kind::Conflict(Conflict::Other),
        Code::InvalidKey
        | Code::KeyRevoked
        | Code::KeyExpired
        | Code::KeyRotatedGraceExpired
        | Code::KeyNotActive
        | Code::AppNotFoundForKey => Kind::Auth(Auth::Key),
        Code::AgentInactive | Code::AgentRevoked | Code::AgentNotFound => Kind::Auth(Auth::Agent),
        Code::CallerAgentUnresolved | Code::CallerAgentMismatch | Code::CallerAgentResolutionError => {
            Kind::Auth(Auth::Caller)
        }
        Code::JwtValidationError => Kind::Auth(Auth::UserToken),
        Code::SignatureRequired
        | Code::InvalidSignature
        | Code::TimestampOutOfWindow
        | Code::NonceReplayed => Kind::Auth(Auth::Refused),
        Code::InsufficientScope => Kind::Policy(Policy::InsufficientScope(Box::new(KeyScopes {
            required: body.required.clone(),
            granted: body.granted.clone(),
            missing: body.missing.clone(),
            any_of: body.required_any_of,
            version_mismatch: body.scope_version_mismatch,
        }))),
        Code::GrantExpired => Kind::Grant(Grant::Expired),
        Code::GrantRevoked => Kind::Grant(Grant::Revoked),
        Code::CredentialRevoked => Kind::Grant(Grant::CredentialRevoked),
        Code::GrantDeleted => Kind::Grant(Grant::Deleted),
        Code::GrantNotFound => Kind::Grant(Grant::NotFound),
        Code::NoDelegatedGrant => Kind::Grant(Grant::NotDelegated),
        Code::AmbiguousGrant => Kind::Grant(Grant::Ambiguous(Box::new(Ambiguous {
            candidates: body.candidates.clone(),
            account_identifiers: body.account_identifiers.clone(),
            app_user_ids: body.app_user_ids.clone(),
            grant_ids: body.grant_ids.clone(),
            account_was_provided: body.account_was_provided,
            truncated: body.candidates_truncated,
        }))),
        Code::RestrictedGrantRequiresProxy
        | Code::DelegatedGrantRequiresProxy
        | Code::HitlGrantRequiresProxy
        | Code::UserLimitsRequireProxy => Kind::Policy(Policy::RequiresProxy),
        Code::GrantNotDelegable => Kind::Policy(Policy::NotDelegable { reason: body.detail_reason.clone() }),
        Code::ScopeMismatch => Kind::Provider(Provider::ScopeReauth { missing: body.missing.clone() }),
        Code::StepUpRequired => {
            Kind::Policy(Policy::StepUpRequired { max_session_age_seconds: body.max_session_age_seconds })
        }
        Code::RedactDischargeFailed => Kind::Policy(Policy::RedactFailed),
        Code::IpNotAllowed
        | Code::UseSelfRevokePath
        | Code::AgentKeyRequired
        | Code::AgentsCannotMint
        | Code::MeRequiresAgentKey
        | Code::AgentCannotMintSubagents => Kind::Policy(Policy::Denied),
        Code::BlockedDestination => Kind::Policy(Policy::BlockedDestination),
        Code::SecretNotFound
        | Code::ManagedOauthScopeApprovalRequired
        | Code::IdpSigninNotConfigured
        | Code::NoEligibleGrants
        | Code::BindingHostsRequired
        | Code::ProviderContractRepairRequired
        | Code::SecretTemplateMismatch => Kind::Connect(Connect::Configuration),
        Code::TokenRefreshInProgress => Kind::Conflict(Conflict::TokenRefresh),
        Code::SiblingLabelConflict => Kind::Conflict(Conflict::LabelTaken { label: body.label.clone() }),
        Code::CredentialIdRequired => Kind::Conflict(Conflict::CredentialIdRequired),
        Code::EndUserCredentialNotAssignable => Kind::Conflict(Conflict::CredentialNotAssignable),
        Code::AgentNameExists
        | Code::AgentConcurrentUpdate
        | Code::LastActiveKey
        | Code::AgentKeyLimitReached
        | Code::IdempotencyKeyBodyMismatch
        | Code::IdempotencyKeyAgentRevoked
        | Code::IdempotencyKeyAgentInactive
        | Code::IdentityProviderInactive
        | Code::IdentityGroupNameAmbiguous => Kind::Conflict(Conflict::Other),
        Code::ApprovalDenied => Kind::Approval(Approval::Denied),
        Code::ApprovalExpired => Kind::Approval(Approval::Expired),
        Code::ApprovalExecutionFailed => Kind::Approval(Approval::ExecutionFailed),
        Code::RateLimitExceeded => Kind::Throttled(Throttle::Rate {
            scope: body.scope.clone(),
            limit: body.limit,
            window_seconds: body.window_seconds,
        }),
        Code::QuotaExceeded => Kind::Throttled(Throttle::Quota),
        // What is wrong with the call as such is read from the code; an unknown code leaves it to the status.
        _ => return None,
    })
}

fn by_status(status: StatusCode, not_json: bool, code: Option<&Code>) -> Kind {
    match (status, code) {
        (StatusCode::UNAUTHORIZED, _) => Kind::Auth(Auth::Refused),
        // A wall in between answers like this, too: to the caller it is a refusal either way (row 403-k).
        (StatusCode::FORBIDDEN, _) => Kind::Policy(Policy::Denied),
        (StatusCode::GONE, _) => Kind::Grant(Grant::Deleted),
        // Our vault says so when there is no such route, a proxy in between says it in HTML: neither is about a grant.
        (StatusCode::NOT_FOUND, Some(Code::NotFound | Code::KeyNotFound)) => Kind::Backend,
        (StatusCode::NOT_FOUND, _) if !not_json => Kind::Grant(Grant::NotFound),
        (StatusCode::CONFLICT, _) => Kind::Conflict(Conflict::Other),
        (StatusCode::TOO_MANY_REQUESTS, _) if not_json => {
            Kind::Throttled(Throttle::Rate { scope: None, limit: None, window_seconds: None })
        }
        (StatusCode::TOO_MANY_REQUESTS, _) => Kind::Throttled(Throttle::Other),
        _ => Kind::Backend,
    }
}

/// What a kind means for a repetition when nothing else is known.
pub(super) fn default_retry(kind: &Kind) -> Retry {
    match kind {
        Kind::Transport(_)
        | Kind::Conflict(Conflict::TokenRefresh)
        | Kind::Connect(Connect::TimedOut { reason: ConnectTimeout::Throttled, .. })
        | Kind::Throttled(Throttle::Rate { .. }) => Retry::AfterBackoff,
        Kind::Throttled(Throttle::Quota) => Retry::AfterWindow,
        Kind::Grant(Grant::Ambiguous(_)) => Retry::Never,
        Kind::Auth(Auth::UserToken)
        | Kind::Grant(_)
        | Kind::Policy(Policy::StepUpRequired { .. })
        | Kind::Connect(Connect::Denied | Connect::TimedOut { .. } | Connect::Flow { .. })
        | Kind::Provider(Provider::ScopeReauth { .. } | Provider::Unauthorized) => Retry::AfterUserAction,
        _ => Retry::Never,
    }
}

fn retry(kind: &Kind, status: StatusCode, code: Option<&Code>) -> Retry {
    match (kind, code) {
        (_, Some(Code::CallerAgentResolutionError)) => Retry::AfterBackoff,
        (Kind::Backend, _)
            if matches!(
                status,
                StatusCode::INTERNAL_SERVER_ERROR
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ) =>
        {
            Retry::AfterBackoff
        }
        _ => default_retry(kind),
    }
}

fn fallback(kind: &Kind, status: StatusCode) -> String {
    let what = match kind {
        Kind::Auth(Auth::UserToken) => "the vault refused the user token",
        Kind::Auth(_) => "the vault refused the caller",
        Kind::Grant(Grant::Deleted) => "the grant was deleted",
        Kind::Grant(Grant::Ambiguous(_)) => "several grants match",
        Kind::Grant(_) => "no usable grant",
        Kind::Policy(Policy::BlockedDestination) => {
            "this URL may not be reached with this credential, or is not a safe address"
        }
        Kind::Policy(_) => "a policy denied the call",
        Kind::Throttled(_) => "too many calls",
        _ => "the vault refused the call",
    };
    format!("{what} (HTTP {})", status.as_u16())
}
