//! What cannot be refreshed, what a failure pauses, and what ends it.

use super::*;

pub(crate) async fn what_cannot_be_refreshed_says_why(world: &World) {
    let key = world.app_with_google("one").await;
    world.put_refreshing(key.app_id, "google").await;
    let import = async |change: fn(&mut ImportGrant)| {
        let owner = ImportOwner::Identity(identity(&Uuid::new_v4().to_string()));
        let mut import = world.import_of(key.app_id, owner, "a@x", "t");
        change(&mut import);
        let grant = world.store.import_grant(world.operator(), import).await.unwrap().grant;
        CredentialVersion { app_id: key.app_id, grant_id: grant.facts.id, generation: 1 }
    };
    let good = import(|_| {}).await;
    let without = import(|import| import.refresh_token = None).await;
    let ended = import(|import| import.grant_expires_at = Some(at(10))).await;
    world.clock.advance(10);
    let unknown = CredentialVersion { grant_id: GrantId::random(), ..good };
    for (version, why) in [(without, "no refresh token"), (ended, "lifetime"), (unknown, "no such grant")] {
        let Begun::Impossible(failure) = world.begin(version).await else { panic!("{why}") };
        assert_eq!(failure.code, FailureCode::NotRefreshable);
        assert!(failure.detail.contains(why), "{failure}");
    }
    let next_step = async || {
        let health = world.store.grant_health(key.app_id, good.grant_id).await.unwrap();
        (health.provider_refreshes, health.next_step(world.clock.now()))
    };
    assert_eq!(next_step().await, (true, "nothing"));
    world.put_google(key.app_id, "api.example.com").await;
    let Begun::Impossible(failure) = world.begin(good).await else { panic!() };
    assert!(failure.detail.contains("token_url"), "{failure}");
    let (refreshes, step) = next_step().await;
    assert!(!refreshes && step.contains("`provider add`") && step.contains("--token-url"), "{step}");
    assert!(matches!(world.begin(CredentialVersion { generation: 2, ..good }).await, Begun::Moved));
}

pub(crate) async fn dead_is_latched_until_the_user_connects_again(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let lease = world.take(version).await;
    let end = RefreshEnd::Dead { failure: failure(FailureCode::InvalidGrant) };
    assert_eq!(world.end(lease.name(), end).await, Finished::Written { generation: 1 });
    let refusal = world.token_of(key, "u1").await.unwrap_err();
    assert_eq!((refusal.code, refusal.grant_id), (Code::CredentialRevoked, Some(version.grant_id)));
    let row = world.last_row(key.app_id, Action::ReconnectNeeded).await;
    assert_eq!(row.code.as_deref(), Some("invalid_grant"));
    assert_eq!(row.detail.as_deref(), Some("said the provider"));
    for despite_backoff in [false, true] {
        let begin = BeginRefresh { version, owner: Uuid::new_v4(), lease: LEASE, despite_backoff };
        let Begun::Impossible(why) = world.store.begin_refresh(begin).await.unwrap() else { panic!() };
        assert_eq!(why, failure(FailureCode::InvalidGrant));
    }
    let health = world.store.grant_health(key.app_id, version.grant_id).await.unwrap();
    assert!(health.needs_reconnect && health.reconnect_reason.unwrap().contains("invalid_grant"));
    let second = world.import_ending(key.app_id, "u1", 3600).await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    let health = world.store.grant_health(key.app_id, version.grant_id).await.unwrap();
    assert_eq!((health.needs_reconnect, health.reconnect_reason), (false, None));
    world.renew_tokens(second, "t2").await;
}

pub(crate) async fn that_a_person_must_connect_again_is_told(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let endpoint = world.webhook(key.app_id, &[crate::domain::GrantEvent::ReconnectNeeded]).await;
    let lease = world.take(version).await;
    let end = RefreshEnd::Dead { failure: failure(FailureCode::InvalidGrant) };
    assert_eq!(world.end(lease.name(), end).await, Finished::Written { generation: 1 });
    let told = world.told(endpoint).await;
    let [(event, data)] = &*told else { panic!("{told:?}") };
    assert_eq!(event, "grant.reconnect_needed");
    assert_eq!(data["grant_id"].as_str(), Some(version.grant_id.to_string().as_str()));
    assert!(data["reason"].as_str().unwrap().contains("invalid_grant"));
}

