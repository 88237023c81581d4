//! What the books say, in total and for one account.

use std::time::Duration;

use alter_sandbox::{AccountCounts, Faults, Sandbox, TokenFault};
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{
    http, json as body,
    oauth::{refresh, token},
    sandbox,
};

async fn post(sandbox: &Sandbox, path: &str, change: Value) -> (StatusCode, Value) {
    let url = format!("{}/{path}", sandbox.control_url());
    let answer = http().post(url).json(&change).send().await.unwrap();
    (answer.status(), body(answer).await)
}

async fn in_flight(sandbox: &Sandbox, calls: u64) {
    while sandbox.counts().token_calls_in_flight != calls {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Gives up on calls once so many are at the token endpoint, and waits until it has noticed.
pub(super) async fn hang_up(sandbox: &Sandbox, calls: impl Future, at_once: u64) {
    tokio::select! {
        _ = calls => panic!("they have been answered"),
        () = in_flight(sandbox, at_once) => {}
    }
    in_flight(sandbox, 0).await;
}

#[tokio::test]
async fn each_account_has_its_own_counts_and_the_total_is_their_sum() {
    let sandbox = sandbox().await;
    sandbox.set_faults(Faults::default().rotate(true));
    let work = sandbox.connect("user-1", "work").refresh_token;
    let home = sandbox.connect("user-1", "home").refresh_token;
    let other = sandbox.connect("user-2", "work").refresh_token;
    for held in [&work, &work, &work, &home] {
        refresh(&sandbox, held).await;
    }
    let of = |sub: &str, account: &str| {
        let counts = sandbox.account_counts(sub, account);
        (counts.token_calls, counts.refreshes, counts.refused_refreshes, counts.refusals.spent_token)
    };
    assert_eq!(of("user-1", "work"), (3, 1, 2, 2));
    assert_eq!(of("user-1", "home"), (1, 1, 0, 0));
    assert_eq!(sandbox.account_counts("user-2", "work"), AccountCounts::default());

    // A page of HTML refuses nothing, and is counted all the same.
    sandbox.set_faults(Faults::default().token_fault(TokenFault::Html403));
    refresh(&sandbox, &other).await;
    let counts = sandbox.account_counts("user-2", "work");
    assert_eq!((counts.token_calls, counts.token_faults, counts.refused_refreshes), (1, 1, 0));
    let total = sandbox.counts();
    assert_eq!((total.token_calls, total.refreshes, total.refused_refreshes), (5, 2, 2));
    assert_eq!((total.token_faults, total.refusals.spent_token), (1, 2));
}

#[tokio::test]
async fn every_refusal_has_a_reason_and_they_add_up() {
    let sandbox = sandbox().await;
    let held = sandbox.connect("user-1", "work").refresh_token;
    refresh(&sandbox, "never-issued").await;
    token(&sandbox, &[("grant_type", "refresh_token")]).await;
    token(&sandbox, &[("grant_type", "refresh_token"), ("refresh_token", &held), ("scope", "admin")]).await;
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &held),
        ("client_id", "x"),
        ("client_secret", "y"),
    ];
    assert_eq!(http().post(sandbox.oauth_endpoints().token).form(&form).send().await.unwrap().status(), 401);
    sandbox.disconnect("user-1", "work");
    refresh(&sandbox, &held).await;
    sandbox.set_faults(Faults::default().token_fault(TokenFault::InvalidGrant));
    refresh(&sandbox, &held).await;

    let counts = sandbox.counts();
    let why = counts.refusals;
    assert_eq!((why.unknown_token, why.bad_request, why.bad_client), (1, 2, 1));
    assert_eq!((why.revoked_grant, why.on_demand, why.spent_token, why.idle_token), (1, 1, 0, 0));
    assert_eq!(counts.refused_refreshes, 6);
    assert_eq!(sandbox.account_counts("user-1", "work").refused_refreshes, 4);
}

#[tokio::test]
async fn the_most_token_calls_at_once_are_remembered_by_account() {
    let sandbox = sandbox().await;
    sandbox.set_faults(Faults::default().delay_ms(60_000));
    let work = sandbox.connect("user-1", "work").refresh_token;
    let home = sandbox.connect("user-1", "home").refresh_token;
    let all = join_all((0..5).map(|n| refresh(&sandbox, if n == 0 { &home } else { &work })));
    hang_up(&sandbox, all, 5).await;
    sandbox.set_faults(Faults::default());
    refresh(&sandbox, &home).await;
    let at_once = |account: &str| sandbox.account_counts("user-1", account).max_concurrent_token_calls;
    assert_eq!((at_once("work"), at_once("home")), (4, 1));
    let counts = sandbox.counts();
    assert_eq!((counts.max_concurrent_token_calls, counts.token_calls_in_flight), (5, 0));
}

#[tokio::test]
async fn a_caller_who_hangs_up_is_no_longer_in_flight() {
    let sandbox = sandbox().await;
    sandbox.set_faults(Faults::default().delay_ms(60_000));
    let held = sandbox.connect("user-1", "work").refresh_token;
    hang_up(&sandbox, refresh(&sandbox, &held), 1).await;
    assert_eq!(sandbox.account_counts("user-1", "work").refreshes, 1);
}

#[tokio::test]
async fn a_script_connects_counts_ages_and_disconnects_over_http() {
    let sandbox = sandbox().await;
    let whose = json!({"sub": "user 1", "account": "a&b"});
    let (status, credential) = post(&sandbox, "connect", whose.clone()).await;
    assert_eq!((status.as_u16(), &credential["expires_in"]), (200, &json!(3600)));
    refresh(&sandbox, credential["refresh_token"].as_str().unwrap()).await;

    let url = format!("{}/account", sandbox.control_url());
    let answer = http().get(&url).query(&[("sub", "user 1"), ("account", "a&b")]).send().await.unwrap();
    let mut counts = body(answer).await;
    assert_eq!(counts.as_object_mut().unwrap().remove("faults"), Some(Value::Null));
    assert_eq!(counts, serde_json::to_value(sandbox.account_counts("user 1", "a&b")).unwrap());
    assert_eq!((&counts["refreshes"], &counts["refusals"]["spent_token"]), (&json!(1), &json!(0)));

    let me = format!("{}/me", sandbox.api_url());
    let access = credential["access_token"].as_str().unwrap();
    assert_eq!(super::get(&me, access).await.status(), 200);
    assert_eq!(post(&sandbox, "advance", json!({"seconds": 3600})).await.0, 200);
    assert_eq!(super::get(&me, access).await.status(), 401);
    assert_eq!(post(&sandbox, "disconnect", whose).await.1, json!({"grants": 1}));
}

#[tokio::test]
async fn a_script_that_makes_a_mistake_is_told_which() {
    let sandbox = sandbox().await;
    for (path, change, field) in [
        ("connect", json!({"sub": "", "account": "work"}), json!("sub")),
        ("connect", json!({"sub": "user-1"}), json!(null)),
        ("account", json!({"sub": "u", "account": "a", "faults": {"rotate": 1}}), json!("rotate")),
        ("disconnect", json!({"sub": "user-1", "account": "work", "more": 1}), json!(null)),
        ("advance", json!({"seconds": u64::MAX}), json!("seconds")),
    ] {
        let (status, error) = post(&sandbox, path, change).await;
        assert_eq!(
            (status.as_u16(), &error["error"], &error["field"]),
            (400, &json!("invalid_control"), &field)
        );
    }
    let half = http().get(format!("{}/account?sub=user-1", sandbox.control_url())).send().await.unwrap();
    assert_eq!((half.status().as_u16(), &body(half).await["field"]), (400, &json!("account")));
}
