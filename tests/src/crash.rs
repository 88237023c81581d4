//! `kill -9` in the middle of the work: what a provider saw is written down, the chains verify, the store opens at once.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alter_core::{App, UserToken};
use alter_sandbox::{Sandbox, TokenAlgorithm, TokenRequest};
use alter_server::{
    audit::{Action, AuditRow},
    domain::AppId,
};
use http::Method;
use serde_json::json;

use crate::harness::{
    Draft, Served, Tenant, cli_json, plain_client,
    world::{PROVIDER, open, rows},
};

const ROUNDS: u64 = 10;
const CLIENTS: u64 = 8;
/// How long each round's load runs at least before the server is killed, and how many calls it makes at least.
const LOAD: Duration = Duration::from_millis(400);
const CALLS: u64 = 20;
/// How long it may take for that on a busy machine.
const LOAD_WITHIN: Duration = Duration::from_secs(10);
/// "At once": from the start of the process to the line that says it serves.
const OPENS_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_every_call_that_the_provider_saw_has_its_row() {
    let data = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::builder().algorithms([TokenAlgorithm::Es256]).start().await.unwrap();
    let (app, key) = set_up(data.path(), &sandbox).await;
    let (http, mut handed_out, mut before) = (plain_client(), Vec::new(), 0);
    for round in 0..ROUNDS {
        let served = Served::start(data.path(), "error");
        assert!(served.ready_after <= OPENS_WITHIN, "round {round}: ready after {:?}", served.ready_after);
        let client = App::builder(key.as_str())
            .backend_url(&served.base_url)
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let load: Vec<_> = (0..CLIENTS)
            .map(|number| {
                tokio::spawn(load(
                    client.clone(),
                    sandbox_user(&sandbox, number),
                    round,
                    number,
                    api(&sandbox),
                    Arc::clone(&stop),
                ))
            })
            .collect();
        let started = Instant::now();
        while started.elapsed() < LOAD || sandbox.counts().api_calls < before + CALLS {
            assert!(started.elapsed() < LOAD_WITHIN, "round {round}: the load hardly reaches the provider");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // A credential has just come out: its row must be durable at this very moment.
        let last = format!("last/{round}");
        let body = json!({
            "provider_id": PROVIDER,
            "reason": last,
            "request": {"method": "GET", "url": api(&sandbox)},
            "user_token": sandbox.mint(TokenRequest::subject("user-0")),
        });
        let draft = Draft::post("/sdk/token", &body);
        let reply = draft.signed(&key).send(&http, &served.base_url).await;
        served.kill();
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        handed_out.push(last);
        stop.store(true, Ordering::SeqCst);
        for task in load {
            task.await.unwrap();
        }
        before = sandbox.counts().api_calls;
        let verified = cli_json(data.path(), &["audit", "verify"]);
        assert_eq!(verified["ok"], true, "round {round}: {verified}");
    }

    let vault = open(data.path()).await;
    let rows = rows(&vault.admin("test"), Some(app)).await;
    let released: BTreeSet<&str> = rows
        .iter()
        .filter(|row| row.action == Action::TokenReleased)
        .filter_map(|row: &AuditRow| row.reason.as_deref())
        .collect();
    for last in &handed_out {
        assert!(released.contains(last.as_str()), "{last} was handed out, and no row says so");
    }
    let calls = sandbox.calls();
    for call in &calls {
        let id = call.call_id.as_deref().expect("every call was numbered");
        assert!(released.contains(id), "the provider saw call {id}, and no row says that it was released");
        // user-3 asked, user-3's account was called.
        assert_eq!(call.sub.as_deref(), id.split('/').next(), "{call:?}");
    }
    assert!(released.len() >= calls.len(), "{} rows for {} calls", released.len(), calls.len());
    vault.close().await.unwrap();
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_asked_to_stop_closes_its_chains() {
    let data = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::builder().algorithms([TokenAlgorithm::Es256]).start().await.unwrap();
    let (_, key) = set_up(data.path(), &sandbox).await;
    let served = Served::start(data.path(), "error");
    let client = App::builder(key.as_str()).backend_url(&served.base_url).build().unwrap();
    let user = client.for_user(sandbox_user(&sandbox, 0));
    user.request(Method::GET, api(&sandbox))
        .provider(PROVIDER)
        .reason("once")
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    client.close().await;
    assert!(
        tokio::task::spawn_blocking(move || served.terminate().0).await.unwrap(),
        "it said that all was well"
    );
    let verified = cli_json(data.path(), &["audit", "verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
    let chains = verified["chains"].as_array().unwrap();
    // The command that looks has a chain of its own only if it writes.
    assert!(chains.iter().all(|chain| chain["closed"] == true), "{verified}");
    let vault = open(data.path()).await;
    let actions: Vec<_> = rows(&vault.admin("test"), None).await.iter().map(|row| row.action).collect();
    assert!(
        actions.contains(&Action::TokenReleased) && actions.contains(&Action::CallReported),
        "{actions:?}"
    );
    vault.close().await.unwrap();
}

/// An app and its users, made by a vault that is closed again before the server opens the folder.
async fn set_up(data: &Path, sandbox: &Sandbox) -> (AppId, String) {
    let vault = open(data).await;
    let tenant = Tenant::create(&vault.admin("test"), sandbox, "crash").await;
    for number in 0..CLIENTS {
        tenant.connect(sandbox, &format!("user-{number}"), "work").await;
    }
    vault.close().await.unwrap();
    (tenant.app, tenant.key)
}

fn sandbox_user(sandbox: &Sandbox, number: u64) -> UserToken {
    UserToken::parse(sandbox.mint(TokenRequest::subject(format!("user-{number}")))).unwrap()
}

fn api(sandbox: &Sandbox) -> String {
    format!("{}/me", sandbox.api_url())
}

/// Calls until told to stop; what fails because the server is dead is what this is about.
async fn load(client: App, token: UserToken, round: u64, number: u64, url: String, stop: Arc<AtomicBool>) {
    static NEXT: AtomicU64 = AtomicU64::new(0);

    let user = client.for_user(token);
    while !stop.load(Ordering::SeqCst) {
        let id = format!("user-{number}/{round}/{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let call = user
            .request(Method::GET, url.as_str())
            .provider(PROVIDER)
            .reason(id.as_str())
            .header("X-Call-Id", id.as_str());
        match call.send().await {
            Ok(answer) => drop(answer.bytes().await),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
