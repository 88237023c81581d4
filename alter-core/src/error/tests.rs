use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::*;

fn from(status: u16, body: &Value) -> Error {
    Error::from_vault(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.to_string().as_bytes())
}

#[test]
fn every_row_of_the_table_has_its_kind_and_retry() {
    use Retry::{AfterBackoff, AfterUserAction, AfterWindow, Never};
    let key = || Kind::Auth(Auth::Key);
    let proxy = || Kind::Policy(Policy::RequiresProxy);
    let config = || Kind::Connect(Connect::Configuration);
    let rows: Vec<(&str, u16, &str, Kind, Retry)> = vec![
        ("401-a", 401, "invalid_key", key(), Never),
        ("401-b", 401, "key_revoked", key(), Never),
        ("401-c", 401, "key_expired", key(), Never),
        ("401-c on G", 404, "key_expired", key(), Never),
        ("401-d", 401, "key_rotated_grace_expired", key(), Never),
        ("401-e", 401, "key_not_active", key(), Never),
        ("401-f", 401, "agent_inactive", Kind::Auth(Auth::Agent), Never),
        ("401-g", 401, "agent_revoked", Kind::Auth(Auth::Agent), Never),
        ("401-h", 401, "jwt_validation_error", Kind::Auth(Auth::UserToken), AfterUserAction),
        ("401-i", 401, "invalid_signature", Kind::Auth(Auth::Refused), Never),
        ("401-i", 401, "whatever", Kind::Auth(Auth::Refused), Never),
        ("403-b", 403, "grant_expired", Kind::Grant(Grant::Expired), AfterUserAction),
        ("403-c", 403, "grant_revoked", Kind::Grant(Grant::Revoked), AfterUserAction),
        ("403-d", 403, "credential_revoked", Kind::Grant(Grant::CredentialRevoked), AfterUserAction),
        ("403-e", 403, "restricted_grant_requires_proxy", proxy(), Never),
        ("403-f", 403, "grant_not_delegable", Kind::Policy(Policy::NotDelegable { reason: None }), Never),
        (
            "403-g",
            403,
            "scope_mismatch",
            Kind::Provider(Provider::ScopeReauth { missing: vec![] }),
            AfterUserAction,
        ),
        (
            "403-h",
            403,
            "step_up_required",
            Kind::Policy(Policy::StepUpRequired { max_session_age_seconds: None }),
            AfterUserAction,
        ),
        ("403-i", 403, "redact_discharge_failed", Kind::Policy(Policy::RedactFailed), Never),
        ("403-j", 403, "ip_not_allowed", Kind::Policy(Policy::Denied), Never),
        ("403-j", 403, "a_rule_to_come", Kind::Policy(Policy::Denied), Never),
        ("403-l", 403, "me_requires_agent_key", Kind::Policy(Policy::Denied), Never),
        ("403-m", 403, "agent_cannot_mint_subagents", Kind::Policy(Policy::Denied), Never),
        ("404-a", 404, "no_delegated_grant", Kind::Grant(Grant::NotDelegated), AfterUserAction),
        ("404-a", 409, "no_delegated_grant", Kind::Grant(Grant::NotDelegated), AfterUserAction),
        ("404-b", 404, "caller_agent_unresolved", Kind::Auth(Auth::Caller), Never),
        ("404-c", 404, "agent_not_found", Kind::Auth(Auth::Agent), Never),
        ("404-d", 404, "secret_not_found", config(), Never),
        ("404-e", 404, "grant_not_found", Kind::Grant(Grant::NotFound), AfterUserAction),
        ("404-e", 404, "provider_spec_not_found", Kind::Grant(Grant::NotFound), AfterUserAction),
        ("404-g", 404, "key_not_found", Kind::Backend, Never),
        ("409-a", 409, "managed_oauth_scope_approval_required", config(), Never),
        ("409-b", 409, "idp_signin_not_configured", config(), Never),
        ("409-c", 409, "no_eligible_grants", config(), Never),
        ("409-d", 409, "binding_hosts_required", config(), Never),
        ("409-e", 409, "provider_contract_repair_required", config(), Never),
        ("409-f", 409, "token_refresh_in_progress", Kind::Conflict(Conflict::TokenRefresh), AfterBackoff),
        ("409-h", 409, "sibling_label_conflict", Kind::Conflict(Conflict::LabelTaken { label: None }), Never),
        ("409-i", 409, "credential_id_required", Kind::Conflict(Conflict::CredentialIdRequired), Never),
        (
            "409-j",
            409,
            "end_user_credential_not_assignable",
            Kind::Conflict(Conflict::CredentialNotAssignable),
            Never,
        ),
        ("409-k", 409, "identity_provider_inactive", Kind::Conflict(Conflict::Other), Never),
        ("409-l", 409, "key_revoked", Kind::Conflict(Conflict::Other), Never),
        ("409-m", 409, "agent_name_exists", Kind::Conflict(Conflict::Other), Never),
        ("409-n", 409, "agent_concurrent_update", Kind::Conflict(Conflict::Other), Never),
        ("409-o", 409, "last_active_key", Kind::Conflict(Conflict::Other), Never),
        ("409-p", 409, "agent_key_limit_reached", Kind::Conflict(Conflict::Other), Never),
        ("409-q", 409, "idempotency_key_body_mismatch", Kind::Conflict(Conflict::Other), Never),
        ("410-a", 410, "grant_deleted", Kind::Grant(Grant::Deleted), AfterUserAction),
        ("410-a", 410, "anything", Kind::Grant(Grant::Deleted), AfterUserAction),
        ("400-a", 400, "caller_agent_mismatch", Kind::Auth(Auth::Caller), Never),
        ("400-b", 502, "grant_revoked", Kind::Grant(Grant::Revoked), AfterUserAction),
        ("400-c", 400, "credential_revoked", Kind::Grant(Grant::CredentialRevoked), AfterUserAction),
        ("400-d", 400, "delegated_grant_requires_proxy", proxy(), Never),
        ("400-d", 400, "hitl_grant_requires_proxy", proxy(), Never),
        ("400-d", 502, "user_limits_require_proxy", proxy(), Never),
        ("400-e", 400, "constraint_not_narrowing", Kind::Backend, Never),
        ("502-a", 502, "whatever", Kind::Backend, AfterBackoff),
        ("422-a", 422, "secret_template_mismatch", config(), Never),
        ("422-b", 422, "blocked_destination", Kind::Policy(Policy::BlockedDestination), Never),
        ("422-d", 422, "invalid_audience", Kind::Backend, Never),
        ("402-a", 402, "grant_limit_exceeded", Kind::Backend, Never),
        ("504-a", 504, "gateway_timeout", Kind::Backend, AfterBackoff),
        (
            "429-a",
            429,
            "rate_limit_exceeded",
            Kind::Throttled(Throttle::Rate { scope: None, limit: None, window_seconds: None }),
            AfterBackoff,
        ),
        ("429-b", 429, "quota_exceeded", Kind::Throttled(Throttle::Quota), AfterWindow),
        ("429-e", 429, "billing_quota_exceeded", Kind::Throttled(Throttle::Other), Never),
        ("503-a", 503, "caller_agent_resolution_error", Kind::Auth(Auth::Caller), AfterBackoff),
        ("500-a", 500, "app_not_found_for_key", key(), Never),
        ("503-b", 503, "service_unavailable", Kind::Backend, AfterBackoff),
        ("P-a", 409, "approval_denied", Kind::Approval(Approval::Denied), Never),
        ("P-b", 409, "approval_expired", Kind::Approval(Approval::Expired), Never),
        ("P-c", 409, "approval_execution_failed", Kind::Approval(Approval::ExecutionFailed), Never),
    ];
    for (row, status, code, kind, retry) in rows {
        let error = from(status, &json!({"error": code, "message": "m"}));
        assert_eq!(error.kind(), &kind, "{row}");
        assert_eq!(error.retry(), retry, "{row}");
        assert_eq!(error.code().unwrap().as_str(), code, "{row}");
        assert_eq!(error.status().unwrap().as_u16(), status, "{row}");
        assert_eq!(error.is_retryable(), retry == AfterBackoff, "{row}");
    }
}

