//! What reaches the provider, and what is refused before anything does.

use std::time::Duration;

use alter_core::{
    Body, Kind,
    error::{InvalidInput, Policy, Transport},
};
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use crate::fixture::{
    CREDENTIAL, GRANT, REPORT, Stub, TOKEN, app, builder, json_response, provider, serve, token_answer,
    vault, vault_with,
};

#[tokio::test]
async fn the_credential_reaches_the_provider_and_the_answer_the_caller() {
    let (vault, (provider, url)) = (vault(), provider().await);
    let call = app(&vault).request(Method::GET, format!("{url}/me")).grant(GRANT);
    let response = call.send().await.unwrap();
    assert_eq!((response.status(), response.grant_id().to_string().as_str()), (StatusCode::OK, GRANT));
    assert_eq!(response.json::<serde_json::Value>().await.unwrap(), json!({"ok": true}));
    let seen = provider.only("/me");
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {CREDENTIAL}").as_str()));
    assert!(seen.header("user-agent").unwrap().starts_with("alter-core/"));
    assert_eq!(seen.header("x-api-key"), None);
}

#[tokio::test]
async fn a_call_that_is_wrong_is_refused_before_anything_is_sent() {
    let (vault, (provider, url)) = (vault(), provider().await);
    let app = app(&vault);
    let get = |path: &str| app.request(Method::GET, path);
    let ok = || app.request(Method::POST, url.clone()).grant(GRANT);
    let big = "x".repeat(513);
    let cases = [
        (get("https://user:pw@api.example.com/").grant(GRANT), InvalidInput::Url),
        (get("https://good.example\\@evil.example/").grant(GRANT), InvalidInput::Url),
        (get("https://api.example.com/a/../b").grant(GRANT), InvalidInput::Url),
        (get("https://api.example.com/%2e%2e/b").grant(GRANT), InvalidInput::Url),
        (get("http://api.example.com/").grant(GRANT), InvalidInput::Url),
        (get("https://api.example.com/a\nb").grant(GRANT), InvalidInput::Url),
        (get("https://api.example.com/{id}").grant(GRANT), InvalidInput::PathParam),
        (get("https://api.example.com/{id}").path_param("id", "..").grant(GRANT), InvalidInput::PathParam),
        (get("https://{h}.example.com/").path_param("h", "a").grant(GRANT), InvalidInput::PathParam),
        (ok().header("bad name", "v"), InvalidInput::Header),
        (ok().header("x-ok", "line\r\nbreak"), InvalidInput::Header),
        (ok().header("Host", "evil.example"), InvalidInput::Header),
        (ok().header("content-length", "3"), InvalidInput::Header),
        (ok().header("Transfer-Encoding", "chunked"), InvalidInput::Header),
        (ok().header("connection", "close"), InvalidInput::Header),
        (ok().body("a").json(&1), InvalidInput::Body),
        (ok().json(&std::collections::HashMap::from([((1, 2), 3)])), InvalidInput::Body),
        (ok().context("k", big), InvalidInput::Context),
        (ok().caller("é"), InvalidInput::Caller),
    ];
    for (at, (call, what)) in cases.into_iter().enumerate() {
        let refused = call.send().await.unwrap_err();
        assert!(matches!(refused.kind(), Kind::InvalidInput(found) if *found == what), "{at}: {refused:?}");
    }
    let connect = app.request(Method::CONNECT, url.clone()).grant(GRANT).send().await.unwrap_err();
    assert!(matches!(connect.kind(), Kind::InvalidInput(InvalidInput::Method)));
    let empty = app.request(Method::GET, url.clone()).provider("").as_app().send().await.unwrap_err();
    assert!(matches!(empty.kind(), Kind::InvalidInput(InvalidInput::Address)));
    assert!(vault.seen().is_empty() && provider.seen().is_empty());
}

#[tokio::test]
async fn queries_merge_and_the_vault_is_told_the_whole_url() {
    let (vault, (provider, url)) = (vault(), provider().await);
    app(&vault)
        .request(Method::GET, format!("{url}/v1/{{id}}?a=1&b=2#part"))
        .path_param("id", "x/y")
        .query("q", "two words+")
        .query("n", 7)
        .grant(GRANT)
        .send()
        .await
        .unwrap();
    let target = "/v1/x%2Fy?a=1&b=2&q=two%20words%2B&n=7";
    assert_eq!(provider.seen()[0].target, target);
    assert_eq!(vault.got(TOKEN)[0]["request"]["url"], format!("{url}{target}"));
}

