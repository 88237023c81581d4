//! What applications are told: signed, retried, listed when it was given up. The receiver is a server on loopback.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use alter_server::{
    admin::AdminError,
    domain::{GrantEvent, GrantId},
    testkit::TestVault,
};
use aws_lc_rs::hmac;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

const SOON: Duration = Duration::from_millis(20);

/// What came in.
#[derive(Debug, Clone)]
struct Message {
    headers: HeaderMap,
    body: Bytes,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// As the standard's text says, without any code of ours.
    fn is_signed_with(&self, secret: &SecretString) -> bool {
        let key = STANDARD.decode(secret.expose_secret().strip_prefix("whsec_").unwrap()).unwrap();
        let signed = [
            self.header("webhook-id").as_bytes(),
            b".",
            self.header("webhook-timestamp").as_bytes(),
            b".",
            &self.body,
        ]
        .concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
        self.header("webhook-signature") == format!("v1,{}", STANDARD.encode(tag))
    }
}

/// A receiver that answers as it was told to, then with 204.
#[derive(Debug, Clone, Default)]
struct Receiver {
    messages: Arc<Mutex<Vec<Message>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Receiver {
    async fn start(answers: &[u16]) -> (Self, String) {
        let receiver = Self::default();
        receiver.answers.lock().unwrap().extend(answers);
        let router = Router::new().route("/in", post(Self::take)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (receiver, url)
    }

    #[expect(clippy::unused_async, reason = "a handler is async")]
    async fn take(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
        receiver.messages.lock().unwrap().push(Message { headers, body });
        let status = receiver.answers.lock().unwrap().pop_front().unwrap_or(204);
        let status = StatusCode::from_u16(status).unwrap();
        let location = if status.is_redirection() { "http://127.0.0.1:1/elsewhere" } else { "" };
        (status, [("location", location)])
    }

    fn seen(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    fn of(&self, event: GrantEvent) -> Vec<Message> {
        self.seen().into_iter().filter(|message| message.json()["type"] == event.as_str()).collect()
    }
}

async fn hasty() -> TestVault {
    TestVault::start_with(|config| config.outbox_wait(SOON)).await.unwrap()
}

fn grant(kit: &TestVault) -> GrantId {
    kit.grants("user-1")[0].grant_id
}

async fn revoke(kit: &TestVault) {
    kit.admin().revoke_grant(kit.app_id(), grant(kit), Some("left".to_owned())).await.unwrap();
}

async fn work(kit: &TestVault, times: usize) {
    for _ in 0..times {
        kit.vault().work_off_outbox().await.unwrap();
        tokio::time::sleep(SOON * 3).await;
    }
}

#[tokio::test]
async fn every_change_is_told_signed_and_without_any_secret() {
    let kit = TestVault::start().await.unwrap();
    let (receiver, url) = Receiver::start(&[]).await;
    let added = kit.admin().add_webhook(kit.app_id(), &url, Vec::new()).await.unwrap();
    revoke(&kit).await;
    work(&kit, 2).await;
    let [message] = &*receiver.of(GrantEvent::Revoked) else { panic!("{:?}", receiver.seen()) };
    assert!(message.is_signed_with(&added.secret));
    let body = message.json();
    assert_eq!(body["data"]["grant_id"], grant(&kit).to_string());
    assert_eq!((&body["data"]["reason"], &body["data"]["by"]), (&"left".into(), &"test".into()));
    assert!(!String::from_utf8_lossy(&message.body).contains("sbx_"));
    let age =
        message.header("webhook-timestamp").parse::<i64>().unwrap() - jiff::Timestamp::now().as_second();
    assert!(age.abs() < 60);
    // The receipt is told too, and by another id.
    let [receipt] = &*receiver.of(GrantEvent::ProviderRevoked) else { panic!("{:?}", receiver.seen()) };
    assert_eq!(receipt.json()["data"]["receipt"], "refresh token, HTTP 200");
    assert!(receipt.is_signed_with(&added.secret));
    assert_ne!(receipt.header("webhook-id"), message.header("webhook-id"));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn an_endpoint_gets_what_it_asked_for_and_nothing_after_it_was_removed() {
    let kit = TestVault::start().await.unwrap();
    let (some, some_url) = Receiver::start(&[]).await;
    let (none, none_url) = Receiver::start(&[]).await;
    let (admin, app) = (kit.admin(), kit.app_id());
    admin.add_webhook(app, &some_url, vec![GrantEvent::ProviderRevoked]).await.unwrap();
    let gone = admin.add_webhook(app, &none_url, Vec::new()).await.unwrap().endpoint;
    revoke(&kit).await;
    admin.remove_webhook(app, gone.id).await.unwrap();
    work(&kit, 2).await;
    let types: Vec<Value> = some.seen().iter().map(|message| message.json()["type"].clone()).collect();
    assert_eq!(types, ["grant.provider_revoked"]);
    assert!(none.seen().is_empty());
    assert_eq!(admin.webhooks(app).await.unwrap().len(), 1);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_not_taken_is_sent_again_under_the_same_id_and_redirections_are_not_followed() {
    let kit = hasty().await;
    let (receiver, url) = Receiver::start(&[500, 307, 429]).await;
    let added = kit.admin().add_webhook(kit.app_id(), &url, vec![GrantEvent::Revoked]).await.unwrap();
    revoke(&kit).await;
    for _ in 0..200 {
        if receiver.seen().len() == 4 {
            break;
        }
        work(&kit, 1).await;
    }
    work(&kit, 3).await;
    let seen = receiver.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|message| message.is_signed_with(&added.secret)));
    assert!(seen.iter().all(|message| message.header("webhook-id") == seen[0].header("webhook-id")));
    assert!(kit.admin().dead_jobs(kit.app_id(), 10, 0).await.unwrap().is_empty());
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_a_dead_letter_that_can_be_tried_again_or_dropped() {
    let kit = hasty().await;
    let (admin, app) = (kit.admin(), kit.app_id());
    let (receiver, url) = Receiver::start(&[410, 410]).await;
    admin.add_webhook(app, &url, vec![GrantEvent::Revoked]).await.unwrap();
    revoke(&kit).await;
    work(&kit, 3).await;
    assert_eq!(receiver.seen().len(), 1);
    let dead = admin.dead_jobs(app, 10, 0).await.unwrap();
    let [letter] = &*dead else { panic!("{dead:?}") };
    assert_eq!((letter.task, letter.target.as_str(), letter.attempts), ("deliver", url.as_str(), 1));
    assert!(letter.last_error.as_deref().unwrap().contains("410"), "{letter:?}");
    for (seen, left) in [(2, 1), (3, 0)] {
        admin.retry_job(app, letter.id).await.unwrap();
        work(&kit, 1).await;
        assert_eq!((receiver.seen().len(), admin.dead_jobs(app, 10, 0).await.unwrap().len()), (seen, left));
    }
    assert!(matches!(admin.drop_job(app, letter.id).await, Err(AdminError::NotFound(_))));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_nobody_else() {
    let kit = TestVault::start().await.unwrap();
    let (admin, app) = (kit.admin(), kit.app_id());
    // It accepts, and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("http://{}/", silent.local_addr().unwrap());
    let (receiver, url) = Receiver::start(&[]).await;
    for _ in 0..8 {
        admin.add_webhook(app, &silent_url, Vec::new()).await.unwrap();
    }
    admin.add_webhook(app, &url, vec![GrantEvent::Revoked]).await.unwrap();
    let _serving = kit.vault().router();
    revoke(&kit).await;
    for _ in 0..100 {
        if !receiver.seen().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(receiver.seen().len(), 1);
    // The provider was told as well.
    assert!(kit.sandbox().counts().revocations.calls == 1);
    drop(silent);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn only_addresses_that_everybody_can_reach_are_sent_to() {
    let kit = TestVault::start().await.unwrap();
    let (admin, app) = (kit.admin(), kit.app_id());
    for bad in [
        "http://hooks.example/",
        "https://user@hooks.example/",
        "ftp://hooks.example/",
        "hooks",
        "https://a.example/#x",
    ] {
        let refused = admin.add_webhook(app, bad, Vec::new()).await;
        assert!(matches!(refused, Err(AdminError::Invalid(_))), "{bad}: {refused:?}");
    }
    for inside in
        ["https://169.254.169.254/latest", "https://10.0.0.1/", "https://[fd00::1]/", "https://127.0.0.2/"]
    {
        admin.add_webhook(app, inside, vec![GrantEvent::Revoked]).await.unwrap();
    }
    revoke(&kit).await;
    kit.vault().work_off_outbox().await.unwrap();
    // None was delivered or given up: each waits for an operator who says that it is meant.
    assert!(admin.dead_jobs(app, 10, 0).await.unwrap().is_empty());
    kit.stop().await.unwrap();
}
