//! Refreshing as callers see it: the provider is the sandbox over real sockets, time is the sandbox's and the token's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use alter_core::{
    App, UserToken,
    clock::{Clock, SharedClock},
};
use alter_sandbox::{Faults, TokenFault};
use alter_server::{
    audit::Action,
    domain::{GrantId, Identity, ImportGrant, ImportOwner},
    store::AuditVerifyScope,
    testkit::TestVault,
};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};

use crate::support::{Answer, now, releases, send, sign_at, signed, token_body, trail};

/// Gives `user-1`'s grant new tokens of which the access token ends in `seconds` from now.
async fn ending_in(kit: &TestVault, seconds: i64) -> GrantId {
    let credential = kit.sandbox().connect("user-1", "user-1@work");
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
        account_identifier: Some("user-1@work".to_owned()),
        account_display_name: None,
        label: None,
        access_token: credential.access_token.into(),
        refresh_token: Some(credential.refresh_token.into()),
        token_expires_at: Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).ok(),
        scopes: vec!["read".to_owned()],
        grant_expires_at: None,
    };
    let imported = kit.admin().import_grant(import).await.unwrap();
    assert!(!imported.created);
    imported.grant.facts.id
}

async fn ask(kit: &TestVault) -> Answer {
    let router = kit.vault().router();
    send(&router, &signed(&kit.app_key(), "/sdk/token", &token_body(kit))).await
}

async fn rows(kit: &TestVault, action: Action) -> usize {
    trail(kit).await.iter().filter(|row| row.action == action).count()
}

fn provider_calls(kit: &TestVault) -> u64 {
    kit.sandbox().counts().token_calls
}