#[tokio::test]
async fn an_injected_query_keeps_the_urls_own_and_the_vault_is_not_told_of_it() {
    let vault = vault_with(json!({
        "additional_injections": [{"target": "query_param", "key": "api_key", "value_source": "token"}],
    }));
    let (provider, url) = provider().await;
    let app = app(&vault);
    app.request(Method::GET, format!("{url}/v1?a=1&api_key=mine")).grant(GRANT).send().await.unwrap();
    app.close().await;
    assert_eq!(provider.seen()[0].target, format!("/v1?a=1&api_key={CREDENTIAL}"));
    let told = serde_json::to_string(&(vault.got(TOKEN), vault.got(REPORT))).unwrap();
    assert!(!told.contains(CREDENTIAL), "{told}");
}

#[tokio::test]
async fn injected_headers_win_over_the_callers_in_every_spelling() {
    let vault = vault_with(json!({
        "injection_header": "X-Api-Key", "injection_format": "{token}",
        "additional_injections": [{"target": "header", "key": "Authorization", "value_source": "token"}],
    }));
    let (provider, url) = provider().await;
    app(&vault)
        .request(Method::GET, url)
        .grant(GRANT)
        .header("authorization", "Basic mine")
        .header("AUTHORIZATION", "Basic mine-too")
        .header("x-aPi-kEy", "mine")
        .header("user-agent", "theirs")
        .send()
        .await
        .unwrap();
    let seen = &provider.seen()[0];
    for name in ["authorization", "x-api-key"] {
        let sent: Vec<_> = seen.headers.get_all(name).iter().collect();
        assert_eq!(sent, [CREDENTIAL]);
    }
    assert_eq!(seen.headers.get_all("user-agent").iter().collect::<Vec<_>>(), ["theirs"]);
}

