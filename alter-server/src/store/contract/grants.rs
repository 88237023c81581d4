//! Grants: import, list, revoke.

use super::*;
use crate::{
    domain::{GrantFilter, GrantStatus, UserId},
    store::{ListCommand, StoreError},
};

pub(crate) async fn importing_again_replaces_the_credential(world: &World) {
    let key = world.app_with_google("one").await;
    let import =
        |token: &str| world.import_of(key.app_id, ImportOwner::Identity(identity("u1")), "a@x", token);
    let first = world.store.import_grant(world.operator(), import("t1")).await.unwrap();
    let second = world.store.import_grant(world.operator(), import("t2")).await.unwrap();
    assert!(first.created && !second.created);
    assert_eq!(first.grant.facts.id, second.grant.facts.id);
    assert_eq!((first.grant.generation, second.grant.generation), (1, 2));
    assert_ne!(first.grant.token_generation, second.grant.token_generation);
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t2");
}

pub(crate) async fn a_label_is_unique_among_active_siblings(world: &World) {
    let key = world.app_with_google("one").await;
    let import = |subject: &str, account: &str| ImportGrant {
        label: Some("work".to_owned()),
        ..world.import_of(key.app_id, ImportOwner::Identity(identity(subject)), account, "t")
    };
    let by = || world.operator();
    let first = world.store.import_grant(by(), import("u1", "a@x")).await.unwrap();
    let taken = world.store.import_grant(by(), import("u1", "b@x")).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    world.store.import_grant(by(), import("u2", "b@x")).await.unwrap();
    world.revoke(key, first.grant.facts.id, None).await.unwrap();
    world.store.import_grant(by(), import("u1", "b@x")).await.unwrap();
    let address = Address::Provider {
        provider: "google".to_owned(),
        account: None,
        label: Some("work".to_owned()),
        app_user_id: None,
    };
    let command = world.ask(key, address, Some(identity("u1"))).await;
    world.release(command).await.unwrap();
}

pub(crate) async fn bad_imports_are_refused_with_a_reason(world: &World) {
    let key = world.app_with_google("one").await;
    world.secret(key.app_id).await;
    let good = || world.import_of(key.app_id, ImportOwner::Identity(identity("u1")), "a@x", "t");
    let nobody = ImportOwner::Principal(Principal::User(UserId::random()));
    for bad in [
        ImportGrant { access_token: "".into(), ..good() },
        ImportGrant { access_token: "line\nbreak".into(), ..good() },
        ImportGrant { access_token: "é".into(), ..good() },
        ImportGrant { label: Some(String::new()), ..good() },
        ImportGrant { scopes: vec!["a\nb".to_owned()], ..good() },
        ImportGrant { scopes: vec![" a".to_owned()], ..good() },
        ImportGrant { provider: id_of("billing"), ..good() },
    ] {
        let result = world.store.import_grant(world.operator(), bad).await;
        assert!(matches!(result, Err(StoreError::Invalid(_))), "{result:?}");
    }
    for missing in [
        ImportGrant { provider: id_of("unknown"), ..good() },
        ImportGrant { owner: nobody, ..good() },
        ImportGrant { app_id: AppId::random(), ..good() },
    ] {
        let result = world.store.import_grant(world.operator(), missing).await;
        assert!(matches!(result, Err(StoreError::NotFound(_))), "{result:?}");
    }
    // Nothing of a failed import is left, not even the user.
    assert!(world.store.list_users(key.app_id, 10, 0).await.unwrap().is_empty());
    assert_eq!(world.store.grants(key.app_id, GrantFilter::default(), 10, 0).await.unwrap().total, 0);
}

