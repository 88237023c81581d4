//! Each fault does what it says, and nothing else.

use std::time::{Duration, Instant};

use alter_sandbox::{Faults, Sandbox, TokenFault};
use reqwest::Response;
use serde_json::{Value, json};

use super::{builder, get, http, json as body, oauth::refresh, sandbox};

pub(super) async fn control(sandbox: &Sandbox, change: &Value) -> Response {
    http().post(sandbox.control_url()).json(change).send().await.unwrap()
}

#[tokio::test]
async fn faults_set_over_http_and_by_method_are_the_same() {
    let sandbox = sandbox().await;
    let change =
        json!({"delay_ms": 5, "expires_in": 60, "rotate": true, "token_fault": "html403", "api_status": 500});
    let answer = control(&sandbox, &change).await;
    assert_eq!(answer.status(), 200);
    let wanted = Faults::default()
        .delay_ms(5)
        .expires_in(60)
        .rotate(true)
        .token_fault(TokenFault::Html403)
        .api_status(500);
    assert_eq!(sandbox.faults(), wanted);
    control(&sandbox, &json!({"token_fault": "none", "api_status": null})).await;
    assert_eq!(sandbox.faults(), Faults::default().delay_ms(5).expires_in(60).rotate(true));

    let report = body(http().get(sandbox.control_url()).send().await.unwrap()).await;
    for count in ["token_calls", "refreshes", "refused_refreshes", "api_calls"] {
        assert_eq!(report[count], 0, "{report}");
    }
    assert_eq!(report["faults"]["rotate"], true);
}

#[tokio::test]
async fn a_change_with_a_mistake_is_refused_whole_and_says_what_is_allowed() {
    let sandbox = sandbox().await;
    for (change, field) in [
        (json!({"rotate": true, "token_fault": "explode"}), json!("token_fault")),
        (json!({"rotate": true, "token_fault": 3}), json!("token_fault")),
        (json!({"rotate": true, "delay": 3}), json!("delay")),
        (json!({"rotate": "yes"}), json!("rotate")),
        (json!({"rotate": true, "delay_ms": -1}), json!("delay_ms")),
        (json!({"rotate": true, "api_status": 99}), json!("api_status")),
        (json!([1]), json!(null)),
    ] {
        let answer = control(&sandbox, &change).await;
        assert_eq!(answer.status(), 400);
        let error = body(answer).await;
        assert_eq!((&error["error"], &error["field"]), (&"invalid_control".into(), &field), "{error}");
        assert!(error["message"].is_string());
        if field == "token_fault" {
            assert_eq!(error["allowed"], json!(TokenFault::ALL.map(TokenFault::as_str)));
        }
    }
    assert_eq!(sandbox.faults(), Faults::default());
    let garbage = http().post(sandbox.control_url()).body("{").send().await.unwrap();
    assert_eq!((garbage.status().as_u16(), &body(garbage).await["error"]), (400, &"invalid_control".into()));
}

#[tokio::test]
async fn drop_rotates_and_then_closes_the_connection_without_an_answer() {
    let sandbox = sandbox().await;
    let held = sandbox.connect("user-1", "work").refresh_token;
    sandbox.set_faults(Faults::default().rotate(true).token_fault(TokenFault::Drop));
    let client = sandbox.client();
    let call = http().post(sandbox.oauth_endpoints().token);
    let call = call.basic_auth(client.client_id, Some(client.client_secret));
    let error =
        call.form(&[("grant_type", "refresh_token"), ("refresh_token", &held)]).send().await.unwrap_err();
    assert!(!error.is_connect() && !error.is_timeout(), "it was sent and cut: {error:?}");
    assert_eq!((sandbox.counts().refreshes, sandbox.counts().token_calls), (1, 1));

    sandbox.set_faults(Faults::default().rotate(true));
    assert_eq!(refresh(&sandbox, &held).await.status(), 400, "the token was spent although nobody heard");
    assert_eq!(sandbox.counts().refused_refreshes, 1);
}

