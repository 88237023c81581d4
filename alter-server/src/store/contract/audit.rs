//! The trail.

use super::*;
use crate::{
    audit::{CallReport, ReportedBodies},
    store::{ReportCommand, StoreError},
};

pub(crate) async fn reports_keep_sealed_bodies(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.import(key.app_id, "u1", "a@x", "t1").await;
    let report = CallReport {
        method: "POST".to_owned(),
        url: "https://u:p@api.example.com/x?token=abc".to_owned(),
        status: 201,
        latency_ms: 12,
        request_body: Some("b".repeat(20_000)),
        ..CallReport::default()
    };
    let command = ReportCommand {
        admission: world.admission(key, Scope::AuditEmit).await,
        grant_id: id,
        report: report.clone(),
    };
    decided(world.store.record_report(command).await.unwrap()).unwrap();
    let row = world.last_row(key.app_id, Action::CallReported).await;
    assert_eq!((row.status, row.latency_ms, row.account.as_deref()), (Some(201), Some(12), Some("a@x")));
    assert_eq!(row.url.as_deref(), Some("https://api.example.com/x?token=[redacted]"));
    let sealed = world.store.audit_bodies(key.app_id, row.id).await.unwrap().unwrap();
    let bodies = ReportedBodies::from_bytes(&world.envelope.open(&sealed).unwrap()).unwrap();
    assert_eq!(bodies.request_body.map(|body| body.len()), Some(10_000));

    let stranger = world.app_with_google("two").await;
    let command =
        ReportCommand { admission: world.admission(stranger, Scope::AuditEmit).await, grant_id: id, report };
    assert_eq!(code(decided(world.store.record_report(command).await.unwrap())), Code::GrantNotFound);
}

pub(crate) async fn concurrent_releases_keep_one_chain(world: &World) {
    let key = world.app_with_google("one").await;
    for user in 0..8 {
        world.import(key.app_id, &format!("u{user}"), "a@x", &format!("t{user}")).await;
    }
    let before = world.rows(key.app_id).await.len();
    let mut commands = Vec::new();
    for number in 0..400 {
        let user = identity(&format!("u{}", number % 8));
        commands.push((number % 8, world.ask(key, by_provider("google"), Some(user)).await));
    }
    let answers =
        commands.into_iter().map(async |(user, command)| (user, world.release(command).await.unwrap()));
    for (user, release) in futures_util::future::join_all(answers).await {
        assert_eq!(world.open(&release), format!("t{user}"));
    }
    assert_eq!(world.rows(key.app_id).await.len(), before + 400);
}

pub(crate) async fn closing_finishes_what_was_taken(world: &World) {
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let mut calls = Vec::new();
    for _ in 0..50 {
        let command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
        let store = Arc::clone(&world.store);
        calls.push(async move { store.release(command).await });
    }
    let (answers, closed) = tokio::join!(futures_util::future::join_all(calls), async {
        tokio::task::yield_now().await;
        world.store.close().await
    });
    closed.unwrap();
    let done = answers.iter().filter(|answer| matches!(answer, Ok(Outcome::Done(_)))).count();
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Outcome::Done(_)) | Err(StoreError::Closed))));
    let rows = world.rows(key.app_id).await;
    assert_eq!(rows.iter().filter(|row| row.action == Action::TokenReleased).count(), done);
    let report = world.store.verify_audit(AuditVerifyScope::App(key.app_id)).await.unwrap();
    assert!(report.chains.iter().all(|chain| chain.closed));
    assert!(matches!(world.store.health().await, Err(StoreError::Closed)));
    world.store.close().await.unwrap();
}

pub(crate) async fn audit_pages_do_not_overlap(world: &World) {
    let key = world.app_with_google("one").await;
    world.app_with_google("two").await;
    for _ in 0..10 {
        let _ = world.token_of(key, "u1").await.unwrap_err();
    }
    let whole = world.rows(key.app_id).await;
    for newest_first in [false, true] {
        let (mut after, mut rows) = (None, Vec::new());
        loop {
            let filter =
                AuditFilter { app_id: Some(key.app_id), after, newest_first, limit: 4, grants: Vec::new() };
            let page = world.store.audit_page(filter).await.unwrap();
            rows.extend(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if newest_first {
            rows.reverse();
        }
        assert_eq!(rows, whole);
    }
}
