//! A revoked grant is refused from the moment that its revocation was answered: on this vault, on a second one that
//! works on the same folder, and on a server while the command line writes beside it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alter_core::{
    App, Kind, UserToken,
    error::{Error, Grant},
};
use alter_sandbox::{Sandbox, TokenAlgorithm, TokenRequest};
use alter_server::{audit::Action, domain::GrantId};
use http::Method;
use tokio::task::JoinHandle;

use crate::harness::{
    Served, Tenant, World, cli_json,
    world::{PROVIDER, open, serve},
};

const REVOCATIONS: usize = 200;
/// Calls at once that keep vault and store busy meanwhile.
const LOAD: usize = 3;
/// Revocations by a process of its own: each is one start of the command line.
const BY_COMMAND: usize = 8;

struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<usize>>,
}

impl Load {
    fn start(app: &App, tokens: &[UserToken], url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = tokens.iter().map(|token| {
            let (user, url, stop) = (app.for_user(token.clone()), url.to_owned(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.load(Ordering::SeqCst) {
                    let answer =
                        user.request(Method::GET, url.as_str()).provider(PROVIDER).send().await.unwrap();
                    answer.bytes().await.unwrap();
                    calls += 1;
                }
                calls
            })
        });
        Self { tasks: tasks.collect(), stop }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let mut calls = 0;
        for task in self.tasks {
            calls += task.await.unwrap();
        }
        calls
    }
}

fn token(sandbox: &Sandbox, sub: &str) -> UserToken {
    UserToken::parse(sandbox.mint(TokenRequest::subject(sub))).unwrap()
}

async fn call(app: &App, token: &UserToken, url: &str) -> Result<(), Error> {
    let answer = app.for_user(token.clone()).request(Method::GET, url).provider(PROVIDER).send().await?;
    answer.bytes().await.map(drop)
}

fn assert_revoked(result: Result<(), Error>, what: &str) {
    let error = result.expect_err(what);
    assert!(matches!(error.kind(), Kind::Grant(Grant::Revoked)), "{what}: {error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_counts_for_the_very_next_call_under_load() {
    let world = World::start().await;
    let tenant = world.tenant("revocations").await;
    let (sandbox, url) = (&world.sandbox, world.api("/me"));
    let client = || App::builder(tenant.key.as_str());
    let here = client().backend_url(&world.base_url).build().unwrap();
    // Another vault on the same folder, with its own caches: what another process would be.
    let beside = world.beside().await;
    let (base_url, server) = serve(&beside).await;
    let there = client().backend_url(base_url).build().unwrap();

    let mut busy = Vec::new();
    for number in 0..LOAD {
        let sub = format!("busy-{number}");
        tenant.connect(sandbox, &sub, "work").await;
        busy.push(token(sandbox, &sub));
    }
    let mut victims = Vec::new();
    for number in 0..REVOCATIONS {
        let sub = format!("victim-{number}");
        let (grant, _) = tenant.connect(sandbox, &sub, "work").await;
        victims.push((grant, token(sandbox, &sub)));
    }
    let load = Load::start(&here, &busy, &url);
    for (number, (grant, token)) in victims.iter().enumerate() {
        // Both have served the grant a moment ago, so whatever they remember of it is fresh.
        call(&here, token, &url).await.unwrap();
        call(&there, token, &url).await.unwrap();
        // Calls that race with the revocation may win or lose; one that starts after it must lose.
        let revoked = Arc::new(AtomicBool::new(false));
        let racer = {
            let (app, token, url, revoked) = (here.clone(), token.clone(), url.clone(), Arc::clone(&revoked));
            tokio::spawn(async move {
                loop {
                    let after = revoked.load(Ordering::SeqCst);
                    match call(&app, &token, &url).await {
                        Ok(()) => assert!(!after, "a call that began after the revocation succeeded"),
                        refused => break assert_revoked(refused, "a racing call"),
                    }
                }
            })
        };
        match number % 3 {
            0 => drop(here.for_user(token.clone()).grants().revoke(grant.uuid()).send().await.unwrap()),
            1 => drop(there.for_user(token.clone()).grants().revoke(grant.uuid()).send().await.unwrap()),
            _ => drop(beside.admin("test").revoke_grant(tenant.app, *grant, None).await.unwrap()),
        }
        revoked.store(true, Ordering::SeqCst);
        assert_revoked(call(&here, token, &url).await, "the very next call here");
        assert_revoked(call(&there, token, &url).await, "the very next call there");
        let by_id = here.request(Method::GET, url.as_str()).grant(grant.uuid()).send().await;
        assert_revoked(by_id.map(drop), "by grant id");
        racer.await.unwrap();
    }
    let calls = load.end().await;
    assert!(calls > REVOCATIONS / 4, "the load was no load: {calls} calls");
    here.close().await;
    there.close().await;

    // The trail tells the same: nothing of a grant was released after the row of its revocation.
    let mut ended: BTreeMap<GrantId, ()> = BTreeMap::new();
    for row in world.rows().await {
        let Some(grant) = row.grant_id else { continue };
        match row.action {
            Action::GrantRevoked => assert!(ended.insert(grant, ()).is_none(), "revoked once"),
            Action::TokenReleased => {
                assert!(!ended.contains_key(&grant), "released after its revocation: {row:?}");
            }
            _ => {}
        }
    }
    assert_eq!(ended.len(), REVOCATIONS);
    server.abort();
    beside.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_sees_what_the_command_line_revokes() {
    let data = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::builder().algorithms([TokenAlgorithm::Es256]).start().await.unwrap();
    let url = format!("{}/me", sandbox.api_url());
    let vault = open(data.path()).await;
    let tenant = Tenant::create(&vault.admin("test"), &sandbox, "command").await;
    let (mut victims, mut busy) = (Vec::new(), Vec::new());
    for number in 0..BY_COMMAND {
        let sub = format!("victim-{number}");
        let (grant, _) = tenant.connect(&sandbox, &sub, "work").await;
        victims.push((grant, token(&sandbox, &sub)));
    }
    for number in 0..2 {
        let sub = format!("busy-{number}");
        tenant.connect(&sandbox, &sub, "work").await;
        busy.push(token(&sandbox, &sub));
    }
    vault.close().await.unwrap();

    let served = Served::start(data.path(), "error");
    let app = App::builder(tenant.key.as_str()).backend_url(&served.base_url).build().unwrap();
    let load = Load::start(&app, &busy, &url);
    for (grant, token) in &victims {
        call(&app, token, &url).await.unwrap();
        let (folder, id) = (data.path().to_owned(), grant.to_string());
        tokio::task::spawn_blocking(move || cli_json(&folder, &["grant", "revoke", &id])).await.unwrap();
        assert_revoked(call(&app, token, &url).await, "the very next call");
    }
    load.end().await;
    app.close().await;
    assert!(tokio::task::spawn_blocking(move || served.terminate().0).await.unwrap());
    let verified = cli_json(data.path(), &["audit", "verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
    tokio::time::timeout(Duration::from_secs(10), sandbox.stop()).await.unwrap();
}