pub(crate) async fn lists_are_filtered_and_paged(world: &World) {
    let key = world.app_with_google("one").await;
    let (agent, agent_key) = world.agent(key.app_id, "bot").await;
    let secret = world.secret(key.app_id).await;
    let owned = world.secret_grant(key.app_id, secret, Principal::Agent(agent)).await;
    for number in 0..5 {
        world.import(key.app_id, "u1", &format!("{number}@x"), "t").await;
    }
    let other = world.import(key.app_id, "u2", "z@x", "t").await;
    world.revoke(key, other, None).await.unwrap();
    let list = async |key, user: Option<&str>, filter: GrantFilter, limit, offset| {
        let admission = world.admission(key, Scope::GrantsRead).await;
        let command = ListCommand { admission, user: user.map(identity), filter, limit, offset };
        decided(world.store.list_grants(command).await.unwrap()).unwrap()
    };
    let all = list(key, None, GrantFilter::default(), 100, 0).await;
    assert_eq!((all.total, all.grants.len()), (7, 7));
    let page = list(key, None, GrantFilter::default(), 3, 6).await;
    assert_eq!((page.total, page.grants.len(), page.limit, page.offset), (7, 1, 3, 6));
    let mine = list(key, Some("u1"), GrantFilter::default(), 100, 0).await;
    assert_eq!(mine.total, 5);
    let agents = list(agent_key, None, GrantFilter::default(), 100, 0).await;
    assert_eq!(agents.grants.iter().map(|grant| grant.facts.id).collect::<Vec<_>>(), [owned]);
    assert_eq!(agents.grants[0].secret_name.as_deref(), Some("Billing"));
    let status = |text: &str| GrantFilter { status: Some(text.to_owned()), ..GrantFilter::default() };
    assert_eq!(list(key, None, status("revoked"), 100, 0).await.total, 1);
    assert_eq!(list(key, None, status("active"), 100, 0).await.total, 6);
    assert_eq!(list(key, None, status("nonsense"), 100, 0).await.total, 0);
    let account = GrantFilter { account: Some("3@x".to_owned()), ..GrantFilter::default() };
    assert_eq!(list(key, None, account, 100, 0).await.total, 1);
    let by_provider = GrantFilter { provider: Some("billing".to_owned()), ..GrantFilter::default() };
    assert_eq!(list(key, None, by_provider, 100, 0).await.total, 1);
}

pub(crate) async fn a_user_revokes_only_their_own(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.import(key.app_id, "u1", "a@x", "t1").await;
    assert_eq!(code(world.revoke(key, id, Some("u2")).await), Code::GrantNotFound);
    let (_, agent_key) = world.agent(key.app_id, "bot").await;
    assert_eq!(code(world.revoke(agent_key, id, None).await), Code::GrantNotFound);
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    let revoked = world.revoke(key, id, Some("u1")).await.unwrap();
    assert_eq!(revoked, Revoked { grant_id: id, revoked_at: world.clock.now() });
    let row = world.last_row(key.app_id, Action::GrantRevoked).await;
    assert_eq!((row.grant_id, row.outcome), (Some(id), crate::audit::Outcome::Allowed));
}

pub(crate) async fn an_operator_revokes_and_again_is_no_error(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.import(key.app_id, "u1", "a@x", "t1").await;
    let first = world
        .store
        .revoke_grant_as_operator(world.operator(), key.app_id, id, Some("left".to_owned()))
        .await
        .unwrap();
    world.clock.advance(5);
    let again = world.store.revoke_grant_as_operator(world.operator(), key.app_id, id, None).await.unwrap();
    assert_eq!(first, again);
    let listed = world.store.grants(key.app_id, GrantFilter::default(), 10, 0).await.unwrap();
    assert_eq!(listed.grants[0].facts.status, GrantStatus::Revoked);
    assert_eq!(listed.grants[0].revoked_by.as_deref(), Some("test:operator"));
    let unknown = GrantId::random();
    let result = world.store.revoke_grant_as_operator(world.operator(), key.app_id, unknown, None).await;
    assert!(matches!(result, Err(StoreError::NotFound("grant"))));
}