#[tokio::test]
async fn a_refusal_on_demand_spends_nothing() {
    let sandbox = sandbox().await;
    let held = sandbox.connect("user-1", "work").refresh_token;
    for (fault, status, kind, refused) in [
        (TokenFault::Html403, 403, "text/html; charset=utf-8", 0),
        (TokenFault::ServerError, 500, "application/json", 0),
        (TokenFault::InvalidGrant, 400, "application/json", 1),
    ] {
        sandbox.set_faults(Faults::default().rotate(true).token_fault(fault));
        let answer = refresh(&sandbox, &held).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], kind);
        assert_eq!((sandbox.counts().refreshes, sandbox.counts().refused_refreshes), (0, refused));
        if fault == TokenFault::InvalidGrant {
            assert_eq!(body(answer).await["error"], "invalid_grant");
        }
    }
    sandbox.set_faults(Faults::default().rotate(true));
    assert_eq!(refresh(&sandbox, &held).await.status(), 200);
}

#[tokio::test]
async fn a_late_answer_was_carried_out_at_once() {
    let sandbox = sandbox().await;
    let held = sandbox.connect("user-1", "work").refresh_token;
    sandbox.set_faults(Faults::default().rotate(true).delay_ms(150));
    let started = Instant::now();
    assert_eq!(refresh(&sandbox, &held).await.status(), 200);
    assert!(started.elapsed() >= Duration::from_millis(150));

    let held = sandbox.connect("user-1", "home").refresh_token;
    sandbox.set_faults(Faults::default().rotate(true).delay_ms(60_000));
    // A caller who hangs up has spent the token all the same.
    super::counts::hang_up(&sandbox, refresh(&sandbox, &held), 1).await;
    sandbox.set_faults(Faults::default().rotate(true));
    assert_eq!(refresh(&sandbox, &held).await.status(), 400);
}

#[tokio::test]
async fn the_api_fails_on_demand_and_still_records() {
    let sandbox = sandbox().await;
    let token = sandbox.connect("user-1", "work").access_token;
    let me = format!("{}/me", sandbox.api_url());
    for status in [401, 429, 500] {
        sandbox.set_faults(Faults::default().api_status(status));
        let answer = get(&me, &token).await;
        assert_eq!(
            (answer.status().as_u16(), answer.headers().contains_key("www-authenticate")),
            (status, status == 401)
        );
    }
    assert_eq!(sandbox.counts().api_calls, 3);
    assert!(sandbox.calls().iter().all(|call| call.sub.as_deref() == Some("user-1")));
}

#[tokio::test]
async fn the_key_set_can_be_late_or_refused() {
    let sandbox = sandbox().await;
    let url = format!("{}/jwks", sandbox.issuer());
    sandbox.set_faults(Faults::default().jwks_status(503).jwks_delay_ms(100));
    let started = Instant::now();
    assert_eq!(http().get(&url).send().await.unwrap().status(), 503);
    assert!(started.elapsed() >= Duration::from_millis(100));
    sandbox.set_faults(Faults::default());
    assert_eq!(http().get(&url).send().await.unwrap().status(), 200);
    assert_eq!(sandbox.counts().jwks_calls, 2);
}

#[tokio::test]
async fn drop_cuts_its_own_connection_and_is_carried_out_once_on_a_warm_one() {
    let sandbox = sandbox().await;
    let credential = sandbox.connect("user-1", "work");
    // A call in flight on another connection goes on.
    let url = format!("{}/stream?chunks=4&delay_ms=50", sandbox.api_url());
    let streaming = get(&url, &credential.access_token).await;
    let (client, warm) = (sandbox.client(), builder().build().unwrap());
    let spend = || {
        let call = warm.post(sandbox.oauth_endpoints().token);
        let call = call.basic_auth(&client.client_id, Some(&client.client_secret));
        call.form(&[("grant_type", "refresh_token"), ("refresh_token", &credential.refresh_token)]).send()
    };
    assert_eq!(spend().await.unwrap().bytes().await.map(|body| body.is_empty()).ok(), Some(false));
    sandbox.set_faults(Faults::default().token_fault(TokenFault::Drop));
    assert!(spend().await.is_err());
    assert_eq!(sandbox.counts().token_calls, 2, "the client has not sent it again by itself");
    assert_eq!(streaming.text().await.unwrap().lines().count(), 4);
}

