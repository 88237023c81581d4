//! What the vault is told of a call, and when.

use std::{sync::Arc, time::Duration};

use alter_core::{Body, Kind, error::Transport};
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::sync::Notify;

use crate::fixture::{
    CREDENTIAL, GRANT, REPORT, Stub, TOKEN, answer, app, builder, provider, serve, until, vault, vault_with,
};

#[tokio::test]
async fn a_report_tells_the_call_in_the_documented_order() {
    let vault = vault();
    let provider = Stub::new(|_| async { ([("x-echo", "e"), ("set-cookie", "s=1")], "done") });
    let url = serve(provider.router()).await;
    let app = app(&vault);
    let call = app.request(Method::PATCH, format!("{url}/a?b=c")).grant(GRANT).json(&json!({"k": 1}));
    let call = call.header("x-mine", "m").header("cookie", "c=1").reason("why").context("tool", "t");
    assert_eq!(call.send().await.unwrap().text().await.unwrap(), "done");
    app.close().await;
    let seen = vault.only(REPORT);
    let text = String::from_utf8(seen.body.to_vec()).unwrap();
    assert!(text.starts_with(
        r#"{"grant_id":"11111111-2222-3333-4444-555555555555","provider_id":"google","token_generation":"#
    ));
    let report = seen.json();
    assert_eq!((&report["method"], &report["url"]), (&json!("PATCH"), &json!(format!("{url}/a?b=c"))));
    assert_eq!(report["request_body"], json!({"k": 1}));
    let headers = &report["request_headers"];
    assert_eq!(
        (&headers["x-mine"], headers.get("cookie"), headers.get("authorization")),
        (&json!("m"), None, None)
    );
    assert_eq!((&report["response_status"], &report["response_body"]), (&json!(200), &json!("done")));
    let headers = &report["response_headers"];
    assert_eq!((&headers["x-echo"], headers.get("set-cookie")), (&json!("e"), None));
    assert_eq!((&report["reason"], &report["context"]), (&json!("why"), &json!({"tool": "t"})));
    assert_eq!(seen.header("x-alter-context"), Some(r#"{"tool":"t"}"#));
}

#[tokio::test]
async fn a_report_carries_the_calls_own_caller() {
    const ID: &str = "99999999-8888-4777-8666-AAAAAAAAAAAA";
    let vault = Stub::new(|seen| {
        let mut answer = answer(&seen, &json!({}));
        answer.headers_mut().insert("x-alter-actor-id", http::HeaderValue::from_static(ID));
        async move { answer }
    });
    let (_, url) = provider().await;
    let app = builder(&vault).caller("service").build().unwrap();
    let own = app.request(Method::GET, &url).grant(GRANT).caller("job-7").send().await.unwrap();
    own.bytes().await.unwrap();
    until(|| vault.got(REPORT).len() == 1).await;
    assert_eq!(app.actor_id(), None);
    app.request(Method::GET, &url).grant(GRANT).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(app.actor_id(), Some(ID));
    app.close().await;
    let callers: Vec<_> = vault
        .seen()
        .iter()
        .map(|seen| {
            let header = |name| seen.header(name).map(str::to_owned);
            (seen.target.clone(), header("x-alter-caller").unwrap(), header("x-alter-actor-id"))
        })
        .collect();
    let expected = [
        (TOKEN, "job-7", None),
        (REPORT, "job-7", None),
        (TOKEN, "service", None),
        (REPORT, "service", Some(ID.to_owned())),
    ];
    assert_eq!(callers, expected.map(|(path, caller, id)| (path.to_owned(), caller.to_owned(), id)));
}

#[tokio::test]
async fn released_credentials_are_taken_out_of_what_is_reported() {
    let vault = vault_with(json!({"additional_credentials": {"other": "second-secret"}}));
    let provider = Stub::new(|seen| async move {
        (
            [("x-echo", seen.header("authorization").unwrap().to_owned())],
            format!("{CREDENTIAL} second-secret"),
        )
    });
    let url = serve(provider.router()).await;
    let app = app(&vault);
    let call = app.request(Method::POST, format!("{url}/{CREDENTIAL}?k=second-secret")).grant(GRANT);
    let call = call.header("x-mine", CREDENTIAL).json(&json!({"deep": [{"k": format!("x{CREDENTIAL}x")}]}));
    call.send().await.unwrap().bytes().await.unwrap();
    app.close().await;
    let report = vault.only(REPORT).json();
    let text = report.to_string();
    assert!(!text.contains(CREDENTIAL) && !text.contains("second-secret"), "{text}");
    assert_eq!(report["request_body"]["deep"][0]["k"], "x[redacted]x");
    assert_eq!(report["response_body"], "[redacted] [redacted]");
}

#[tokio::test]
async fn large_and_binary_bodies_are_reported_by_their_size() {
    let vault = vault();
    let provider =
        Stub::new(
            |seen| async move { if seen.target == "/big" { vec![b'x'; 10_001] } else { vec![0xff, 0xfe] } },
        );
    let url = serve(provider.router()).await;
    let app = app(&vault);
    let big = app.request(Method::POST, format!("{url}/big")).grant(GRANT).json(&"y".repeat(20_000));
    assert_eq!(big.send().await.unwrap().bytes().await.unwrap().len(), 10_001);
    until(|| vault.got(REPORT).len() == 1).await;
    let small = app.request(Method::POST, &url).grant(GRANT).body(vec![0xff]);
    small.send().await.unwrap().bytes().await.unwrap();
    app.close().await;
    let reports = vault.got(REPORT);
    assert_eq!(reports[0]["request_body"], "<binary body: 20002 bytes>");
    assert_eq!(reports[0]["response_body"], "<response too large: 10001 bytes>");
    assert_eq!(reports[1]["request_body"], "<binary body: 1 bytes>");
    assert_eq!(reports[1]["response_body"], "<binary response: 2 bytes>");
}

#[tokio::test]
async fn a_response_that_is_dropped_is_reported_as_what_was_read() {
    let vault = vault();
    let silent = tower::service_fn(|_: http::Request<Body>| async {
        use futures_util::StreamExt;
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"abc"))]);
        Ok::<_, std::io::Error>(http::Response::new(Body::from_stream(
            first.chain(futures_util::stream::pending()),
        )))
    });
    let app = builder(&vault).provider_service(silent).build().unwrap();
    let mut response = app.request(Method::GET, "https://api.example.com").grant(GRANT).send().await.unwrap();
    response.chunk().await.unwrap();
    assert!(vault.got(REPORT).is_empty());
    drop(response);
    app.close().await;
    assert_eq!(vault.got(REPORT)[0]["response_body"], "<response not read to its end: 3 bytes read>");
}

