//! Who the API thinks is calling, and what it remembers.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

use super::{get, http, json as body, sandbox};

#[tokio::test]
async fn me_shows_a_fingerprint_and_never_the_secret() {
    let sandbox = sandbox().await;
    let token = sandbox.connect("user-1", "work").access_token;
    let response = get(&format!("{}/me", sandbox.api_url()), &token).await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    assert!(!text.contains(&token) && !text.contains("sbx_at_"), "{text}");
    let hash = hex::encode(digest(&SHA256, format!("Bearer {token}").as_bytes()));
    let me: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(me, json!({"sub": "user-1", "account": "work", "header": hash[..12]}));
}

#[tokio::test]
async fn an_expired_or_unknown_access_token_is_refused_with_a_challenge() {
    let sandbox = sandbox().await;
    let token = sandbox.connect("user-1", "work").access_token;
    let me = format!("{}/me", sandbox.api_url());
    sandbox.advance(Duration::from_secs(3599));
    assert_eq!(get(&me, &token).await.status(), 200);
    sandbox.advance(Duration::from_secs(1));
    for token in [token.as_str(), "sbx_at_made_up"] {
        let response = get(&me, token).await;
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
    }
    assert_eq!(http().get(&me).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_registered_key_is_accepted_in_every_place_a_provider_may_want_it() {
    let sandbox = sandbox().await;
    sandbox.register_api_key("weather", "k-123");
    sandbox.register_api_key("mail", "bot:k-456");
    let me = format!("{}/me", sandbox.api_url());
    for (call, name) in [
        (http().get(&me).bearer_auth("k-123"), "weather"),
        (http().get(&me).header("X-Api-Key", "k-123"), "weather"),
        (http().get(&me).query(&[("api_key", "k-123")]), "weather"),
        (http().get(&me).basic_auth("anyone", Some("k-123")), "weather"),
        (http().get(&me).basic_auth("k-123", Some("")), "weather"),
        (http().get(&me).basic_auth("bot", Some("k-456")), "mail"),
    ] {
        let me = body(call.send().await.unwrap()).await;
        assert_eq!((&me["sub"], &me["account"]), (&name.into(), &json!(null)), "{me}");
    }
    for call in [
        http().get(&me).header("X-Api-Key", "wrong"),
        http().get(&me).header("X-Api-Key", "k-123").header("X-Api-Key", "k-123"),
        http().get(&me).query(&[("api_key", "k-123"), ("api_key", "k-123")]),
        http().get(&me).bearer_auth("k-123").header("Authorization", "Bearer k-123"),
        // A bad Authorization is not rescued by a good key elsewhere.
        http().get(&me).bearer_auth("wrong").header("X-Api-Key", "k-123"),
    ] {
        assert_eq!(call.send().await.unwrap().status(), 401);
    }
}

#[tokio::test]
async fn echo_answers_with_what_arrived() {
    let sandbox = sandbox().await;
    sandbox.register_api_key("weather", "k-123");
    let url = format!("{}/echo/a%20b/c?x=1&x=2&api_key=k-123", sandbox.api_url());
    let call = http().post(url).header("X-Echo-Note", "hi").json(&json!({"n": 1}));
    let text = call.send().await.unwrap().text().await.unwrap();
    assert!(!text.contains("k-123"), "{text}");
    let echo: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&echo["method"], &echo["path"]), (&"POST".into(), &"/api/echo/a%20b/c".into()));
    assert_eq!(echo["query"], json!([["x", "1"], ["x", "2"], ["api_key", "[hidden]"]]));
    assert_eq!((&echo["body_length"], &echo["content_type"]), (&7.into(), &"application/json".into()));
    assert_eq!(echo["body_sha256"], hex::encode(digest(&SHA256, b"{\"n\":1}")));
    assert_eq!(echo["headers"], json!([["x-echo-note", "hi"]]));
    assert_eq!(echo["sub"], "weather");
}

#[tokio::test]
async fn a_body_larger_than_any_buffer_is_hashed_as_it_comes() {
    let sandbox = sandbox().await;
    let token = sandbox.connect("user-1", "work").access_token;
    let large = vec![7_u8; 5 * 1024 * 1024];
    let hash = hex::encode(digest(&SHA256, &large));
    let call = http().post(format!("{}/echo", sandbox.api_url())).bearer_auth(token).body(large);
    let echo = body(call.send().await.unwrap()).await;
    assert_eq!((&echo["body_length"], &echo["body_sha256"]), (&(5 * 1024 * 1024).into(), &hash.into()));
}

#[tokio::test]
async fn every_line_of_a_stream_names_its_subject() {
    let sandbox = sandbox().await;
    let token = sandbox.connect("user-1", "work").access_token;
    let url = format!("{}/stream?chunks=5&delay_ms=1", sandbox.api_url());
    let text = get(&url, &token).await.text().await.unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| line["sub"] == "user-1"));
    let too_many = get(&format!("{}/stream?chunks=1000000", sandbox.api_url()), &token).await;
    assert_eq!(too_many.status(), 400);
}

#[tokio::test]
async fn any_status_can_be_had_with_its_headers() {
    let sandbox = sandbox().await;
    let token = sandbox.connect("user-1", "work").access_token;
    let status = async |path: &str| get(&format!("{}/{path}", sandbox.api_url()), &token).await;
    let redirect = status("status/302").await;
    assert_eq!(
        (redirect.status().as_u16(), redirect.headers()["location"].as_bytes()),
        (302, &b"/api/me"[..])
    );
    let scope = status("status/403?challenge=insufficient_scope&scope=a%20b").await;
    assert_eq!(scope.status(), 403);
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"a b\"";
    assert_eq!(scope.headers()["www-authenticate"], challenge);
    let busy = status("status/429?retry_after=7").await;
    assert_eq!((busy.status().as_u16(), busy.headers()["retry-after"].as_bytes()), (429, &b"7"[..]));
    assert_eq!(status("status/204").await.status(), 204);
    assert_eq!(status("status/99").await.status(), 400);
    assert_eq!(status("nowhere").await.status(), 404);
    let cookie = status("cookie").await;
    assert!(cookie.headers().contains_key("set-cookie"));
    assert_eq!(body(cookie).await["cookie_came"], false);
}

#[tokio::test]
async fn every_call_is_recorded_whether_it_was_let_in_or_not() {
    let sandbox = sandbox().await;
    let token = sandbox.connect("user-1", "work").access_token;
    let me = format!("{}/me?x=1", sandbox.api_url());
    http().get(&me).bearer_auth(&token).header("X-Call-Id", "c-1").send().await.unwrap();
    http().get(&me).header("X-Call-Id", "c-2").send().await.unwrap();
    let url = format!("{}/calls", sandbox.control_url());
    let calls = body(http().get(url).send().await.unwrap()).await;
    let at = sandbox.calls()[0].at;
    assert!(at > 1_700_000_000_000, "milliseconds");
    assert_eq!(
        calls[0],
        json!({"call_id": "c-1", "sub": "user-1", "account": "work", "method": "GET",
                                "path": "/api/me", "at": at})
    );
    assert_eq!((&calls[1]["call_id"], &calls[1]["sub"]), (&"c-2".into(), &json!(null)));
    assert_eq!((calls.as_array().unwrap().len(), sandbox.counts().api_calls), (2, 2));
}
