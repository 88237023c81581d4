//! What was done with some grants, and what a key rotation must not leave behind.

use std::time::Duration;

use super::*;
use crate::{
    domain::{HookShape, HookSource, NewHookSource, SignInSettings, Task, WebhookId},
    seal::KeyRing,
    store::StoreError,
};

pub(crate) async fn the_trail_of_some_grants_is_paged_in_order(world: &World) {
    let key = world.app_with_google("one").await;
    let mine = [world.connect(key, "u1", "a@x").await, world.connect(key, "u1", "b@x").await];
    let others = world.connect(key, "u2", "c@x").await;
    for turn in 0..6 {
        for id in [mine[turn % 2], others] {
            world.release(world.ask(key, Address::Grant(id), None).await).await.unwrap();
        }
    }
    let page = async |grants: &[GrantId], after, limit, newest_first| {
        let filter =
            AuditFilter { app_id: Some(key.app_id), after, newest_first, limit, grants: grants.to_vec() };
        world.store.audit_page(filter).await.unwrap()
    };
    let all = page(&mine, None, 100, false).await;
    assert_eq!((all.rows.len(), all.next), (8, None));
    assert!(all.rows.iter().all(|row| row.grant_id.is_some_and(|id| mine.contains(&id))));
    for newest_first in [false, true] {
        let (mut after, mut walked) = (None, Vec::new());
        loop {
            let part = page(&mine, after, 3, newest_first).await;
            walked.extend(part.rows.into_iter().map(|row| row.id));
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        if newest_first {
            walked.reverse();
        }
        assert_eq!(walked, all.rows.iter().map(|row| row.id).collect::<Vec<_>>());
    }
    assert_eq!(page(&mine[..1], None, 100, true).await.rows.len(), 4);
    assert_eq!(page(&[mine[0], mine[0]], None, 100, true).await.rows.len(), 4);
    assert!(page(&[GrantId::random()], None, 100, true).await.rows.is_empty());
    let everywhere = AuditFilter { limit: 10, grants: mine.to_vec(), ..AuditFilter::default() };
    assert!(matches!(world.store.audit_page(everywhere).await, Err(StoreError::Invalid(_))));
}

pub(crate) async fn resealing_reaches_what_connecting_keeps(world: &World) {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    let sign_in = SignInSettings {
        client_id: "vault".to_owned(),
        authorize_url: None,
        token_url: None,
        scopes: Vec::new(),
        authorize_params: std::collections::BTreeMap::new(),
        user_token: crate::domain::UserTokenKind::IdToken,
    };
    world
        .store
        .set_sign_in(world.operator(), key.app_id, Some(sign_in), Some("sign-in secret".into()))
        .await
        .unwrap();
    let source = HookSource {
        id: WebhookId::random(),
        app_id: key.app_id,
        shape: HookShape::Generic,
        created_at: world.clock.now(),
    };
    let new = NewHookSource { source: source.clone(), secret: "hook secret".into() };
    world.store.add_hook_source(world.operator(), new).await.unwrap();
    world.webhook(key.app_id, &[crate::domain::GrantEvent::Revoked]).await;
    let id = world.connect(key, "u1", "a@x").await;
    world.revoke(key, id, None).await.unwrap();
    let fresh = |name: &str, byte: u8| {
        use base64::Engine;
        format!("{name}:{}", base64::engine::general_purpose::STANDARD.encode([byte; 32]))
    };
    let both = secrecy::SecretString::from(format!("{},{}", fresh("new", 2), fresh("old", 1)));
    world.envelope.replace_ring(KeyRing::parse(&both).unwrap());
    let mut cursor = None;
    loop {
        cursor = world.store.reseal(2, cursor).await.unwrap().next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(world.store.reseal(1000, None).await.unwrap().changed, 0);
    world.envelope.replace_ring(KeyRing::parse(&secrecy::SecretString::from(fresh("new", 2))).unwrap());
    let open = |sealed: &crate::seal::SealedField| {
        String::from_utf8(world.envelope.open(sealed).unwrap().expose_secret().to_vec()).unwrap()
    };
    let sign_in = world.store.sign_in_secret(key.app_id).await.unwrap().unwrap();
    let (_, hook) = world.store.hook_source(key.app_id, source.id).await.unwrap().unwrap();
    assert_eq!((open(&sign_in).as_str(), open(&hook).as_str()), ("sign-in secret", "hook secret"));
    let mut opened = Vec::new();
    for job in world.jobs(Duration::ZERO).await {
        match job.task {
            Task::RevokeAtProvider { access_token, refresh_token, .. } => {
                opened.extend(access_token.iter().chain(&refresh_token).map(open));
            }
            Task::Deliver { secret, .. } => opened.push(open(&secret)),
        }
    }
    opened.sort();
    assert_eq!(opened, ["access-a@x", "c2VjcmV0", "refresh-a@x"]);
}
