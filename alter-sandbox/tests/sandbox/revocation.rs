//! The revocation endpoint, its faults, and what is left of an account's tokens.

use std::time::Duration;

use alter_sandbox::{Faults, Provider, RevokeFault, Sandbox};
use serde_json::{Value, json};

use super::{get, http, json as body, sandbox};

async fn revoke(provider: &Provider, token: &str) -> reqwest::Result<(u16, Value)> {
    let client = provider.client();
    let call = http().post(provider.endpoints().revoke).timeout(Duration::from_secs(2));
    let call = call.basic_auth(client.client_id, Some(client.client_secret)).form(&[("token", token)]);
    let response = call.send().await?;
    let status = response.status().as_u16();
    Ok((status, response.json().await.unwrap_or_default()))
}

async fn tokens(sandbox: &Sandbox, query: &str) -> (u16, Value) {
    let url = format!("{}/tokens?{query}", sandbox.control_url());
    let response = http().get(url).send().await.unwrap();
    (response.status().as_u16(), body(response).await)
}

#[tokio::test]
async fn what_was_revoked_is_counted_by_its_kind() {
    let sandbox = sandbox().await;
    let provider = sandbox.provider();
    let held = provider.connect("user-1", "work");
    assert_eq!(revoke(&provider, &held.access_token).await.unwrap().0, 200);
    let left = provider.tokens("user-1", "work");
    assert_eq!((left.live_access_tokens, left.live_refresh_tokens, left.are_dead()), (0, 1, false));
    assert_eq!(revoke(&provider, &held.refresh_token).await.unwrap().0, 200);
    assert_eq!(revoke(&provider, "never-issued").await.unwrap().0, 200);
    let elsewhere = sandbox.second_provider().connect("user-1", "work");
    assert_eq!(revoke(&provider, &elsewhere.refresh_token).await.unwrap().0, 400);
    let counts = sandbox.counts().revocations;
    assert_eq!((counts.calls, counts.access_tokens, counts.refresh_tokens), (4, 1, 1));
    assert_eq!((counts.unknown_tokens, counts.refused, counts.faults), (1, 1, 0));
    let left = provider.tokens("user-1", "work");
    assert_eq!((left.grants, left.live_grants, left.are_dead()), (1, 0, true));
    assert!(!sandbox.second_provider().tokens("user-1", "work").are_dead());
}

#[tokio::test]
async fn it_fails_as_often_as_asked_and_then_revokes() {
    let sandbox = sandbox().await;
    let provider = sandbox.provider();
    let held = provider.connect("user-1", "work");
    let faults = Faults::default().revoke_fault(RevokeFault::Unavailable).revoke_fault_times(2);
    sandbox.set_faults(faults.retry_after(7));
    for wanted in [503, 503, 200] {
        assert!(!provider.tokens("user-1", "work").are_dead());
        assert_eq!(revoke(&provider, &held.refresh_token).await.unwrap().0, wanted);
    }
    assert!(provider.tokens("user-1", "work").are_dead());
    assert_eq!(sandbox.counts().revocations.faults, 2);
}

#[tokio::test]
async fn each_revocation_fault_does_what_it_says() {
    let sandbox = sandbox().await;
    let provider = sandbox.provider();
    let held = provider.connect("user-1", "work");
    let with = |fault| sandbox.set_faults(Faults::default().revoke_fault(fault));
    for (fault, status, error) in [
        (RevokeFault::UnsupportedTokenType, 400, "unsupported_token_type"),
        (RevokeFault::InvalidClient, 401, "invalid_client"),
    ] {
        with(fault);
        let (code, body) = revoke(&provider, &held.refresh_token).await.unwrap();
        assert_eq!((code, &body["error"]), (status, &error.into()));
    }
    with(RevokeFault::Hang);
    assert!(revoke(&provider, &held.refresh_token).await.unwrap_err().is_timeout());
    assert!(!provider.tokens("user-1", "work").are_dead());
    with(RevokeFault::Drop);
    assert!(revoke(&provider, &held.refresh_token).await.is_err());
    assert!(provider.tokens("user-1", "work").are_dead(), "revoked, though nobody was told");
}

#[tokio::test]
async fn scripts_can_ask_what_is_left_of_an_account() {
    let sandbox = sandbox().await;
    let connect = async |whose: Value| {
        let url = format!("{}/connect", sandbox.control_url());
        body(http().post(url).json(&whose).send().await.unwrap()).await
    };
    connect(json!({"account": "alice", "provider": "sandbox-two"})).await;
    let (status, left) = tokens(&sandbox, "account=alice&provider=sandbox-two").await;
    let sub = sandbox.second_provider().account_id("alice");
    assert_eq!((status, &left["sub"], &left["dead"]), (200, &sub.into(), &false.into()));
    assert_eq!((&left["live_grants"], &left["live_refresh_tokens"]), (&1.into(), &1.into()));
    assert_eq!(tokens(&sandbox, "account=alice").await.1["dead"], true, "another provider's account");
    connect(json!({"sub": "user-1", "account": "work"})).await;
    assert_eq!(tokens(&sandbox, "sub=user-1&account=work").await.1["live_access_tokens"], 1);
    for query in ["sub=user-1", "account=a&provider=elsewhere", "account=a&account=b"] {
        assert_eq!(tokens(&sandbox, query).await.0, 400, "{query}");
    }
    sandbox.advance(Duration::from_secs(3600));
    assert_eq!(sandbox.provider().tokens("user-1", "work").live_access_tokens, 0, "expired");
    assert_eq!(get(&sandbox.oauth_endpoints().userinfo, "nothing").await.status(), 401);
}
