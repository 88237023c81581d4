//! What is handed out while a token is fresh, near its end, refused or kept nowhere yet.

use super::*;

pub(crate) async fn a_token_is_served_until_its_end_and_then_replaced_first(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let ask = async || world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    assert_eq!(credential(world.released(&ask().await).await).refresh_due, None);
    world.clock.advance(3600 - 299);
    let due = credential(world.released(&ask().await).await);
    assert_eq!((due.refresh_due, world.open(&due).as_str()), (Some(version), "t1"));
    // The last seconds.
    world.clock.advance(289);
    let mut command = ask().await;
    let spent = not_fresh(world.released(&command).await);
    assert_eq!((spent.version, spent.usable_until), (version, Some(at(3600))));
    command.last_resort = true;
    assert_eq!(world.open(&credential(world.released(&command).await)), "t1");
    world.clock.advance(10);
    let mut command = ask().await;
    for last_resort in [false, true] {
        command.last_resort = last_resort;
        let expired = not_fresh(world.released(&command).await);
        assert_eq!((expired.version, expired.usable_until), (version, None));
    }
    // A grant that cannot be refreshed is refused then.
    let owner = ImportOwner::Identity(identity("u2"));
    let mut import = world.import_of(key.app_id, owner, "b@x", "t");
    (import.refresh_token, import.token_expires_at) = (None, Some(at(3600)));
    world.store.import_grant(world.operator(), import).await.unwrap();
    assert_eq!(code(world.token_of(key, "u2").await), Code::CredentialRevoked);
}

pub(crate) async fn what_is_not_fresh_leaves_no_trace(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    world.clock.advance(3600);
    let rows = world.rows(key.app_id).await.len();
    // Somebody who was never seen, on a grant that is named.
    let group = Identity { groups: vec!["g".to_owned()], ..identity("new") };
    let mut import = world.import_of(
        key.app_id,
        ImportOwner::Principal(Principal::Group("g".to_owned())),
        "g@x",
        "t-group",
    );
    import.token_expires_at = Some(at(3600));
    let grant = world.store.import_grant(world.operator(), import).await.unwrap().grant;
    let command = world.ask(key, Address::Grant(grant.facts.id), Some(group)).await;
    for _ in 0..2 {
        not_fresh(world.released(&command).await);
    }
    assert_eq!(world.rows(key.app_id).await.len(), rows + 1, "only the import");
    assert!(!world.store.list_users(key.app_id, 10, 0).await.unwrap().iter().any(|u| u.subject == "new"));
    let version = CredentialVersion { grant_id: grant.facts.id, ..version };
    world.renew_tokens(version, "t2").await;
    assert_eq!(world.open(&credential(world.released(&command).await)), "t2");
    assert_eq!(code(world.release(command).await), Code::NonceReplayed);
}

pub(crate) async fn a_reported_refusal_counts_for_its_generation_and_not_too_often(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let ask = async || world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    let generation = async || {
        let health = world.store.grant_health(key.app_id, version.grant_id).await.unwrap();
        (health.token_generation, health.refused)
    };
    let (first, _) = generation().await;
    // Another version's, nobody's, and another status.
    world.report(key, version.grant_id, 401, Some(TokenGeneration::random())).await;
    world.report(key, version.grant_id, 401, None).await;
    world.report(key, version.grant_id, 403, first).await;
    assert!(!generation().await.1);
    let health = world.store.grant_health(key.app_id, version.grant_id).await.unwrap();
    assert_eq!(health.last_good_at, None);
    world.report(key, version.grant_id, 401, first).await;
    assert!(generation().await.1);
    let mut command = ask().await;
    let spent = not_fresh(world.released(&command).await);
    assert_eq!(spent.usable_until, Some(at(3600)));
    command.last_resort = true;
    credential(world.released(&command).await);
    // The next version is good, and a second report within the minute does not count.
    let second = world.renew_tokens(version, "t2").await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t2");
    let (token, _) = generation().await;
    world.clock.advance(59);
    world.report(key, version.grant_id, 401, token).await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t2");
    world.report(key, version.grant_id, 401, first).await;
    world.clock.advance(1);
    world.report(key, version.grant_id, 401, token).await;
    assert_eq!(not_fresh(world.released(&ask().await).await).version, second);
    // Connecting again clears it, and counts from the start.
    world.import_ending(key.app_id, "u1", 7200).await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    let (token, _) = generation().await;
    world.report(key, version.grant_id, 401, token).await;
    assert!(generation().await.1);
}

