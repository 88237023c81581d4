//! Work after the fact: revocations at providers, events, and the end of ended grants.

use std::time::Duration;

use super::{connections::opened, *};
use crate::{
    domain::{
        CredentialVersion, GrantEvent, GrantStatus, Job, JobId, NewWebhook, OAuthSettings, Task, UserRef,
        UserStatus, WebhookEndpoint, WebhookId,
    },
    seal::{Field, SealContext},
    store::{
        JobEnd, StoreError, TakeJobs,
        refresh::{Finished, RefreshEnd},
    },
};

impl World {
    /// Makes the provider one that can be told of revocations.
    pub(crate) async fn revocable(&self, app_id: AppId) {
        let oauth = OAuthSettings {
            authorize_url: Some("https://idp.google.example/authorize".to_owned()),
            token_url: Some("https://idp.google.example/token".to_owned()),
            revoke_url: Some("https://idp.google.example/revoke".to_owned()),
            client_id: Some("vault".to_owned()),
            ..OAuthSettings::default()
        };
        let provider =
            Provider { oauth: Some(oauth), ..provider("google", ProviderKind::OAuth, "api.example.com") };
        let put = PutProvider { app_id, provider, client_secret: None };
        self.store.put_provider(self.operator(), put).await.unwrap();
    }

    pub(super) async fn jobs(&self, lease: Duration) -> Vec<Job> {
        self.store.take_jobs(TakeJobs { limit: 100, lease }).await.unwrap()
    }

    /// The tokens, access and refresh, that wait to be revoked for a grant.
    pub(super) async fn revocation(&self, id: GrantId) -> (Option<String>, Option<String>) {
        let jobs = self.jobs(Duration::ZERO).await;
        let tasks = jobs.into_iter().filter(|job| job.grant_id == id).map(|job| job.task);
        let mut found: Vec<_> = tasks.filter(|task| matches!(task, Task::RevokeAtProvider { .. })).collect();
        let Some(Task::RevokeAtProvider { access_token, refresh_token, provider }) = found.pop() else {
            panic!("no revocation waits");
        };
        assert_eq!((provider, found.len()), (id_of("google"), 0));
        let open =
            |field| String::from_utf8(self.envelope.open(&field).unwrap().expose_secret().to_vec()).unwrap();
        (access_token.map(open), refresh_token.map(open))
    }

    pub(super) async fn webhook(&self, app_id: AppId, events: &[GrantEvent]) -> WebhookId {
        let endpoint = WebhookEndpoint {
            id: WebhookId::random(),
            app_id,
            url: "https://shop.example/hooks".to_owned(),
            events: events.to_vec(),
            created_at: self.clock.now(),
        };
        let new = NewWebhook { endpoint, secret: "c2VjcmV0".into() };
        self.store.add_webhook(self.operator(), new).await.unwrap().id
    }

    /// Types of the events that wait for an endpoint, oldest first, each with its data. They are taken.
    pub(super) async fn told(&self, endpoint: WebhookId) -> Vec<(String, serde_json::Value)> {
        let jobs = self.jobs(Duration::from_secs(60)).await;
        let mut told = Vec::new();
        for job in jobs {
            let Task::Deliver { endpoint: to, payload, .. } = &job.task else { continue };
            if *to == endpoint {
                let body: serde_json::Value = serde_json::from_str(payload).unwrap();
                told.push((body["type"].as_str().unwrap().to_owned(), body["data"].clone()));
            }
        }
        told
    }
}

pub(crate) async fn revoking_takes_the_tokens_to_the_provider(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    let id = world.connect(key, "u1", "a@x").await;
    let kept = world.connect(key, "u1", "b@x").await;
    assert!(world.jobs(Duration::ZERO).await.is_empty());
    world.revoke(key, id, None).await.unwrap();
    let both = (Some("access-a@x".to_owned()), Some("refresh-a@x".to_owned()));
    assert_eq!(world.revocation(id).await, both);
    // They are no longer in the grant, and another grant's are untouched.
    assert_eq!(
        code(world.release(world.ask(key, Address::Grant(id), None).await).await.map(|_| ())),
        Code::GrantRevoked
    );
    world.release(world.ask(key, Address::Grant(kept), None).await).await.unwrap();
    // Whoever ends it.
    let operators = world.connect(key, "u2", "c@x").await;
    world.store.revoke_grant_as_operator(world.operator(), key.app_id, operators, None).await.unwrap();
    assert_eq!(world.revocation(operators).await.0.as_deref(), Some("access-c@x"));
    let users = world.connect(key, "u3", "d@x").await;
    let who = UserRef::Subject { issuer: "https://idp.example".to_owned(), subject: "u3".to_owned() };
    world.store.set_user_status(world.operator(), key.app_id, who, UserStatus::Deleted, None).await.unwrap();
    assert_eq!(world.revocation(users).await.0.as_deref(), Some("access-d@x"));
}

