//! Honest callers who reach for what is not theirs.

use alter_core::wire::{grants, token};
use alter_server::domain::GrantId;
use serde_json::{Value, json};

use super::Scene;
use crate::harness::{Draft, Reply, world::PROVIDER};

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
