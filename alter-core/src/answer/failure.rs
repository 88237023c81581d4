//! What a failed call becomes, where the handler does not say otherwise.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use serde_json::{Value, json};

use super::{Answer, Refusal};

use crate::error::{
    Ambiguous, Approval, Auth, Conflict, Connect, Error, Grant, InvalidInput, Kind, Policy, Provider, Retry,
    Throttle, Transport,
};

/// Pause that is asked for when the other side named none.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

impl From<&Error> for Answer {
    /// The table of spec/05 §A6. The texts are ours: what the vault or the provider said is for the log.
    fn from(error: &Error) -> Self {
        match error.kind() {
            Kind::Auth(auth) => auth_failure(*auth, error),
            Kind::Grant(grant) => grant_failure(grant, error),
            Kind::Policy(policy) => policy_failure(policy),
            Kind::Conflict(Conflict::TokenRefresh) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "refresh_in_progress",
                "the connection is being renewed: try again shortly",
            )
            .retry_after(error.retry_after().unwrap_or(DEFAULT_RETRY)),
            Kind::Throttled(throttle) => throttled(throttle, error),
            Kind::Approval(Approval::Denied) => forbidden("approval_denied", "the approval was denied"),
            Kind::Approval(Approval::Expired) => {
                forbidden("approval_expired", "nobody approved the call in time")
            }
            Kind::Approval(Approval::ExecutionFailed) => {
                bad_gateway("approval_execution_failed", "the call was approved and failed")
            }
            Kind::Provider(Provider::ScopeReauth { missing }) => {
                let answer =
                    forbidden("scope_reauth_required", "the connection lacks permissions: connect it again");
                with_provider(answer, error).with("missing_scopes", json!(missing))
            }
            Kind::Provider(Provider::Unauthorized | Provider::Refused) => provider_failure(error),
            Kind::Transport(Transport::Timeout { .. }) => gateway_timeout(),
            Kind::Transport(Transport::Connect | Transport::Io { .. }) | Kind::Malformed => {
                unreachable_upstream()
            }
            Kind::InvalidInput(InvalidInput::ResponseLimit) => bad_gateway(
                "upstream_too_large",
                "a service that this one depends on gave too large an answer",
            ),
            Kind::Backend => match error.status() {
                Some(StatusCode::GATEWAY_TIMEOUT) => gateway_timeout(),
                Some(status) if status.is_server_error() => unreachable_upstream(),
                _ => Self::internal(),
            },
            Kind::Closed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting_down",
                "the service is shutting down: try again shortly",
            )
            .retry_after(DEFAULT_RETRY),
            Kind::Connect(Connect::Denied) => {
                forbidden("connection_denied", "the connection was refused: connect the account to go on")
            }
            Kind::Connect(Connect::TimedOut { .. } | Connect::Flow { .. }) => forbidden(
                "connection_required",
                "the connection was not completed: connect the account again",
            ),
            // The developer's or the operator's to mend; the caller can do nothing.
            Kind::InvalidInput(_)
            | Kind::Conflict(_)
            | Kind::Connect(Connect::Configuration)
            | Kind::Unsupported { .. } => Self::internal(),
        }
    }
}

impl Answer {
    /// The answer to a failed call, with a log event that says what the answer does not: `error` where the service or
    /// its key is at fault, `warn` where something it depends on is, `debug` for the rest.
    #[must_use]
    pub fn logged(error: &Error) -> Self {
        let answer = Self::from(error);
        let code = error.code().map(crate::wire::code::Code::as_str);
        let (request_id, hint) = (error.request_id(), error.hint());
        let status = answer.status.as_u16();
        match answer.status {
            StatusCode::INTERNAL_SERVER_ERROR => {
                tracing::error!(%error, kind = ?error.kind(), code, request_id, hint, status, "call failed: the service or its key is at fault");
            }
            answered if answered.is_server_error() => {
                tracing::warn!(%error, code, request_id, hint, status, "call failed on the way");
            }
            _ => tracing::debug!(%error, code, request_id, hint, status, "call refused"),
        }
        answer
    }
}

