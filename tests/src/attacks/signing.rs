//! Requests that were forged, changed, stripped or sent again.

use alter_core::wire::{grants, header, sign::Stamp, token};
use alter_server::{audit::Action, domain::GrantId};
use http::HeaderName;
use serde_json::json;

use super::Scene;
use crate::harness::{Draft, unix_now};

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
