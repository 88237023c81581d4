//! What needs a hand inside the vault: a worker that dies, and one that waits.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use crate::{
    domain::{Job, Task},
    store::{JobEnd, TakeJobs},
    testkit::TestVault,
};

async fn revoked(kit: &TestVault) -> Job {
    let grant = kit.grants("user-1")[0].grant_id;
    kit.admin().revoke_grant(kit.app_id(), grant, None).await.unwrap();
    let take = TakeJobs { limit: 10, lease: Duration::from_millis(300) };
    let mut jobs = kit.vault().core().store.take_jobs(take).await.unwrap();
    assert_eq!(jobs.len(), 1);
    jobs.pop().unwrap()
}

#[tokio::test]
async fn a_job_of_a_process_that_died_is_done_by_another_one_and_only_by_that() {
    let kit = TestVault::start().await.unwrap();
    let core = kit.vault().core();
    let job = revoked(&kit).await;
    assert!(matches!(job.task, Task::RevokeAtProvider { .. }));
    // Its holder may still be at it.
    core.outbox.work_off().await.unwrap();
    assert_eq!(kit.sandbox().counts().revocations.calls, 0);
    tokio::time::sleep(Duration::from_millis(350)).await;
    core.outbox.work_off().await.unwrap();
    assert_eq!(kit.sandbox().counts().revocations.calls, 1);
    // The first one comes back to life.
    let late = JobEnd::Dead { error: "too late".to_owned() };
    assert!(!core.store.finish_job(job.app_id, job.id, job.attempt, late).await.unwrap());
    let grant = kit.admin().grant(kit.app_id(), job.grant_id).await.unwrap();
    assert_eq!(grant.provider_revocation.as_deref(), Some("refresh token, HTTP 200"));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn closing_gives_back_what_was_not_done() {
    let kit = TestVault::start().await.unwrap();
    let core = kit.vault().core();
    core.outbox.close().await;
    let grant = kit.grants("user-1")[0].grant_id;
    kit.admin().revoke_grant(kit.app_id(), grant, None).await.unwrap();
    core.outbox.work_off().await.unwrap();
    let take = TakeJobs { limit: 10, lease: Duration::from_secs(1) };
    assert_eq!(core.store.take_jobs(take).await.unwrap().len(), 1);
    kit.stop().await.unwrap();
}