pub(crate) async fn a_failure_of_the_client_pauses_all_of_its_grants(world: &World) {
    let (key, one) = world.refreshable("one", 3600).await;
    let two = world.import_ending(key.app_id, "u2", 3600).await;
    world.put_refreshing(key.app_id, "other").await;
    let owner = ImportOwner::Identity(identity("u1"));
    let mut import = world.import_of(key.app_id, owner, "a@x", "t");
    import.provider = id_of("other");
    let elsewhere = world.store.import_grant(world.operator(), import).await.unwrap().grant.facts.id;
    let elsewhere = CredentialVersion { grant_id: elsewhere, ..one };
    let (_, foreign) = world.refreshable("two", 3600).await;

    let (first, second) = (world.take(one).await, world.take(two).await);
    world.fail(first.name(), FailureCode::RateLimited, Some(120)).await;
    let row = world.last_row(key.app_id, Action::RefreshFailed).await;
    assert_eq!((row.code.as_deref(), row.grant_id), (Some("rate_limited"), Some(one.grant_id)));
    for version in [one, two] {
        match world.begin(version).await {
            Begun::Pause { remaining, failure } => {
                assert!(remaining > Duration::from_secs(100) && remaining <= Duration::from_secs(120));
                assert_eq!(failure.code, FailureCode::RateLimited);
            }
            // The second one is still at it.
            Begun::Held { .. } if version == two => {}
            other => panic!("{other:?}"),
        }
    }
    let health = world.store.grant_health(key.app_id, one.grant_id).await.unwrap();
    assert_eq!((health.failures, health.last_failed_at), (1, Some(world.clock.now())));
    assert!(health.retry_in_seconds.is_some_and(|seconds| (100..=120).contains(&seconds)));
    assert_eq!(health.last_failure.unwrap(), failure(FailureCode::RateLimited));
    // Neither another provider nor another app waits; an operator need not.
    world.take(elsewhere).await;
    world.take(foreign).await;
    let begin = BeginRefresh { version: one, owner: Uuid::new_v4(), lease: LEASE, despite_backoff: true };
    taken(world.store.begin_refresh(begin).await.unwrap());
    // An operator's change of the provider may be the repair.
    let (_, third) = world.refreshable("three", 3600).await;
    let lease = world.take(third).await;
    world.fail(lease.name(), FailureCode::InvalidClient, Some(120)).await;
    assert!(matches!(world.begin(third).await, Begun::Pause { .. }));
    world.put_refreshing(third.app_id, "google").await;
    world.take(third).await;
    // What was on its way already and succeeds ends the pause.
    let tokens = RefreshEnd::Renewed(Box::new(world.fresh("t2", None, 3600)));
    world.end(second.name(), tokens).await;
    let three = world.import_ending(key.app_id, "u3", 3600).await;
    world.take(three).await;
}

pub(crate) async fn a_failure_of_one_grant_pauses_only_that(world: &World) {
    let (key, one) = world.refreshable("one", 3600).await;
    let two = world.import_ending(key.app_id, "u2", 3600).await;
    let lease = world.take(one).await;
    world.fail(lease.name(), FailureCode::Misconfigured, Some(60)).await;
    assert!(matches!(world.begin(one).await, Begun::Pause { .. }));
    world.take(two).await;
    let health = world.store.grant_health(key.app_id, one.grant_id).await.unwrap();
    assert!(health.next_step(world.clock.now()).contains("operator"));
    // Success takes all of it away.
    let begin = BeginRefresh { version: one, owner: Uuid::new_v4(), lease: LEASE, despite_backoff: true };
    let lease = taken(world.store.begin_refresh(begin).await.unwrap());
    let tokens = RefreshEnd::Renewed(Box::new(world.fresh("t2", Some("next"), 3600)));
    assert_eq!(world.end(lease.name(), tokens).await, Finished::Written { generation: 2 });
    let health = world.store.grant_health(key.app_id, one.grant_id).await.unwrap();
    assert_eq!((health.failures, health.last_failure, health.retry_in_seconds), (0, None, None));
    assert_eq!((health.generation, health.last_refreshed_at), (2, Some(world.clock.now())));
}

pub(crate) async fn connecting_again_starts_without_failures(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let lease = world.take(version).await;
    world.fail(lease.name(), FailureCode::Misconfigured, Some(600)).await;
    assert!(matches!(world.begin(version).await, Begun::Pause { .. }));
    let health = async || world.store.grant_health(key.app_id, version.grant_id).await.unwrap();
    assert_eq!(health().await.failures, 1);
    let second = world.import_ending(key.app_id, "u1", 3600).await;
    let now = health().await;
    assert_eq!((now.failures, now.last_failure.as_ref(), now.retry_in_seconds), (0, None, None));
    assert_eq!((now.next_step(world.clock.now()), now.last_failed_at), ("nothing", Some(world.clock.now())));
    // It may be refreshed at once, under a fence that is newer than any before.
    assert_eq!(world.take(second).await.fence, lease.fence + 1);
}

pub(crate) async fn grants_that_idle_are_found_oldest_first(world: &World) {
    let (key, first) = world.refreshable("one", 3600).await;
    assert_eq!(world.store.oldest_tokens().await.unwrap(), [(id_of("google"), at(0))]);
    world.clock.advance(100);
    let second = world.import_ending(key.app_id, "u2", 3600).await;
    let dead = world.import_ending(key.app_id, "u3", 3600).await;
    let lease = world.take(dead).await;
    world.end(lease.name(), RefreshEnd::Dead { failure: failure(FailureCode::InvalidGrant) }).await;
    let gone = world.import_ending(key.app_id, "u4", 3600).await;
    world.revoke(key, gone.grant_id, None).await.unwrap();
    let owner = ImportOwner::Identity(identity("u5"));
    let mut ending = world.import_of(key.app_id, owner, "e@x", "t");
    ending.grant_expires_at = Some(at(101));
    world.store.import_grant(world.operator(), ending).await.unwrap();
    world.clock.advance(1);
    let idle = async |before, limit| {
        let query = IdleQuery { app_id: key.app_id, provider: id_of("google"), before: at(before), limit };
        world.store.idle_grants(query).await.unwrap()
    };
    assert_eq!(idle(1000, 10).await, [first, second]);
    assert_eq!(idle(1000, 1).await, [first]);
    assert_eq!(idle(100, 10).await, [first]);
    assert_eq!(idle(0, 10).await, []);
    let renewed = world.renew_tokens(first, "t2").await;
    assert_eq!(idle(1000, 10).await, [second, renewed]);
    assert_eq!(world.store.oldest_tokens().await.unwrap(), [(id_of("google"), at(100))]);
    // One that fails again and again keeps no other from its turn.
    let lease = world.take(second).await;
    world.fail(lease.name(), FailureCode::Misconfigured, Some(600)).await;
    assert_eq!(idle(1000, 1).await, [renewed]);
    let unknown = world.store.grant_health(key.app_id, GrantId::random()).await;
    assert!(matches!(unknown, Err(StoreError::NotFound("grant"))), "{unknown:?}");
}
