//! How the end of a session is awaited, and what each end means.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use alter_core::{
    App, ConnectEvent, ConnectProgress, Kind, Retry,
    error::{Conflict, Connect, ConnectTimeout, InvalidInput, Throttle},
    wire::secret::SecretText,
};
use serde_json::{Value, json};

use crate::fixture::{GRANT, KEY, app, json_response};

use super::*;

#[tokio::test(start_paused = true)]
async fn the_end_is_awaited_with_a_poll_every_two_seconds() {
    let (outcome, polls, took) = waited(vec![pending(), pending(), done()]).await;
    assert_eq!((outcome.unwrap().as_str(), polls, took.as_secs()), (GRANT, 3, 4));
}

#[tokio::test(start_paused = true)]
async fn one_last_poll_is_made_at_the_deadline() {
    let vault = vault(vec![pending()]);
    let session = session(&vault).await;
    let wait = session.wait().timeout(Duration::from_millis(300)).interval(Duration::from_millis(100));
    let error = wait.await.unwrap_err();
    assert_eq!(vault.got(POLL).len(), 4);
    let Kind::Connect(Connect::TimedOut { reason, .. }) = error.kind() else { panic!("{error:?}") };
    assert_eq!((*reason, error.retry()), (ConnectTimeout::Deadline, Retry::AfterUserAction));
    for wait in [session.wait().timeout(Duration::ZERO), session.wait().interval(Duration::ZERO)] {
        assert_eq!(wait.await.unwrap_err().kind(), &Kind::InvalidInput(InvalidInput::Session));
    }
}