#[test]
fn an_ambiguous_call_tells_its_candidates() {
    let error = from(
        409,
        &json!({"detail": {
            "error": "ambiguous_grant", "message": "two", "provider_id": "google", "candidates_truncated": true,
            "account_identifiers": ["a@x", "b@x"], "grant_ids": ["1", "2"],
            "candidates": [{"grant_id": "1", "label": null, "account_identifier": "a@x", "account_display_name": null},
                           {"grant_id": "2", "label": "work", "account_identifier": "b@x"}],
        }}),
    );
    assert_eq!(error.candidates().len(), 2);
    assert_eq!(error.candidates()[1].label.as_deref(), Some("work"));
    let Kind::Grant(Grant::Ambiguous(ambiguous)) = error.kind() else { panic!("{error:?}") };
    assert!(ambiguous.truncated && !ambiguous.account_was_provided);
    assert_eq!(ambiguous.account_identifiers, ["a@x", "b@x"]);
    assert_eq!(error.recovery().unwrap().provider_id.as_deref(), Some("google"));
}

#[test]
fn what_must_be_repaired_is_read_from_the_nested_fields_where_a_code_has_them() {
    let nested =
        json!({"grant_id": "g-in", "provider_id": "p-in", "agent_id": "a-in", "app_user_id": "u-in"});
    let read = |code: &str, top: bool| {
        let mut body = json!({"error": code, "details": nested.clone()});
        if top {
            body["grant_id"] = json!("g-top");
        }
        let error = from(403, &body);
        let Recovery { grant_id, provider_id, agent_id, app_user_id } = error.recovery().unwrap().clone();
        [grant_id, provider_id, agent_id, app_user_id].map(Option::unwrap)
    };
    assert_eq!(read("grant_expired", false), ["g-in", "p-in", "a-in", "u-in"], "403-b");
    assert_eq!(read("grant_expired", true)[0], "g-top", "403-b");
    assert_eq!(read("scope_mismatch", true)[0], "g-in", "403-g");
}

