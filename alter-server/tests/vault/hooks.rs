//! What identity providers tell: who is believed, and what becomes of the users.

use alter_core::clock::ManualClock;
use alter_server::{
    audit::Action,
    domain::{HookShape, UserRef, UserStatus},
    testkit::TestVault,
};
use aws_lc_rs::hmac;
use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use secrecy::SecretString;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{now, refusals, releases, send, signed, token_body, trail};

const KEY: &[u8] = b"a-signing-secret-of-32-bytes-....";
const HEADER: &str = "an-authorization-value-for-tests";

fn signing_secret() -> SecretString {
    format!("whsec_{}", STANDARD.encode(KEY)).into()
}

fn signature(key: &[u8], id: &str, at: i64, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// A message as it goes over the wire.
#[derive(Debug, Clone)]
struct Message {
    method: Method,
    headers: Vec<(String, String)>,
    body: String,
}

impl Message {
    fn signed(prefix: &str, id: &str, at: i64, body: &Value) -> Self {
        Self::signed_with(KEY, prefix, id, at, body)
    }

    fn signed_with(key: &[u8], prefix: &str, id: &str, at: i64, body: &Value) -> Self {
        let body = body.to_string();
        let signature = signature(key, id, at, &body);
        let header = |name: &str, value: String| (format!("{prefix}{name}"), value);
        let headers = vec![
            header("id", id.to_owned()),
            header("timestamp", at.to_string()),
            header("signature", signature),
        ];
        Self { method: Method::POST, headers, body }
    }

    fn authorized(value: &str, body: &Value) -> Self {
        let headers = vec![("authorization".to_owned(), value.to_owned())];
        Self { method: Method::POST, headers, body: body.to_string() }
    }
}

async fn post(kit: &TestVault, path: &str, message: &Message) -> (StatusCode, Value) {
    let mut request = Request::builder().method(message.method.clone()).uri(path);
    for (name, value) in &message.headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(message.body.clone())).unwrap();
    let answer = kit.vault().router().oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn source(kit: &TestVault, shape: HookShape) -> String {
    let secret = match shape {
        HookShape::Generic | HookShape::Clerk => signing_secret(),
        HookShape::Auth0 | HookShape::Okta => HEADER.into(),
    };
    kit.admin().add_hook_source(kit.app_id(), shape, secret).await.unwrap().path
}

fn told(kind: &str, subject: &str) -> Value {
    json!({"type": kind, "data": {"subject": subject}})
}

/// Whether `user-1` gets a token.
async fn is_served(kit: &TestVault) -> bool {
    let answer = send(&kit.vault().router(), &signed(&kit.app_key(), "/sdk/token", &token_body(kit))).await;
    assert!(answer.status == StatusCode::OK || !answer.holds_a_credential(), "{answer:?}");
    answer.status == StatusCode::OK
}

async fn status(kit: &TestVault, subject: &str) -> Option<UserStatus> {
    let users = kit.admin().users(kit.app_id(), 1_000, 0).await.unwrap();
    users.into_iter().find(|user| user.subject == subject).map(|user| user.status)
}

#[tokio::test]
async fn a_deleted_user_loses_every_grant_at_once_and_the_next_call_fails() {
    let kit = TestVault::start().await.unwrap();
    let path = source(&kit, HookShape::Generic).await;
    assert!(is_served(&kit).await);
    let message = Message::signed("webhook-", "msg_1", now(), &told("user.deleted", "user-1"));
    let (answered, body) = post(&kit, &path, &message).await;
    assert_eq!((answered, &body["status"]), (StatusCode::OK, &json!("heard")), "{body}");
    let released = releases(&kit).await;
    assert!(!is_served(&kit).await);
    assert_eq!(releases(&kit).await, released);
    for grant in kit.grants("user-1") {
        let grant = kit.admin().grant(kit.app_id(), grant.grant_id).await.unwrap();
        assert!(grant.revoked_at.is_some() && grant.revoked_by.unwrap().starts_with("webhook:"));
    }
    // And the provider is told.
    kit.vault().work_off_outbox().await.unwrap();
    assert!(kit.sandbox().provider().tokens("user-1", &kit.grants("user-1")[0].account).are_dead());
    // Deleted is for good.
    let message = Message::signed("webhook-", "msg_2", now(), &told("user.activated", "user-1"));
    assert_eq!(post(&kit, &path, &message).await.0, StatusCode::OK);
    assert_eq!(status(&kit, "user-1").await, Some(UserStatus::Deleted));
    // Others are served.
    assert!(trail(&kit).await.iter().any(|row| row.action == Action::HookReceived));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_suspended_user_is_refused_until_activated_and_one_that_was_never_seen_is_remembered() {
    let kit = TestVault::start().await.unwrap();
    let path = source(&kit, HookShape::Generic).await;
    for (index, (kind, subject)) in
        [("user.suspended", "user-1"), ("user.suspended", "nobody-yet")].into_iter().enumerate()
    {
        let message = Message::signed("webhook-", &format!("m{index}"), now(), &told(kind, subject));
        assert_eq!(post(&kit, &path, &message).await.0, StatusCode::OK);
        assert_eq!(status(&kit, subject).await, Some(UserStatus::Suspended));
    }
    assert!(!is_served(&kit).await);
    let message = Message::signed("webhook-", "m9", now(), &told("user.activated", "user-1"));
    assert_eq!(post(&kit, &path, &message).await.0, StatusCode::OK);
    assert_eq!(status(&kit, "user-1").await, Some(UserStatus::Active));
    // The grants are gone all the same.
    assert!(!is_served(&kit).await);
    // A user of another issuer is another user.
    let elsewhere =
        json!({"type": "user.deleted", "data": {"subject": "user-1", "issuer": "https://other.example"}});
    let message = Message::signed("webhook-", "m10", now(), &elsewhere);
    assert_eq!(post(&kit, &path, &message).await.0, StatusCode::OK);
    let users = kit.admin().users(kit.app_id(), 100, 0).await.unwrap();
    let both: Vec<_> = users.iter().filter(|user| user.subject == "user-1").map(|user| user.status).collect();
    assert_eq!(both.len(), 2);
    assert!(both.contains(&UserStatus::Active) && both.contains(&UserStatus::Deleted));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn forged_stale_and_replayed_messages_are_refused_with_a_row_each() {
    let kit = TestVault::start().await.unwrap();
    let path = source(&kit, HookShape::Generic).await;
    let body = told("user.deleted", "user-1");
    let good = Message::signed("webhook-", "msg_1", now(), &told("user.suspended", "user-2"));
    let mut changed = Message::signed("webhook-", "msg_2", now(), &body);
    changed.body = changed.body.replace("user-1", "user-2");
    let mut unsigned = good.clone();
    unsigned.headers.clear();
    let mut twice = Message::signed("webhook-", "msg_3", now(), &body);
    twice.headers.push(("webhook-signature".to_owned(), "v1,AAAA".to_owned()));
    for forged in [
        Message::signed_with(b"another-secret-of-many-bytes", "webhook-", "msg_4", now(), &body),
        Message::signed("svix-", "msg_5", now(), &body),
        changed,
        unsigned,
        twice,
    ] {
        let (answered, said) = post(&kit, &path, &forged).await;
        assert_eq!(
            (answered, &said["error"]),
            (StatusCode::UNAUTHORIZED, &json!("invalid_signature")),
            "{forged:?}"
        );
    }
    assert_eq!(refusals(&kit, "invalid_signature").await, 5);
    for at in [now() - 320, now() + 320] {
        let stale = Message::signed("webhook-", "msg_6", at, &body);
        let (answered, said) = post(&kit, &path, &stale).await;
        assert_eq!((answered, &said["error"]), (StatusCode::UNAUTHORIZED, &json!("timestamp_out_of_window")));
    }
    assert_eq!(refusals(&kit, "timestamp_out_of_window").await, 2);
    assert_eq!(post(&kit, &path, &good).await.0, StatusCode::OK);
    for replays in 1..3 {
        let (answered, said) = post(&kit, &path, &good).await;
        assert_eq!((answered, &said["error"]), (StatusCode::CONFLICT, &json!("nonce_replayed")));
        assert_eq!(refusals(&kit, "nonce_replayed").await, replays);
    }
    // No such source, and one that was removed.
    let source = kit.admin().hook_sources(kit.app_id()).await.unwrap().remove(0).source;
    kit.admin().remove_hook_source(kit.app_id(), source.id).await.unwrap();
    let fresh = Message::signed("webhook-", "msg_7", now(), &body);
    for nowhere in [path.as_str(), "/hooks/AAAA", "/hooks/%00"] {
        assert_eq!(post(&kit, nowhere, &fresh).await.0, StatusCode::NOT_FOUND, "{nowhere}");
    }
    assert_eq!(refusals(&kit, "not_found").await, 3);
    assert!(is_served(&kit).await);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn strangers_cause_few_rows() {
    let clock = ManualClock::at(now());
    let kit = TestVault::start_at(clock).await.unwrap();
    let path = source(&kit, HookShape::Generic).await;
    let forged = Message::signed("svix-", "m", now(), &json!({}));
    for _ in 0..100 {
        assert_eq!(post(&kit, &path, &forged).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(refusals(&kit, "invalid_signature").await, 20);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_signed_and_makes_no_sense_is_refused_and_what_is_not_about_users_changes_nothing() {
    let kit = TestVault::start().await.unwrap();
    let path = source(&kit, HookShape::Generic).await;
    let bad = [
        json!([]),
        json!({"data": {}}),
        json!({"type": "user.deleted"}),
        told("user.deleted", ""),
        told("user.deleted", "a\u{7}b"),
    ];
    for (index, body) in bad.iter().enumerate() {
        let message = Message::signed("webhook-", &format!("b{index}"), now(), body);
        assert_eq!(post(&kit, &path, &message).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    let large = Message::signed("webhook-", "large", now(), &json!({"type": "x".repeat(300 * 1024)}));
    assert_eq!(post(&kit, &path, &large).await.1["error"], "body_too_large");
    let other = Message::signed("webhook-", "other", now(), &json!({"type": "invoice.paid"}));
    assert_eq!(post(&kit, &path, &other).await.0, StatusCode::OK);
    let get = Message { method: Method::GET, ..other };
    assert_eq!(post(&kit, &path, &get).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert!(is_served(&kit).await);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn clerk_is_heard_in_its_own_words() {
    let kit = TestVault::start().await.unwrap();
    let path = source(&kit, HookShape::Clerk).await;
    let event = |kind: &str, data: Value| json!({"object": "event", "type": kind, "data": data});
    for (id, body, served) in [
        ("m1", event("user.updated", json!({"id": "user-1", "banned": false, "locked": true})), true),
        ("m2", event("session.created", json!({"id": "sess_1", "user_id": "user-1"})), true),
        ("m3", event("user.updated", json!({"id": "user-1", "banned": true, "locked": false})), false),
    ] {
        let message = Message::signed("svix-", id, now(), &body);
        assert_eq!(post(&kit, &path, &message).await.0, StatusCode::OK);
        assert_eq!(is_served(&kit).await, served, "{body}");
    }
    // A later change of the profile says nothing about an operator's suspension.
    let message = Message::signed(
        "svix-",
        "m4",
        now(),
        &event("user.updated", json!({"id": "user-1", "banned": false})),
    );
    assert_eq!(post(&kit, &path, &message).await.0, StatusCode::OK);
    assert_eq!(status(&kit, "user-1").await, Some(UserStatus::Suspended));
    let message = Message::signed(
        "svix-",
        "m5",
        now(),
        &event("user.deleted", json!({"id": "user-1", "deleted": true})),
    );
    assert_eq!(post(&kit, &path, &message).await.0, StatusCode::OK);
    assert_eq!(status(&kit, "user-1").await, Some(UserStatus::Deleted));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn auth0_is_heard_in_its_own_words() {
    let kit = TestVault::start().await.unwrap();
    let path = source(&kit, HookShape::Auth0).await;
    let api = |id: &str, method: &str, user: &str, body: Value| {
        json!({"log_id": id, "data": {"log_id": id, "type": "sapi", "date": jiff::Timestamp::now().to_string(), "user_id": "auth0|admin",
            "details": {"request": {"method": method, "path": format!("/api/v2/users/{user}"), "body": body}}}})
    };
    let block = json!([
        {"log_id": "l0", "data": {"type": "s", "user_id": "user-1"}},
        api("l1", "patch", "user%2D1/roles", json!({"blocked": true})),
        api("l2", "patch", "user-1", json!({"name": "x"})),
    ]);
    assert_eq!(post(&kit, &path, &Message::authorized(HEADER, &block)).await.0, StatusCode::OK);
    assert!(is_served(&kit).await);
    let block = json!([api("l3", "patch", "user%2D1", json!({"blocked": true}))]);
    for forged in ["", "Bearer", "Bearer wrong", "an-authorization-value-for-test"] {
        let message = Message::authorized(forged, &block);
        assert_eq!(post(&kit, &path, &message).await.0, StatusCode::UNAUTHORIZED, "{forged}");
    }
    let message = Message::authorized(&format!("Bearer {HEADER}"), &block);
    assert_eq!(post(&kit, &path, &message).await.0, StatusCode::OK);
    assert!(!is_served(&kit).await);
    // Whoever did it stays as they are.
    assert_eq!(status(&kit, "auth0|admin").await, None);
    assert_eq!(post(&kit, &path, &message).await.0, StatusCode::CONFLICT);
    let unblock = Message::authorized(HEADER, &api("l4", "PATCH", "user-1", json!({"blocked": false})));
    assert_eq!(post(&kit, &path, &unblock).await.0, StatusCode::OK);
    assert_eq!(status(&kit, "user-1").await, Some(UserStatus::Active));
    // One event per line.
    let mut lines = Message::authorized(HEADER, &json!(null));
    lines.body = ["user-1", "user-2"]
        .map(|user| json!({"log_id": user, "data": {"type": "sdu", "user_id": user}}).to_string())
        .join("\n");
    assert_eq!(post(&kit, &path, &lines).await.0, StatusCode::OK);
    for user in ["user-1", "user-2"] {
        assert_eq!(status(&kit, user).await, Some(UserStatus::Deleted));
    }
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn okta_is_heard_in_its_own_words_and_its_question_is_answered() {
    let kit = TestVault::start().await.unwrap();
    let path = source(&kit, HookShape::Okta).await;
    let mut question = Message::authorized(HEADER, &json!(null));
    question.method = Method::GET;
    question.headers.push(("x-okta-verification-challenge".to_owned(), "Me_rShK8-42".to_owned()));
    let (answered, body) = post(&kit, &path, &question).await;
    assert_eq!((answered, body), (StatusCode::OK, json!({"verification": "Me_rShK8-42"})));
    question.headers.remove(0);
    assert_eq!(post(&kit, &path, &question).await.0, StatusCode::UNAUTHORIZED);
    let event = |id: &str, kind: &str, result: &str| {
        json!({"eventType": "com.okta.event_hook", "data": {"events": [{
            "uuid": id, "eventType": kind, "published": jiff::Timestamp::now().to_string(), "outcome": {"result": result},
            "actor": {"id": "00admin", "type": "User"},
            "target": [{"id": "user-1", "type": "User", "alternateId": "one@shop.example"}, {"id": "user-2", "type": "AppUser"}],
        }]}})
    };
    for (id, kind, result, then) in [
        ("e1", "user.session.start", "SUCCESS", UserStatus::Active),
        ("e2", "user.lifecycle.suspend", "FAILURE", UserStatus::Active),
        ("e3", "user.lifecycle.suspend", "SUCCESS", UserStatus::Suspended),
        ("e4", "user.lifecycle.unsuspend", "SUCCESS", UserStatus::Active),
        ("e5", "user.lifecycle.deactivate", "SUCCESS", UserStatus::Suspended),
        ("e6", "user.lifecycle.delete.initiated", "SUCCESS", UserStatus::Deleted),
    ] {
        let message = Message::authorized(HEADER, &event(id, kind, result));
        assert_eq!(post(&kit, &path, &message).await.0, StatusCode::OK, "{kind}");
        assert_eq!(status(&kit, "user-1").await, Some(then), "{kind}");
    }
    assert_eq!(status(&kit, "one@shop.example").await, Some(UserStatus::Deleted));
    assert_eq!(
        (status(&kit, "00admin").await, status(&kit, "user-2").await),
        (None, Some(UserStatus::Active))
    );
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn an_operator_can_do_the_same() {
    let kit = TestVault::start().await.unwrap();
    let who = UserRef::Subject { issuer: kit.sandbox().issuer(), subject: "user-1".to_owned() };
    let reason = Some("left the company".to_owned());
    let changed =
        kit.admin().set_user_status(kit.app_id(), who, UserStatus::Suspended, reason).await.unwrap();
    assert_eq!(changed.revoked.len(), kit.grants("user-1").len());
    assert!(!is_served(&kit).await);
    kit.vault().work_off_outbox().await.unwrap();
    let none = kit.admin().purge_grants(kit.app_id(), jiff::SignedDuration::from_hours(1)).await.unwrap();
    assert_eq!(none, []);
    kit.stop().await.unwrap();
}