#[tokio::test]
async fn a_token_at_its_end_is_replaced_before_anything_is_released() {
    let kit = TestVault::start().await.unwrap();
    kit.sandbox().set_faults(Faults::default().rotate(true).reuse_detection(true));
    ending_in(&kit, -10).await;
    let app = kit.vault().app_client(&kit.app_key()).build().unwrap();
    let user = app.for_user(UserToken::parse(kit.mint("user-1")).unwrap());
    let url = format!("{}/me", kit.api_url());
    for _ in 0..3 {
        let answer = user.request(Method::GET, &url).provider("sandbox").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(provider_calls(&kit), 1);
    assert_eq!(rows(&kit, Action::TokenRefreshed).await, 1);
    app.close().await;
    assert!(kit.admin().verify_audit(AuditVerifyScope::Everything).await.unwrap().ok());
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_hundred_callers_at_once_cost_one_refresh_and_all_are_served() {
    let kit = TestVault::start().await.unwrap();
    kit.sandbox().set_faults(Faults::default().rotate(true).reuse_detection(true).delay_ms(300));
    ending_in(&kit, -10).await;
    let answers = join_all((0..100).map(|_| ask(&kit))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    let tokens: std::collections::BTreeSet<_> =
        answers.iter().map(|answer| answer.body["access_token"].to_string()).collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!((provider_calls(&kit), kit.sandbox().counts().refused_refreshes), (1, 0));
    assert_eq!(releases(&kit).await, 100);
    kit.stop().await.unwrap();
}

/// The machine's clock, moved forward at will.
#[derive(Debug, Default)]
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_token_near_its_end_is_served_and_replaced_behind_the_callers_back() {
    let clock = Arc::new(Ahead::default());
    let kit = TestVault::start_at(Arc::clone(&clock) as SharedClock).await.unwrap();
    kit.sandbox().set_faults(Faults::default().rotate(true).delay_ms(500));
    ending_in(&kit, 3600).await;
    // Of an hour's life four minutes are left: nobody waits, and a refresh begins.
    let later = 3600 - 240;
    clock.0.store(later, Ordering::Relaxed);
    let router = kit.vault().router();
    let ask = || async {
        let call = sign_at(&kit.app_key(), "/sdk/token", &token_body(&kit), now() + later, &[]);
        send(&router, &call).await
    };
    let before = ask().await;
    assert_eq!(before.status, StatusCode::OK, "{before:?}");
    for _ in 0..100 {
        if rows(&kit, Action::TokenRefreshed).await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = ask().await;
    assert_ne!(before.body["token_generation"], after.body["token_generation"]);
    assert_eq!(provider_calls(&kit), 1);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_caller_who_hangs_up_changes_nothing() {
    let kit = TestVault::start().await.unwrap();
    kit.sandbox().set_faults(Faults::default().rotate(true).reuse_detection(true).delay_ms(600));
    ending_in(&kit, -10).await;
    let gone = tokio::time::timeout(Duration::from_millis(200), ask(&kit)).await;
    assert!(gone.is_err());
    let next = ask(&kit).await;
    assert_eq!(next.status, StatusCode::OK);
    assert_eq!(provider_calls(&kit), 1);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_dead_grant_is_latched_and_the_provider_is_not_asked_again() {
    let kit = TestVault::start().await.unwrap();
    ending_in(&kit, -10).await;
    kit.sandbox().disconnect("user-1", "user-1@work");
    for _ in 0..20 {
        let answer = ask(&kit).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (403, "credential_revoked"), "{answer:?}");
    }
    assert_eq!(provider_calls(&kit), 1);
    assert_eq!((rows(&kit, Action::ReconnectNeeded).await, releases(&kit).await), (1, 0));
    // Only a new consent helps.
    ending_in(&kit, 3600).await;
    assert_eq!(ask(&kit).await.status, StatusCode::OK);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_passing_failure_kills_nothing_and_the_first_success_says_what_it_took() {
    let kit = TestVault::start().await.unwrap();
    kit.sandbox().set_faults(Faults::default().token_fault(TokenFault::ServerError).fault_times(1));
    ending_in(&kit, -10).await;
    let answer = ask(&kit).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let info = &answer.body["retry_info"];
    assert_eq!((info["total_attempts"].as_u64(), info["successful_attempt"].as_u64()), (Some(2), Some(2)));
    assert_eq!(info["errors"][0]["error_type"], "provider_unavailable");
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_provider_that_stays_away_is_left_alone_and_no_expired_token_is_served() {
    let kit = TestVault::start().await.unwrap();
    kit.sandbox().set_faults(Faults::default().token_fault(TokenFault::Html403));
    let grant = ending_in(&kit, -10).await;
    let answers = join_all((0..50).map(|_| ask(&kit))).await;
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), answer.code()), (503, "service_unavailable"), "{answer:?}");
        assert!(answer.headers.contains_key("retry-after"));
        assert!(!answer.holds_a_credential());
    }
    // Each refusal's row says whose token there is not.
    let refused: Vec<_> =
        trail(&kit).await.into_iter().filter(|row| row.action == Action::TokenRefused).collect();
    assert_eq!(refused.len(), 50);
    for row in refused {
        assert_eq!((row.grant_id, row.provider.as_deref()), (Some(grant), Some("sandbox")), "{row:?}");
        assert_eq!(row.code.as_deref(), Some("service_unavailable"));
    }
    // The pause is on: asking again does not reach the provider.
    let calls = provider_calls(&kit);
    assert!(calls <= 3, "{calls}");
    for _ in 0..5 {
        assert_eq!(ask(&kit).await.status.as_u16(), 503);
    }
    assert!(provider_calls(&kit) <= calls + 1);
    // What still has some life is served meanwhile.
    ending_in(&kit, 15).await;
    assert_eq!(ask(&kit).await.status, StatusCode::OK);
    kit.stop().await.unwrap();
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn a_call_that_a_pause_holds_back_counts_no_refresh() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    // The test's runtime has one thread, so flights record here too.
    let _recording = metrics::set_default_local_recorder(&recorder);
    let kit = TestVault::start().await.unwrap();
    kit.sandbox().set_faults(Faults::default().token_fault(TokenFault::Html403));
    ending_in(&kit, -10).await;
    for _ in 0..10 {
        assert_eq!(ask(&kit).await.status.as_u16(), 503);
    }
    let shown = recorder.handle().render();
    let counted: u64 = shown
        .lines()
        .filter(|line| line.starts_with("alter_refresh_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert!((1..5).contains(&counted), "{shown}");
    assert_eq!(counted, provider_calls(&kit), "{shown}");
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_401_that_a_client_reports_forces_one_refresh() {
    let kit = TestVault::start().await.unwrap();
    kit.sandbox().set_faults(Faults::default().rotate(true).api_status(401));
    ending_in(&kit, 3600).await;
    let app: App = kit.vault().app_client(&kit.app_key()).build().unwrap();
    let user = app.for_user(UserToken::parse(kit.mint("user-1")).unwrap());
    let url = format!("{}/me", kit.api_url());
    let answer = user.request(Method::GET, &url).provider("sandbox").send().await;
    assert!(answer.is_err() || answer.unwrap().status() == StatusCode::UNAUTHORIZED);
    app.close().await;
    for _ in 0..5 {
        assert_eq!(ask(&kit).await.status, StatusCode::OK);
    }
    assert_eq!(provider_calls(&kit), 1);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_waits_no_longer_than_its_budget_and_the_refresh_goes_on() {
    let wait = Duration::from_millis(300);
    let kit = TestVault::start_with(|config| config.refresh_wait(wait)).await.unwrap();
    kit.sandbox().set_faults(Faults::default().rotate(true).reuse_detection(true).delay_ms(1_500));
    ending_in(&kit, -10).await;
    for _ in 0..2 {
        let answer = ask(&kit).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (409, "token_refresh_in_progress"));
        assert!(answer.headers.contains_key("retry-after"));
        assert!(!answer.holds_a_credential());
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(ask(&kit).await.status, StatusCode::OK);
    assert_eq!(provider_calls(&kit), 1);
    kit.stop().await.unwrap();
}
