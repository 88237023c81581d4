//! What operators do.

use super::*;
use crate::{
    domain::{AgentStatus, GrantFilter, IdpConfig},
    seal::KeyRing,
    store::StoreError,
};
use secrecy::SecretString;

pub(crate) async fn names_are_unique_and_missing_things_are_not_found(world: &World) {
    let key = world.app_with_google("one").await;
    let store = &world.store;
    let by = || world.operator();
    let again = store.create_app(by(), AppId::random(), "one".to_owned()).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    for name in ["", " x", "a\nb", &"x".repeat(101)] {
        let result = store.create_app(by(), AppId::random(), name.to_owned()).await;
        assert!(matches!(result, Err(StoreError::Invalid(_))), "{result:?}");
    }
    let (agent, _) = world.agent(key.app_id, "bot").await;
    let twin = |id| NewAgent { id, app_id: key.app_id, name: "bot".to_owned() };
    let result = store.create_agent(by(), twin(AgentId::random())).await;
    assert!(matches!(result, Err(StoreError::Conflict(_))));
    store.set_agent_status(by(), key.app_id, agent, AgentStatus::Revoked).await.unwrap();
    store.create_agent(by(), twin(AgentId::random())).await.unwrap();
    let resumed = store.set_agent_status(by(), key.app_id, agent, AgentStatus::Active).await;
    assert!(matches!(resumed, Err(StoreError::Conflict(_))));

    let nowhere = AppId::random();
    assert!(matches!(store.list_keys(nowhere).await, Err(StoreError::NotFound("app"))));
    assert!(matches!(store.set_idp(by(), nowhere, None).await, Err(StoreError::NotFound("app"))));
    assert!(matches!(store.revoke_key(by(), nowhere, key.key_id).await, Err(StoreError::NotFound("key"))));
    assert!(store.app_config(nowhere).await.unwrap().is_none());
    assert_eq!(store.list_apps().await.unwrap().len(), 1);
    assert_eq!(store.list_agents(key.app_id).await.unwrap().len(), 2);
}

pub(crate) async fn large_and_unusual_texts_are_kept(world: &World) {
    let app = world.app("Ünïcode 🦀 app").await;
    assert_eq!(world.store.list_apps().await.unwrap()[0].name, "Ünïcode 🦀 app");
    world.put_google(app.id, "api.example.com").await;
    let key = world.key(app.id, KeyKind::App, &Scope::ALL).await;
    let token = "x".repeat(8192);
    world.import(app.id, "u|1 'quoted\" \u{1F980}", "ü@x", &token).await;
    assert_eq!(world.token_of(key, "u|1 'quoted\" \u{1F980}").await.unwrap(), token);
    let mut command = world.ask(key, by_provider("google"), Some(identity("nobody"))).await;
    command.reason = Some("é".repeat(5000));
    let _ = world.release(command).await.unwrap_err();
    let row = world.last_row(app.id, Action::TokenRefused).await;
    assert_eq!(row.reason.map(|reason| reason.len()), Some(2048));
    let idp = IdpConfig {
        issuer: "https://idp.example/ü".to_owned(),
        jwks_url: None,
        audiences: vec!["a".to_owned()],
        algorithms: vec!["RS256".to_owned()],
        leeway_seconds: 30,
        claims: crate::domain::ClaimMapping::default(),
    };
    let before = world.store.app_config(app.id).await.unwrap().unwrap().generation;
    let config = world.store.set_idp(world.operator(), app.id, Some(idp.clone())).await.unwrap();
    assert_eq!(config.generation, before + 1);
    assert_eq!(world.store.app_config(app.id).await.unwrap().unwrap().idp, Some(idp));
}

