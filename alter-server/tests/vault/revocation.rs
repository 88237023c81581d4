//! Revocation at the provider: the provider is the sandbox over real sockets.

use std::{future::Future, time::Duration};

use alter_sandbox::{Faults, RevokeFault};
use alter_server::{
    audit::Action,
    domain::{GrantId, Identity, ImportGrant, ImportOwner},
    testkit::TestVault,
};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::{refusals, send, signed, token_body, trail};

const SOON: Duration = Duration::from_millis(20);

/// A vault that tries again after moments instead of seconds.
async fn hasty() -> TestVault {
    TestVault::start_with(|config| config.outbox_wait(SOON)).await.unwrap()
}

fn work(kit: &TestVault) -> GrantId {
    kit.grants("user-1")[0].grant_id
}

fn are_dead(kit: &TestVault, account: &str) -> bool {
    kit.sandbox().provider().tokens("user-1", account).are_dead()
}

async fn receipt(kit: &TestVault) -> Option<String> {
    kit.admin().grant(kit.app_id(), work(kit)).await.unwrap().provider_revocation
}

async fn revoke(kit: &TestVault) {
    kit.admin().revoke_grant(kit.app_id(), work(kit), None).await.unwrap();
}

/// Works the outbox off until `done` holds; ten seconds at most.
async fn until<F: Future<Output = bool>>(kit: &TestVault, done: impl Fn() -> F) {
    for _ in 0..400 {
        kit.vault().work_off_outbox().await.unwrap();
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it did not come to its end");
}

#[tokio::test]
async fn a_revoked_grant_dies_at_the_provider_and_a_receipt_says_so() {
    let kit = TestVault::start().await.unwrap();
    let account = kit.grants("user-1")[0].account.clone();
    assert!(!are_dead(&kit, &account));
    let router = kit.vault().router();
    let call = signed(&kit.app_key(), &format!("/sdk/oauth/grants/{}/revoke", work(&kit)), &json!({}));
    assert_eq!(send(&router, &call).await.status, StatusCode::OK);
    kit.vault().work_off_outbox().await.unwrap();
    assert!(are_dead(&kit, &account));
    assert_eq!(receipt(&kit).await.as_deref(), Some("refresh token, HTTP 200"));
    let row = trail(&kit).await.into_iter().find(|row| row.action == Action::ProviderRevoked).unwrap();
    assert_eq!((row.grant_id, row.detail.as_deref()), (Some(work(&kit)), Some("refresh token, HTTP 200")));
    // Once is enough.
    kit.vault().work_off_outbox().await.unwrap();
    assert_eq!(kit.sandbox().counts().revocations.calls, 1);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn nobody_has_to_ask_for_it() {
    let kit = TestVault::start().await.unwrap();
    let account = kit.grants("user-1")[0].account.clone();
    let _serving = kit.vault().router();
    revoke(&kit).await;
    // Much sooner than the next look would be.
    for _ in 0..80 {
        if receipt(&kit).await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(are_dead(&kit, &account));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_away_is_told_again_until_it_answers() {
    let kit = hasty().await;
    let account = kit.grants("user-1")[0].account.clone();
    kit.sandbox().set_faults(Faults::default().revoke_fault(RevokeFault::Unavailable).revoke_fault_times(2));
    revoke(&kit).await;
    until(&kit, || async { receipt(&kit).await.is_some() }).await;
    assert!(are_dead(&kit, &account));
    let counts = kit.sandbox().counts().revocations;
    assert_eq!((counts.calls, counts.faults), (3, 2), "{counts:?}");
    assert_eq!(receipt(&kit).await.as_deref(), Some("refresh token, HTTP 200"));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let kit = hasty().await;
    kit.sandbox().set_faults(Faults::default().revoke_fault(RevokeFault::Drop).revoke_fault_times(1));
    revoke(&kit).await;
    until(&kit, || async { receipt(&kit).await.is_some() }).await;
    let counts = kit.sandbox().counts().revocations;
    assert_eq!((counts.calls, counts.faults), (2, 1), "{counts:?}");
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_provider_does_not_support_is_a_dead_letter_that_can_be_tried_again() {
    let kit = hasty().await;
    let (admin, app) = (kit.admin(), kit.app_id());
    kit.sandbox().set_faults(Faults::default().revoke_fault(RevokeFault::UnsupportedTokenType));
    revoke(&kit).await;
    kit.vault().work_off_outbox().await.unwrap();
    // Both kinds of token were told.
    assert_eq!(kit.sandbox().counts().revocations.calls, 2);
    let said = receipt(&kit).await.unwrap();
    assert!(said.starts_with("given up: not supported by the provider"), "{said}");
    let dead = admin.dead_jobs(app, 10, 0).await.unwrap();
    let [dead] = &*dead else { panic!("{dead:?}") };
    assert_eq!((dead.task, &*dead.target, dead.grant_id), ("revoke_at_provider", "sandbox", work(&kit)));
    kit.sandbox().set_faults(Faults::default());
    admin.retry_job(app, dead.id).await.unwrap();
    kit.vault().work_off_outbox().await.unwrap();
    assert_eq!(receipt(&kit).await.as_deref(), Some("refresh token, HTTP 200"));
    assert!(admin.dead_jobs(app, 10, 0).await.unwrap().is_empty());
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn an_app_that_the_provider_does_not_know_is_the_operators_to_repair_and_loses_nothing() {
    let kit = hasty().await;
    kit.sandbox()
        .set_faults(Faults::default().revoke_fault(RevokeFault::InvalidClient).revoke_fault_times(1));
    revoke(&kit).await;
    for _ in 0..4 {
        kit.vault().work_off_outbox().await.unwrap();
        tokio::time::sleep(SOON * 2).await;
    }
    // An hour passes before it is tried again.
    assert_eq!(kit.sandbox().counts().revocations.calls, 1);
    assert!(kit.admin().dead_jobs(kit.app_id(), 10, 0).await.unwrap().is_empty());
    assert_eq!(receipt(&kit).await, None);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn fresh_tokens_that_come_for_a_revoked_grant_die_as_well() {
    let kit = TestVault::start().await.unwrap();
    let account = kit.grants("user-1")[0].account.clone();
    expire(&kit, &account).await;
    // The provider rotates at once and answers late: the old refresh token is worth nothing when it is revoked.
    kit.sandbox().set_faults(Faults::default().rotate(true).delay_ms(800));
    let router = kit.vault().router();
    let call = signed(&kit.app_key(), "/sdk/token", &token_body(&kit));
    let asking = tokio::spawn(async move { send(&router, &call).await });
    tokio::time::sleep(Duration::from_millis(250)).await;
    revoke(&kit).await;
    kit.vault().work_off_outbox().await.unwrap();
    let answer = asking.await.unwrap();
    assert!(!answer.holds_a_credential(), "{answer:?}");
    until(&kit, || async { are_dead(&kit, &account) }).await;
    assert_eq!(refusals(&kit, "nonce_replayed").await, 0);
    kit.stop().await.unwrap();
}

/// Gives `user-1`'s grant tokens of which the access token has ended.
async fn expire(kit: &TestVault, account: &str) {
    kit.sandbox().disconnect("user-1", account);
    let credential = kit.sandbox().connect("user-1", account);
    let owner = ImportOwner::Identity(Identity {
        issuer: kit.sandbox().issuer(),
        subject: "user-1".to_owned(),
        email: None,
        name: None,
        groups: Vec::new(),
    });
    let import = ImportGrant {
        app_id: kit.app_id(),
        provider: "sandbox".parse().unwrap(),
        owner,
        account_identifier: Some(account.to_owned()),
        account_display_name: None,
        label: None,
        access_token: credential.access_token.into(),
        refresh_token: Some(credential.refresh_token.into()),
        token_expires_at: Timestamp::now().checked_sub(SignedDuration::from_secs(10)).ok(),
        scopes: vec!["read".to_owned()],
        grant_expires_at: None,
    };
    kit.admin().import_grant(import).await.unwrap();
}
