//! Who may call at all.

use super::*;
use crate::{
    domain::{AgentStatus, AppStatus, CallerType},
    store::{AppPatch, KeyPatch, RefusedCall, ReportCommand},
};

pub(crate) async fn a_key_is_found_by_its_digest(world: &World) {
    let key = world.app_with_google("one").await;
    let digest = KeyDigest::of(&key.key_id.to_string());
    let material = world.store.signing_material(digest).await.unwrap().unwrap();
    assert_eq!((material.app_id, material.key_id, material.kind), (key.app_id, key.key_id, KeyKind::App));
    assert_eq!(world.envelope.open(&material.signing_key).unwrap().expose_secret(), [7; 32]);
    assert!(world.store.signing_material(KeyDigest::of("other")).await.unwrap().is_none());
}

pub(crate) async fn every_key_state_has_its_code(world: &World) {
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let (store, by) = (&world.store, world.operator());

    store
        .change_key(
            by.clone(),
            key.app_id,
            key.key_id,
            KeyPatch { deprecated: Some(true), ..KeyPatch::default() },
        )
        .await
        .unwrap();
    let command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    assert!(world.release(command).await.unwrap().key_deprecated);

    let patch = KeyPatch { expires_at: Some(Some(world.clock.now())), ..KeyPatch::default() };
    store.change_key(by.clone(), key.app_id, key.key_id, patch).await.unwrap();
    assert_eq!(code(world.token_of(key, "u1").await), Code::KeyExpired);

    store.revoke_key(by.clone(), key.app_id, key.key_id).await.unwrap();
    assert_eq!(code(world.token_of(key, "u1").await), Code::KeyRevoked);
    store.revoke_key(by.clone(), key.app_id, key.key_id).await.unwrap();

    let (agent, agent_key) = world.agent(key.app_id, "bot").await;
    store.set_agent_status(by.clone(), key.app_id, agent, AgentStatus::Inactive).await.unwrap();
    assert_eq!(code(world.token_of(agent_key, "u1").await), Code::AgentInactive);
    store.set_agent_status(by.clone(), key.app_id, agent, AgentStatus::Revoked).await.unwrap();
    assert_eq!(code(world.token_of(agent_key, "u1").await), Code::AgentRevoked);

    let unknown = Key { key_id: KeyId::random(), ..key };
    assert_eq!(code(world.token_of(unknown, "u1").await), Code::InvalidKey);
}

pub(crate) async fn a_paused_agent_may_still_report(world: &World) {
    let app = world.app("one").await;
    let secret = world.secret(app.id).await;
    let (agent, key) = world.agent(app.id, "bot").await;
    let grant = world.secret_grant(app.id, secret, Principal::Agent(agent)).await;
    world.store.set_agent_status(world.operator(), app.id, agent, AgentStatus::Inactive).await.unwrap();
    let command = ReportCommand {
        admission: world.admission(key, Scope::AuditEmit).await,
        grant_id: grant,
        report: crate::audit::CallReport { method: "GET".to_owned(), ..Default::default() },
    };
    decided(world.store.record_report(command).await.unwrap()).unwrap();
}

pub(crate) async fn a_suspended_app_is_refused(world: &World) {
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let patch = |status| AppPatch { status: Some(status), ..AppPatch::default() };
    world.store.change_app(world.operator(), key.app_id, patch(AppStatus::Suspended)).await.unwrap();
    assert_eq!(code(world.token_of(key, "u1").await), Code::KeyNotActive);
    world.store.change_app(world.operator(), key.app_id, patch(AppStatus::Active)).await.unwrap();
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
}

pub(crate) async fn a_nonce_counts_once(world: &World) {
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    world.release(command.clone()).await.unwrap();
    assert_eq!(code(world.release(command.clone()).await), Code::NonceReplayed);
    // The same nonce at another time, or of another key, is another one.
    let mut later = command.clone();
    later.admission.timestamp += 1;
    world.release(later).await.unwrap();
    let mut other = command;
    other.admission.key_id = world.key(key.app_id, KeyKind::App, &Scope::ALL).await.key_id;
    world.release(other).await.unwrap();
}

