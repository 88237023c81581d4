//! Calls that no honest client makes. Each is refused with its documented status and code, hands out nothing, touches
//! nothing at the provider, and leaves exactly one row that says so.

use alter_core::wire::{
    grants, header, identity,
    key::{ApiKey, KeyKind},
    sign::Stamp,
    token,
};
use alter_sandbox::{TokenAlgorithm, TokenRequest};
use alter_server::{
    admin::InjectionStyle,
    audit::{Action, AuditRow, Outcome},
    domain::{AgentStatus, AppId, AppStatus, GrantId, Principal},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderName;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Draft, Needles, Reply, Tenant, World, unix_now, world::PROVIDER};

/// Two apps in one vault, users with grants in both, an agent with its own, and the secrets of all of them.
struct Scene {
    world: World,
    ours: Tenant,
    theirs: Tenant,
    alice: String,
    alices: GrantId,
    bobs: GrantId,
    foreign: GrantId,
    agents: GrantId,
    secrets: Needles,
}

impl Scene {
    async fn set() -> Self {
        let world = World::start().await;
        let (ours, theirs) = (world.tenant("ours").await, world.tenant("theirs").await);
        let (alices, alices_tokens) = ours.connect(&world.sandbox, "alice", "alice@work").await;
        let (bobs, bobs_tokens) = ours.connect(&world.sandbox, "bob", "bob@work").await;
        let (foreign, foreign_tokens) = theirs.connect(&world.sandbox, "mallory", "mallory@work").await;
        let value = "mk-9fKq27LmZt4XwPbV83sHyRcD";
        let secret = ours.secret(&world.sandbox, "billing", &InjectionStyle::Bearer, value).await;
        let agents = ours.grant(secret, Principal::Agent(ours.agent)).await;
        let mut secrets = Needles::default();
        for (name, tokens) in [("alice", &alices_tokens), ("bob", &bobs_tokens), ("mallory", &foreign_tokens)]
        {
            // Every token of the sandbox begins alike; what follows is the secret.
            secrets.text(&format!("{name}'s access token"), &tokens.access_token["sbx_at_".len()..]);
            secrets.text(&format!("{name}'s refresh token"), &tokens.refresh_token["sbx_rt_".len()..]);
        }
        secrets
            .text("the managed secret", value)
            .text("the client secret", &world.sandbox.client().client_secret["sbx_cs_".len()..])
            .api_key("our key", &ours.key)
            .api_key("our agent's key", &ours.agent_key)
            .api_key("their key", &theirs.key);
        let alice = world.jwt("alice");
        secrets.jwt("alice's JWT", &alice);
        Self { world, ours, theirs, alice, alices, bobs, foreign, agents, secrets }
    }

    /// What alice's request looks like before anybody signs or changes it.
    fn draft(&self) -> Draft {
        Draft::by_provider(PROVIDER, Some(&self.alice), &self.world.api("/me"))
    }

    async fn send(&self, draft: &Draft) -> Reply {
        draft.send(&self.world.http, &self.world.base_url).await
    }

    /// The call is answered with a credential, so that a refusal of its like means something.
    async fn accepted(&self, what: &str, draft: &Draft) -> Reply {
        let reply = self.send(draft).await;
        assert_eq!(reply.status, 200, "{what}: {}", String::from_utf8_lossy(&reply.body));
        assert!(reply.json()["access_token"].is_string(), "{what}");
        reply
    }

