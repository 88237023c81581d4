use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::wire::{code::Code, json::to_ascii_vec};

const GRANT: &str = "11111111-2222-3333-4444-555555555555";

fn read(value: &Value) -> Result<ConnectSessionRequest, serde_json::Error> {
    serde_json::from_value(value.clone())
}

fn checked(value: &Value) -> Result<(), ConnectRequestError> {
    read(value).unwrap().check()
}

#[test]
fn a_whole_request_of_nulls_is_a_request() {
    let given =
        r#"{"allowed_providers":null,"return_url":null,"allowed_origin":null,"metadata":null}"#.as_bytes();
    let request: ConnectSessionRequest = serde_json::from_slice(given).unwrap();
    request.check().unwrap();
    assert!(request.allow_user_policy_rules && request.providers().is_none());
    assert_eq!(to_ascii_vec(&request).unwrap(), given);
}

#[test]
fn every_member_is_spelled_in_wire_order() {
    let request = ConnectSessionRequest {
        allowed_providers: Some(vec!["google".into()]),
        return_url: Some("https://shop.example/done".into()),
        allowed_origin: Some("https://shop.example".into()),
        metadata: Some(ConnectMetadata { ip_address: Some("192.0.2.1".into()), user_agent: None }),
        direct: true,
        switch_account: true,
        allow_user_policy_rules: false,
        grant_policy: Some(GrantPolicyInput {
            max_ttl_seconds: Some(60),
            default_ttl_seconds: Some(30),
            ..GrantPolicyInput::default()
        }),
        required_scopes: Some([("google".to_owned(), vec!["a".to_owned()])].into()),
        requested_grant: Some(RequestedGrant {
            label: "work".into(),
            restrictions: Some(GrantRestrictions {
                allowed_methods: Some(vec!["GET".into()]),
                allowed_endpoints: None,
            }),
        }),
        repair_grant_id: Some(GRANT.to_uppercase().parse().unwrap()),
        agent: Some("helper".into()),
        delegable: Some(false),
        scope_constraint: Some(vec!["a".into()]),
        user_token: Some("canary".into()),
        browser_binding: Some("ab".repeat(32)),
    };
    let spelled = String::from_utf8(to_ascii_vec(&request).unwrap()).unwrap();
    assert_eq!(
        spelled,
        format!(
            concat!(
                r#"{{"allowed_providers":["google"],"return_url":"https://shop.example/done","#,
                r#""allowed_origin":"https://shop.example","metadata":{{"ip_address":"192.0.2.1"}},"direct":true,"#,
                r#""switch_account":true,"allow_user_policy_rules":false,"#,
                r#""grant_policy":{{"max_ttl_seconds":60,"default_ttl_seconds":30}},"#,
                r#""required_scopes":{{"google":["a"]}},"#,
                r#""requested_grant":{{"label":"work","restrictions":{{"allowed_methods":["GET"]}}}},"#,
                r#""repair_grant_id":"{}","agent":"helper","delegable":false,"scope_constraint":["a"],"#,
                r#""user_token":"canary","browser_binding":"{}"}}"#,
            ),
            GRANT,
            "ab".repeat(32)
        )
    );
    let text = format!("{request:?}");
    assert!(!text.contains("canary") && !text.contains("192.0.2.1") && !text.contains("abab"), "{text}");
}

#[test]
fn empty_objects_are_given_not_absent() {
    let request = read(&json!({"metadata": {}, "grant_policy": {}})).unwrap();
    request.check().unwrap();
    let spelled = serde_json::to_value(&request).unwrap();
    assert_eq!((&spelled["metadata"], &spelled["grant_policy"]), (&json!({}), &json!({})));
}

#[test]
fn a_null_where_a_restriction_belongs_is_refused() {
    for member in [
        "direct",
        "allow_user_policy_rules",
        "grant_policy",
        "required_scopes",
        "requested_grant",
        "repair_grant_id",
        "agent",
        "delegable",
        "scope_constraint",
        "user_token",
        "browser_binding",
    ] {
        assert!(read(&json!({member: null})).is_err(), "{member}");
    }
}

