//! How a client ends, and what it learns on the way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alter_core::{Body, Kind, clock::ManualClock};
use http::{HeaderValue, Method};
use serde_json::json;
use tokio::sync::Notify;

use crate::fixture::{
    GRANT, REPORT, Stub, TOKEN, answer, app, builder, json_response, provider, serve, token, vault,
};

#[tokio::test]
async fn close_waits_for_calls_under_way_and_delivers_their_reports() {
    let vault = vault();
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (here, on) = (Arc::clone(&reached), Arc::clone(&go));
    let provider = Stub::new(move |_| {
        let (here, on) = (Arc::clone(&here), Arc::clone(&on));
        async move {
            here.notify_one();
            on.notified().await;
            "done"
        }
    });
    let url = serve(provider.router()).await;
    let app = app(&vault);
    let call = app.request(Method::GET, url).grant(GRANT).send();
    let call = tokio::spawn(async move { call.await?.text().await });
    reached.notified().await;
    let closing = tokio::spawn({
        let app = app.clone();
        async move { app.close().await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!closing.is_finished());
    let refused = app.request(Method::GET, "https://api.example.com").grant(GRANT).send().await.unwrap_err();
    assert!(matches!(refused.kind(), Kind::Closed));
    go.notify_one();
    assert_eq!(call.await.unwrap().unwrap(), "done");
    closing.await.unwrap();
    assert_eq!(vault.got(REPORT)[0]["response_body"], "done");
    app.close().await;
    assert!(matches!(app.grants().list().as_app().send().await.unwrap_err().kind(), Kind::Closed));
    assert!(matches!(app.verify_user_token(&token("t")).await.unwrap_err().kind(), Kind::Closed));
}

#[tokio::test(start_paused = true)]
async fn close_does_not_wait_for_ever_for_a_response_that_nobody_reads() {
    let vault = vault();
    let provider = tower::service_fn(|_: http::Request<Body>| async {
        Ok::<_, std::io::Error>(http::Response::new(Body::from_stream(futures_util::stream::pending::<
            Result<bytes::Bytes, std::io::Error>,
        >())))
    });
    let app = builder(&vault).provider_service(provider).timeout(Duration::from_secs(3)).build().unwrap();
    let unread = app.request(Method::GET, "https://api.example.com").grant(GRANT).send().await.unwrap();
    app.close().await;
    assert!(vault.got(REPORT).is_empty());
    drop(unread);
    app.close().await;
    assert_eq!(vault.got(REPORT).len(), 1);
}

#[tokio::test]
async fn the_rate_limit_is_the_one_last_stated_errors_included() {
    let count = AtomicUsize::new(0);
    let vault = Stub::new(move |_| {
        let remaining = 9 - count.fetch_add(1, Ordering::SeqCst);
        let mut answer = json_response(404, &json!({"error": "grant_not_found"}));
        for (name, value) in [("limit", 10), ("remaining", remaining), ("reset", 2_000_000_000)] {
            let name = http::HeaderName::try_from(format!("x-ratelimit-{name}")).unwrap();
            answer.headers_mut().insert(name, HeaderValue::from(value));
        }
        async move { answer }
    });
    let app = app(&vault);
    assert!(app.last_rate_limit().is_none());
    for remaining in [9, 8] {
        app.request(Method::GET, "https://api.example.com").grant(GRANT).send().await.unwrap_err();
        assert_eq!(app.last_rate_limit().unwrap().remaining, remaining);
    }
}

#[tokio::test]
async fn the_first_actor_id_stays_and_is_sent_back_as_it_came() {
    let count = AtomicUsize::new(0);
    let ids =
        ["not-a-uuid", "99999999-8888-4777-8666-ABCDEFABCDEF", "11111111-8888-4777-8666-555555555555", ""];
    let vault = Stub::new(move |seen| {
        let at = count.fetch_add(1, Ordering::SeqCst).min(3);
        let mut answer = answer(&seen, &json!({}));
        answer.headers_mut().insert("x-alter-actor-id", HeaderValue::from_static(ids[at]));
        async move { answer }
    });
    let provider = tower::service_fn(|_: http::Request<Body>| async {
        Err::<http::Response<Body>, _>(std::io::Error::other("no"))
    });
    let app = builder(&vault).caller("c").provider_service(provider).build().unwrap();
    let call = || app.request(Method::GET, "https://api.example.com").grant(GRANT).send();
    call().await.unwrap_err();
    crate::fixture::until(|| app.actor_id().is_some()).await;
    call().await.unwrap_err();
    app.close().await;
    let sent: Vec<_> =
        vault.seen().iter().map(|seen| seen.header("x-alter-actor-id").map(str::to_owned)).collect();
    assert_eq!(sent, [None, None, Some(ids[1].to_owned()), Some(ids[1].to_owned())]);
    assert_eq!(app.actor_id(), Some(ids[1]));
}

#[tokio::test]
async fn a_signature_is_stamped_by_the_given_clock_and_never_twice_alike() {
    let (vault, (_, url)) = (vault(), provider().await);
    let app = builder(&vault).clock(ManualClock::at(1_767_225_600)).build().unwrap();
    for _ in 0..2 {
        app.request(Method::GET, &url).grant(GRANT).send().await.unwrap();
    }
    let asked: Vec<_> = vault.seen().into_iter().filter(|seen| seen.target == TOKEN).collect();
    assert!(asked.iter().all(|seen| seen.header("x-alter-timestamp") == Some("1767225600")));
    assert_ne!(asked[0].header("x-alter-nonce"), asked[1].header("x-alter-nonce"));
    assert_ne!(asked[0].header("x-alter-signature"), asked[1].header("x-alter-signature"));
}

#[tokio::test]
async fn a_user_token_is_verified_by_the_vault() {
    let vault = Stub::new(|seen| async move {
        match seen.json()["token"].as_str().unwrap() {
            "good" => json_response(200, &json!({"sub": "user-1"})),
            "blank" => json_response(200, &json!({"sub": " "})),
            "bad" => json_response(401, &json!({"error": "jwt_validation_error", "message": "no"})),
            _ => json_response(401, &json!({"error": "key_revoked", "message": "no"})),
        }
    });
    let app = app(&vault);
    assert_eq!(app.verify_user_token(&token("good")).await.unwrap().as_deref(), Some("user-1"));
    assert_eq!(app.verify_user_token(&token("bad")).await.unwrap(), None);
    assert!(app.verify_user_token(&token("blank")).await.is_err());
    assert!(app.verify_user_token(&token("key")).await.is_err());
}