    /// The call is refused with `status` and `code`; see the module.
    async fn refused(&self, what: &str, draft: &Draft, status: u16, code: &str) -> AuditRow {
        let counts = || {
            let counts = self.world.sandbox.counts();
            (counts.api_calls, counts.token_calls)
        };
        let (counts_before, rows_before) = (counts(), self.world.rows().await.len());
        let reply = self.send(draft).await;
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (status, code), "{what}: {body}");
        assert!(reply.json()["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
        self.secrets.assert_absent(what, &reply.everything());
        if let Some(sent) =
            serde_json::from_slice::<Value>(&draft.body).unwrap_or_default()["user_token"].as_str()
            && sent.len() > 8
        {
            assert!(!body.contains(sent), "{what}: the answer repeats the token");
        }
        assert_eq!(counts(), counts_before, "{what}: the provider was called");
        let rows = self.world.rows().await.split_off(rows_before);
        assert!(
            rows.iter().all(|row| row.action != Action::TokenReleased),
            "{what}: a row says that something was released"
        );
        let mut refusals = rows.into_iter().filter(|row| row.outcome == Outcome::Refused);
        let row = refusals.next().unwrap_or_else(|| panic!("{what}: no row says so"));
        assert_eq!(row.code.as_deref(), Some(code), "{what}: {row:?}");
        assert!(refusals.next().is_none(), "{what}: more than one row");
        self.secrets.assert_absent(what, &serde_json::to_vec(&row).unwrap());
        row
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_after_signing_is_refused() {
    let scene = Scene::set().await;
    let key = scene.ours.key.as_str();
    let fresh = || Stamp::fresh(unix_now()).unwrap();
    scene.accepted("the untouched request", &scene.draft().signed(key)).await;

    let row = scene
        .refused(
            "a wrong signature",
            &scene.draft().signed_as(key, &scene.theirs.key, &fresh()),
            401,
            "invalid_signature",
        )
        .await;
    assert_eq!((row.app_id, row.key_id), (scene.ours.app, Some(scene.ours.key_id)));

    let other = json!({
        "grant_id": scene.bobs.to_string(),
        "reason": null,
        "request": {"method": "GET", "url": scene.world.api("/me")},
    });
    scene.refused("a changed body", &scene.draft().signed(key).body(&other), 401, "invalid_signature").await;
    let rehashed = scene.draft().signed(key).body(&other).header(
        header::CONTENT_SHA256,
        &alter_core::wire::sign::content_sha256(other.to_string().as_bytes()),
    );
    scene.refused("a changed body with its own hash", &rehashed, 401, "invalid_signature").await;
    let longer = Draft { body: [scene.draft().body, b" ".to_vec()].concat(), ..scene.draft().signed(key) };
    scene.refused("a body with a space more", &longer, 401, "invalid_signature").await;

    let list = Draft::post(grants::LIST_PATH, &json!({})).signed(key);
    assert_eq!(scene.send(&list).await.status, 200);
    let moved = Draft::post(grants::LIST_PATH, &json!({})).signed(key).target(token::PATH);
    scene.refused("a changed path", &moved, 401, "invalid_signature").await;
    let queried = scene.draft().signed(key).target("/sdk/token?a=1");
    scene.refused("an added query", &queried, 401, "invalid_signature").await;
    let revoke = |grant: GrantId| format!("/sdk/oauth/grants/{grant}/revoke");
    let redirected = Draft::post(revoke(scene.alices), &json!({})).signed(key).target(&revoke(scene.bobs));
    scene.refused("a revocation led to another grant", &redirected, 401, "invalid_signature").await;
    for grant in [scene.alices, scene.bobs] {
        let draft = Draft::by_grant(&grant.to_string(), None, &scene.world.api("/me")).signed(key);
        scene.accepted("a grant that nobody revoked", &draft).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_were_stripped_added_or_repeated_are_refused() {
    let scene = Scene::set().await;
    let key = scene.ours.key.as_str();
    let acting = || {
        scene
            .draft()
            .header(header::CALLER, "mailer")
            .header(header::CALLER_TYPE, "agent")
            .header(header::CONTEXT, r#"{"run":"7"}"#)
            .signed(key)
    };
    scene.accepted("a request with actor headers", &acting()).await;

    for name in [header::CALLER, header::CALLER_TYPE, header::CONTEXT] {
        let what = format!("{name} stripped");
        scene.refused(&what, &acting().without(&name), 401, "invalid_signature").await;
        let what = format!("{name} emptied");
        scene.refused(&what, &acting().header(name, ""), 401, "signature_required").await;
    }
    let bare = acting()
        .without(&header::CALLER)
        .without(&header::CALLER_TYPE)
        .without(&header::CONTEXT)
        .without(&header::SIGNATURE_V2);
    scene.refused("every trace of the actor stripped", &bare, 401, "invalid_signature").await;
    let downgraded = acting().without(&header::SIGNATURE_V2);
    scene.refused("the second signature stripped", &downgraded, 401, "invalid_signature").await;
    let renamed = acting().header(header::CALLER, "payroll");
    scene.refused("another caller's name", &renamed, 401, "invalid_signature").await;
    let plain = || scene.draft().signed(key);
    for (name, value) in
        [(header::CALLER, "payroll"), (header::ACTOR_ID, "0b9cf2d4-54a5-4a7c-8d0f-5f6d4be1e7a1")]
    {
        let what = format!("{name} added");
        scene.refused(&what, &plain().header(name, value), 401, "invalid_signature").await;
    }
    let narrowed = scene.draft().header(header::SCOPE_CONSTRAINTS, "grants:read").signed(key);
    let widened = narrowed.without(&header::SCOPE_CONSTRAINTS);
    scene.refused("a narrowing taken away", &widened, 401, "invalid_signature").await;

    let signature =
        [header::API_KEY, header::TIMESTAMP, header::NONCE, header::CONTENT_SHA256, header::SIGNATURE];
    for name in &signature {
        let what = format!("{name} missing");
        scene.refused(&what, &plain().without(name), 401, "signature_required").await;
    }
    let repeated = |draft: Draft, name: &HeaderName| {
        let value = draft.headers[name].to_str().unwrap().to_owned();
        draft.also(name.clone(), &value)
    };
    for name in &signature {
        let what = format!("{name} repeated");
        scene.refused(&what, &repeated(plain(), name), 401, "signature_required").await;
    }
    for name in [header::CALLER, header::CALLER_TYPE, header::CONTEXT, header::SIGNATURE_V2] {
        let what = format!("{name} repeated");
        scene.refused(&what, &repeated(acting(), &name), 401, "signature_required").await;
    }
    for (name, value) in [
        (header::TIMESTAMP, "now"),
        (header::TIMESTAMP, "-1"),
        (header::NONCE, "short"),
        (header::NONCE, "000102030405060708090A0B0C0D0E0F"),
        (header::SIGNATURE, "00"),
    ] {
        let what = format!("{name}: {value}");
        scene.refused(&what, &plain().header(name, value), 401, "signature_required").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_counts_once_and_only_now() {
    let scene = Scene::set().await;
    let key = scene.ours.key.as_str();
    for (what, seconds) in
        [("a stale timestamp", -301), ("a day-old timestamp", -86_400), ("a timestamp of the future", 310)]
    {
        let draft = scene.draft().signed_at(key, unix_now() + seconds);
        scene.refused(what, &draft, 401, "timestamp_out_of_window").await;
    }
    scene.accepted("a clock that is a little slow", &scene.draft().signed_at(key, unix_now() - 290)).await;
    let stamped = scene.draft().signed_at(key, unix_now() - 290);
    let refreshed = stamped.header(header::TIMESTAMP, &unix_now().to_string());
    scene.refused("an old request with a new timestamp", &refreshed, 401, "invalid_signature").await;

    let once = scene.draft().signed(key);
    scene.accepted("the first use of a nonce", &once).await;
    scene.refused("the same request again", &once, 401, "nonce_replayed").await;
    let stamp = Stamp::fresh(unix_now()).unwrap();
    let one = scene.draft().signed_as(key, key, &stamp);
    scene.accepted("the first use of a nonce", &one).await;
    let other = Draft::by_grant(&scene.bobs.to_string(), None, &scene.world.api("/me"));
    let other = other.signed_as(key, key, &stamp);
    scene.refused("another request with the same nonce", &other, 401, "nonce_replayed").await;

    let refused =
        Draft::by_provider("no-such-provider", Some(&scene.alice), &scene.world.api("/me")).signed(key);
    scene.refused("a call that is refused", &refused, 404, "grant_not_found").await;
    scene.refused("the refused call again", &refused, 401, "nonce_replayed").await;

    // A second vault on the same folder stands for another process.
    let beside = scene.world.beside().await;
    let (base_url, server) = crate::harness::world::serve(&beside).await;
    let elsewhere = once.send(&scene.world.http, &base_url).await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.code().as_str()), (401, "nonce_replayed"));
    server.abort();
    beside.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_thirty_two_copies_of_a_request_exactly_one_wins() {
    let scene = Scene::set().await;
    for _ in 0..3 {
        let draft = scene.draft().signed(&scene.ours.key);
        let before = scene.world.rows().await.len();
        let replies = futures_util::future::join_all((0..32).map(|_| scene.send(&draft))).await;
        let won = replies.iter().filter(|reply| reply.status == 200).count();
        let lost: Vec<_> = replies.iter().filter(|reply| reply.status != 200).collect();
        assert_eq!((won, lost.len()), (1, 31));
        for reply in lost {
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (401, "nonce_replayed"));
            scene.secrets.assert_absent("the answer to a copy", &reply.everything());
        }
        let rows = scene.world.rows().await.split_off(before);
        let count = |action, code: Option<&str>| {
            rows.iter().filter(|row| row.action == action && row.code.as_deref() == code).count()
        };
        assert_eq!(count(Action::TokenReleased, None), 1);
        assert_eq!(count(Action::TokenRefused, Some("nonce_replayed")), 31);
    }
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reaches_what_belongs_to_another() {
    let scene = Scene::set().await;
    let (key, url) = (scene.ours.key.as_str(), scene.world.api("/me"));
    let by_grant = |grant: GrantId, user: Option<&str>| Draft::by_grant(&grant.to_string(), user, &url);
    let alice = Some(scene.alice.as_str());
    let bob = scene.world.jwt("bob");

    let reply = scene.accepted("alice's own grant", &by_grant(scene.alices, alice).signed(key)).await;
    assert_eq!(reply.json()["grant_id"], scene.alices.to_string());
    scene
        .refused(
            "bob's grant with alice's token",
            &by_grant(scene.bobs, alice).signed(key),
            404,
            "grant_not_found",
        )
        .await;
    scene
        .refused(
            "alice's grant with bob's token",
            &by_grant(scene.alices, Some(&bob)).signed(key),
            404,
            "grant_not_found",
        )
        .await;
    scene
        .refused(
            "an agent's grant with alice's token",
            &by_grant(scene.agents, alice).signed(key),
            404,
            "grant_not_found",
        )
        .await;
    scene
        .refused("another app's grant", &by_grant(scene.foreign, None).signed(key), 404, "grant_not_found")
        .await;
    let their_key = scene.theirs.key.as_str();
    scene
        .refused(
            "our grant with another app's key",
            &by_grant(scene.alices, None).signed(their_key),
            404,
            "grant_not_found",
        )
        .await;
    let theirs = Draft::by_provider(PROVIDER, alice, &url).signed(their_key);
    scene.refused("alice at an app where she has nothing", &theirs, 404, "grant_not_found").await;
    let mallory = scene.world.jwt("mallory");
    let crossing = Draft::by_provider(PROVIDER, Some(&mallory), &url).signed(key);
    scene.refused("a user of another app", &crossing, 404, "grant_not_found").await;

    // What is hidden looks like what does not exist.
    let shape = |reply: &Reply| {
        let mut body = reply.json();
        body.as_object_mut().unwrap().remove("grant_id");
        (reply.status, body)
    };
    let hidden = scene.send(&by_grant(scene.bobs, alice).signed(key)).await;
    let absent = scene.send(&by_grant(GrantId::random(), alice).signed(key)).await;
    let foreign = scene.send(&by_grant(scene.foreign, alice).signed(key)).await;
    assert_eq!(shape(&hidden), shape(&absent));
    assert_eq!(shape(&foreign), shape(&absent));

    let agent_key = scene.ours.agent_key.as_str();
    scene.accepted("the agent's own grant", &by_grant(scene.agents, None).signed(agent_key)).await;
    for grant in [scene.alices, scene.bobs, scene.foreign] {
        scene
            .refused(
                "a user's grant with an agent's key",
                &by_grant(grant, None).signed(agent_key),
                404,
                "grant_not_found",
            )
            .await;
        scene
            .refused(
                "a user's grant with an agent's key and her token",
                &by_grant(grant, alice).signed(agent_key),
                404,
                "grant_not_found",
            )
            .await;
    }
    let delegated = Draft::by_provider(PROVIDER, alice, &url).signed(agent_key);
    scene.refused("a user's provider with an agent's key", &delegated, 404, "no_delegated_grant").await;
    let headless = Draft::by_provider(PROVIDER, None, &url).signed(key);
    scene.refused("nobody's grant by provider", &headless, 404, "grant_not_found").await;
    let managed = Draft::by_provider("billing", alice, &url).signed(key);
    scene.refused("the agent's secret by provider", &managed, 404, "grant_not_found").await;

    let revoke =
        |grant: GrantId, body: &Value| Draft::post(format!("/sdk/oauth/grants/{grant}/revoke"), body);
    let hers = json!({ "user_token": scene.alice });
    scene
        .refused("alice revokes bob's grant", &revoke(scene.bobs, &hers).signed(key), 404, "grant_not_found")
        .await;
    scene
        .refused(
            "another app revokes",
            &revoke(scene.alices, &json!({})).signed(their_key),
            404,
            "grant_not_found",
        )
        .await;
    scene
        .refused(
            "an agent revokes",
            &revoke(scene.alices, &json!({})).signed(agent_key),
            404,
            "grant_not_found",
        )
        .await;
    let listed = |reply: &Reply| {
        let grants = reply.json()["grants"].as_array().cloned().unwrap_or_default();
        grants.iter().map(|grant| grant["grant_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let list = Draft::post(grants::LIST_PATH, &hers).signed(key);
    assert_eq!(listed(&scene.send(&list).await), [scene.alices.to_string()]);
    let list = Draft::post(grants::LIST_PATH, &json!({})).signed(agent_key);
    assert_eq!(listed(&scene.send(&list).await), [scene.agents.to_string()]);
    let list = Draft::post(grants::LIST_PATH, &json!({})).signed(their_key);
    assert_eq!(listed(&scene.send(&list).await), [scene.foreign.to_string()]);

    let address = |extra: Value| {
        let mut body = json!({"reason": null, "request": {"method": "GET", "url": url}});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Draft::post(token::PATH, &body).signed(key)
    };
    let both = json!({"grant_id": scene.alices.to_string(), "provider_id": PROVIDER});
    scene.refused("two addresses", &address(both), 400, "invalid_request").await;
    scene.refused("no address", &address(json!({})), 400, "invalid_request").await;
    let users = scene.world.admin().users(scene.ours.app, 100, 0).await.unwrap();
    let bobs_id = users.iter().find(|user| user.subject == "bob").unwrap().id.to_string();
    let mixed = json!({"provider_id": PROVIDER, "user_token": scene.alice, "app_user_id": bobs_id});
    scene.refused("alice's token and bob's user id", &address(mixed), 404, "grant_not_found").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_goes_only_to_its_providers_hosts() {
    let scene = Scene::set().await;
    let key = scene.ours.key.as_str();
    let good = scene.world.sandbox.addr();
    let (port, other_port) = (good.port(), if good.port() == 9 { 10 } else { 9 });
    let to = |url: &str| Draft::by_provider(PROVIDER, Some(&scene.alice), url).signed(key);
    for url in [
        format!("http://{good}/api/me"),
        format!("http://{good}"),
        format!("http://{good}/api/me?to=../..&mail=a@b"),
        format!("http://{good}/api/a%2Fb"),
    ] {
        scene.accepted(&url, &to(&url)).await;
    }
    for url in [
        "https://evil.example/api/me".to_owned(),
        format!("http://127.0.0.1:{other_port}/"),
        format!("http://localhost:{port}/"),
        format!("https://{good}.evil.example/"),
        format!("http://evil.example:{port}/"),
        format!("http://{good}@evil.example/"),
        format!("http://user:password@{good}/api/me"),
        format!("http://@{good}/api/me"),
        format!("http://evil.example\\@{good}/"),
        format!("http://{good}\\@evil.example/"),
        format!("http://{good}\\api"),
        format!("http:\\\\{good}/api"),
        format!("http://{good}%2F@evil.example/"),
        format!("http://{good}/api/../control"),
        format!("http://{good}/api/./me"),
        format!("http://{good}/api/%2e%2e/control"),
        format!("http://{good}/api/%2E./control"),
        format!("http://{good}/api/.%2e"),
        format!("http://{good}/api/me\r\nHost: evil.example"),
        format!("http://{good}/api/\tme"),
        format!("http://{good}/\u{0}"),
        format!("http://{good}/\u{7f}"),
        format!("http://{good}/\u{85}"),
        format!("http://{good}/ me"),
        format!(" http://{good}/api/me"),
        format!("//{good}/api/me"),
        "/api/me".to_owned(),
        format!("ftp://{good}/"),
        format!("file://{good}/etc/passwd"),
        format!("ws://{good}/"),
        "http://".to_owned(),
        format!("http://{good}:{port}/"),
        String::new(),
    ] {
        let what = format!("{url:?}");
        let row = scene.refused(&what, &to(&url), 422, "blocked_destination").await;
        assert!(row.url.is_none_or(|url| !url.contains("password")), "{what}");
    }
    let no_request = json!({"provider_id": PROVIDER, "reason": null, "user_token": scene.alice});
    let draft = Draft::post(token::PATH, &no_request).signed(key);
    scene.refused("no destination at all", &draft, 422, "blocked_destination").await;
    let by_grant = Draft::by_grant(&scene.alices.to_string(), None, "https://evil.example/").signed(key);
    scene.refused("another host by grant id", &by_grant, 422, "blocked_destination").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_no_client_sends_are_refused() {
    let scene = Scene::set().await;
    let key = scene.ours.key.as_str();
    let bare = || scene.draft();
    let with = |body: &str| Draft { body: body.as_bytes().to_vec(), ..bare() }.signed(key);
    for (what, body) in [
        ("nothing", String::new()),
        ("no JSON", "provider_id=sandbox".to_owned()),
        ("half of it", String::from_utf8_lossy(&bare().body[..20]).into_owned()),
        ("a list", "[]".to_owned()),
        ("a number where a text belongs", r#"{"provider_id":7}"#.to_owned()),
        ("nested deep", "[".repeat(500_000)),
        ("nested deep in a member", format!("{{\"request\":{}", "{\"a\":".repeat(100_000))),
        ("an unpaired surrogate", r#"{"provider_id":"\ud800"}"#.to_owned()),
    ] {
        scene.refused(what, &with(&body), 400, "invalid_request").await;
    }
    let large = with(&" ".repeat(2 * 1024 * 1024));
    scene.refused("two megabytes", &large, 413, "body_too_large").await;
    let hidden = scene.draft().also(http::header::CONTENT_ENCODING, "gzip").signed(key);
    scene.accepted("a header that is not for us", &hidden).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_all_attacks_the_chains_verify() {
    let scene = Scene::set().await;
    let key = scene.ours.key.as_str();
    for round in 0..20 {
        scene.accepted("a call", &scene.draft().signed(key)).await;
        let broken = scene.draft().signed(key).body(&json!({ "round": round }));
        scene.refused("a changed body", &broken, 401, "invalid_signature").await;
    }
    let report =
        scene.world.admin().verify_audit(alter_server::store::AuditVerifyScope::Everything).await.unwrap();
    assert!(report.ok(), "{report:?}");
}