pub(crate) async fn good_calls_are_noted_to_the_minute(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let good = async || world.store.grant_health(key.app_id, version.grant_id).await.unwrap().last_good_at;
    world.report(key, version.grant_id, 0, None).await;
    assert_eq!(good().await, None);
    world.report(key, version.grant_id, 200, None).await;
    assert_eq!(good().await, Some(at(0)));
    world.clock.advance(59);
    world.report(key, version.grant_id, 304, None).await;
    assert_eq!(good().await, Some(at(0)));
    world.clock.advance(1);
    world.report(key, version.grant_id, 200, None).await;
    assert_eq!(good().await, Some(at(60)));
}

pub(crate) async fn tokens_that_could_not_be_kept_are_served_as_the_grants(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    world.clock.advance(3600);
    let unsaved = Unsaved {
        replaces: version,
        token_generation: TokenGeneration::random(),
        expires_at: Some(at(7200)),
    };
    let with = async |unsaved| {
        let mut command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
        command.unsaved = Some(unsaved);
        command
    };
    let release = credential(world.released(&with(unsaved).await).await);
    let ReleasedCredential::Unsaved { scopes } = release.credential else { panic!() };
    assert_eq!(scopes, ["read", "write"]);
    let row = world.last_row(key.app_id, Action::TokenReleased).await;
    assert_eq!(row.token_generation, Some(unsaved.token_generation));
    // Of another grant or generation, or past its end, it counts for nothing.
    let other = CredentialVersion { grant_id: GrantId::random(), ..version };
    let older = CredentialVersion { generation: 0, ..version };
    for wrong in [
        Unsaved { replaces: other, ..unsaved },
        Unsaved { replaces: older, ..unsaved },
        Unsaved { expires_at: Some(at(3600)), ..unsaved },
    ] {
        not_fresh(world.released(&with(wrong).await).await);
    }
    world.import_ending(key.app_id, "u1", 7200).await;
    assert!(matches!(
        credential(world.released(&with(unsaved).await).await).credential,
        ReleasedCredential::OAuth { .. }
    ));
    let second = CredentialVersion { generation: 2, ..version };
    let unsaved = Unsaved { replaces: second, ..unsaved };
    let lease = world.take(second).await;
    world.end(lease.name(), RefreshEnd::Dead { failure: failure(FailureCode::InvalidGrant) }).await;
    assert_eq!(code(world.release(with(unsaved).await).await), Code::CredentialRevoked);
    world.revoke(key, version.grant_id, None).await.unwrap();
    assert_eq!(code(world.release(with(unsaved).await).await), Code::GrantRevoked);
}

pub(crate) async fn refreshes_and_releases_beside_each_other_stay_whole(world: &World) {
    let (key, mut version) = world.refreshable("one", 7200).await;
    let mut seen = BTreeSet::new();
    for round in 2..8 {
        let lease = world.take(version).await;
        let mut commands = Vec::new();
        for _ in 0..8 {
            commands.push(world.ask(key, by_provider("google"), Some(identity("u1"))).await);
        }
        let releases = commands.into_iter().map(|command| world.store.release(command));
        let releases = futures_util::future::join_all(releases);
        let tokens = world.fresh(&format!("t{round}"), Some(&format!("r{round}")), 7200);
        let end = RefreshEnd::Renewed(Box::new(tokens));
        let (releases, finished) = tokio::join!(releases, world.end(lease.name(), end));
        let Finished::Written { generation } = finished else { panic!() };
        version.generation = generation;
        for release in releases {
            let release = credential(decided(release.unwrap()).unwrap());
            let token = world.open(&release);
            assert!(token == format!("t{round}") || token == format!("t{}", round - 1), "{token}");
            seen.insert(token);
        }
    }
    assert!(seen.len() > 2, "{seen:?}");
}
