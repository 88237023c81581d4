//! Which credential is handed out, and to whom.

use super::*;
use crate::domain::{CallerType, GrantKind, UserId};

pub(crate) async fn a_user_gets_their_own_token_and_nobody_elses(world: &World) {
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "token-of-u1").await;
    world.import(key.app_id, "u2", "b@x", "token-of-u2").await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "token-of-u1");
    assert_eq!(world.token_of(key, "u2").await.unwrap(), "token-of-u2");
    let refusal = world.token_of(key, "u3").await.unwrap_err();
    assert_eq!(refusal.code, Code::GrantNotFound);
    assert_eq!(refusal.provider, Some(id_of("google")));
    assert!(refusal.app_user_id.is_some());
    // The same subject of another issuer is another user.
    let stranger = Identity { issuer: "https://other.example".to_owned(), ..identity("u1") };
    let command = world.ask(key, by_provider("google"), Some(stranger)).await;
    assert_eq!(code(world.release(command).await), Code::GrantNotFound);
}

pub(crate) async fn a_token_comes_with_its_facts(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.import(key.app_id, "u1", "a@x", "t1").await;
    let mut command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    command.admission.actor.caller = Some("worker".to_owned());
    command.admission.actor.caller_type = Some(CallerType::Service);
    let release = world.release(command).await.unwrap();
    assert_eq!((release.grant_id, release.kind), (id, GrantKind::OAuth));
    assert_eq!(release.provider.injection, Injection::default());
    let ReleasedCredential::OAuth { scopes, token_generation, expires_at, .. } = &release.credential else {
        panic!("an OAuth credential");
    };
    assert_eq!((scopes.as_slice(), *expires_at), (&["read".to_owned(), "write".to_owned()][..], None));

    let row = world.last_row(key.app_id, Action::TokenReleased).await;
    assert_eq!(row.id, release.audit_id);
    assert_eq!(row.grant_id, Some(id));
    assert_eq!(row.token_generation, Some(*token_generation));
    assert_eq!(row.account.as_deref(), Some("a@x"));
    assert_eq!(row.caller.as_deref(), Some("worker"));
    assert_eq!(row.url.as_deref(), Some("https://api.example.com/v1/me?access_token=[redacted]"));
    assert_eq!(row.reason.as_deref(), Some("because"));
    assert_eq!(row.app_user_id, release.app_user_id);
    let listed = world.store.grants(key.app_id, Default::default(), 10, 0).await.unwrap();
    assert_eq!(listed.grants[0].last_used_at, Some(world.clock.now()));
}

pub(crate) async fn several_accounts_are_ambiguous_until_one_is_named(world: &World) {
    let key = world.app_with_google("one").await;
    let one = world.import(key.app_id, "u1", "a@x", "ta").await;
    let two = world.import(key.app_id, "u1", "b@x", "tb").await;
    let refusal = world.token_of(key, "u1").await.unwrap_err();
    assert_eq!(refusal.code, Code::AmbiguousGrant);
    let mut ids: Vec<_> = refusal.candidates.iter().map(|candidate| candidate.grant_id).collect();
    ids.sort_unstable();
    let mut expected = vec![one, two];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert!(!refusal.account_was_provided && !refusal.candidates_truncated);
    let narrowed = |account: &str| Address::Provider {
        provider: "google".to_owned(),
        account: Some(account.to_owned()),
        label: None,
        app_user_id: None,
    };
    let command = world.ask(key, narrowed("b@x"), Some(identity("u1"))).await;
    assert_eq!(world.open(&world.release(command).await.unwrap()), "tb");
    let command = world.ask(key, narrowed("B@X"), Some(identity("u1"))).await;
    assert_eq!(code(world.release(command).await), Code::GrantNotFound);
}

pub(crate) async fn a_grant_id_is_checked_against_the_user(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.import(key.app_id, "u1", "a@x", "t1").await;
    let command = world.ask(key, Address::Grant(id), None).await;
    assert_eq!(world.open(&world.release(command).await.unwrap()), "t1");
    let command = world.ask(key, Address::Grant(id), Some(identity("u1"))).await;
    assert_eq!(world.open(&world.release(command).await.unwrap()), "t1");
    let command = world.ask(key, Address::Grant(id), Some(identity("u2"))).await;
    let refusal = world.release(command).await.unwrap_err();
    assert_eq!(refusal.code, Code::GrantNotFound);
    assert_eq!((refusal.provider, refusal.grant_id, refusal.app_user_id), (None, None, None));
    let command = world.ask(key, Address::Grant(GrantId::random()), None).await;
    assert_eq!(code(world.release(command).await), Code::GrantNotFound);
}