#[tokio::test]
async fn a_call_that_is_dropped_while_the_provider_works_is_reported_as_cancelled() {
    let vault = vault();
    let reached = Arc::new(Notify::new());
    let here = Arc::clone(&reached);
    let provider = Stub::new(move |_| {
        here.notify_one();
        std::future::pending::<String>()
    });
    let url = serve(provider.router()).await;
    let app = app(&vault);
    {
        let call = app.request(Method::POST, &url).grant(GRANT).body("payload").send();
        tokio::select! {
            _ = call => panic!("it cannot end"),
            () = reached.notified() => {}
        }
    }
    app.close().await;
    let report = &vault.got(REPORT)[0];
    assert_eq!((&report["response_status"], &report["response_body"]), (&json!(0), &json!("<cancelled>")));
    assert_eq!(report["request_body"], "payload");
}

#[tokio::test]
async fn a_call_that_is_dropped_before_the_provider_was_called_leaves_nothing() {
    let reached = Arc::new(Notify::new());
    let here = Arc::clone(&reached);
    let vault = Stub::new(move |_| {
        here.notify_one();
        std::future::pending::<String>()
    });
    let app = builder(&vault).report_capacity(1).build().unwrap();
    for _ in 0..3 {
        let call = app.request(Method::GET, "https://api.example.com").grant(GRANT).send();
        tokio::select! {
            _ = call => panic!("it cannot end"),
            () = reached.notified() => {}
        }
    }
    app.close().await;
    assert_eq!(vault.seen().len(), 3);
}

#[tokio::test]
async fn a_report_that_fails_fails_no_call() {
    let vault = Stub::new(|seen| {
        let answer = if seen.target == REPORT {
            (StatusCode::INTERNAL_SERVER_ERROR, "no").into_response()
        } else {
            answer(&seen, &json!({}))
        };
        async move { answer }
    });
    let (_, url) = provider().await;
    let app = app(&vault);
    for _ in 0..3 {
        app.request(Method::GET, &url).grant(GRANT).send().await.unwrap().bytes().await.unwrap();
    }
    app.close().await;
    assert_eq!(vault.got(REPORT).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn reports_are_bounded_and_a_call_beyond_waits_for_room() {
    let vault = vault();
    let provider = tower::service_fn(|_: http::Request<Body>| async {
        Ok::<_, std::io::Error>(http::Response::new(Body::from_stream(futures_util::stream::pending::<
            Result<Bytes, std::io::Error>,
        >())))
    });
    let app = builder(&vault).provider_service(provider).report_capacity(2).build().unwrap();
    let get = || app.request(Method::GET, "https://api.example.com").grant(GRANT).send();
    let (first, _second) = (get().await.unwrap(), get().await.unwrap());
    let full = get().await.unwrap_err();
    assert!(matches!(full.kind(), Kind::Transport(Transport::Timeout { maybe_sent: false })));
    assert_eq!(vault.got(TOKEN).len(), 2);
    let waiting = tokio::spawn(get());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert!(waiting.await.unwrap().is_ok());
}
