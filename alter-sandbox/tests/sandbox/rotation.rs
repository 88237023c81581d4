//! Rotating refresh tokens: reuse, its window, and disuse.

use std::time::Duration;

use alter_sandbox::{Faults, Sandbox};
use serde_json::Value;

use super::{
    get, json,
    oauth::{refresh, refused, text},
    sandbox,
};

/// Refreshes and answers the new pair.
async fn pair(sandbox: &Sandbox, held: &str) -> (String, String) {
    let answer = refresh(sandbox, held).await;
    assert_eq!(answer.status(), 200);
    let body: Value = json(answer).await;
    (text(&body, "access_token"), text(&body, "refresh_token"))
}

async fn works(sandbox: &Sandbox, access_token: &str) -> bool {
    get(&format!("{}/me", sandbox.api_url()), access_token).await.status() == 200
}

#[tokio::test]
async fn a_spent_token_that_comes_back_takes_its_whole_family_and_no_other() {
    let sandbox = sandbox().await;
    sandbox.set_faults(Faults::default().rotate(true).reuse_detection(true));
    let (first, other) = (sandbox.connect("user-1", "work"), sandbox.connect("user-1", "home"));
    let (access, held) = pair(&sandbox, &first.refresh_token).await;
    assert!(works(&sandbox, &access).await && works(&sandbox, &first.access_token).await);

    refused(refresh(&sandbox, &first.refresh_token).await, "invalid_grant").await;
    for token in [&access, &first.access_token] {
        assert!(!works(&sandbox, token).await);
    }
    for token in [&held, &first.refresh_token] {
        refused(refresh(&sandbox, token).await, "invalid_grant").await;
    }
    assert!(works(&sandbox, &other.access_token).await);
    pair(&sandbox, &other.refresh_token).await;

    let counts = sandbox.counts();
    assert_eq!((counts.reuse_detected, counts.refreshes, counts.refused_refreshes), (1, 2, 3));
    assert_eq!((counts.refusals.spent_token, counts.refusals.revoked_grant), (1, 2));
}

#[tokio::test]
async fn without_detection_a_spent_token_harms_nobody() {
    let sandbox = sandbox().await;
    sandbox.set_faults(Faults::default().rotate(true));
    let first = sandbox.connect("user-1", "work");
    let (access, held) = pair(&sandbox, &first.refresh_token).await;
    refused(refresh(&sandbox, &first.refresh_token).await, "invalid_grant").await;
    assert!(works(&sandbox, &access).await);
    pair(&sandbox, &held).await;
    assert_eq!((sandbox.counts().reuse_detected, sandbox.counts().refusals.spent_token), (0, 1));
}

#[tokio::test]
async fn within_the_window_a_spent_token_is_answered_with_another_pair_of_its_family() {
    let sandbox = sandbox().await;
    sandbox.set_faults(Faults::default().rotate(true).reuse_detection(true).reuse_window(30));
    let first = sandbox.connect("user-1", "work");
    let (access, held) = pair(&sandbox, &first.refresh_token).await;
    sandbox.advance(Duration::from_secs(20));
    let (again, held_again) = pair(&sandbox, &first.refresh_token).await;
    assert!(access != again && held != held_again);
    assert!(works(&sandbox, &access).await && works(&sandbox, &again).await, "the first pair stays good");
    let (_, third) = pair(&sandbox, &held).await;
    pair(&sandbox, &held_again).await;
    let counts = sandbox.counts();
    assert_eq!((counts.refreshes, counts.reuse_forgiven, counts.refused_refreshes), (4, 1, 0));

    // The window counts from the first presentation: the second has not moved it on.
    sandbox.advance(Duration::from_secs(10));
    refused(refresh(&sandbox, &first.refresh_token).await, "invalid_grant").await;
    refused(refresh(&sandbox, &third).await, "invalid_grant").await;
    assert!(!works(&sandbox, &again).await);
    assert_eq!(sandbox.counts().reuse_detected, 1);
}

#[tokio::test]
async fn a_refresh_token_that_is_not_used_dies_and_each_use_gives_it_more_time() {
    for rotate in [false, true] {
        let sandbox = sandbox().await;
        sandbox.set_faults(Faults::default().rotate(rotate).refresh_idle(100).expires_in(1000));
        let first = sandbox.connect("user-1", "work");
        let mut held = first.refresh_token;
        for _ in 0..3 {
            sandbox.advance(Duration::from_secs(90));
            (_, held) = pair(&sandbox, &held).await;
        }
        sandbox.advance(Duration::from_secs(100));
        refused(refresh(&sandbox, &held).await, "invalid_grant").await;
        assert_eq!(sandbox.counts().refusals.idle_token, 1);
        assert!(works(&sandbox, &first.access_token).await, "access tokens live on");
    }
}