pub(crate) async fn a_provider_in_use_stays(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.import(key.app_id, "u1", "a@x", "t1").await;
    let by = || world.operator();
    let result = world.store.remove_provider(by(), key.app_id, id_of("google")).await;
    assert!(matches!(result, Err(StoreError::Conflict(_))));
    let other_kind = PutProvider {
        app_id: key.app_id,
        provider: provider("google", ProviderKind::ManagedSecret, "api.example.com"),
        client_secret: None,
    };
    let result = world.store.put_provider(by(), other_kind).await;
    assert!(matches!(result, Err(StoreError::Conflict(_))));
    world.revoke(key, id, None).await.unwrap();
    world.store.remove_provider(by(), key.app_id, id_of("google")).await.unwrap();
    assert!(world.store.list_providers(key.app_id).await.unwrap().is_empty());
    assert_eq!(code(world.token_of(key, "u1").await), Code::GrantRevoked);
    let unbound = Provider { hosts: Vec::new(), ..provider("google", ProviderKind::OAuth, "h.example") };
    let put = PutProvider { app_id: key.app_id, provider: unbound, client_secret: None };
    assert!(matches!(world.store.put_provider(by(), put).await, Err(StoreError::Invalid(_))));
}

pub(crate) async fn resealing_moves_everything_to_the_new_key(world: &World) {
    let key = world.app_with_google("one").await;
    for number in 0..7 {
        world.import(key.app_id, &format!("u{number}"), "a@x", &format!("t{number}")).await;
    }
    let put = PutProvider {
        app_id: key.app_id,
        provider: provider("google", ProviderKind::OAuth, "api.example.com"),
        client_secret: Some("client-secret".into()),
    };
    world.store.put_provider(world.operator(), put).await.unwrap();
    world.secret(key.app_id).await;
    let fresh = |name: &str, byte: u8| {
        use base64::Engine;
        format!("{name}:{}", base64::engine::general_purpose::STANDARD.encode([byte; 32]))
    };
    // The tests' ring is `old`, made of 1s: see the function that opens the world.
    let both = SecretString::from(format!("{},{}", fresh("new", 2), fresh("old", 1)));
    world.envelope.replace_ring(KeyRing::parse(&both).unwrap());
    let (mut cursor, mut seen, mut changed) = (None, 0, 0);
    loop {
        let step = world.store.reseal(3, cursor).await.unwrap();
        (seen, changed) = (seen + step.seen, changed + step.changed);
        cursor = step.next;
        if cursor.is_none() {
            break;
        }
    }
    // A signing key, a client secret, a managed secret, seven pairs of tokens.
    assert_eq!((seen, changed), (17, 17));
    assert_eq!(world.store.reseal(1000, None).await.unwrap().changed, 0);
    world.envelope.replace_ring(KeyRing::parse(&SecretString::from(fresh("new", 2))).unwrap());
    assert_eq!(world.token_of(key, "u3").await.unwrap(), "t3");
    let secret = world.store.provider_client_secret(key.app_id, id_of("google")).await.unwrap().unwrap();
    assert_eq!(world.envelope.open(&secret).unwrap().expose_secret(), b"client-secret");
    assert!(matches!(world.store.reseal(1, Some("x:y".to_owned())).await, Err(StoreError::Invalid(_))));
}

pub(crate) async fn every_operator_action_has_a_row(world: &World) {
    let key = world.app_with_google("one").await;
    let secret = world.secret(key.app_id).await;
    world.secret_grant(key.app_id, secret, Principal::System).await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let (agent, _) = world.agent(key.app_id, "bot").await;
    world.store.set_agent_status(world.operator(), key.app_id, agent, AgentStatus::Revoked).await.unwrap();
    world.store.set_idp(world.operator(), key.app_id, None).await.unwrap();
    world.store.revoke_key(world.operator(), key.app_id, key.key_id).await.unwrap();
    let actions: Vec<_> = world.rows(key.app_id).await.iter().map(|row| row.action).collect();
    for action in [
        Action::AppCreated,
        Action::ProviderChanged,
        Action::KeyCreated,
        Action::SecretCreated,
        Action::GrantCreated,
        Action::GrantImported,
        Action::UserCreated,
        Action::AgentCreated,
        Action::AgentRevoked,
        Action::IdpChanged,
        Action::KeyRevoked,
    ] {
        assert!(actions.contains(&action), "{action:?} in {actions:?}");
    }
    let page = world.store.grants(key.app_id, GrantFilter::default(), 10, 0).await.unwrap();
    assert_eq!(page.total, 2);
}
