//! What is made of the provider's answer and of the vault's.

use std::time::Duration;

use alter_core::{
    AlterResponse, Body, Error, Kind, Retry,
    error::{Grant, InvalidInput, Provider, Transport},
};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fixture::{
    CREDENTIAL, GRANT, REPORT, Stub, app, builder, json_response, serve, token, vault, vault_with,
};

const SCOPE_REPORT: &str = "/sdk/grants/11111111-2222-3333-4444-555555555555/report-scope-mismatch";

async fn call(
    vault: &Stub,
    status: u16,
    challenge: &'static str,
    body: String,
) -> Result<AlterResponse, Error> {
    let provider = Stub::new(move |_| {
        let body = body.clone();
        async move {
            (
                StatusCode::from_u16(status).unwrap(),
                [("www-authenticate", challenge), ("retry-after", "9")],
                body,
            )
        }
    });
    let url = serve(provider.router()).await;
    let app = app(vault);
    let answer = app.request(Method::GET, url).grant(GRANT).send().await;
    app.close().await;
    answer
}

#[tokio::test]
async fn a_provider_that_wants_more_scopes_is_an_error_that_names_them_and_the_vault_is_told() {
    let vault = vault();
    let challenge = r#"Bearer realm="x", error="insufficient_scope", scope="mail.read mail.send""#;
    let error = call(&vault, 403, challenge, "no".into()).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Provider(Provider::ScopeReauth { .. })));
    assert_eq!(error.missing_scopes(), ["mail.read", "mail.send"]);
    assert!(error.needs_reauthorization());
    assert_eq!(error.recovery().unwrap().grant_id.as_deref(), Some(GRANT));
    let told = vault.only(SCOPE_REPORT).json();
    assert_eq!(told["provider_error_code"], "insufficient_scope");
    assert_eq!(told["missing_scopes"], json!(["mail.read", "mail.send"]));
    assert_eq!(told["raw_www_authenticate"], challenge);
    assert_eq!(told["sdk_correlation_id"].as_str().unwrap().len(), 22);
    assert_eq!(vault.got(REPORT).len(), 1);
}

#[tokio::test]
async fn the_rows_of_provider_errors() {
    let flagged = vault_with(json!({"scope_mismatch": true}));
    let error = call(&flagged, 403, "Basic", "no".into()).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Provider(Provider::ScopeReauth { missing }) if missing.is_empty()));

    let vault = vault();
    let error = call(&vault, 401, r#"Bearer error="invalid_token""#, "no".into()).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Provider(Provider::Unauthorized)));
    assert_eq!(error.recovery().unwrap().provider_id.as_deref(), Some("google"));

    let error = call(&vault, 401, r#"Bearer error="insufficient_scope""#, "no".into()).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Provider(Provider::Refused)));

    let error = call(&vault, 429, "x", "slow down".into()).await.unwrap_err();
    assert_eq!((error.retry(), error.retry_after()), (Retry::AfterBackoff, Some(Duration::from_secs(9))));
    let answer = error.provider_answer().unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (429, "slow down"));
    assert_eq!(answer.headers["retry-after"], "9");

    let error = call(&vault, 500, "x", format!("you sent {CREDENTIAL}")).await.unwrap_err();
    assert_eq!((error.retry(), error.status().unwrap().as_u16()), (Retry::Never, 500));
    assert_eq!(error.provider_answer().unwrap().body, "you sent [redacted]");

    let error = call(&vault, 400, "x", "y".repeat(10_001)).await.unwrap_err();
    assert_eq!(error.provider_answer().unwrap().body, "<response too large: 10001 bytes>");
}

#[tokio::test]
async fn a_providers_refusal_is_an_answer_for_who_asks_for_it() {
    let vault = vault();
    let provider = Stub::new(|_| async { (StatusCode::NOT_FOUND, "nothing here") });
    let url = serve(provider.router()).await;
    let response =
        app(&vault).request(Method::GET, url).grant(GRANT).error_for_status(false).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.text().await.unwrap(), "nothing here");
}

fn streaming(vault: &Stub, chunks: Vec<&'static str>, then_silence: bool) -> alter_core::App {
    let provider = tower::service_fn(move |_: http::Request<Body>| {
        let chunks = chunks.clone();
        async move {
            use futures_util::StreamExt;
            let pieces =
                chunks.into_iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from_static(chunk.as_bytes())));
            let pieces = futures_util::stream::iter(pieces);
            let body = if then_silence {
                Body::from_stream(pieces.chain(futures_util::stream::pending()))
            } else {
                Body::from_stream(pieces)
            };
            Ok::<_, std::io::Error>(http::Response::new(body))
        }
    });
    builder(vault).provider_service(provider).timeout(Duration::from_secs(5)).build().unwrap()
}

#[tokio::test]
async fn an_answer_streams_and_is_limited_when_it_is_read_whole() {
    let vault = vault();
    let app = streaming(&vault, vec!["ab", "cd", "ef"], false);
    let get = || app.request(Method::GET, "https://api.example.com").grant(GRANT).send();
    let mut response = get().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "ab");
    assert_eq!(response.chunk().await.unwrap().unwrap(), "cd");
    assert_eq!(response.text().await.unwrap(), "ef");
    assert_eq!(get().await.unwrap().body_limit(6).bytes().await.unwrap(), "abcdef");
    let large = get().await.unwrap().body_limit(5).bytes().await.unwrap_err();
    assert!(matches!(large.kind(), Kind::InvalidInput(InvalidInput::ResponseLimit)));
    let body = get().await.unwrap().into_body();
    assert_eq!(http_body_util::BodyExt::collect(body).await.unwrap().to_bytes(), "abcdef");
    let wrong = get().await.unwrap().json::<Value>().await.unwrap_err();
    assert!(matches!(wrong.kind(), Kind::Malformed) && wrong.to_string().contains("line 1, column 1"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_is_a_timeout() {
    let vault = vault();
    let app = streaming(&vault, vec!["ab"], true);
    let mut response = app.request(Method::GET, "https://api.example.com").grant(GRANT).send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "ab");
    let began = tokio::time::Instant::now();
    let silent = response.chunk().await.unwrap_err();
    assert!(matches!(silent.kind(), Kind::Transport(Transport::Timeout { maybe_sent: true })));
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_vaults_refusal_is_typed_and_nothing_is_sent_to_the_provider() {
    let vault = Stub::new(|_| async {
        json_response(
            409,
            &json!({"error": "ambiguous_grant", "message": "two accounts", "provider_id": "google",
                "candidates": [{"grant_id": "g1", "label": null, "account_identifier": "a@x", "account_display_name": null}]}),
        )
    });
    let call = app(&vault).request(Method::GET, "https://api.example.com").provider("google");
    let error = call.user_token(token("t")).send().await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Grant(Grant::Ambiguous(_))));
    assert_eq!(error.candidates()[0].account_identifier.as_deref(), Some("a@x"));
    assert_eq!(vault.seen().len(), 1);
}

#[tokio::test]
async fn what_the_vault_went_through_is_told() {
    let vault =
        vault_with(json!({"retry_info": {"total_attempts": 2, "successful_attempt": 2, "errors": []}}));
    let provider = Stub::new(|_| async { "ok" });
    let url = serve(provider.router()).await;
    let response = app(&vault).request(Method::GET, url).grant(GRANT).send().await.unwrap();
    assert_eq!(response.retry_info().unwrap().total_attempts, 2);
}
