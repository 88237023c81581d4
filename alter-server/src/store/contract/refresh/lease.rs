//! Whose turn it is, and what the one whose turn it is keeps.

use super::*;

pub(crate) async fn new_tokens_replace_the_old_ones(world: &World) {
    let (key, version) = world.refreshable("one", 100).await;
    let lease = world.take(version).await;
    assert_eq!(world.opened(&lease.refresh_token), "refresh-t1");
    assert_eq!(world.opened(lease.client_secret.as_ref().unwrap()), "client-secret");
    assert_eq!(lease.scopes, ["read", "write"]);
    assert_eq!((lease.fence, lease.seen_rotating, lease.unresolved_since), (1, false, None));
    world.clock.advance(5);
    let mut tokens = world.fresh("t2", Some("refresh-t2"), 3600);
    tokens.scopes = Some(vec!["read".to_owned()]);
    let generation = tokens.token_generation;
    let finished = world.end(lease.name(), RefreshEnd::Renewed(Box::new(tokens.clone()))).await;
    assert_eq!(finished, Finished::Written { generation: 2 });
    let command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    let release = world.release(command).await.unwrap();
    assert_eq!(world.open(&release), "t2");
    let ReleasedCredential::OAuth { access_token, expires_at, scopes, token_generation } =
        &release.credential
    else {
        panic!()
    };
    assert_eq!((*expires_at, *token_generation), (tokens.expires_at, generation));
    assert_eq!(scopes, &["read"]);
    // What is sealed for one generation opens for no other.
    for other in [1, 3] {
        let mut moved = access_token.clone();
        moved.context.generation = other;
        assert!(world.envelope.open(&moved).is_err());
    }
    let row = world.last_row(key.app_id, Action::TokenRefreshed).await;
    assert_eq!((row.grant_id, row.token_generation), (Some(version.grant_id), Some(generation)));
    assert_eq!((row.caller.as_deref(), row.provider.as_deref()), (Some("vault"), Some("google")));
    // The next one is told what this one did; a refresh token that was not replaced stays, and opens.
    let second = CredentialVersion { generation: 2, ..version };
    let lease = world.take(second).await;
    assert_eq!(world.opened(&lease.refresh_token), "refresh-t2");
    assert_eq!((lease.fence, lease.seen_rotating), (2, true));
    assert_eq!(lease.scopes, ["read"]);
    world.end(lease.name(), RefreshEnd::Renewed(Box::new(world.fresh("t3", None, 3600)))).await;
    let third = CredentialVersion { generation: 3, ..version };
    let lease = world.take(third).await;
    assert_eq!(world.opened(&lease.refresh_token), "refresh-t2");
    assert!(!lease.seen_rotating);
    assert!(matches!(world.begin(second).await, Begun::Moved));
}