#[test]
fn members_of_the_wrong_form_are_refused() {
    for wrong in [
        json!({"direct": "true"}),
        json!({"direct": 1}),
        json!({"metadata": {"device": "x"}}),
        json!({"metadata": {"ip_address": 1}}),
        json!({"requested_grant": {}}),
        json!({"requested_grant": {"label": "x", "more": 1}}),
        json!({"requested_grant": {"label": "x", "restrictions": {"allowed_hosts": []}}}),
        json!({"repair_grant_id": "nope"}),
        json!({"grant_policy": {"max_ttl_seconds": 60.5}}),
        json!({"grant_policy": {"max_ttl_seconds": true}}),
        json!({"grant_policy": {"max_ttl_seconds": "60"}}),
        json!({"grant_policy": {"max_ttl_seconds": -1}}),
        json!({"allowed_providers": "google"}),
    ] {
        assert!(read(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn providers_are_trimmed_lowered_and_counted_once() {
    let one = json!({"allowed_providers": [" GitHub ", "github"], "direct": true});
    checked(&one).unwrap();
    assert_eq!(read(&one).unwrap().providers().unwrap(), ["github"]);
}

#[test]
fn every_bound_is_kept_and_named() {
    let token = json!("jwt");
    for (request, field, code) in [
        (json!({"allowed_providers": []}), "allowed_providers", Code::InvalidRequest),
        (json!({"allowed_providers": ["a", "  "]}), "allowed_providers", Code::InvalidRequest),
        (json!({"allowed_providers": vec!["a"; 101]}), "allowed_providers", Code::InvalidRequest),
        (json!({"direct": true}), "direct", Code::InvalidRequest),
        (json!({"direct": true, "allowed_providers": ["a", "b"]}), "direct", Code::InvalidRequest),
        (json!({"return_url": "/done"}), "return_url", Code::InvalidReturnUrl),
        (json!({"allowed_origin": "*"}), "allowed_origin", Code::InvalidOrigin),
        (json!({"allowed_origin": ""}), "allowed_origin", Code::InvalidOrigin),
        (json!({"grant_policy": {"max_ttl_seconds": 0}}), "grant_policy", Code::InvalidGrantPolicy),
        (json!({"grant_policy": {"expires_at": "2027-01-01"}}), "grant_policy", Code::InvalidGrantPolicy),
        (
            json!({"grant_policy": {"max_ttl_seconds": 1, "default_ttl_seconds": 2}}),
            "grant_policy",
            Code::InvalidGrantPolicy,
        ),
        (json!({"required_scopes": {" ": ["a"]}}), "required_scopes", Code::InvalidRequest),
        (json!({"required_scopes": {"g": ["a b"]}}), "required_scopes", Code::InvalidRequest),
        (json!({"required_scopes": {"g": [], "G": []}}), "required_scopes", Code::InvalidRequest),
        (json!({"requested_grant": {"label": ""}}), "requested_grant.label", Code::InvalidRequest),
        (
            json!({"requested_grant": {"label": "é".repeat(256)}}),
            "requested_grant.label",
            Code::InvalidRequest,
        ),
        (json!({"repair_grant_id": GRANT}), "repair_grant_id", Code::InvalidRequest),
        (
            json!({"repair_grant_id": GRANT, "allowed_providers": ["a", "b"]}),
            "repair_grant_id",
            Code::InvalidRequest,
        ),
        (
            json!({"repair_grant_id": GRANT, "allowed_providers": ["a"], "requested_grant": {"label": "x"}}),
            "repair_grant_id",
            Code::InvalidRequest,
        ),
        (
            json!({"repair_grant_id": GRANT, "allowed_providers": ["a"], "agent": "x", "user_token": token}),
            "repair_grant_id",
            Code::InvalidRequest,
        ),
        (
            json!({"repair_grant_id": GRANT, "allowed_providers": ["a"], "switch_account": true}),
            "repair_grant_id",
            Code::InvalidRequest,
        ),
        (json!({"agent": "", "user_token": token}), "agent", Code::InvalidRequest),
        (json!({"agent": "helper"}), "agent", Code::AgentRequiresUserToken),
        (json!({"scope_constraint": []}), "scope_constraint", Code::InvalidScopeConstraint),
        (json!({"scope_constraint": ["a", "*"]}), "scope_constraint", Code::InvalidScopeConstraint),
        (json!({"scope_constraint": ["a b"]}), "scope_constraint", Code::InvalidScopeConstraint),
        (json!({"scope_constraint": ["a\"b"]}), "scope_constraint", Code::InvalidScopeConstraint),
        (json!({"scope_constraint": ["é"]}), "scope_constraint", Code::InvalidScopeConstraint),
        (json!({"scope_constraint": [" "]}), "scope_constraint", Code::InvalidScopeConstraint),
        (json!({"scope_constraint": ["a".repeat(513)]}), "scope_constraint", Code::InvalidScopeConstraint),
        (json!({"scope_constraint": vec!["a"; 101]}), "scope_constraint", Code::InvalidScopeConstraint),
        (json!({"user_token": ""}), "user_token", Code::InvalidRequest),
        (json!({"user_token": "a".repeat(8_193)}), "user_token", Code::InvalidRequest),
        (json!({"browser_binding": "ab"}), "browser_binding", Code::InvalidRequest),
        (json!({"browser_binding": "x".repeat(64)}), "browser_binding", Code::InvalidRequest),
    ] {
        let error = checked(&request).unwrap_err();
        assert_eq!((error.field(), error.code()), (field, &code), "{request}");
        assert!(error.to_string().starts_with(field), "{error}");
    }
    checked(&json!({"scope_constraint": [" a ", "https://x/y.read"]})).unwrap();
    checked(&json!({"requested_grant": {"label": "é".repeat(255)}})).unwrap();
    checked(&json!({"repair_grant_id": GRANT, "allowed_providers": ["A", "a "]})).unwrap();
}

#[test]
fn what_a_vault_keeps_of_the_metadata_is_short_and_clean() {
    let kept = ConnectMetadata {
        ip_address: Some("192.0.2.1".into()),
        user_agent: Some(format!("\u{1b}[31m{}", "m".repeat(10_000))),
    }
    .cut();
    assert_eq!(kept.ip_address.as_deref(), Some("192.0.2.1"));
    assert_eq!(kept.user_agent.unwrap().chars().count(), MAX_METADATA);
}

#[test]
fn a_session_is_typed_strictly_where_the_published_client_is() {
    let good = json!({"session_token": "s", "connect_url": "https://x/#session=s", "expires_in": 600, "expires_at": "t"});
    let parse = |field: &str, value: Value| {
        let mut answer = good.clone();
        answer[field] = value;
        ConnectSessionResponse::parse(answer.to_string().as_bytes())
    };
    for (field, value) in [
        ("session_token", json!("")),
        ("session_token", json!(null)),
        ("connect_url", json!("")),
        ("expires_in", json!(600.0)),
        ("expires_in", json!(-1)),
        ("expires_at", json!(1_700_000_000)),
        ("expires_at", json!("")),
    ] {
        assert!(parse(field, value.clone()).is_err(), "{field} {value}");
    }
    let lax = parse("scope_constraint_warnings", json!(["a", 1, "b"])).unwrap();
    assert_eq!(lax.scope_constraint_warnings, ["a", "b"]);
    assert!(parse("scope_constraint_warnings", json!("a")).unwrap().scope_constraint_warnings.is_empty());
    assert!(!parse("direct", json!("true")).unwrap().direct);
    assert!(parse("single_provider", json!(true)).unwrap().single_provider);
    let text = format!("{:?}", parse("direct", json!(true)).unwrap());
    assert!(!text.contains("session=s"), "{text}");
}

fn poll(value: &Value) -> Result<ConnectPoll, PollFormatError> {
    ConnectPoll::parse(value.to_string().as_bytes())
}

#[test]
fn a_poll_is_read_by_the_rules() {
    assert_eq!(poll(&json!({"status": "expired"})), Ok(ConnectPoll::Expired));
    let ConnectPoll::Pending { declined_providers } =
        poll(&json!({"status": "pending", "declined_providers": [
            {"provider_id": "a", "error_code": "connect_denied", "declined_at": 3},
            {"provider_id": "a", "error_code": "later"}, {"provider_id": "", "error_code": "x"},
            {"provider_id": "b"}, 3,
        ]}))
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(declined_providers.len(), 1);
    assert_eq!(
        (declined_providers[0].error_code.as_str(), &declined_providers[0].declined_at),
        ("connect_denied", &None)
    );
    let nested = json!({"status": "error", "error": {
        "error_code": "connect_denied", "error_message": "no", "retry_after_seconds": 60.0}});
    let ConnectPoll::Error { error } = poll(&nested).unwrap() else { panic!() };
    assert_eq!((error.error_code, error.retry_after_seconds), (FlowCode::ConnectDenied, Some(60)));
    assert_eq!(poll(&json!({"status": "odd\n"})), Err(PollFormatError::UnknownStatus("odd ".into())));
    for (wrong, refused) in [
        (json!([]), PollFormatError::Shape),
        (json!({}), PollFormatError::Field("status")),
        (json!({"status": ""}), PollFormatError::Field("status")),
        (json!({"status": 3}), PollFormatError::Field("status")),
        (
            json!({"status": "error", "error_code": "a", "error_message": "b"}),
            PollFormatError::Field("error"),
        ),
        (
            json!({"status": "error", "error": {"error_code": " ", "error_message": "b"}}),
            PollFormatError::Field("error"),
        ),
        (json!({"status": "completed", "grants": null}), PollFormatError::Field("grants")),
        (json!({"status": "completed", "failed_grants": null}), PollFormatError::Field("failed_grants")),
        (
            json!({"status": "completed", "failed_grants": [{"provider_id": "a", "reason": "", "message": "m"}]}),
            PollFormatError::Field("failed_grants"),
        ),
    ] {
        assert_eq!(poll(&wrong), Err(refused), "{wrong}");
    }
}

#[test]
fn a_connected_grant_is_read_by_the_rules() {
    let one = |more: Value| {
        let mut grant = json!({"grant_id": "g", "provider_id": "p"});
        grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        match poll(&json!({"status": "completed", "grants": [grant]}))? {
            ConnectPoll::Completed { mut grants, .. } => Ok(grants.remove(0)),
            other => panic!("{other:?}"),
        }
    };
    let least = one(json!({})).unwrap();
    assert_eq!((least.operation, least.scopes.len(), least.delegation), (Operation::Creation, 0, None));
    assert_eq!(one(json!({"operation": null})).unwrap().operation, Operation::Creation);
    assert_eq!(one(json!({"operation": "reauth"})).unwrap().operation, Operation::Reauth);
    for (given, kept) in [
        ("https://api.example.com", true),
        ("https://API.example.com", false),
        ("https://api.example.com/", false),
        ("https://api.example.com:443", false),
        ("http://api.example.com", false),
    ] {
        assert_eq!(one(json!({"api_base_url": given})).unwrap().api_base_url.is_some(), kept, "{given}");
    }
    assert_eq!(one(json!({"api_base_url": 3})).unwrap().api_base_url, None);
    let policy = one(json!({"grant_policy": {"expires_at": "t", "more": 1}})).unwrap().grant_policy.unwrap();
    assert_eq!(policy.expires_at.as_deref(), Some("t"));
    let delegation =
        one(json!({"delegation": {"agent_id": GRANT, "delegable": true}})).unwrap().delegation.unwrap();
    assert!(delegation.delegable && delegation.policy_refused.is_none());
    for wrong in [
        json!({"grant_id": 3}),
        json!({"scopes": null}),
        json!({"scopes": [1]}),
        json!({"operation": "other"}),
        json!({"account_identifier": 3}),
        json!({"grant_policy": 3}),
        json!({"delegation": {"agent_id": "x", "delegable": true}}),
        json!({"delegation": {"agent_id": GRANT, "delegable": "yes"}}),
        json!({"delegation": {"agent_id": GRANT}}),
    ] {
        assert_eq!(one(wrong.clone()), Err(PollFormatError::Field("grants")), "{wrong}");
    }
    let text = format!("{:?}", one(json!({"account_identifier": "ann@example.com"})).unwrap());
    assert!(!text.contains("ann@"), "{text}");
}

#[test]
fn what_a_vault_answers_a_client_reads() {
    for answer in [
        ConnectPoll::Expired,
        ConnectPoll::Pending { declined_providers: vec![] },
        ConnectPoll::Pending {
            declined_providers: vec![DeclinedProvider {
                provider_id: "a".into(),
                error_code: "connect_denied".into(),
                declined_at: None,
            }],
        },
        ConnectPoll::Error { error: FlowError::new(FlowCode::ConnectDenied, "no") },
        ConnectPoll::Completed {
            grants: vec![ConnectedGrant {
                grant_id: GRANT.into(),
                provider_id: "google".into(),
                scopes: vec!["a".into()],
                operation: Operation::Reauth,
                account_identifier: Some("ann@example.com".into()),
                api_base_url: None,
                grant_policy: Some(GrantPolicySummary::default()),
                delegation: Some(Delegation {
                    agent_id: GRANT.parse().unwrap(),
                    delegable: false,
                    policy_refused: Some(true),
                }),
            }],
            failed_grants: vec![FailedGrant {
                provider_id: "slack".into(),
                reason: FailedGrant::NOT_SELECTED.into(),
                message: "not chosen".into(),
            }],
        },
    ] {
        assert_eq!(poll(&serde_json::to_value(&answer).unwrap()), Ok(answer));
    }
}

#[test]
fn every_flow_code_reads_back() {
    for code in FlowCode::KNOWN {
        assert_eq!(&FlowCode::from(code.as_str()), code);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ConnectPoll::parse(&bytes);
        let _ = ConnectSessionResponse::parse(&bytes);
        if let Ok(request) = serde_json::from_slice::<ConnectSessionRequest>(&bytes) {
            let _ = request.check();
        }
    }

    #[test]
    fn a_request_that_passes_reads_back_the_same_and_still_passes(
        providers in prop::option::of(prop::collection::vec("[ a-zA-Z]{0,6}", 0..4)),
        label in prop::option::of(".{0,3}"),
        ttl in prop::option::of(0u64..3),
        direct: bool,
        binding in prop::option::of("[0-9a-g]{62,66}"),
        scope in prop::option::of(".{0,3}"),
    ) {
        let request = ConnectSessionRequest {
            allowed_providers: providers,
            direct,
            grant_policy: ttl.map(|ttl| GrantPolicyInput {
                max_ttl_seconds: Some(ttl), ..GrantPolicyInput::default()
            }),
            requested_grant: label.map(|label| RequestedGrant { label, restrictions: None }),
            scope_constraint: scope.map(|scope| vec![scope]),
            browser_binding: binding,
            ..ConnectSessionRequest::default()
        };
        let spelled = to_ascii_vec(&request).unwrap();
        let again: ConnectSessionRequest = serde_json::from_slice(&spelled).unwrap();
        prop_assert_eq!(to_ascii_vec(&again).unwrap(), spelled);
        prop_assert_eq!(again.check(), request.check());
        if request.check().is_ok() {
            let named = request.providers();
            prop_assert!(named.as_ref().is_none_or(|ids| !ids.is_empty()));
            prop_assert!(!direct || named.is_some_and(|ids| ids.len() == 1));
        }
    }

    #[test]
    fn an_origin_that_passes_passes_again_unchanged(text in "https?://[a-zA-Z0-9.:@/?#*\\[\\]-]{0,20}") {
        if let Ok(origin) = check_origin(&text) {
            prop_assert_eq!(check_origin(&origin).unwrap(), origin);
        }
    }
}
