//! Keys and users' tokens that prove nothing.

use alter_core::wire::{
    grants, header, identity,
    key::{ApiKey, KeyKind},
    sign::Stamp,
};
use alter_sandbox::{TokenAlgorithm, TokenRequest};
use alter_server::domain::{AgentStatus, AppId, AppStatus};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Scene;
use crate::harness::{Draft, unix_now, world::PROVIDER};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_do_not_count_are_refused() {
    let scene = Scene::set().await;
    let (admin, app) = (scene.world.admin(), scene.ours.app);

    let stranger = ApiKey::mint(KeyKind::Runtime).unwrap();
    let row =
        scene.refused("an unknown key", &scene.draft().signed(stranger.expose()), 401, "invalid_key").await;
    assert_eq!((row.app_id, row.key_id), (AppId::VAULT, None), "a stranger is nobody's");
    let mistyped = scene.draft().signed(&scene.ours.key).header(header::API_KEY, "alter_rk_oops");
    scene.refused("a key that is none", &mistyped, 401, "invalid_key").await;

    let (revoked_id, revoked) = scene.ours.another_key("revoked").await;
    scene.accepted("a key before its revocation", &scene.draft().signed(&revoked)).await;
    admin.revoke_key(app, revoked_id).await.unwrap();
    let row = scene.refused("a revoked key", &scene.draft().signed(&revoked), 401, "key_revoked").await;
    assert_eq!((row.app_id, row.key_id), (app, Some(revoked_id)));
    // Whoever finds an old key learns from a wrong signature nothing that the key's state would tell.
    let forged = scene.draft().signed_as(&revoked, &scene.ours.key, &Stamp::fresh(unix_now()).unwrap());
    scene.refused("a revoked key with a wrong signature", &forged, 401, "invalid_signature").await;

    let (expired_id, expired) = scene.ours.another_key("expired").await;
    scene.accepted("a key before its expiry", &scene.draft().signed(&expired)).await;
    let past = Timestamp::now() - SignedDuration::from_secs(1);
    admin.set_key_expiry(app, expired_id, Some(past)).await.unwrap();
    scene.refused("an expired key", &scene.draft().signed(&expired), 401, "key_expired").await;

    let (deprecated_id, deprecated) = scene.ours.another_key("deprecated").await;
    let reply = scene.accepted("a key", &scene.draft().signed(&deprecated)).await;
    assert!(!reply.headers.contains_key(header::KEY_DEPRECATED));
    admin.deprecate_key(app, deprecated_id, true).await.unwrap();
    let reply = scene.accepted("a deprecated key", &scene.draft().signed(&deprecated)).await;
    assert_eq!(reply.headers[header::KEY_DEPRECATED], "true");
    admin.deprecate_key(app, deprecated_id, false).await.unwrap();
    let reply = scene.accepted("a key no longer deprecated", &scene.draft().signed(&deprecated)).await;
    assert!(!reply.headers.contains_key(header::KEY_DEPRECATED));

    let agents = || Draft::by_grant(&scene.agents.to_string(), None, &scene.world.api("/me"));
    let agent_key = scene.ours.agent_key.as_str();
    scene.accepted("an agent's own grant", &agents().signed(agent_key)).await;
    admin.set_agent_status(app, scene.ours.agent, AgentStatus::Inactive).await.unwrap();
    scene.refused("a paused agent", &agents().signed(agent_key), 401, "agent_inactive").await;
    admin.set_agent_status(app, scene.ours.agent, AgentStatus::Revoked).await.unwrap();
    scene.refused("a revoked agent", &agents().signed(agent_key), 401, "agent_revoked").await;

    admin.set_app_status(app, AppStatus::Suspended).await.unwrap();
    let draft = scene.draft().signed(&scene.ours.key);
    scene.refused("a suspended app", &draft, 401, "key_not_active").await;
    admin.set_app_status(app, AppStatus::Active).await.unwrap();
    scene.accepted("a resumed app", &scene.draft().signed(&scene.ours.key)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_tokens_that_prove_nothing_are_refused() {
    let scene = Scene::set().await;
    let (sandbox, key) = (&scene.world.sandbox, scene.ours.key.as_str());
    let alice = || TokenRequest::subject("alice");
    let honest = scene.alice.clone();
    let (head, signature) = honest.rsplit_once('.').unwrap();
    let (header, claims) = head.split_once('.').unwrap();
    let encoded = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let deep = |levels: usize| encoded(&format!("{{\"x\":{}", "[".repeat(levels)));
    let bobs = sandbox.mint(TokenRequest::subject("bob"));
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let url = scene.world.api("/me");
    let bad = [
        ("alg none", sandbox.mint(alice().algorithm(TokenAlgorithm::None))),
        ("alg none in the header only", format!("{unsigned}.{claims}.{signature}")),
        ("alg none without a signature", format!("{unsigned}.{claims}.")),
        ("alg NONE", sandbox.mint(alice().header("alg", json!("NonE")))),
        ("HMAC with the public key", sandbox.mint(alice().algorithm(TokenAlgorithm::Hs256))),
        ("a forged signature", sandbox.mint(alice().forged())),
        ("no signature", format!("{head}.")),
        ("another token's claims", format!("{}.{signature}", bobs.rsplit_once('.').unwrap().0)),
        ("a wrong issuer", sandbox.mint(alice().issuer("https://id.example.test"))),
        ("an issuer with a slash more", sandbox.mint(alice().issuer(format!("{}/", sandbox.issuer())))),
        ("a wrong audience", sandbox.mint(alice().audience("somebody-else"))),
        ("no audience", sandbox.mint(alice().without("aud"))),
        ("an expired token", sandbox.mint(alice().ttl(-120))),
        ("a token that never expires", sandbox.mint(alice().without("exp"))),
        ("a token of the future", sandbox.mint(alice().not_before(3_600))),
        ("an unknown key", sandbox.mint(alice().kid("no-such-key"))),
        ("a token of nobody", sandbox.mint(alice().without("sub"))),
        ("a token of a blank name", sandbox.mint(TokenRequest::subject(" "))),
        ("a subject that is no text", sandbox.mint(alice().claim("sub", json!(["alice"])))),
        ("a critical extension", sandbox.mint(alice().header("crit", json!(["exp"])))),
        ("a key in the header", sandbox.mint(alice().header("jwk", json!({"kty": "oct", "k": "AA"})))),
        ("a key set in the header", sandbox.mint(alice().header("jku", json!(sandbox.issuer())))),
        ("an oversized token", sandbox.mint(alice().claim("padding", json!("x".repeat(9_000))))),
        ("no JWT", "opaque-access-token-of-somebody".to_owned()),
        ("two parts", head.to_owned()),
        ("four parts", format!("{honest}.{signature}")),
        ("a space in the token", format!("{head}. {signature}")),
        ("a control character", format!("{honest}\u{7}")),
        ("an empty token", String::new()),
        ("claims nested deep", format!("{header}.{}.{signature}", deep(4_000))),
        ("a header nested deep", format!("{}.{claims}.{signature}", deep(4_000))),
        (
            "claims with a name twice",
            format!("{header}.{}.{signature}", encoded(r#"{"sub":"alice","sub":"bob"}"#)),
        ),
    ];
    scene.accepted("the honest token", &scene.draft().signed(key)).await;
    for (what, token) in &bad {
        let by_provider = Draft::by_provider(PROVIDER, Some(token), &url).signed(key);
        scene.refused(what, &by_provider, 401, "jwt_validation_error").await;
    }
    // By grant id the app's own key would do: a token that is sent along must still be good.
    for (what, token) in bad.iter().step_by(4) {
        let by_grant = Draft::by_grant(&scene.alices.to_string(), Some(token), &url).signed(key);
        scene.refused(what, &by_grant, 401, "jwt_validation_error").await;
        let verify = Draft::post(identity::VERIFY_TOKEN_PATH, &json!({ "token": token })).signed(key);
        scene.refused(what, &verify, 401, "jwt_validation_error").await;
        let list = Draft::post(grants::LIST_PATH, &json!({ "user_token": token })).signed(key);
        scene.refused(what, &list, 401, "jwt_validation_error").await;
        let path = format!("/sdk/oauth/grants/{}/revoke", scene.alices);
        let revoke = Draft::post(path, &json!({ "user_token": token })).signed(key);
        scene.refused(what, &revoke, 401, "jwt_validation_error").await;
    }
    scene.accepted("the honest token, after all of them", &scene.draft().signed(key)).await;

    sandbox.rotate_keys();
    let rotated = Draft::by_provider(PROVIDER, Some(&scene.world.jwt("alice")), &url).signed(key);
    let reply = scene.send(&rotated).await;
    assert!(
        reply.status == 200 || reply.code() == "jwt_validation_error",
        "a new key is fetched, or waits for the floor on the interval: {}",
        reply.code()
    );
}