#[tokio::test]
async fn no_cookie_is_carried_from_one_call_to_the_next() {
    let vault = vault();
    let provider = Stub::new(|_| async { ([("set-cookie", "session=of-another-user; Path=/")], "ok") });
    let url = serve(provider.router()).await;
    let app = app(&vault);
    for _ in 0..2 {
        app.request(Method::GET, &url).grant(GRANT).send().await.unwrap().bytes().await.unwrap();
    }
    assert!(provider.seen().iter().all(|seen| seen.header("cookie").is_none()));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (elsewhere, there) = provider().await;
    let vault = vault();
    let provider = Stub::new(move |_| {
        let there = there.clone();
        async move { (StatusCode::FOUND, [("location", there)]) }
    });
    let url = serve(provider.router()).await;
    let call = builder(&vault)
        .reqwest(|options| options.no_proxy().redirect(reqwest::redirect::Policy::limited(5)))
        .build()
        .unwrap()
        .request(Method::GET, url)
        .grant(GRANT);
    assert_eq!(call.send().await.unwrap().status(), StatusCode::FOUND);
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn only_a_200_is_a_token_and_only_of_the_grant_that_was_asked_for() {
    let (provider, url) = provider().await;
    for status in [201, 204, 302] {
        let vault = Stub::new(move |_| async move { json_response(status, &token_answer(&json!({}))) });
        let refused = app(&vault).request(Method::GET, &url).grant(GRANT).send().await.unwrap_err();
        assert!(matches!(refused.kind(), Kind::Malformed), "{status}");
    }
    let vault = vault_with(json!({"grant_id": "99999999-2222-3333-4444-555555555555"}));
    let other = app(&vault).request(Method::GET, &url).grant(GRANT).send().await.unwrap_err();
    assert!(matches!(other.kind(), Kind::Malformed));
    assert!(app(&vault).request(Method::GET, &url).provider("p").as_app().send().await.is_ok());
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn a_credential_that_is_bound_to_other_hosts_is_not_sent() {
    let (provider, url) = provider().await;
    let refused = app(&vault_with(json!({"allowed_hosts": ["api.example.com"]})))
        .request(Method::GET, &url)
        .grant(GRANT)
        .send()
        .await
        .unwrap_err();
    assert!(matches!(refused.kind(), Kind::Policy(Policy::BlockedDestination)));
    assert!(provider.seen().is_empty());
    let bound = vault_with(json!({"allowed_hosts": ["127.0.0.1"]}));
    assert!(app(&bound).request(Method::GET, &url).grant(GRANT).send().await.is_ok());
}

#[tokio::test]
async fn aws_signatures_are_a_typed_refusal() {
    let vault = vault_with(json!({
        "injection_format": "AWS4-HMAC-SHA256", "additional_credentials": {"secret_key": "canary"},
    }));
    let (provider, url) = provider().await;
    let refused = app(&vault).request(Method::GET, url).grant(GRANT).send().await.unwrap_err();
    assert!(matches!(refused.kind(), Kind::Unsupported { feature } if feature == "aws_sigv4"));
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn a_request_body_may_be_a_stream() {
    let (vault, (provider, url)) = (vault(), provider().await);
    let app = app(&vault);
    let chunks = (0..100).map(|n| Ok::<_, std::io::Error>(Bytes::from(format!("{n},"))));
    let stream = Body::from_stream(futures_util::stream::iter(chunks));
    app.request(Method::PUT, &url).grant(GRANT).body(stream).send().await.unwrap();
    let expected: String = (0..100).map(|n| format!("{n},")).collect();
    assert_eq!(provider.seen()[0].body, expected);
    app.close().await;
    assert_eq!(vault.got(REPORT)[0]["request_body"], expected);
}

#[tokio::test]
async fn json_bodies_have_their_content_type_and_bytes_have_none() {
    let (vault, (provider, url)) = (vault(), provider().await);
    let app = app(&vault);
    app.request(Method::POST, &url).grant(GRANT).json(&json!({"é": 1})).send().await.unwrap();
    app.request(Method::POST, &url).grant(GRANT).body("raw").send().await.unwrap();
    let own = app.request(Method::POST, &url).grant(GRANT).header("content-type", "application/x+json");
    own.json(&json!(false)).send().await.unwrap();
    let seen = provider.seen();
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].json(), json!({"é": 1}));
    assert_eq!(seen[1].header("content-type"), None);
    assert_eq!(
        (seen[2].header("content-type"), &seen[2].body[..]),
        (Some("application/x+json"), &b"false"[..])
    );
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_was_not_sent_anything() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let vault = vault();
    let app = app(&vault);
    let failed = app.request(Method::GET, url).grant(GRANT).send().await.unwrap_err();
    assert!(matches!(failed.kind(), Kind::Transport(Transport::Connect)) && !failed.maybe_sent());
    app.close().await;
    let report = &vault.got(REPORT)[0];
    assert_eq!((&report["response_status"], &report["response_headers"]), (&json!(0), &json!(null)));
    assert_eq!(report["response_body"], "<transport error: network>");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_with_a_timeout_that_tells_what_may_have_happened() {
    let never = Stub::new(|_| std::future::pending::<String>());
    let app = builder(&never).timeout(Duration::from_secs(3)).build().unwrap();
    let silent = app.request(Method::GET, "https://api.example.com").grant(GRANT).send().await.unwrap_err();
    assert!(matches!(silent.kind(), Kind::Transport(Transport::Timeout { maybe_sent: false })));
    assert!(silent.is_retryable());

    let vault = vault();
    let silent = tower::service_fn(|_: http::Request<Body>| {
        std::future::pending::<Result<http::Response<Body>, std::io::Error>>()
    });
    let app = builder(&vault).provider_service(silent).timeout(Duration::from_secs(3)).build().unwrap();
    let silent = app.request(Method::GET, "https://api.example.com").grant(GRANT).send().await.unwrap_err();
    assert!(silent.maybe_sent());
    app.close().await;
    assert_eq!(vault.got(REPORT)[0]["response_body"], "<transport error: timeout after 3000ms>");
}

#[tokio::test]
async fn the_vault_may_stand_below_a_path_that_is_not_signed() {
    let vault = vault();
    let mounted = axum::Router::new().nest_service("/pre/fix", vault.router());
    let url = serve(mounted).await;
    let (_, there) = provider().await;
    let app = alter_core::App::builder(crate::fixture::KEY)
        .backend_url(format!("{url}/pre/fix/"))
        .reqwest(reqwest::ClientBuilder::no_proxy)
        .build()
        .unwrap();
    app.request(Method::GET, there).grant(GRANT).send().await.unwrap();
    assert_eq!(vault.only(TOKEN).target, TOKEN);
}

#[tokio::test]
async fn a_vault_in_process_needs_no_socket() {
    let vault = vault();
    let provider = Stub::new(|seen| async move {
        (StatusCode::OK, [("x-seen", HeaderValue::from_str(&seen.target).unwrap())], "in process")
            .into_response()
    });
    let router = tower::ServiceExt::map_request(provider.router(), |request: http::Request<Body>| {
        request.map(axum::body::Body::new)
    });
    let app = builder(&vault).provider_service(router).build().unwrap();
    let response =
        app.request(Method::GET, "https://api.example.com/x?y=1").grant(GRANT).send().await.unwrap();
    assert_eq!(response.headers()["x-seen"], "/x?y=1");
    assert_eq!(response.text().await.unwrap(), "in process");
}