pub(crate) async fn fresh_tokens_of_an_ended_grant_go_to_the_provider_too(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    let grant_id = world.connect(key, "u1", "a@x").await;
    let generation = world.store.grant(key.app_id, grant_id).await.unwrap().generation;
    let lease = world.take(CredentialVersion { app_id: key.app_id, grant_id, generation }).await;
    world.revoke(key, grant_id, None).await.unwrap();
    for job in world.jobs(Duration::from_secs(60)).await {
        let done = JobEnd::Done { receipt: "refresh token, HTTP 200".to_owned() };
        assert!(world.store.finish_job(key.app_id, job.id, job.attempt, done).await.unwrap());
    }
    let fresh = || RefreshEnd::Renewed(Box::new(world.fresh("access-new", Some("refresh-new"), 3600)));
    assert_eq!(world.end(lease.name(), fresh()).await, Finished::Overtaken);
    let new = (Some("access-new".to_owned()), Some("refresh-new".to_owned()));
    assert_eq!(world.revocation(grant_id).await, new);
    // Of a grant that only moved on, somebody still uses what the provider gave.
    let grant_id = world.connect(key, "u2", "b@x").await;
    let generation = world.store.grant(key.app_id, grant_id).await.unwrap().generation;
    let lease = world.take(CredentialVersion { app_id: key.app_id, grant_id, generation }).await;
    world.connect(key, "u2", "b@x").await;
    assert_eq!(world.end(lease.name(), fresh()).await, Finished::Overtaken);
    assert!(world.jobs(Duration::ZERO).await.iter().all(|job| job.grant_id != grant_id));
}

pub(crate) async fn a_provider_that_cannot_be_told_gets_no_job(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.connect(key, "u1", "a@x").await;
    let secret = world.secret(key.app_id).await;
    let shared = world.secret_grant(key.app_id, secret, Principal::System).await;
    for id in [id, shared] {
        world.revoke(key, id, None).await.unwrap();
    }
    assert!(world.jobs(Duration::ZERO).await.is_empty());
}

pub(crate) async fn children_fall_with_their_parent(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    let parent = world.connect(key, "u1", "a@x").await;
    let child = world.connect(key, "u2", "b@x").await;
    let grandchild = world.connect(key, "u3", "c@x").await;
    let other = world.connect(key, "u4", "d@x").await;
    for (below, above) in [(child, parent), (grandchild, child), (parent, grandchild)] {
        let (above, below) = (world.id(above.uuid()), world.id(below.uuid()));
        world.tamper(format!("UPDATE grants SET parent_grant_id = {above} WHERE id = {below}")).await;
    }
    world.revoke(key, parent, None).await.unwrap();
    for id in [parent, child, grandchild] {
        let grant = world.store.grant(key.app_id, id).await.unwrap();
        assert_eq!(grant.facts.status, GrantStatus::Revoked);
        assert!(grant.parent_grant_id.is_some());
    }
    assert_eq!(world.store.grant(key.app_id, other).await.unwrap().facts.status, GrantStatus::Active);
    let rows = world.rows(key.app_id).await;
    let revoked: Vec<_> = rows.iter().filter(|row| row.action == Action::GrantRevoked).collect();
    assert_eq!(revoked.len(), 3);
    assert!(revoked.iter().any(|row| row.grant_id == Some(grandchild) && row.key_id == Some(key.key_id)));
    let jobs = world.jobs(Duration::ZERO).await;
    assert_eq!(jobs.iter().filter(|job| matches!(job.task, Task::RevokeAtProvider { .. })).count(), 3);
}