pub(crate) async fn a_missing_scope_is_named(world: &World) {
    let full = world.app_with_google("one").await;
    let key = world.key(full.app_id, KeyKind::App, &[Scope::GrantsRead]).await;
    let refusal = world.token_of(key, "u1").await.unwrap_err();
    assert_eq!(refusal.code, Code::InsufficientScope);
    assert_eq!(refusal.required, Some(Scope::TokensRetrieve));
    assert_eq!(refusal.granted, [Scope::GrantsRead]);
}

pub(crate) async fn a_stale_configuration_writes_nothing(world: &World) {
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let mut command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    world.put_google(key.app_id, "other.example.com").await;
    let before = world.rows(key.app_id).await.len();
    assert!(matches!(world.store.release(command.clone()).await.unwrap(), Outcome::Stale));
    assert_eq!(world.rows(key.app_id).await.len(), before);
    // The nonce was not used up.
    command.admission.config_generation += 1;
    assert_eq!(code(world.release(command).await), Code::BlockedDestination);
}

pub(crate) async fn an_asserted_agent_must_exist(world: &World) {
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let (agent, _) = world.agent(key.app_id, "bot").await;
    let named = async |caller: String, kind| {
        let mut command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
        command.admission.actor = Actor { caller: Some(caller), caller_type: Some(kind), ..Actor::default() };
        world.release(command).await
    };
    let release = named(agent.to_string(), CallerType::Agent).await.unwrap();
    assert_eq!(release.actor_id, None);
    assert_eq!(world.last_row(key.app_id, Action::TokenReleased).await.agent_id, Some(agent));
    let unknown = named(AgentId::random().to_string(), CallerType::Agent).await;
    assert_eq!(code(unknown), Code::CallerAgentUnresolved);
    let text = named("nightly".to_owned(), CallerType::Service).await.unwrap();
    let again = named("nightly".to_owned(), CallerType::Service).await.unwrap();
    assert!(text.actor_id.is_some());
    assert_eq!(text.actor_id, again.actor_id);
}

pub(crate) async fn an_agent_key_cannot_call_itself_another_agent(world: &World) {
    let app = world.app("one").await;
    let secret = world.secret(app.id).await;
    let (agent, key) = world.agent(app.id, "bot").await;
    world.secret_grant(app.id, secret, Principal::Agent(agent)).await;
    let mut command = world.ask(key, by_provider("billing"), None).await;
    command.admission.actor = Actor {
        caller: Some(AgentId::random().to_string()),
        caller_type: Some(CallerType::Agent),
        ..Actor::default()
    };
    assert_eq!(code(world.release(command).await), Code::CallerAgentMismatch);
    let mut command = world.ask(key, by_provider("billing"), None).await;
    command.admission.actor =
        Actor { caller: Some(agent.to_string()), caller_type: Some(CallerType::Agent), ..Actor::default() };
    world.release(command).await.unwrap();
}

pub(crate) async fn a_refusal_before_admission_has_a_row(world: &World) {
    let key = world.app_with_google("one").await;
    let refused = RefusedCall {
        app_id: None,
        key_id: None,
        key_prefix: Some("alter_rk_abcdefghijklmnop".to_owned()),
        at: world.clock.now(),
        code: Code::InvalidKey,
        detail: Some("POST /sdk/token".to_owned()),
        caller: None,
        request_id: uuid::Uuid::nil(),
        remote: None,
    };
    world.store.record_refusal(refused.clone()).await.unwrap();
    let row = world.last_row(AppId::VAULT, Action::RequestRefused).await;
    assert_eq!(row.code.as_deref(), Some("invalid_key"));
    assert_eq!(row.key_prefix.as_deref(), Some("alter_rk_abcdefg"));

    let refused = RefusedCall { app_id: Some(key.app_id), code: Code::InvalidSignature, ..refused };
    world.store.record_refusal(refused).await.unwrap();
    world.last_row(key.app_id, Action::RequestRefused).await;
}