fn auth_failure(auth: Auth, error: &Error) -> Answer {
    match auth {
        Auth::Anonymous => Answer::from(&Refusal::Missing),
        Auth::UserToken => {
            Answer::from(&Refusal::InvalidToken("the token was refused: sign in again".into()))
        }
        Auth::Caller if error.retry() == Retry::AfterBackoff => unreachable_upstream(),
        // Never a 401: it would tell a browser to sign in again, for a fault of ours: a task that was spawned without its
        // scope, a bad key.
        Auth::NoIdentity | Auth::TokenSource | Auth::Key | Auth::Agent | Auth::Caller | Auth::Refused => {
            Answer::internal()
        }
    }
}

fn grant_failure(grant: &Grant, error: &Error) -> Answer {
    match grant {
        Grant::NotFound | Grant::NotDelegated => {
            with_provider(forbidden("connection_required", "connect the account first"), error)
        }
        Grant::Expired | Grant::Revoked | Grant::CredentialRevoked | Grant::Deleted => with_provider(
            forbidden("reauthorization_required", "the connection has ended: connect it again"),
            error,
        ),
        Grant::Ambiguous(ambiguous) => ambiguous_grant(ambiguous, error),
    }
}

fn ambiguous_grant(ambiguous: &Ambiguous, error: &Error) -> Answer {
    let answer = Answer::new(
        StatusCode::CONFLICT,
        "ambiguous_grant",
        "there are several connected accounts: say which one to use",
    );
    let answer = with_provider(answer, error);
    // Accounts of several people are nobody's to choose from.
    if ambiguous.app_user_ids.len() > 1 {
        return answer;
    }
    let accounts: Vec<Value> = if ambiguous.candidates.is_empty() {
        ambiguous.account_identifiers.iter().map(|account| json!({ "account": account })).collect()
    } else {
        let account = |candidate: &crate::wire::error::GrantCandidate| {
            json!({
                "account": candidate.account_identifier,
                "name": candidate.account_display_name,
                "label": candidate.label,
            })
        };
        ambiguous.candidates.iter().map(account).collect()
    };
    answer.with("accounts", accounts)
}

fn policy_failure(policy: &Policy) -> Answer {
    match policy {
        Policy::Denied | Policy::RedactFailed | Policy::NotDelegable { .. } => {
            forbidden("policy_denied", "a policy forbids this call")
        }
        Policy::StepUpRequired { max_session_age_seconds } => step_up(*max_session_age_seconds),
        Policy::InsufficientScope(_) | Policy::RequiresProxy | Policy::BlockedDestination => {
            Answer::internal()
        }
    }
}

/// The challenge of RFC 9470 §3: sign in again, not longer ago than `max_age` seconds.
fn step_up(max_age: Option<u64>) -> Answer {
    let answer = Answer::new(
        StatusCode::UNAUTHORIZED,
        "step_up_required",
        "the sign-in is too long ago for this call: sign in again",
    )
    .challenge(Some("insufficient_user_authentication"));
    let Some(seconds) = max_age else {
        return answer;
    };
    let mut answer = answer.with("max_age", seconds);
    let challenge = format!("Bearer error=\"insufficient_user_authentication\", max_age=\"{seconds}\"");
    if let Ok(value) = HeaderValue::try_from(challenge) {
        answer.headers.insert(WWW_AUTHENTICATE, value);
    }
    answer
}

fn throttled(throttle: &Throttle, error: &Error) -> Answer {
    let answer = |code, message| Answer::new(StatusCode::TOO_MANY_REQUESTS, code, message);
    match throttle {
        Throttle::Rate { scope, limit, window_seconds } => {
            let mut answer = answer("rate_limited", "too many calls: try again later")
                .retry_after(error.retry_after().unwrap_or(DEFAULT_RETRY));
            // A word such as `api_key`; anything longer is the vault's text, which is for the log.
            let word = |scope: &&String| {
                scope.len() <= 32 && scope.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            };
            if let Some(scope) = scope.as_ref().filter(word) {
                answer = answer.with("limit_scope", scope.as_str());
            }
            if let (Some(limit), Some(seconds)) = (limit, window_seconds) {
                answer = answer.with("limit", *limit).with("window_seconds", *seconds);
            }
            answer
        }
        Throttle::Quota => {
            maybe_after(answer("quota_exceeded", "the quota for these calls is used up"), error)
        }
        Throttle::Other => maybe_after(answer("rate_limited", "too many calls"), error),
    }
}

