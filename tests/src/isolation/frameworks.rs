//! Fifty users at an axum app and an actix app at once, over real sockets, through every way in which a handler can lose
//! track of whom it works for. The sandbox says whose credential each call came with.

pub(crate) mod actix_app;
pub(crate) mod axum_app;
pub(crate) mod work;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use alter_core::{App, wire::key::ApiKey};
use futures_util::{StreamExt as _, stream};

use self::work::{Stage, Way};
use crate::harness::{World, plain_client, world::PROVIDER};

const USERS: usize = 50;
const REQUESTS: usize = 5_000;
/// Requests on their way at once.
const AT_ONCE: usize = 64;
/// The suite's budget on two cores, in a debug build.
const WITHIN: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_5000_interleaved_requests_of_50_users_none_sees_another_users_data() {
    let started = Instant::now();
    let world = World::start().await;
    let tenant = world.tenant("isolation").await;
    let mut tokens = Vec::new();
    for number in 0..USERS {
        let sub = format!("user-{number}");
        tenant.connect(&world.sandbox, &sub, "work").await;
        tokens.push((world.jwt(&sub), sub));
    }
    let url = world.api("/me");
    // One app reaches the vault in its own process, the other over a socket.
    let key = ApiKey::parse(tenant.key.as_str()).unwrap();
    let inside = world.vault.app_client(&key).require_user().build().unwrap();
    let outside =
        App::builder(tenant.key.as_str()).backend_url(&world.base_url).require_user().build().unwrap();
    let axum = axum_app::serve(Stage::new(&inside, PROVIDER, &url)).await;
    let actix = actix_app::ActixApp::serve(Stage::new(&outside, PROVIDER, &url));
    let apps = [axum.base_url.clone(), actix.base_url.clone()];
    let (http, tokens) = (plain_client(), Arc::new(tokens));

    let requests = stream::iter(0..REQUESTS).map(|number| {
        // Neighbours in time differ in user, framework and way; every combination comes up.
        let user = (number * 7) % USERS;
        let framework = (number / USERS) % 2;
        let way = Way::ALL[(number / (2 * USERS) + number) % Way::ALL.len()];
        let (http, tokens, base_url) = (http.clone(), Arc::clone(&tokens), apps[framework].clone());
        async move {
            let (token, sub) = &tokens[user];
            let call = format!("{sub}/{framework}/{number}");
            let request = http.get(format!("{base_url}/{}/{call}", way.name())).bearer_auth(token);
            let response = request.send().await.unwrap();
            let status = response.status();
            let text = response.text().await.unwrap();
            assert_eq!(status, 200, "{way:?} {call}: {text}");
            let said: Vec<&str> = text.lines().collect();
            let expected = match way {
                Way::SpawnedWithoutScope => vec!["nobody"],
                way => vec![sub.as_str(); way.calls()],
            };
            assert_eq!(said, expected, "{way:?} of {sub} at {base_url}");
            (framework, way)
        }
    });
    let done: Vec<_> = tokio::time::timeout(WITHIN, requests.buffer_unordered(AT_ONCE).collect())
        .await
        .expect("5,000 requests end within the budget");
    let mut by_way: BTreeMap<_, usize> = BTreeMap::new();
    for key in &done {
        *by_way.entry(*key).or_default() += 1;
    }
    assert_eq!(by_way.len(), 2 * Way::ALL.len(), "{by_way:?}");

    // Strangers get nothing, on the same warm connections.
    for base_url in &apps {
        let refused = http.get(format!("{base_url}/{}/stranger", Way::Plain.name())).send().await.unwrap();
        assert_eq!(refused.status(), 401, "{base_url}");
        assert_eq!(refused.headers()["www-authenticate"], "Bearer", "{base_url}");
    }
    inside.close().await;
    outside.close().await;

    // The provider's own record says the same as the answers: each call came with the credential of its user.
    let calls = world.sandbox.calls();
    let expected: usize = by_way.iter().map(|((_, way), count)| way.calls() * count).sum();
    assert_eq!(calls.len(), expected);
    for call in calls {
        let id = call.call_id.as_deref().unwrap();
        assert_eq!(call.sub.as_deref(), id.split('/').next(), "{call:?}");
    }
    drop((axum, actix));
    eprintln!("isolation: {REQUESTS} requests in {:.1} s", started.elapsed().as_secs_f32());
}