pub(crate) async fn a_job_has_one_taker_at_a_time(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    let id = world.connect(key, "u1", "a@x").await;
    world.revoke(key, id, None).await.unwrap();
    let first = world.jobs(Duration::from_secs(60)).await;
    assert_eq!((first.len(), first[0].attempt, first[0].grant_id), (1, 1, id));
    assert!(world.jobs(Duration::from_secs(60)).await.is_empty(), "it is leased");
    let job = &first[0];
    let end = |attempt, end| world.store.finish_job(key.app_id, job.id, attempt, end);
    let again = JobEnd::Again { wait: Duration::ZERO, error: "503".to_owned() };
    assert!(end(1, again.clone()).await.unwrap());
    let second = world.jobs(Duration::ZERO).await;
    assert_eq!((second[0].id, second[0].attempt), (job.id, 2));
    // Whoever took it first comes too late, whatever they have to say.
    let done = || JobEnd::Done { receipt: "refresh token, HTTP 200".to_owned() };
    assert!(!end(1, done()).await.unwrap());
    assert!(!end(1, again).await.unwrap());
    assert!(!world.store.finish_job(AppId::random(), job.id, 2, done()).await.unwrap());
    assert!(end(2, done()).await.unwrap());
    assert!(!end(2, done()).await.unwrap(), "it is done");
    assert!(world.jobs(Duration::ZERO).await.is_empty());
}

pub(crate) async fn a_pause_is_kept(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    let id = world.connect(key, "u1", "a@x").await;
    world.revoke(key, id, None).await.unwrap();
    let job = world.jobs(Duration::from_secs(60)).await.remove(0);
    let end = JobEnd::Again { wait: Duration::from_secs(3600), error: "503".to_owned() };
    assert!(world.store.finish_job(key.app_id, job.id, 1, end).await.unwrap());
    assert!(world.jobs(Duration::ZERO).await.is_empty());
}

pub(crate) async fn takers_beside_each_other_share_the_work(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    for number in 0..20 {
        let id = world.connect(key, "u1", &format!("{number}@x")).await;
        world.revoke(key, id, None).await.unwrap();
    }
    let take = || world.store.take_jobs(TakeJobs { limit: 5, lease: Duration::from_secs(60) });
    let mut taken: Vec<JobId> = Vec::new();
    for _ in 0..4 {
        let (a, b) = tokio::join!(take(), take());
        taken.extend(a.unwrap().iter().chain(&b.unwrap()).map(|job| job.id));
    }
    let unique: std::collections::BTreeSet<_> = taken.iter().copied().collect();
    assert_eq!((taken.len(), unique.len()), (20, 20));
}

pub(crate) async fn a_receipt_is_kept_and_told(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    let endpoint = world.webhook(key.app_id, &[GrantEvent::ProviderRevoked]).await;
    let id = world.connect(key, "u1", "a@x").await;
    world.revoke(key, id, None).await.unwrap();
    let job = world.jobs(Duration::ZERO).await.remove(0);
    let end = JobEnd::Done { receipt: "refresh token, HTTP 200".to_owned() };
    assert!(world.store.finish_job(key.app_id, job.id, 1, end).await.unwrap());
    let grant = world.store.grant(key.app_id, id).await.unwrap();
    assert_eq!(grant.provider_revocation.as_deref(), Some("refresh token, HTTP 200"));
    let row = world.last_row(key.app_id, Action::ProviderRevoked).await;
    assert_eq!((row.grant_id, row.detail.as_deref()), (Some(id), Some("refresh token, HTTP 200")));
    let told = world.told(endpoint).await;
    let [(event, data)] = &*told else { panic!("{told:?}") };
    assert_eq!(
        (event.as_str(), data["receipt"].as_str()),
        ("grant.provider_revoked", Some("refresh token, HTTP 200"))
    );
}