fn provider_failure(error: &Error) -> Answer {
    let mut answer = bad_gateway("provider_error", "the provider refused the call");
    if let Some(status) = error.status() {
        answer = answer.with("provider_status", status.as_u16());
    }
    maybe_after(with_provider(answer, error), error)
}

fn maybe_after(mut answer: Answer, error: &Error) -> Answer {
    if let Some(wait) = error.retry_after() {
        answer = answer.retry_after(wait);
    }
    answer
}

fn with_provider(answer: Answer, error: &Error) -> Answer {
    match error.recovery().and_then(|recovery| recovery.provider_id.as_deref()) {
        Some(provider) => answer.with("provider", provider),
        None => answer,
    }
}

fn forbidden(code: &str, message: &str) -> Answer {
    Answer::new(StatusCode::FORBIDDEN, code, message)
}

fn bad_gateway(code: &str, message: &str) -> Answer {
    Answer::new(StatusCode::BAD_GATEWAY, code, message)
}

fn gateway_timeout() -> Answer {
    Answer::new(
        StatusCode::GATEWAY_TIMEOUT,
        "upstream_timeout",
        "a service that this one depends on did not answer in time",
    )
}

fn unreachable_upstream() -> Answer {
    bad_gateway("upstream_unavailable", "a service that this one depends on could not be reached")
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn from(status: u16, body: &Value) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer::logged(&Error::from_vault(status, &HeaderMap::new(), body.to_string().as_bytes()))
    }

    #[test]
    fn every_row_of_the_table_has_its_status_and_code() {
        for (status, code, answered, body_code) in [
            (401, "jwt_validation_error", 401, "invalid_token"),
            (404, "grant_not_found", 403, "connection_required"),
            (404, "no_delegated_grant", 403, "connection_required"),
            (403, "grant_expired", 403, "reauthorization_required"),
            (403, "grant_revoked", 403, "reauthorization_required"),
            (400, "credential_revoked", 403, "reauthorization_required"),
            (410, "grant_deleted", 403, "reauthorization_required"),
            (403, "scope_mismatch", 403, "scope_reauth_required"),
            (409, "ambiguous_grant", 409, "ambiguous_grant"),
            (403, "ip_not_allowed", 403, "policy_denied"),
            (403, "a_rule_to_come", 403, "policy_denied"),
            (403, "redact_discharge_failed", 403, "policy_denied"),
            (403, "step_up_required", 401, "step_up_required"),
            (409, "token_refresh_in_progress", 503, "refresh_in_progress"),
            (429, "rate_limit_exceeded", 429, "rate_limited"),
            (429, "quota_exceeded", 429, "quota_exceeded"),
            (429, "billing_quota_exceeded", 429, "rate_limited"),
            (400, "hitl_grant_requires_proxy", 500, "internal_error"),
            (422, "blocked_destination", 500, "internal_error"),
            (400, "constraint_not_narrowing", 500, "internal_error"),
            (401, "invalid_key", 500, "internal_error"),
            (401, "key_revoked", 500, "internal_error"),
            (401, "key_expired", 500, "internal_error"),
            (401, "agent_inactive", 500, "internal_error"),
            (401, "invalid_signature", 500, "internal_error"),
            (403, "insufficient_scope", 500, "internal_error"),
            (409, "idp_signin_not_configured", 500, "internal_error"),
            (503, "caller_agent_resolution_error", 502, "upstream_unavailable"),
            (500, "internal_error", 502, "upstream_unavailable"),
            (504, "whatever", 504, "upstream_timeout"),
            (409, "approval_denied", 403, "approval_denied"),
            (409, "approval_execution_failed", 502, "approval_execution_failed"),
        ] {
            let answer = from(status, &json!({"error": code, "message": "CANARY", "hint": "CANARY"}));
            assert_eq!((answer.status.as_u16(), answer.code()), (answered, body_code), "{status} {code}");
            assert!(!format!("{answer:?}").contains("CANARY"), "{code}: what the vault says is for the log");
            assert_eq!(answer.headers.contains_key(WWW_AUTHENTICATE), answered == 401, "{code}");
        }
    }

    #[test]
    fn failures_that_are_local_or_on_the_way_are_told_apart() {
        let kinds = [
            (Kind::Closed, 503, "shutting_down"),
            (Kind::Malformed, 502, "upstream_unavailable"),
            (Kind::Transport(Transport::Connect), 502, "upstream_unavailable"),
            (Kind::Transport(Transport::Timeout { maybe_sent: true }), 504, "upstream_timeout"),
            (Kind::Auth(Auth::Anonymous), 401, "missing_bearer"),
            (Kind::Auth(Auth::NoIdentity), 500, "internal_error"),
            (Kind::Auth(Auth::TokenSource), 500, "internal_error"),
            (Kind::InvalidInput(InvalidInput::Url), 500, "internal_error"),
            (Kind::InvalidInput(InvalidInput::ResponseLimit), 502, "upstream_too_large"),
            (Kind::Provider(Provider::Refused), 502, "provider_error"),
            (Kind::Connect(Connect::Denied), 403, "connection_denied"),
            (Kind::Connect(Connect::Flow { failed: vec![] }), 403, "connection_required"),
            (Kind::Connect(Connect::Configuration), 500, "internal_error"),
            (Kind::Unsupported { feature: "aws_sigv4".into() }, 500, "internal_error"),
        ];
        for (kind, status, code) in kinds {
            let error = Error::new(kind, "CANARY");
            let answer = Answer::logged(&error);
            assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{error:?}");
            assert!(!format!("{answer:?}").contains("CANARY"));
        }
    }

    #[test]
    fn waiting_is_asked_for_where_it_helps() {
        let retry_after = |answer: Answer| {
            answer.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned())
        };
        let asked = |status, code| retry_after(from(status, &json!({"error": code, "retry_after": 7})));
        assert_eq!(asked(409, "token_refresh_in_progress").as_deref(), Some("7"));
        assert_eq!(asked(429, "rate_limit_exceeded").as_deref(), Some("7"));
        assert_eq!(asked(429, "quota_exceeded").as_deref(), Some("7"));
        assert_eq!(asked(403, "grant_revoked"), None);
        let unasked = from(429, &json!({"error": "rate_limit_exceeded"}));
        assert_eq!(retry_after(unasked).as_deref(), Some("1"));
        assert_eq!(
            retry_after(from(409, &json!({"error": "token_refresh_in_progress"}))).as_deref(),
            Some("1")
        );
    }

    #[test]
    fn the_limit_that_binds_is_named_by_a_word_only() {
        let body = |scope: &str| from(429, &json!({"error": "rate_limit_exceeded", "scope": scope})).body;
        assert_eq!(body("api_key")["limit_scope"], "api_key");
        for text in ["key alter_rk_abcd of app 7", "10.1.2.3", &"a".repeat(33)] {
            assert!(!body(text).contains_key("limit_scope"), "{text}");
        }
        let busy = from(429, &json!({"error": "too_many_pending_approvals", "retry_after": 10}));
        assert_eq!(busy.headers["retry-after"], "10");
    }

    #[test]
    fn a_choice_of_accounts_is_offered_but_never_of_several_people() {
        let body = |users: &[&str]| {
            json!({
                "error": "ambiguous_grant", "provider_id": "google", "app_user_ids": users,
                "candidates": [{"grant_id": "g-1", "account_identifier": "a@x", "account_display_name": "A"},
                               {"grant_id": "g-2", "label": "work", "account_identifier": "b@x"}],
            })
        };
        let own = from(409, &body(&["u-1"]));
        assert_eq!(own.body["provider"], "google");
        assert_eq!(
            own.body["accounts"],
            json!([{"account": "a@x", "name": "A", "label": null}, {"account": "b@x", "name": null, "label": "work"}])
        );
        assert!(!from(409, &body(&["u-1", "u-2"])).body.contains_key("accounts"));
        let plain = from(409, &json!({"error": "ambiguous_grant", "account_identifiers": ["a@x"]}));
        assert_eq!(plain.body["accounts"], json!([{"account": "a@x"}]));
    }

    #[test]
    fn a_step_up_says_how_recent_the_sign_in_must_be() {
        let answer = from(403, &json!({"error": "step_up_required", "max_session_age_seconds": 300}));
        assert_eq!(answer.body["max_age"], 300);
        assert_eq!(
            answer.headers[WWW_AUTHENTICATE],
            "Bearer error=\"insufficient_user_authentication\", max_age=\"300\""
        );
    }
}