pub(crate) async fn an_agent_reaches_only_its_own_grants(world: &World) {
    let key = world.app_with_google("one").await;
    let users = world.import(key.app_id, "u1", "a@x", "t1").await;
    let secret = world.secret(key.app_id).await;
    let (agent, agent_key) = world.agent(key.app_id, "bot").await;
    let (other, _) = world.agent(key.app_id, "other").await;
    let own = world.secret_grant(key.app_id, secret, Principal::Agent(agent)).await;
    let foreign = world.secret_grant(key.app_id, secret, Principal::Agent(other)).await;
    for address in [Address::Grant(own), by_provider("billing")] {
        let command = world.ask(agent_key, by_provider("billing"), None).await;
        let command = ReleaseCommand { address, ..command };
        assert_eq!(world.open(&world.release(command).await.unwrap()), "billing-secret-1");
    }
    for id in [users, foreign] {
        let command = world.ask(agent_key, Address::Grant(id), None).await;
        assert_eq!(code(world.release(command).await), Code::GrantNotFound);
    }
    // A user's token does not widen an agent's reach.
    let refusal = world.token_of(agent_key, "u1").await.unwrap_err();
    assert_eq!(refusal.code, Code::NoDelegatedGrant);
    assert_eq!((refusal.agent_id, refusal.provider), (Some(agent), Some(id_of("google"))));
}

pub(crate) async fn an_app_key_without_a_user_reaches_the_system_grant(world: &World) {
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let command = world.ask(key, by_provider("google"), None).await;
    assert_eq!(code(world.release(command).await), Code::GrantNotFound);
    let import = world.import_of(key.app_id, ImportOwner::Principal(Principal::System), "sys@x", "ts");
    world.store.import_grant(world.operator(), import).await.unwrap();
    let command = world.ask(key, by_provider("google"), None).await;
    assert_eq!(world.open(&world.release(command).await.unwrap()), "ts");
    // A user does not fall back to it.
    assert_eq!(code(world.token_of(key, "u2").await), Code::GrantNotFound);
}

pub(crate) async fn app_user_id_names_a_user_and_nothing_wider(world: &World) {
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let import = world.import_of(key.app_id, ImportOwner::Principal(Principal::System), "sys@x", "ts");
    world.store.import_grant(world.operator(), import).await.unwrap();
    let user = world.store.list_users(key.app_id, 10, 0).await.unwrap()[0].id;
    let named = |id: String| Address::Provider {
        provider: "google".to_owned(),
        account: None,
        label: None,
        app_user_id: Some(id),
    };
    let command = world.ask(key, named(user.to_string()), None).await;
    assert_eq!(world.open(&world.release(command).await.unwrap()), "t1");
    let row = world.last_row(key.app_id, Action::TokenReleased).await;
    assert_eq!((row.detail.as_deref(), row.app_user_id), (Some("by app_user_id"), Some(user)));
    for id in ["nobody".to_owned(), UserId::random().to_string(), String::new()] {
        let command = world.ask(key, named(id), None).await;
        assert_eq!(code(world.release(command).await), Code::GrantNotFound);
    }
    let command = world.ask(key, named(user.to_string()), Some(identity("u2"))).await;
    assert_eq!(code(world.release(command).await), Code::GrantNotFound);
    let (_, agent_key) = world.agent(key.app_id, "bot").await;
    let command = world.ask(agent_key, named(user.to_string()), None).await;
    assert_eq!(code(world.release(command).await), Code::NoDelegatedGrant);
}

pub(crate) async fn groups_of_the_token_count(world: &World) {
    let key = world.app_with_google("one").await;
    let secret = world.secret(key.app_id).await;
    world.secret_grant(key.app_id, secret, Principal::Group("finance".to_owned())).await;
    let member =
        |group: &str| Identity { groups: vec![group.to_owned(), "all".to_owned()], ..identity("u1") };
    let command = world.ask(key, by_provider("billing"), Some(member("finance"))).await;
    assert_eq!(world.open(&world.release(command).await.unwrap()), "billing-secret-1");
    for group in ["Finance", "finance2", ""] {
        let command = world.ask(key, by_provider("billing"), Some(member(group))).await;
        assert_eq!(code(world.release(command).await), Code::GrantNotFound);
    }
}

pub(crate) async fn a_foreign_host_is_blocked(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.import(key.app_id, "u1", "a@x", "t1").await;
    for url in [
        "https://evil.example/v1",
        "http://api.example.com/v1",
        "https://api.example.com:8443/v1",
        "https://user:pw@api.example.com/v1",
        r"https://api.example.com\@evil.example/",
        "https://api.example.com/v1/../admin",
        "not a url",
    ] {
        let mut command = world.ask(key, Address::Grant(id), None).await;
        command.request = RequestFacts::new("get", url);
        assert_eq!(code(world.release(command).await), Code::BlockedDestination, "{url}");
    }
}

pub(crate) async fn an_expired_token_is_never_released(world: &World) {
    let key = world.app_with_google("one").await;
    let mut import = world.import_of(key.app_id, ImportOwner::Identity(identity("u1")), "a@x", "t1");
    import.token_expires_at = Some(jiff::Timestamp::from_second(START + 60).unwrap());
    world.store.import_grant(world.operator(), import).await.unwrap();
    world.clock.advance(59);
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    world.clock.advance(1);
    let refusal = world.token_of(key, "u1").await.unwrap_err();
    assert_eq!(refusal.code, Code::CredentialRevoked);
    assert!(refusal.grant_id.is_some() && refusal.app_user_id.is_some());
}