#[test]
fn the_accounts_of_an_ambiguous_call_are_not_printed() {
    let body = json!({"error": "ambiguous_grant", "account_identifiers": ["ann@example.com"],
        "candidates": [{"grant_id": "1", "account_identifier": "ann@example.com", "account_display_name": "Ann"}]});
    let text = format!("{:?}", from(409, &body));
    assert!(!text.contains("ann@example.com") && !text.contains("Ann"), "{text}");
}

#[test]
fn a_key_without_a_scope_tells_which() {
    let body =
        json!({"error": "insufficient_scope", "required": ["a", "b"], "granted": ["a"], "missing": ["b"]});
    let error = from(403, &body);
    assert_eq!(error.missing_scopes(), ["b"]);
    assert!(
        matches!(error.kind(), Kind::Policy(Policy::InsufficientScope(scopes)) if scopes.granted == ["a"])
    );
    let body =
        json!({"error": "insufficient_scope", "required_any_of": true, "scope_version_mismatch": "true"});
    let error = from(403, &body);
    let Kind::Policy(Policy::InsufficientScope(scopes)) = error.kind() else { panic!("{error:?}") };
    assert!(scopes.any_of && !scopes.version_mismatch, "flags count as a literal true only");
}

#[test]
fn answers_that_nobody_can_read_are_told_by_their_status() {
    let page = |status| Error::from_vault(status, &HeaderMap::new(), b"<html>secret-page</html>");
    assert!(matches!(page(StatusCode::FORBIDDEN).kind(), Kind::Policy(Policy::Denied)));
    assert!(matches!(page(StatusCode::NOT_FOUND).kind(), Kind::Backend));
    assert!(matches!(page(StatusCode::TOO_MANY_REQUESTS).kind(), Kind::Throttled(Throttle::Rate { .. })));
    assert!(matches!(page(StatusCode::BAD_GATEWAY).retry(), Retry::AfterBackoff));
    let text = format!("{0} {0:?}", page(StatusCode::IM_A_TEAPOT));
    assert!(!text.contains("secret-page"), "{text}");
    let list = Error::from_vault(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), b"[]");
    assert!(matches!(list.kind(), Kind::Throttled(Throttle::Other)));
}

#[test]
fn the_wait_comes_from_the_header_or_the_body_and_has_a_ceiling() {
    let wait = |code: &str, header: Option<&str>, body: Value| {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("retry-after", HeaderValue::from_str(header).unwrap());
        }
        let body = json!({"error": code, "retry_after": body}).to_string();
        let error = Error::from_vault(StatusCode::TOO_MANY_REQUESTS, &headers, body.as_bytes());
        error.retry_after().map(|wait| wait.as_secs())
    };
    assert_eq!(wait("rate_limit_exceeded", Some("7"), json!(9)), Some(7));
    assert_eq!(wait("rate_limit_exceeded", Some("soon"), json!(9)), Some(9));
    assert_eq!(wait("rate_limit_exceeded", Some("99999"), json!(null)), Some(3_600));
    assert_eq!(wait("quota_exceeded", Some("99999"), json!(null)), Some(99_999));
    assert_eq!(wait("too_many_pending_approvals", Some("10"), json!(null)), Some(10));
    assert_eq!(wait("too_many_pending_approvals", None, json!(10)), Some(10));
    assert_eq!(wait("quota_exceeded", Some("99999999"), json!(null)), Some(2_678_400));
}

#[test]
fn what_the_vault_says_is_cut_and_cleaned() {
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", HeaderValue::from_static("req-1"));
    let body = json!({"error": "grant_revoked", "message": format!("\u{1b}[31m{}", "m".repeat(200_000))});
    let error = Error::from_vault(StatusCode::FORBIDDEN, &headers, body.to_string().as_bytes());
    assert!(error.to_string().chars().count() <= 301 && !error.to_string().contains('\u{1b}'));
    assert_eq!(error.request_id(), Some("req-1"));
}

#[test]
fn an_internal_address_in_a_refusal_is_not_shown() {
    let text = "resolved to 10.1.2.3";
    let error = from(422, &json!({"error": "blocked_destination", "message": text, "hint": text}));
    assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("10.1.2.3"));
}

#[test]
fn an_error_is_one_word_and_may_cross_threads() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<Error>();
    assert_eq!(size_of::<Error>(), size_of::<usize>());
}
