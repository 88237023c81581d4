//! What an app is told about a session (spec/03 §1.2, §2.2).

use alter_core::wire::{
    auth::AuthPoll,
    connect::{
        ConnectPoll, ConnectedGrant as WireGrant, DeclinedProvider, FailedGrant, FlowCode, FlowError,
        GrantPolicySummary, Operation as WireOperation,
    },
    secret::SecretText,
};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::domain::{ConnectSession, ConnectedGrant, Operation, SessionEnd};

/// How a connect session is. An end stays readable until the session's own; grants that were made are told for as long as the
/// session is kept, whether or not the person came back to say that they were done.
pub(crate) fn connect(session: Option<&ConnectSession>, now: Timestamp) -> ConnectPoll {
    let Some(session) = session else { return ConnectPoll::Expired };
    let progress = &session.progress;
    let over = now >= session.expires_at;
    match &progress.end {
        Some(SessionEnd::Completed) if !progress.grants.is_empty() => completed(session),
        None if over && !progress.grants.is_empty() => completed(session),
        Some(SessionEnd::Error { code, message }) if !over => {
            ConnectPoll::Error { error: FlowError::new(FlowCode::from(code.as_str()), message.clone()) }
        }
        None if !over => ConnectPoll::Pending {
            declined_providers: progress
                .declined
                .iter()
                .map(|declined| DeclinedProvider {
                    provider_id: declined.provider.to_string(),
                    error_code: declined.error_code.clone(),
                    declined_at: Some(declined.at.to_string()),
                })
                .collect(),
        },
        _ => ConnectPoll::Expired,
    }
}

fn completed(session: &ConnectSession) -> ConnectPoll {
    ConnectPoll::Completed {
        grants: session.progress.grants.iter().map(|grant| told(grant, session.asked.direct)).collect(),
        failed_grants: session
            .progress
            .failed
            .iter()
            .map(|failed| FailedGrant {
                provider_id: failed.provider.to_string(),
                reason: failed.reason.clone(),
                message: failed.message.clone(),
            })
            .collect(),
    }
}

fn told(grant: &ConnectedGrant, direct: bool) -> WireGrant {
    WireGrant {
        grant_id: grant.grant_id.to_string(),
        provider_id: grant.provider.to_string(),
        scopes: grant.scopes.clone(),
        operation: match grant.operation {
            Operation::Creation => WireOperation::Creation,
            Operation::Reauth => WireOperation::Reauth,
        },
        account_identifier: grant.account_identifier.clone(),
        api_base_url: None,
        grant_policy: grant.grant_expires_at.map(|end| GrantPolicySummary {
            expires_at: Some(end.to_string()),
            // With `direct` nobody was asked how long.
            created_by: Some(if direct { "developer" } else { "end_user" }.to_owned()),
            created_at: Some(grant.at.to_string()),
        }),
        delegation: None,
    }
}

/// How a sign-in is. `user` is the user's token and what it says, once there is one.
pub(crate) fn sign_in(
    session: Option<&ConnectSession>,
    user: Option<(SecretText, Map<String, Value>)>,
    now: Timestamp,
) -> AuthPoll {
    let Some(session) = session.filter(|session| now < session.expires_at) else { return AuthPoll::Expired };
    match (&session.progress.end, user) {
        (None, _) => AuthPoll::Pending,
        (Some(SessionEnd::Completed), Some((user_token, user_info))) => {
            AuthPoll::Completed { user_token, user_info }
        }
        (Some(SessionEnd::Completed), None) => AuthPoll::Expired,
        (Some(SessionEnd::Error { code, message }), _) => AuthPoll::Error {
            error_code: FlowCode::from(code.as_str()),
            error_message: message.clone(),
            retry_after_seconds: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{
        AppId, Asked, DeclinedProvider as Declined, GrantId, Progress, SessionId, SessionKind, SessionRef,
        TokenDigest,
    };

    fn session(progress: Progress) -> ConnectSession {
        ConnectSession {
            session: SessionRef { app_id: AppId::random(), id: SessionId::random() },
            kind: SessionKind::Connect,
            token: TokenDigest::of(b"x"),
            version: 1,
            created_at: at(0),
            expires_at: at(600),
            asked: Asked::default(),
            progress,
            user_token: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn grant() -> ConnectedGrant {
        ConnectedGrant {
            grant_id: GrantId::random(),
            provider: "google".parse().unwrap(),
            operation: Operation::Creation,
            scopes: vec!["read".to_owned()],
            account_identifier: Some("ann@example.test".to_owned()),
            grant_expires_at: Some(at(700)),
            at: at(5),
        }
    }

    fn status(progress: Progress, now: i64) -> String {
        let poll = serde_json::to_value(connect(Some(&session(progress)), at(now))).unwrap();
        poll["status"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_session_is_completed_only_with_a_grant_and_an_unknown_one_is_expired() {
        assert_eq!(connect(None, at(0)), ConnectPoll::Expired);
        let end = Some(SessionEnd::Completed);
        let error = Some(SessionEnd::Error { code: "connect_denied".into(), message: "no".into() });
        let cases = [
            (Progress::default(), 1, "pending"),
            (Progress::default(), 600, "expired"),
            (Progress { grants: vec![grant()], ..Progress::default() }, 1, "pending"),
            (Progress { grants: vec![grant()], ..Progress::default() }, 600, "completed"),
            (Progress { grants: vec![grant()], end: end.clone(), ..Progress::default() }, 1, "completed"),
            (Progress { grants: vec![grant()], end: end.clone(), ..Progress::default() }, 900, "completed"),
            (Progress { end, ..Progress::default() }, 1, "expired"),
            (Progress { end: error.clone(), ..Progress::default() }, 1, "error"),
            (Progress { end: error, ..Progress::default() }, 600, "expired"),
        ];
        for (progress, now, expected) in cases {
            assert_eq!(status(progress.clone(), now), expected, "{progress:?} at {now}");
            // Reading changes nothing.
            assert_eq!(status(progress, now), expected);
        }
    }

    #[test]
    fn a_declined_provider_is_told_while_another_may_be_chosen() {
        let declined =
            Declined { provider: "slack".parse().unwrap(), error_code: "connect_denied".into(), at: at(3) };
        let progress = Progress { declined: vec![declined], ..Progress::default() };
        let poll = serde_json::to_value(connect(Some(&session(progress)), at(4))).unwrap();
        let one = json!({"provider_id": "slack", "error_code": "connect_denied", "declined_at": "1970-01-01T00:00:03Z"});
        assert_eq!(poll, json!({"status": "pending", "declined_providers": [one]}));
    }

    #[test]
    fn what_is_told_of_a_grant_is_what_clients_read() {
        let progress =
            Progress { grants: vec![grant()], end: Some(SessionEnd::Completed), ..Progress::default() };
        let spelled = serde_json::to_vec(&connect(Some(&session(progress)), at(6))).unwrap();
        let ConnectPoll::Completed { grants, .. } = ConnectPoll::parse(&spelled).unwrap() else { panic!() };
        assert_eq!(grants[0].grant_policy.as_ref().unwrap().created_by.as_deref(), Some("end_user"));
        assert_eq!(grants[0].account_identifier.as_deref(), Some("ann@example.test"));
    }
}