#[tokio::test(start_paused = true)]
async fn each_end_of_a_session_has_its_kind() {
    let flow = || Kind::Connect(Connect::Flow { failed: vec![] });
    for (code, kind, retry) in [
        ("connect_denied", Kind::Connect(Connect::Denied), Retry::AfterUserAction),
        ("connect_config_error", Kind::Connect(Connect::Configuration), Retry::Never),
        ("invalid_redirect_uri", Kind::Connect(Connect::Configuration), Retry::Never),
        ("invalid_client", Kind::Connect(Connect::Configuration), Retry::Never),
        ("unauthorized_client", Kind::Connect(Connect::Configuration), Retry::Never),
        ("provider_configuration_unavailable", Kind::Connect(Connect::Configuration), Retry::Never),
        ("shared_dev_credential_unavailable", Kind::Connect(Connect::Configuration), Retry::Never),
        ("managed_oauth_scope_approval_required", Kind::Connect(Connect::Configuration), Retry::Never),
        ("service_unavailable", Kind::Backend, Retry::AfterBackoff),
        ("identity_provider_inactive", Kind::Conflict(Conflict::Other), Retry::Never),
        ("identity_group_name_ambiguous", Kind::Conflict(Conflict::Other), Retry::Never),
        ("anything_else", flow(), Retry::AfterUserAction),
    ] {
        // It is the session's end, even where the same word from the exchange would be tried again.
        let (outcome, polls, _) = waited(vec![failed(code), done()]).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.retry(), polls), (&kind, retry, 1), "{code}");
        assert_eq!(error.code().unwrap().as_str(), code);
        let status = error.status().map(|status| status.as_u16());
        match code {
            "service_unavailable" => {
                assert_eq!((status, error.retry_after()), (Some(503), Some(Duration::from_secs(7))));
            }
            _ => assert_eq!(status, matches!(kind, Kind::Conflict(_)).then_some(409), "{code}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_session_and_an_expired_one_are_told_apart() {
    let expired = || ok(json!({"status": "expired"}));
    let unknown = waited(vec![expired()]).await.0.unwrap_err();
    assert_eq!(unknown.kind(), &Kind::Connect(Connect::Flow { failed: vec![] }));
    let declining = ok(json!({"status": "pending", "declined_providers": [
        {"provider_id": "slack", "error_code": "connect_denied", "declined_at": "t"},
        {"provider_id": "gh", "error_code": "connect_denied"}]}));
    let error = waited(vec![declining, pending(), expired()]).await.0.unwrap_err();
    let Kind::Connect(Connect::TimedOut { reason, declined }) = error.kind() else { panic!("{error:?}") };
    assert_eq!(*reason, ConnectTimeout::SessionExpired);
    let ids: Vec<_> = declined.iter().map(|declined| declined.provider_id.as_str()).collect();
    assert_eq!(ids, ["gh", "slack"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_grant_is_no_success() {
    let completed = |failed: Value| ok(json!({"status": "completed", "failed_grants": failed}));
    for (reason, code) in [
        ("not_selected", "grant_activation_failed"),
        ("activation_failed", "grant_activation_failed"),
        ("too_long", "grant_policy_application_failed"),
    ] {
        let list = json!([{"provider_id": "google", "reason": reason, "message": "m"}]);
        let error = waited(vec![completed(list)]).await.0.unwrap_err();
        let Kind::Connect(Connect::Flow { failed }) = error.kind() else { panic!("{error:?}") };
        assert_eq!((failed[0].reason.as_str(), error.code().unwrap().as_str()), (reason, code));
    }
    let neither = waited(vec![ok(json!({"status": "completed"}))]).await.0.unwrap_err();
    assert_eq!(neither.kind(), &Kind::Malformed);
    let odd = waited(vec![ok(json!({"status": "odd"})), done()]).await.0.unwrap_err();
    assert_eq!((odd.kind(), odd.retry()), (&Kind::Connect(Connect::Flow { failed: vec![] }), Retry::Never));
    let broken = waited(vec![ok(json!({"status": "completed", "grants": null}))]).await.0.unwrap_err();
    assert_eq!(broken.kind(), &Kind::Malformed);
}

#[tokio::test(start_paused = true)]
async fn what_came_about_and_what_did_not_are_both_told() {
    let vault = vault(vec![ok(json!({
        "status": "completed", "grants": [grant(), grant()],
        "failed_grants": [{"provider_id": "slack", "reason": "not_selected", "message": "m"}],
    }))]);
    let session = session(&vault).await;
    let ConnectProgress::Connected(connected) = session.poll().await.unwrap() else { panic!() };
    assert_eq!((connected.grants().len(), connected.failed().len()), (2, 1));
    assert_eq!(connected.grant().account_identifier.as_deref(), Some("ann@example.com"));
    assert!(!format!("{connected:?}").contains("ann@"));
    assert_eq!(session.wait().await.unwrap(), connected, "the end can be had again");
}

#[tokio::test(start_paused = true)]
async fn a_throttle_is_waited_out_as_the_vault_says() {
    let busy = |after| Answer(429, json!({"error": "rate_limit_exceeded"}), after);
    let (outcome, polls, took) = waited(vec![busy(7), busy(0), done()]).await;
    assert!(outcome.is_ok());
    assert_eq!((polls, took.as_secs()), (3, 9));
    let (outcome, polls, took) = waited(vec![busy(200)]).await;
    let error = outcome.unwrap_err();
    assert_eq!((polls, took.as_secs()), (3, 300));
    let Kind::Connect(Connect::TimedOut { reason, .. }) = error.kind() else { panic!("{error:?}") };
    assert_eq!(*reason, ConnectTimeout::Throttled);
    assert_eq!((error.retry(), error.retry_after()), (Retry::AfterBackoff, Some(Duration::from_secs(200))));
}

#[tokio::test(start_paused = true)]
async fn another_429_ends_the_waiting() {
    let (outcome, polls, _) =
        waited(vec![Answer(429, json!({"error": "billing_quota_exceeded"}), 1), done()]).await;
    assert_eq!((outcome.unwrap_err().kind(), polls), (&Kind::Throttled(Throttle::Other), 1));
    let (outcome, polls, _) = waited(vec![Answer(429, json!({"error": "quota_exceeded"}), 1), done()]).await;
    assert_eq!((outcome.unwrap_err().kind(), polls), (&Kind::Throttled(Throttle::Quota), 1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_pass_does_not_end_the_waiting() {
    let down = |status| Answer(status, json!({"error": "internal_error"}), 0);
    let (outcome, polls, took) =
        waited(vec![down(500), down(502), down(503), down(504), down(500), done()]).await;
    assert!(outcome.is_ok());
    assert_eq!((polls, took.as_secs()), (6, 2 + 4 + 8 + 16 + 30));
    let (outcome, polls, _) = waited(vec![down(503)]).await;
    let error = outcome.unwrap_err();
    assert_eq!(
        (error.kind(), polls),
        (&Kind::Backend, 6),
        "after five in a row it gives up with the last one"
    );
    let recovering: Vec<_> = (0..20).flat_map(|_| [down(503), pending()]).chain([done()]).collect();
    assert!(waited(recovering).await.0.is_ok(), "they count in a row only");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_waiting() {
    for (status, code) in [(401, "invalid_key"), (403, "insufficient_scope"), (400, "invalid_request")] {
        let (outcome, polls, _) = waited(vec![Answer(status, json!({"error": code}), 0), done()]).await;
        assert_eq!((outcome.unwrap_err().code().unwrap().as_str(), polls), (code, 1));
    }
    let redirected = waited(vec![Answer(302, json!({"status": "completed"}), 0)]).await.0.unwrap_err();
    assert_eq!(redirected.kind(), &Kind::Malformed);
}

#[tokio::test(start_paused = true)]
async fn what_happens_meanwhile_is_told_once() {
    let declining = || {
        ok(json!({"status": "pending", "declined_providers": [
            {"provider_id": "slack", "error_code": "connect_denied"}]}))
    };
    let vault = vault(vec![
        declining(),
        declining(),
        Answer(429, json!({"error": "rate_limit_exceeded"}), 9),
        Answer(503, json!({}), 0),
        done(),
    ]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&told);
    let wait = session(&vault).await.wait().on_event(move |event| keep.lock().unwrap().push(event.clone()));
    wait.await.unwrap();
    let told = told.lock().unwrap();
    assert!(matches!(&told[0], ConnectEvent::Declined(declined) if declined.provider_id == "slack"));
    assert_eq!(
        told[1..],
        [
            ConnectEvent::Throttled { pause: Duration::from_secs(9) },
            ConnectEvent::Unreachable { pause: Duration::from_secs(2) },
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_is_polled_by_its_token_elsewhere() {
    let vault = vault(vec![done()]);
    let handle = app(&vault).connect_handle(SecretText::from("canary-session-4711"));
    let ConnectProgress::Connected(connected) = handle.poll().await.unwrap() else { panic!() };
    assert_eq!(connected.grant().provider_id, "google");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_asks_no_more_and_a_closed_client_ends_it() {
    let vault = vault(vec![pending()]);
    let app = app(&vault);
    let session = app.connect_session().as_app().create().await.unwrap();
    let five = Duration::from_secs(5);
    assert!(tokio::time::timeout(five, session.wait()).await.is_err());
    let polls = vault.got(POLL).len();
    tokio::time::sleep(five).await;
    assert_eq!((polls, vault.got(POLL).len()), (3, 3));
    let waiting = tokio::spawn(session.wait().into_future());
    tokio::time::sleep(Duration::from_secs(1)).await;
    app.close().await;
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), &Kind::Closed);
}

#[tokio::test(start_paused = true)]
async fn connecting_gives_the_url_and_then_the_grant() {
    let vault = vault(vec![pending(), done()]);
    let shown = Arc::new(Mutex::new(String::new()));
    let keep = Arc::clone(&shown);
    let connected = app(&vault)
        .connect_session()
        .provider("google")
        .as_app()
        .connect_with(move |url| keep.lock().unwrap().push_str(url))
        .timeout(Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(connected.grant().grant_id, GRANT);
    assert_eq!(*shown.lock().unwrap(), URL);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_fails_does_not_end_the_waiting() {
    let turn = Arc::new(Mutex::new(0));
    let vault = tower::service_fn(move |request: http::Request<bytes::Bytes>| {
        let is_poll = request.uri().path() == POLL;
        let mut turn = turn.lock().unwrap();
        *turn += u32::from(is_poll);
        let answer = match *turn {
            0 => Ok(json_response(200, &made())),
            1 => Err(std::io::Error::other("connection reset")),
            _ => Ok(done().response()),
        };
        std::future::ready(answer)
    });
    let app = App::builder(KEY).backend(vault).reqwest(reqwest::ClientBuilder::no_proxy).build().unwrap();
    let session = app.connect_session().as_app().create().await.unwrap();
    assert_eq!(session.wait().await.unwrap().grant().grant_id, GRANT);
}