/// Of many who begin at the same moment, on whichever stores of the same database, one takes the lease.
pub(crate) async fn one_takes(world: &World, version: CredentialVersion, stores: &[Arc<dyn Store>]) {
    let begins = (0..24).map(|number| {
        let store = Arc::clone(&stores[number % stores.len()]);
        let begin = BeginRefresh { version, owner: Uuid::new_v4(), lease: LEASE, despite_backoff: false };
        tokio::spawn(async move { store.begin_refresh(begin).await.unwrap() })
    });
    let begins: Vec<_> = begins.collect();
    let mut leases = Vec::new();
    for begun in begins {
        match begun.await.unwrap() {
            Begun::Taken(lease) => leases.push(lease),
            Begun::Held { remaining } => assert!(remaining <= LEASE && remaining > LEASE / 2),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(leases.len(), 1);
    world.fail(leases[0].name(), FailureCode::Misconfigured, None).await;
}

pub(crate) async fn one_at_a_time_refreshes_a_grant(world: &World) {
    let (_, version) = world.refreshable("one", 100).await;
    one_takes(world, version, &[Arc::clone(&world.store)]).await;
}

pub(crate) async fn a_lease_that_ran_out_is_taken_over(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let first = world.take(version).await;
    assert!(matches!(world.begin(version).await, Begun::Held { .. }));
    // Renewed for a moment, so that nobody has to wait for long.
    assert!(world.store.renew_refresh(first.name(), SHORT).await.unwrap());
    tokio::time::sleep(SHORT + Duration::from_millis(50)).await;
    // PostgreSQL gives holders one lease's time from the server's start, so this one asks for a short one as well.
    let second = taken(world.begin_as(version, Uuid::new_v4(), SHORT).await);
    assert_eq!(second.fence, 2);
    assert!(second.unresolved_since.unwrap() > SHORT, "{:?}", second.unresolved_since);
    // The first one comes back late.
    assert!(!world.store.renew_refresh(first.name(), LEASE).await.unwrap());
    let rows = world.rows(key.app_id).await.len();
    for end in [
        RefreshEnd::Renewed(Box::new(world.fresh("late", Some("late"), 3600))),
        RefreshEnd::Failed { failure: failure(FailureCode::NoAnswer), retry_after: None, unresolved: true },
        RefreshEnd::Dead { failure: failure(FailureCode::InvalidGrant) },
    ] {
        assert_eq!(world.end(first.name(), end).await, Finished::Overtaken);
    }
    assert_eq!(world.rows(key.app_id).await.len(), rows);
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    let tokens = world.fresh("t2", Some("r2"), 3600);
    assert_eq!(
        world.end(second.name(), RefreshEnd::Renewed(Box::new(tokens))).await,
        Finished::Written { generation: 2 }
    );
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t2");
    // Neither ends twice.
    let again = RefreshEnd::Renewed(Box::new(world.fresh("t3", None, 3600)));
    assert_eq!(world.end(second.name(), again).await, Finished::Overtaken);
}

pub(crate) async fn asking_again_under_the_same_name_is_no_crash(world: &World) {
    let (_, version) = world.refreshable("one", 3600).await;
    let owner = Uuid::new_v4();
    let first = taken(world.begin_as(version, owner, LEASE).await);
    // As if the answer had been lost.
    let again = taken(world.begin_as(version, owner, LEASE).await);
    assert_eq!((again.fence, again.unresolved_since), (first.fence + 1, None));
    assert!(!world.store.renew_refresh(first.name(), LEASE).await.unwrap());
    assert!(world.store.renew_refresh(again.name(), LEASE).await.unwrap());
    // A note that somebody else had left is not forgotten by that.
    let end = RefreshEnd::Failed {
        failure: failure(FailureCode::StoreFailed),
        retry_after: None,
        unresolved: true,
    };
    world.end(again.name(), end).await;
    let begin = BeginRefresh { version, owner, lease: LEASE, despite_backoff: true };
    for _ in 0..2 {
        let lease = taken(world.store.begin_refresh(begin).await.unwrap());
        assert!(lease.unresolved_since.is_some());
    }
}

pub(crate) async fn what_takes_the_grant_away_overtakes_a_refresh(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let tokens = || RefreshEnd::Renewed(Box::new(world.fresh("new", Some("new"), 3600)));
    // Imported anew.
    let lease = world.take(version).await;
    let second = world.import_ending(key.app_id, "u1", 3600).await;
    assert_eq!((second.grant_id, second.generation), (version.grant_id, 2));
    assert!(!world.store.renew_refresh(lease.name(), LEASE).await.unwrap());
    assert_eq!(world.end(lease.name(), tokens()).await, Finished::Overtaken);
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    // Nobody waits for the void lease, and its note is not taken for one of the new generation.
    let lease = world.take(second).await;
    assert_eq!((lease.fence, lease.unresolved_since), (2, None));
    // Revoked.
    world.revoke(key, version.grant_id, None).await.unwrap();
    assert!(!world.store.renew_refresh(lease.name(), LEASE).await.unwrap());
    assert_eq!(world.end(lease.name(), tokens()).await, Finished::Overtaken);
    assert_eq!(code(world.token_of(key, "u1").await), Code::GrantRevoked);
    assert!(matches!(world.begin(second).await, Begun::Impossible(_)));
}

pub(crate) async fn a_note_that_is_unresolved_stays(world: &World) {
    let (_, version) = world.refreshable("one", 3600).await;
    let take = async || {
        let begin = BeginRefresh { version, owner: Uuid::new_v4(), lease: LEASE, despite_backoff: true };
        taken(world.store.begin_refresh(begin).await.unwrap())
    };
    let first = take().await;
    let unresolved = |unresolved| RefreshEnd::Failed {
        failure: failure(FailureCode::NoAnswer),
        retry_after: None,
        unresolved,
    };
    world.end(first.name(), unresolved(true)).await;
    let second = take().await;
    assert!(second.unresolved_since.is_some());
    world.end(second.name(), unresolved(false)).await;
    assert_eq!(take().await.unresolved_since, None);
}

pub(crate) async fn whoever_waits_is_told(world: &World) {
    let (_, version) = world.refreshable("one", 3600).await;
    let mut signals = world.store.refresh_signals();
    let lease = world.take(version).await;
    world.fail(lease.name(), FailureCode::Misconfigured, None).await;
    let told = tokio::time::timeout(Duration::from_secs(5), signals.recv()).await.unwrap().unwrap();
    assert_eq!(told.grant_id, version.grant_id);
}
