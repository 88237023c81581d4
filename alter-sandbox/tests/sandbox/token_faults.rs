//! The token endpoint's faults, each as a caller sees it.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use alter_sandbox::{Faults, Sandbox, TokenFault};
use reqwest::{Response, header::HeaderMap};
use serde_json::{Value, json};

use super::{
    faults::control,
    http, json as body,
    oauth::{refresh, text},
    sandbox,
};

/// A refresh that may fail on the way.
async fn try_refresh(sandbox: &Sandbox, held: &str) -> reqwest::Result<Response> {
    let client = sandbox.client();
    let call = http().post(sandbox.oauth_endpoints().token);
    let call = call.basic_auth(client.client_id, Some(client.client_secret));
    call.form(&[("grant_type", "refresh_token"), ("refresh_token", held)]).send().await
}

/// What a fault does to one refresh with rotation: status, headers and body, as far as they came.
async fn seen(sandbox: &Sandbox, faults: Faults) -> Result<(u16, HeaderMap, Option<Vec<u8>>), ()> {
    let held = sandbox.connect("user-1", "work").refresh_token;
    sandbox.set_faults(faults);
    let answer = try_refresh(sandbox, &held).await.map_err(drop)?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Ok((status, headers, answer.bytes().await.ok().map(|bytes| bytes.to_vec())))
}

fn with(fault: TokenFault) -> Faults {
    Faults::default().rotate(true).trickle_ms(0).token_fault(fault)
}