pub(crate) async fn an_expired_grant_says_so(world: &World) {
    let key = world.app_with_google("one").await;
    let mut import = world.import_of(key.app_id, ImportOwner::Identity(identity("u1")), "a@x", "t1");
    import.grant_expires_at = Some(jiff::Timestamp::from_second(START + 60).unwrap());
    let id = world.store.import_grant(world.operator(), import).await.unwrap().grant.facts.id;
    world.clock.advance(60);
    assert_eq!(code(world.token_of(key, "u1").await), Code::GrantExpired);
    let command = world.ask(key, Address::Grant(id), None).await;
    assert_eq!(code(world.release(command).await), Code::GrantExpired);
    // A live one beside it is the answer.
    world.import(key.app_id, "u1", "b@x", "t2").await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t2");
}

pub(crate) async fn a_revoked_grant_is_refused_at_once_and_its_tokens_are_gone(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.import(key.app_id, "u1", "a@x", "t1").await;
    world.revoke(key, id, None).await.unwrap();
    let refusal = world.token_of(key, "u1").await.unwrap_err();
    assert_eq!((refusal.code, refusal.grant_id), (Code::GrantRevoked, Some(id)));
    let command = world.ask(key, Address::Grant(id), None).await;
    assert_eq!(code(world.release(command).await), Code::GrantRevoked);
    assert_eq!(code(world.revoke(key, id, None).await), Code::GrantRevoked);
    // Connecting again makes a new grant.
    let again = world.import(key.app_id, "u1", "a@x", "t2").await;
    assert_ne!(again, id);
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t2");
}

pub(crate) async fn a_removed_provider_binding_takes_effect_at_once(world: &World) {
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    world.token_of(key, "u1").await.unwrap();
    world.put_google(key.app_id, "*.elsewhere.example").await;
    assert_eq!(code(world.token_of(key, "u1").await), Code::BlockedDestination);
    world.put_google(key.app_id, "*.example.com").await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
}

pub(crate) async fn a_managed_secret_is_shared_and_rotates(world: &World) {
    let key = world.app_with_google("one").await;
    let secret = world.secret(key.app_id).await;
    let (agent, agent_key) = world.agent(key.app_id, "bot").await;
    world.secret_grant(key.app_id, secret, Principal::Agent(agent)).await;
    world.secret_grant(key.app_id, secret, Principal::System).await;
    let mut material = SecretMaterial::token("billing-secret-2");
    material.additional.insert("user".to_owned(), "bob".into());
    world.store.rotate_secret(world.operator(), key.app_id, secret, material).await.unwrap();
    for key in [key, agent_key] {
        let command = world.ask(key, by_provider("billing"), None).await;
        let release = world.release(command).await.unwrap();
        assert_eq!(world.open(&release), "billing-secret-2");
        assert_eq!(release.provider.injection.header, "X-Key");
    }
    let listed = world.store.list_secrets(key.app_id).await.unwrap();
    assert_eq!((listed[0].generation, listed[0].rotated_at), (2, Some(world.clock.now())));
}

pub(crate) async fn apps_are_isolated(world: &World) {
    let one = world.app_with_google("one").await;
    let two = world.app_with_google("two").await;
    let id = world.import(one.app_id, "u1", "a@x", "t1").await;
    let command = world.ask(two, Address::Grant(id), None).await;
    assert_eq!(code(world.release(command).await), Code::GrantNotFound);
    assert_eq!(code(world.token_of(two, "u1").await), Code::GrantNotFound);
    assert_eq!(code(world.revoke(two, id, None).await), Code::GrantNotFound);
    // A key of one app cannot speak for another.
    let crossed = Key { app_id: two.app_id, key_id: one.key_id };
    assert_eq!(code(world.token_of(crossed, "u1").await), Code::InvalidKey);
    let user = world.store.list_users(one.app_id, 10, 0).await.unwrap()[0].id;
    let address = Address::Provider {
        provider: "google".to_owned(),
        account: None,
        label: None,
        app_user_id: Some(user.to_string()),
    };
    let command = world.ask(two, address, None).await;
    assert_eq!(code(world.release(command).await), Code::GrantNotFound);
}

pub(crate) async fn refusals_are_in_the_trail(world: &World) {
    let key = world.app_with_google("one").await;
    let _ = world.token_of(key, "u1").await.unwrap_err();
    let row = world.last_row(key.app_id, Action::TokenRefused).await;
    assert_eq!(row.code.as_deref(), Some("grant_not_found"));
    assert_eq!(row.outcome, crate::audit::Outcome::Refused);
    assert_eq!((row.key_id, row.provider.as_deref()), (Some(key.key_id), Some("google")));
    assert_eq!(row.key_prefix.as_deref(), Some("alter_rk_abcd"));
}