#[tokio::test]
async fn the_date_of_every_answer_is_off_by_as_much_as_was_asked() {
    let sandbox = sandbox().await;
    let token = sandbox.connect("user-1", "work").access_token;
    let (me, jwks) = (format!("{}/me", sandbox.api_url()), format!("{}/jwks", sandbox.issuer()));
    for skew in [0, -7200, 86_400] {
        sandbox.set_faults(Faults::default().date_skew(skew));
        for url in
            [me.as_str(), jwks.as_str(), &sandbox.control_url(), &format!("{}/nowhere", sandbox.api_url())]
        {
            let before = jiff::Timestamp::now().as_second();
            let answer = get(url, &token).await;
            let dates: Vec<_> = answer.headers().get_all("date").iter().collect();
            assert_eq!(dates.len(), 1);
            let true_date = super::date(dates[0].to_str().unwrap()) - skew;
            assert!((before..=jiff::Timestamp::now().as_second()).contains(&true_date), "{url}: {dates:?}");
        }
    }
    assert_eq!(get(&me, &token).await.status(), 200, "the header alone is wrong");
}

#[tokio::test]
async fn every_fault_can_be_set_over_http() {
    let sandbox = sandbox().await;
    let change = json!({
        "reuse_detection": true, "reuse_window": 30, "refresh_idle": 60, "token_fault": "too_many_requests",
        "fault_times": 3, "retry_after": 5, "retry_after_as_date": true, "ok_error": "ratelimited",
        "trickle_ms": 7, "date_skew": -9,
    });
    assert_eq!(control(&sandbox, &change).await.status(), 200);
    let wanted = Faults::default()
        .reuse_detection(true)
        .reuse_window(30)
        .refresh_idle(60)
        .token_fault(TokenFault::TooManyRequests)
        .fault_times(3)
        .retry_after(5)
        .retry_after_as_date(true)
        .ok_error("ratelimited")
        .trickle_ms(7)
        .date_skew(-9);
    assert_eq!(sandbox.faults(), wanted);
    let off = json!({"refresh_idle": null, "fault_times": null, "retry_after": null});
    control(&sandbox, &off).await;
    let faults = sandbox.faults();
    assert_eq!((faults.refresh_idle, faults.fault_times, faults.retry_after), (None, None, None));
    for bad in [json!({"date_skew": 0.5}), json!({"ok_error": 1}), json!({"fault_times": -1})] {
        assert_eq!(control(&sandbox, &bad).await.status(), 400, "{bad}");
    }
    for fault in TokenFault::ALL {
        assert_eq!(control(&sandbox, &json!({"token_fault": fault})).await.status(), 200);
        assert_eq!(sandbox.faults().token_fault, fault);
    }
}

#[tokio::test]
async fn an_account_may_have_faults_of_its_own() {
    let sandbox = sandbox().await;
    let own =
        Faults::default().rotate(true).expires_in(60).token_fault(TokenFault::ServerError).fault_times(1);
    sandbox.set_account_faults("user-1", "work", own);
    sandbox.set_faults(Faults::default().token_fault(TokenFault::Html403));
    let (work, home) = (sandbox.connect("user-1", "work"), sandbox.connect("user-1", "home"));
    assert_eq!((work.expires_in, home.expires_in), (60, 3600));
    let status = async |held: &str| refresh(&sandbox, held).await.status().as_u16();
    assert_eq!(status(&work.refresh_token).await, 500);
    assert_eq!(status(&home.refresh_token).await, 403);
    assert_eq!(status(&work.refresh_token).await, 200);
    assert_eq!(status(&work.refresh_token).await, 400, "it was spent");

    // Over HTTP they are changed member by member, and taken back with null.
    let url = format!("{}/account", sandbox.control_url());
    let change = async |faults: Value| {
        let change = json!({"sub": "user-1", "account": "work", "faults": faults});
        body(http().post(&url).json(&change).send().await.unwrap()).await
    };
    let changed = change(json!({"delay_ms": 1})).await;
    assert_eq!((&changed["faults"]["delay_ms"], &changed["faults"]["rotate"]), (&json!(1), &json!(true)));
    assert_eq!(changed["refreshes"], 1);
    assert_eq!(change(Value::Null).await["faults"], Value::Null);
    assert_eq!(status(&work.refresh_token).await, 403);
}