pub(crate) async fn what_is_given_up_waits_for_an_operator(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    let id = world.connect(key, "u1", "a@x").await;
    world.revoke(key, id, None).await.unwrap();
    let job = world.jobs(Duration::from_secs(60)).await.remove(0);
    let dead = || JobEnd::Dead { error: "HTTP 400".to_owned() };
    assert!(world.store.finish_job(key.app_id, job.id, 1, dead()).await.unwrap());
    assert!(world.jobs(Duration::ZERO).await.is_empty());
    let letters = world.store.dead_jobs(key.app_id, 10, 0).await.unwrap();
    let [letter] = &*letters else { panic!("{letters:?}") };
    assert_eq!((letter.task, letter.target.as_str(), letter.attempts), ("revoke_at_provider", "google", 1));
    assert_eq!((letter.last_error.as_deref(), letter.grant_id), (Some("HTTP 400"), id));
    assert!(world.store.dead_jobs(AppId::random(), 10, 0).await.unwrap().is_empty());
    let grant = world.store.grant(key.app_id, id).await.unwrap();
    assert_eq!(grant.provider_revocation.as_deref(), Some("given up: HTTP 400"));
    world.store.requeue_job(world.operator(), key.app_id, job.id).await.unwrap();
    assert!(world.store.dead_jobs(key.app_id, 10, 0).await.unwrap().is_empty());
    let again = world.jobs(Duration::from_secs(60)).await.remove(0);
    assert_eq!((again.id, again.attempt), (job.id, 2));
    assert!(world.store.finish_job(key.app_id, job.id, 2, dead()).await.unwrap());
    world.store.drop_job(world.operator(), key.app_id, job.id).await.unwrap();
    for gone in [
        world.store.drop_job(world.operator(), key.app_id, job.id).await,
        world.store.requeue_job(world.operator(), key.app_id, job.id).await,
    ] {
        assert!(matches!(gone, Err(StoreError::NotFound(_))));
    }
}

pub(crate) async fn every_change_is_told_to_whoever_wants_it(world: &World) {
    let key = world.app_with_google("one").await;
    let (all, some) =
        (world.webhook(key.app_id, &[]).await, world.webhook(key.app_id, &[GrantEvent::Revoked]).await);
    let elsewhere = world.app_with_google("two").await;
    let others = world.webhook(elsewhere.app_id, &[]).await;
    let id = world.connect(key, "u1", "a@x").await;
    world.connect(key, "u1", "a@x").await;
    world.import(key.app_id, "u1", "a@x", "t").await;
    let report = async || crate::store::ScopeMismatchCommand {
        admission: world.admission(key, Scope::AuditEmit).await,
        grant_id: id,
        detail: None,
    };
    for _ in 0..2 {
        decided(world.store.record_scope_mismatch(report().await).await.unwrap()).unwrap();
    }
    let secret = world.secret(key.app_id).await;
    world.secret_grant(key.app_id, secret, Principal::System).await;
    let mut command = crate::store::RevokeCommand {
        admission: world.admission(key, Scope::GrantsWrite).await,
        grant_id: id,
        user: None,
        reason: None,
    };
    command.reason = Some("left the team".to_owned());
    decided(world.store.revoke_grant(command).await.unwrap()).unwrap();
    let jobs = world.jobs(Duration::from_secs(60)).await;
    let of = |endpoint: WebhookId| -> Vec<String> {
        let mut told = Vec::new();
        for job in &jobs {
            let Task::Deliver { endpoint: to, payload, url, secret } = &job.task else { continue };
            if *to == endpoint {
                assert_eq!(url, "https://shop.example/hooks");
                assert_eq!(world.envelope.open(secret).unwrap().expose_secret(), b"c2VjcmV0");
                let body: serde_json::Value = serde_json::from_str(payload).unwrap();
                assert!(!payload.contains("access-") && !payload.contains("refresh-"), "{payload}");
                told.push(body["type"].as_str().unwrap().to_owned());
            }
        }
        told
    };
    assert_eq!(
        of(all),
        [
            "grant.created",
            "grant.updated",
            "grant.updated",
            "grant.scope_mismatch",
            "grant.created",
            "grant.revoked",
        ]
    );
    assert_eq!(of(some), ["grant.revoked"]);
    assert!(of(others).is_empty());
    let revoked = jobs.iter().find_map(|job| match &job.task {
        Task::Deliver { endpoint, payload, .. } if *endpoint == some => Some(payload.clone()),
        _ => None,
    });
    let body: serde_json::Value = serde_json::from_str(&revoked.unwrap()).unwrap();
    let data = &body["data"];
    assert_eq!(
        (data["reason"].as_str(), data["provider_id"].as_str()),
        (Some("left the team"), Some("google"))
    );
    assert_eq!(
        (data["principal_type"].as_str(), data["account_identifier"].as_str()),
        (Some("user"), Some("a@x"))
    );
    assert_eq!(data["grant_id"].as_str(), Some(id.to_string().as_str()));
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
}