#[tokio::test]
async fn whether_a_fault_carries_the_request_out_is_as_it_says() {
    let sandbox = sandbox().await;
    for fault in TokenFault::ALL {
        let held = sandbox.connect("user-1", fault.as_str()).refresh_token;
        sandbox.set_faults(with(fault));
        if let Ok(answer) = try_refresh(&sandbox, &held).await {
            let _ = answer.bytes().await;
        }
        let counts = sandbox.account_counts("user-1", fault.as_str());
        assert_eq!(counts.refreshes, u64::from(fault.carries_out()), "{fault:?}");
        assert_eq!(counts.token_faults, u64::from(fault != TokenFault::None), "{fault:?}");
        assert_eq!(counts.token_calls, 1, "{fault:?}");
        sandbox.set_faults(Faults::default().rotate(true));
        let spent = refresh(&sandbox, &held).await.status() == 400;
        assert_eq!(spent, fault.carries_out(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_fault_that_answers_in_json_says_so_with_status_and_error() {
    let sandbox = sandbox().await;
    for (fault, status, error) in [
        (TokenFault::InvalidGrant, 400, "invalid_grant"),
        (TokenFault::InvalidClient, 401, "invalid_client"),
        (TokenFault::ServerError, 500, "server_error"),
        (TokenFault::TemporarilyUnavailable, 503, "temporarily_unavailable"),
        (TokenFault::TooManyRequests, 429, "too_many_requests"),
    ] {
        let (seen, headers, bytes) = seen(&sandbox, with(fault)).await.unwrap();
        assert_eq!((seen, &headers["content-type"]), (status, &"application/json".parse().unwrap()));
        let body: Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
        assert_eq!(body["error"], error);
        assert_eq!(headers.contains_key("www-authenticate"), status == 401);
        assert!(!headers.contains_key("retry-after"));
    }
    let counts = sandbox.counts();
    assert_eq!((counts.refused_refreshes, counts.refusals.on_demand), (2, 2));
}

#[tokio::test]
async fn retry_after_comes_with_429_and_503_in_seconds_or_as_a_date() {
    let sandbox = sandbox().await;
    for fault in [TokenFault::TooManyRequests, TokenFault::TemporarilyUnavailable] {
        let (_, headers, _) = seen(&sandbox, with(fault).retry_after(7)).await.unwrap();
        assert_eq!(headers["retry-after"], "7");
        let dated = with(fault).retry_after(3600).retry_after_as_date(true).date_skew(-86_400);
        let (_, headers, _) = seen(&sandbox, dated).await.unwrap();
        let at = |name: &str| super::date(headers[name].to_str().unwrap());
        assert!((3599..=3600).contains(&(at("retry-after") - at("date"))), "{headers:?}");
    }
    let (_, headers, _) = seen(&sandbox, with(TokenFault::ServerError).retry_after(7)).await.unwrap();
    assert!(!headers.contains_key("retry-after"));

    sandbox.set_faults(Faults::default().api_status(429).retry_after(9));
    let limited = http().get(format!("{}/me", sandbox.api_url())).send().await.unwrap();
    assert_eq!((limited.status().as_u16(), &limited.headers()["retry-after"]), (429, &"9".parse().unwrap()));
}

#[tokio::test]
async fn an_error_with_status_200_has_the_text_that_was_set() {
    let sandbox = sandbox().await;
    let fault = with(TokenFault::OkWithError);
    for (faults, error) in
        [(fault.clone(), "invalid_refresh_token"), (fault.ok_error("internal_error"), "internal_error")]
    {
        let (status, _, bytes) = seen(&sandbox, faults).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
        assert_eq!((status, body), (200, json!({"ok": false, "error": error})));
    }
}

#[tokio::test]
async fn pages_of_html_come_with_403_and_with_200() {
    let sandbox = sandbox().await;
    for (fault, wanted) in [(TokenFault::Html403, 403), (TokenFault::HtmlOk, 200)] {
        let (status, headers, bytes) = seen(&sandbox, with(fault)).await.unwrap();
        assert_eq!(
            (status, &headers["content-type"]),
            (wanted, &"text/html; charset=utf-8".parse().unwrap())
        );
        assert!(bytes.unwrap().starts_with(b"<!DOCTYPE html>"));
    }
}

#[tokio::test]
async fn connections_are_cut_before_the_head_or_after_it() {
    let sandbox = sandbox().await;
    for fault in [TokenFault::CutHeaders, TokenFault::Drop] {
        assert_eq!(seen(&sandbox, with(fault)).await, Err(()), "{fault:?}");
    }
    let (status, headers, bytes) = seen(&sandbox, with(TokenFault::CutBody)).await.unwrap();
    assert_eq!((status, bytes), (200, None));
    assert!(headers["content-length"].to_str().unwrap().parse::<u64>().unwrap() > 100);
    assert_eq!(sandbox.counts().token_calls_in_flight, 0);
}

#[tokio::test]
async fn half_an_answer_and_garbage_come_whole_and_are_not_json() {
    let sandbox = sandbox().await;
    for fault in [TokenFault::Truncated, TokenFault::Garbage] {
        let (status, headers, bytes) = seen(&sandbox, with(fault)).await.unwrap();
        let bytes = bytes.expect("the whole body came");
        assert_eq!((status, &headers["content-type"]), (200, &"application/json".parse().unwrap()));
        assert_eq!(headers["content-length"].to_str().unwrap(), bytes.len().to_string());
        assert!(serde_json::from_slice::<Value>(&bytes).is_err());
        assert_eq!(bytes.starts_with(b"{\""), fault == TokenFault::Truncated);
    }
}

#[tokio::test]
async fn a_huge_answer_is_json_without_a_length_and_its_tokens_come_last() {
    let sandbox = sandbox().await;
    let (status, headers, bytes) = seen(&sandbox, with(TokenFault::Huge)).await.unwrap();
    let bytes = bytes.unwrap();
    assert!(status == 200 && !headers.contains_key("content-length"));
    assert!(bytes.len() > 10_000_000 && bytes.starts_with(b"{\"padding\":\"xxx"));
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(text(&body, "access_token").starts_with("sbx_at_"));
}

#[tokio::test]
async fn a_trickled_answer_sends_its_head_and_then_a_byte_at_a_time() {
    let sandbox = sandbox().await;
    let held = sandbox.connect("user-1", "work").refresh_token;
    sandbox.set_faults(with(TokenFault::Trickle).trickle_ms(50));
    let started = Instant::now();
    let mut answer = try_refresh(&sandbox, &held).await.unwrap();
    assert_eq!(answer.status(), 200);
    for _ in 0..3 {
        assert_eq!(answer.chunk().await.unwrap().unwrap(), " ");
    }
    assert!(started.elapsed() >= Duration::from_millis(150));
    assert_eq!(sandbox.counts().token_calls_in_flight, 1);
    drop(answer);
    while sandbox.counts().token_calls_in_flight > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // Whoever waits long enough is answered.
    let (_, _, bytes) = seen(&sandbox, with(TokenFault::Trickle)).await.unwrap();
    let bytes = bytes.unwrap();
    assert!(bytes[..4096].iter().all(|byte| *byte == b' '));
    assert!(text(&serde_json::from_slice(&bytes).unwrap(), "refresh_token").starts_with("sbx_rt_"));
}

#[tokio::test]
async fn odd_answers_lack_a_member_or_have_it_in_another_form() {
    let sandbox = sandbox().await;
    let held = sandbox.connect("user-1", "work").refresh_token;
    let all = HashSet::from(["access_token", "token_type", "expires_in", "refresh_token", "scope"]);
    for (fault, missing, changed) in [
        (TokenFault::NoExpiry, Some("expires_in"), None),
        (TokenFault::ExpiresInString, None, Some(("expires_in", "3600"))),
        (TokenFault::NoRefreshToken, Some("refresh_token"), None),
        (TokenFault::EmptyRefreshToken, None, Some(("refresh_token", ""))),
    ] {
        sandbox.set_faults(Faults::default().token_fault(fault));
        let body = body(refresh(&sandbox, &held).await).await;
        let names: HashSet<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(all.difference(&names).copied().next(), missing, "{fault:?}");
        if let Some((name, value)) = changed {
            assert_eq!(body[name], value);
        }
    }
    sandbox.set_faults(Faults::default());
    assert_eq!(refresh(&sandbox, &held).await.status(), 200, "without rotation the old one stays good");
}

#[tokio::test]
async fn a_fault_ends_by_itself_after_the_calls_it_was_set_for() {
    let sandbox = sandbox().await;
    let held = sandbox.connect("user-1", "work").refresh_token;
    let faults = Faults::default().token_fault(TokenFault::ServerError);
    sandbox.set_faults(faults.clone().fault_times(2));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(refresh(&sandbox, &held).await.status().as_u16());
    }
    assert_eq!(statuses, [500, 500, 200, 200]);
    assert_eq!(sandbox.faults(), Faults::default(), "it is over and leaves nothing behind");

    // A fault set later is not bound by the old limit, and one for no calls acts on none.
    control(&sandbox, &json!({"token_fault": "server_error"})).await;
    assert_eq!(refresh(&sandbox, &held).await.status(), 500);
    sandbox.set_faults(faults.fault_times(0));
    assert_eq!(refresh(&sandbox, &held).await.status(), 200);
}
