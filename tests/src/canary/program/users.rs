//! What applications do for their users, and what strangers try.

use std::time::Duration;

use alter_core::{Agent, App, Error, UserToken, wire::key::ApiKey};
use alter_sandbox::{Faults, TokenAlgorithm, TokenRequest};
use http::Method;
use serde_json::json;
use tower::ServiceExt as _;

use super::{Kind, Program, show};
use crate::{
    harness::{Draft, plain_client, world::PROVIDER},
    isolation::frameworks::{
        actix_app::ActixApp,
        axum_app,
        work::{Stage, Way},
    },
};

/// Longest wait, so that a timeout is soon over.
const SHORT: Duration = Duration::from_millis(400);

fn clients(program: &Program) -> [(&'static str, App); 3] {
    let key = ApiKey::parse(program.tenant.key.as_str()).unwrap();
    let inside = program.world.vault.app_client(&key).timeout(SHORT).build().unwrap();
    let remote = || App::builder(program.tenant.key.as_str()).timeout(SHORT).caller("canary");
    let outside = remote().backend_url(&program.world.base_url).build().unwrap();
    // A layer of the user's own that prints what it can see without reading bodies.
    let printed = tower::service_fn(|request: http::Request<alter_core::Body>| async move {
        println!("to the provider: {} {:?} {:?}", request.method(), request.headers(), request.body());
        Err::<http::Response<alter_core::Body>, _>(std::io::Error::other("refused by a layer"))
    });
    let vault = program.world.vault.router().map_request(|request: http::Request<bytes::Bytes>| {
        println!("to the vault: {} {} {:?}", request.method(), request.uri(), request.headers());
        request.map(axum::body::Body::from)
    });
    let layered = remote().backend(vault).provider_service(printed).build().unwrap();
    [("in process", inside), ("over a socket", outside), ("through layers", layered)]
}

async fn finish(what: &str, result: Result<alter_core::AlterResponse, Error>) {
    show(what, &result);
    if let Ok(answer) = result {
        // What a provider answers is the caller's; only how it fails is shown.
        let answer = answer.body_limit(1_000_000);
        show(what, &answer.json::<Vec<u64>>().await);
    }
}

pub(super) async fn calls(program: &mut Program) {
    let (alice, bob) = (program.jwt("alice"), program.jwt("bob"));
    let (alice, bob) = (UserToken::parse(alice).unwrap(), UserToken::parse(bob).unwrap());
    for (which, app) in clients(program) {
        println!("{app:?} {:?} {:?}", app.for_user(alice.clone()), app.grants());
        let user = app.for_user(alice.clone());
        let api = |path: &str| program.world.api(path);
        let at = |addr: std::net::SocketAddr, path: &str| format!("http://{addr}{path}");
        let mirror = program.mirror.addr;
        for path in [
            "/me",
            "/echo",
            "/stream",
            "/cookie",
            "/status/204",
            "/status/302",
            "/status/401",
            "/status/403?challenge=insufficient_scope&scope=calendar",
            "/status/429?retry_after=3",
            "/status/500",
        ] {
            let call = user.request(Method::GET, api(path)).provider(PROVIDER).reason("a reason");
            finish(&format!("{which} {path}"), call.context("run", "7").send().await).await;
        }
        let late = api("/stream?chunks=3&delay_ms=2000");
        finish(&format!("{which}, late"), user.request(Method::GET, late).provider(PROVIDER).send().await)
            .await;
        let call = user.request(Method::POST, api("/echo")).provider(PROVIDER).json(&json!({"text": "body"}));
        finish(&format!("{which}, with a body"), call.send().await).await;
        let both = app.for_user(bob.clone());
        finish(
            &format!("{which}, ambiguous"),
            both.request(Method::GET, api("/me")).provider(PROVIDER).send().await,
        )
        .await;
        let one = both.request(Method::GET, api("/me")).provider(PROVIDER).account("home");
        finish(&format!("{which}, one account"), one.send().await).await;
        finish(
            &format!("{which}, nobody"),
            app.request(Method::GET, api("/me")).provider(PROVIDER).send().await,
        )
        .await;
        finish(
            &format!("{which}, nothing there"),
            user.request(Method::GET, api("/me")).provider("none").send().await,
        )
        .await;
        let elsewhere = user.request(Method::GET, "https://elsewhere.example/").provider(PROVIDER);
        finish(&format!("{which}, elsewhere"), elsewhere.send().await).await;

        for status in ["/200", "/302", "/400", "/401", "/403", "/404", "/429", "/500", "/503"] {
            let call = user.request(Method::GET, at(mirror, status)).provider("mirror");
            finish(&format!("{which}, mirrored {status}"), call.send().await).await;
            let call =
                user.request(Method::GET, at(mirror, status)).provider("mirror").error_for_status(false);
            finish(&format!("{which}, mirrored {status}, no error"), call.send().await).await;
        }
        for (provider, addr) in [("garbage", program.mirror.garbage), ("dead", program.mirror.dead)] {
            let call = user.request(Method::GET, at(addr, "/x")).provider(provider);
            finish(&format!("{which}, {provider}"), call.send().await).await;
        }
        for style in ["bearer", "header", "query", "basic"] {
            for (provider, url) in [
                ("sandbox", api("/me?page=2")),
                ("mirror", at(mirror, "/400?page=2")),
                ("mirror", at(mirror, "/500")),
                ("garbage", at(program.mirror.garbage, "/x?page=2")),
                ("dead", at(program.mirror.dead, "/x?page=2")),
            ] {
                let call = app.request(Method::GET, url).provider(format!("{provider}-{style}")).as_app();
                finish(&format!("{which}, {provider} with {style}"), call.send().await).await;
            }
        }
        show("list", &user.grants().list().send().await);
        show("verify", &app.verify_user_token(&alice).await);
        app.close().await;
        finish("closed", user.request(Method::GET, api("/me")).provider(PROVIDER).send().await).await;
    }
    agent(program).await;
    faults(program, &alice).await;
    revoked(program).await;
}

async fn agent(program: &Program) {
    let agent = Agent::builder(program.tenant.agent_key.as_str()).backend_url(&program.world.base_url);
    println!("{agent:?}");
    let agent = agent.timeout(SHORT).build().unwrap();
    println!("{agent:?}");
    for provider in ["sandbox-bearer", "sandbox-query", PROVIDER] {
        let call = agent.request(Method::GET, program.world.api("/me")).provider(provider);
        finish(&format!("agent, {provider}"), call.send().await).await;
    }
    show("agent's list", &agent.grants().list().send().await);
    agent.close().await;
}

/// A vault that is not there, answers nonsense, or answers with what it was asked; tokens and keys that are wrong.
async fn faults(program: &mut Program, alice: &UserToken) {
    let url = program.world.api("/me");
    let garbage = format!("http://{}", program.mirror.garbage);
    let dead = format!("http://{}", program.mirror.dead);
    let mirror = format!("http://{}", program.mirror.addr);
    for vault in [garbage, dead, mirror] {
        let app =
            App::builder(program.tenant.key.as_str()).backend_url(&vault).timeout(SHORT).build().unwrap();
        let user = app.for_user(alice.clone());
        finish(&vault, user.request(Method::GET, url.as_str()).provider(PROVIDER).send().await).await;
        show(&vault, &user.grants().list().send().await);
        show(&vault, &app.verify_user_token(alice).await);
        app.close().await;
    }
    let key = program.plant(
        "another key",
        Kind::ApiKey,
        ApiKey::mint(alter_core::wire::key::KeyKind::Runtime).unwrap().expose().to_owned(),
    );
    let broken = format!("{}a", &key[..key.len() - 1]);
    for key in [key.as_str(), broken.as_str()] {
        match App::builder(key).backend_url(&program.world.base_url).build() {
            Ok(app) => {
                let user = app.for_user(alice.clone());
                let call = user.request(Method::GET, url.as_str()).provider(PROVIDER);
                finish("unknown key", call.send().await).await;
            }
            Err(error) => show::<()>("broken key", &Err(error)),
        }
    }
    let password = program.invent("password in the vault's URL");
    let urls = [
        format!("http://user:{}@127.0.0.1/", hex::encode(&password)),
        format!("http://127.0.0.1/?key={password}"),
    ];
    for vault in urls {
        show(
            "a vault's URL with a secret",
            &App::builder(program.tenant.key.as_str()).backend_url(vault).build(),
        );
    }
    let app = App::builder(program.tenant.key.as_str())
        .backend_url(&program.world.base_url)
        .user_token_getter({
            let secret = program.invent("text of a getter's error");
            move || Err::<UserToken, _>(std::io::Error::other(secret.clone()))
        })
        .build()
        .unwrap();
    finish("a getter that fails", app.request(Method::GET, url.as_str()).provider(PROVIDER).send().await)
        .await;
    let inline = program.invent("secret in the URL of a call");
    let user = app.for_user(alice.clone());
    for url in [
        format!("http://user:{}@{}/api/me", hex::encode(&inline), program.world.sandbox.addr()),
        format!("{url}?access_token={}", hex::encode(&inline)),
        format!("{url}?api_key={}", hex::encode(&inline)),
    ] {
        let call = user.request(Method::GET, url).provider(PROVIDER);
        println!("{call:?}");
        finish("a URL with a secret", call.send().await).await;
    }
    let call = user
        .request(Method::GET, url.as_str())
        .header("Authorization", format!("Bearer {}", hex::encode(&inline)))
        .header("X-Auth-Token", inline.as_str())
        .header("Cookie", format!("session={inline}"))
        .provider(PROVIDER);
    println!("{call:?}");
    finish("headers with a secret", call.send().await).await;
    let call =
        user.request(Method::GET, url.as_str()).header("X-Bad", format!("{inline}\n")).provider(PROVIDER);
    finish("a header that cannot be sent", call.send().await).await;
    for status in [401, 500] {
        program.world.sandbox.set_faults(Faults::default().api_status(status));
        finish(
            "a provider with a fault",
            user.request(Method::GET, url.as_str()).provider(PROVIDER).send().await,
        )
        .await;
    }
    program.world.sandbox.set_faults(Faults::default());
    app.close().await;
}

async fn revoked(program: &mut Program) {
    let (grant, tokens) = program.tenant.connect(&program.world.sandbox, "carol", "work").await;
    program.plant("revoked access token", Kind::Text, &tokens.access_token["sbx_at_".len()..]);
    program.plant("revoked refresh token", Kind::Text, &tokens.refresh_token["sbx_rt_".len()..]);
    let carol = UserToken::parse(program.jwt("carol")).unwrap();
    let app = App::builder(program.tenant.key.as_str()).backend_url(&program.world.base_url).build().unwrap();
    let user = app.for_user(carol);
    let revoke = user.grants().revoke(grant.uuid()).reason("done");
    show("revoke", &revoke.send().await);
    show("revoke again", &user.grants().revoke(grant.uuid()).send().await);
    finish("revoked", user.request(Method::GET, program.world.api("/me")).provider(PROVIDER).send().await)
        .await;
    app.close().await;
}

/// Services made with axum and actix, whose callers get the failures as answers.
pub(super) async fn services(program: &mut Program) {
    let token = program.jwt("alice");
    let expired = program.world.sandbox.mint(TokenRequest::subject("alice").ttl(-600));
    let expired = program.plant("expired JWT", Kind::Jwt, expired);
    let hostile = program.invent("token that is none");
    let http = plain_client();
    let mirror = |path: &str| format!("http://{}{path}", program.mirror.addr);
    for (provider, url) in [
        (PROVIDER, program.world.api("/me")),
        (PROVIDER, program.world.api("/status/403")),
        ("mirror", mirror("/400")),
        ("mirror", mirror("/200")),
        ("dead", format!("http://{}/", program.mirror.dead)),
    ] {
        let app =
            || App::builder(program.tenant.key.as_str()).backend_url(&program.world.base_url).timeout(SHORT);
        let (one, other) = (app().build().unwrap(), app().build().unwrap());
        let axum = axum_app::serve(Stage::new(&one, provider, &url)).await;
        let actix = ActixApp::serve(Stage::new(&other, provider, &url));
        for base_url in [&axum.base_url, &actix.base_url] {
            for way in Way::ALL {
                for authorization in [
                    Some(format!("Bearer {token}")),
                    Some(format!("Bearer {expired}")),
                    Some(format!("Bearer {hostile}")),
                    Some(format!("Basic {hostile}")),
                    Some(hostile.clone()),
                    Some(format!("Bearer {token} {hostile}")),
                    None,
                ] {
                    let mut request = http.get(format!("{base_url}/{}/x", way.name()));
                    if let Some(authorization) = authorization {
                        request = request.header("authorization", authorization);
                    }
                    let response = request.send().await.unwrap();
                    println!("{way:?}: {} {:?}", response.status(), response.headers());
                    println!("{}", response.text().await.unwrap_or_default());
                }
            }
        }
        one.close().await;
        other.close().await;
        drop((axum, actix));
    }
}

/// Requests made by hand, with secrets where they do not belong.
pub(super) async fn strangers(program: &mut Program) {
    let alice = program.jwt("alice");
    let misplaced = program.invent("misplaced secret");
    let (key, url) = (program.tenant.key.clone(), program.world.api("/me"));
    let minted = |program: &mut Program, name: &str, request: TokenRequest| {
        let token = program.world.sandbox.mint(request);
        program.plant(name, Kind::Jwt, token)
    };
    let bad = [
        minted(program, "unsigned JWT", TokenRequest::subject("alice").algorithm(TokenAlgorithm::None)),
        minted(program, "confused JWT", TokenRequest::subject("alice").algorithm(TokenAlgorithm::Hs256)),
        minted(program, "forged JWT", TokenRequest::subject("alice").forged()),
        minted(program, "JWT of another issuer", TokenRequest::subject("alice").issuer("https://x.example")),
        minted(program, "JWT with an unknown key", TokenRequest::subject("alice").kid("none")),
        minted(
            program,
            "JWT with a hostile claim",
            TokenRequest::subject("alice").claim("exp", json!("soon")),
        ),
    ];
    let mut drafts: Vec<Draft> =
        bad.iter().map(|token| Draft::by_provider(PROVIDER, Some(token), &url).signed(&key)).collect();
    let post = |body: &serde_json::Value| Draft::post("/sdk/token", body);
    for body in [
        json!({"provider_id": PROVIDER, "user_token": [alice]}),
        json!({"provider_id": misplaced, "user_token": misplaced}),
        json!({"provider_id": {"x": misplaced}}),
        json!({"grant_id": misplaced}),
        json!({"grant_id": 7, "user_token": alice, "request": misplaced}),
        json!([misplaced]),
        json!(misplaced),
    ] {
        drafts.push(post(&body).signed(&key));
    }
    drafts.push(
        Draft { body: format!("{{\"user_token\": \"{alice}\", ").into_bytes(), ..post(&json!({})) }
            .signed(&key),
    );
    drafts.push(post(&json!({"user_token": alice})).signed(&key).body(&json!({"user_token": alice, "x": 1})));
    drafts.push(Draft::post(format!("/sdk/token?user_token={alice}"), &json!({})).signed(&key));
    drafts.push(Draft::post("/sdk/auth/verify-token", &json!({"token": misplaced})).signed(&key));
    drafts
        .push(Draft::post("/sdk/grants/list", &json!({"user_token": misplaced, "limit": "x"})).signed(&key));
    drafts.push(post(&json!({})).header(alter_core::wire::header::API_KEY, &hex::encode(&misplaced)));
    drafts.push(
        Draft::by_provider(PROVIDER, Some(&alice), &format!("http://u:{}@h/", hex::encode(&misplaced)))
            .signed(&key),
    );
    drafts.push(
        Draft::by_provider(
            PROVIDER,
            Some(&alice),
            &format!("https://h.example/?token={}&sig=x", hex::encode(&misplaced)),
        )
        .signed(&key),
    );
    for draft in drafts {
        let reply = draft.send(&program.world.http, &program.world.base_url).await;
        assert_ne!(reply.status, 200, "{}", draft.target);
        println!("{}", String::from_utf8_lossy(&reply.everything()));
    }
    program.plant(
        "the app's signature key",
        Kind::Bytes,
        hex::encode(ApiKey::parse(key).unwrap().signing_key().expose()),
    );
}