pub(crate) async fn an_endpoint_that_is_removed_is_told_nothing_more(world: &World) {
    let key = world.app_with_google("one").await;
    let endpoint = world.webhook(key.app_id, &[]).await;
    assert_eq!(world.store.list_webhooks(key.app_id).await.unwrap()[0].id, endpoint);
    world.connect(key, "u1", "a@x").await;
    world.store.remove_webhook(world.operator(), key.app_id, endpoint).await.unwrap();
    assert!(world.jobs(Duration::ZERO).await.is_empty());
    let again = world.store.remove_webhook(world.operator(), key.app_id, endpoint).await;
    assert!(matches!(again, Err(StoreError::NotFound(_))));
    let bad = WebhookEndpoint {
        id: WebhookId::random(),
        app_id: key.app_id,
        url: "http://shop.example/hooks".to_owned(),
        events: Vec::new(),
        created_at: world.clock.now(),
    };
    let bad = NewWebhook { endpoint: bad, secret: "c2VjcmV0".into() };
    let refused = world.store.add_webhook(world.operator(), bad).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
}

pub(crate) async fn a_purged_grant_is_gone_but_for_its_id(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    let endpoint = world.webhook(key.app_id, &[GrantEvent::Deleted]).await;
    let (id, waiting) = (world.connect(key, "u1", "a@x").await, world.connect(key, "u1", "b@x").await);
    let active = world.connect(key, "u1", "c@x").await;
    world.revoke(key, id, None).await.unwrap();
    let job = world.jobs(Duration::ZERO).await.remove(0);
    let end = JobEnd::Done { receipt: "HTTP 200".to_owned() };
    assert!(world.store.finish_job(key.app_id, job.id, 1, end).await.unwrap());
    world.revoke(key, waiting, None).await.unwrap();
    world.clock.advance(3600);
    let purge = |before| world.store.purge_grants(world.operator(), key.app_id, before, 10);
    let long_ago = world.clock.now() - jiff::SignedDuration::from_hours(2);
    assert!(purge(long_ago).await.unwrap().is_empty());
    assert_eq!(purge(world.clock.now()).await.unwrap(), [id], "the other one's tokens are not dead yet");
    let grant = world.store.grant(key.app_id, id).await.unwrap();
    assert_eq!((grant.facts.status, grant.facts.account_identifier), (GrantStatus::Deleted, None));
    assert_eq!((grant.facts.label, grant.scopes.len(), grant.account_id), (None, 0, None));
    let gone = world.ask(key, Address::Grant(id), None).await;
    assert_eq!(code(world.release(gone).await.map(|_| ())), Code::GrantDeleted);
    world.release(world.ask(key, Address::Grant(active), None).await).await.unwrap();
    let row = world.last_row(key.app_id, Action::GrantDeleted).await;
    assert_eq!((row.grant_id, row.account), (Some(id), None));
    let told = world.told(endpoint).await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0.as_str(), told[0].1.get("account_identifier")), ("grant.deleted", None));
}

pub(crate) async fn tokens_in_the_outbox_open_only_where_they_came_from(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    let id = world.connect(key, "u1", "a@x").await;
    world.connect(key, "u1", "a@x").await;
    world.revoke(key, id, None).await.unwrap();
    let Task::RevokeAtProvider { access_token: Some(token), .. } =
        world.jobs(Duration::ZERO).await.remove(0).task
    else {
        panic!("no revocation waits");
    };
    assert_eq!(token.context, SealContext::of(key.app_id, Field::GrantAccessToken, id.uuid(), 2));
    assert_eq!(opened(world, key.app_id, Field::GrantAccessToken, id, 2, &token.sealed), "access-a@x");
}
