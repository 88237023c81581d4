//! No secret in anything that is printed.

use std::{
    error::Error as _,
    fmt::Debug,
    io,
    sync::{Arc, Mutex},
};

use alter_core::{Body, Error};
use axum::response::IntoResponse;
use http::{Method, StatusCode};
use serde_json::json;

use crate::fixture::{
    CREDENTIAL, GRANT, KEY, REPORT, Stub, TOKEN, answer, builder, json_response, serve, token, until,
};

const JWT: &str = "canary-jwt.of.user";

fn assert_clean(text: &str) {
    for canary in [CREDENTIAL, &KEY[14..], JWT, "canary"] {
        assert!(!text.contains(canary), "{canary} is in {text}");
    }
}

fn shown(value: &impl Debug) -> String {
    format!("{value:?} {value:#?}")
}

fn told(error: &Error) -> String {
    let mut text = format!("{error} {}", shown(error));
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    text
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn no_secret_is_printed_by_anything() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Current-thread runtime: everything of this test runs here.
    let _logging = tracing::subscriber::set_default(subscriber);

    let vault = Stub::new(|seen| {
        let mut answer = if seen.target == REPORT {
            let message = format!("\u{1b}[31m{}", "long ".repeat(1_000));
            json_response(500, &json!({"error": "internal_error", "message": message}))
        } else {
            answer(
                &seen,
                &json!({"additional_credentials": {"pin": "canary-pin"}, "additional_injections":
                    [{"target": "query_param", "key": "pin", "value_source": "additional_credentials.pin"}]}),
            )
        };
        answer.headers_mut().insert("x-alter-key-deprecated", http::HeaderValue::from_static("true"));
        async move { answer }
    });
    let provider = Stub::new(|seen| async move {
        if seen.target.starts_with("/refuse") {
            return (StatusCode::BAD_REQUEST, format!("{:?}", seen.headers)).into_response();
        }
        format!("{:?}", seen.headers).into_response()
    });
    let url = serve(provider.router()).await;
    let settings = builder(&vault).caller("svc");
    assert_clean(&shown(&settings));
    let app = settings.build().unwrap();
    let user = app.for_user(token(JWT));
    let call = user.request(Method::GET, format!("{url}/?canary=1")).provider("p").header("x", "canary");
    let call = call.context("canary", "canary").body("canary");
    for text in [shown(&app), shown(&user), shown(&app.grants()), shown(&call), shown(&app.grants().list())] {
        assert_clean(&text);
    }
    let response = call.send().await.unwrap();
    assert_clean(&shown(&response));
    let body = response.into_body();
    assert_clean(&shown(&body));
    drop(body);

    let refused = user.request(Method::GET, format!("{url}/refuse")).provider("p").send().await.unwrap_err();
    assert_clean(&told(&refused));
    assert!(!refused.provider_answer().unwrap().body.contains(CREDENTIAL));
    let unreachable =
        user.request(Method::GET, "http://127.0.0.1:1/x").provider("p").send().await.unwrap_err();
    assert_clean(&told(&unreachable));
    let userinfo =
        user.request(Method::GET, "https://canary:canary@h/").provider("p").send().await.unwrap_err();
    assert_clean(&told(&userinfo));
    let wrong = user.request(Method::GET, url.clone()).provider("p").send().await.unwrap();
    assert_clean(&told(&wrong.json::<u8>().await.unwrap_err()));
    app.close().await;

    let text = log.text();
    assert_eq!(text.matches("deprecated").count(), 1, "{text}");
    assert_eq!(text.matches("did not reach the vault").count(), 4, "{text}");
    assert!(!text.contains("\\u{1b}[31m") && text.lines().all(|line| line.len() < 1_000), "{text}");
    assert_clean(&text);
}

#[tokio::test]
async fn a_malformed_token_answer_is_refused_without_quoting_it() {
    let vault = Stub::new(|_| async {
        json_response(200, &json!({"access_token": CREDENTIAL, "grant_id": "canary", "scopes": null}))
    });
    let app = builder(&vault).build().unwrap();
    let refused = app.request(Method::GET, "https://api.example.com").grant(GRANT).send().await.unwrap_err();
    assert!(matches!(refused.kind(), alter_core::Kind::Malformed));
    assert_clean(&told(&refused));
    until(|| vault.got(TOKEN).len() == 1).await;
}

#[tokio::test]
async fn what_a_foreign_transport_says_is_not_repeated() {
    let vault = crate::fixture::vault();
    let provider = tower::service_fn(|request: http::Request<Body>| async move {
        Err::<http::Response<Body>, _>(io::Error::other(format!(
            "{:?}",
            request.headers()["authorization"].to_str()
        )))
    });
    let app = builder(&vault).provider_service(provider).build().unwrap();
    let failed = app.request(Method::GET, "https://api.example.com").grant(GRANT).send().await.unwrap_err();
    assert_clean(&told(&failed));
}
