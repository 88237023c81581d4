//! What a connect costs: one after another, and many at once. The vault is a process of its own; sandbox, browsers and app
//! are this one, on the same cores.

mod provider;
mod walk;
mod world;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinSet;

use self::{
    provider::{Asked, total},
    walk::{Proof, Steps},
    world::World,
};
use crate::{Outcome, process::Process, store::Kind};

/// Connects one after another: the first few are not counted.
const WARM_UP: usize = 5;
const COUNTED: usize = 40;
/// Server time of a connect beyond the provider's own answers, in milliseconds.
const GOAL_MS: f64 = 50.0;
/// Longest time for one connect, and for all at once.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures and prints.
pub(crate) fn measure(at_once: usize, only: Option<Kind>) -> Outcome<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        for kind in [Kind::Sqlite, Kind::Postgres] {
            if only.is_some_and(|only| only != kind) {
                continue;
            }
            let world = Arc::new(World::start(kind).await?);
            let done = of_world(&world, at_once).await;
            if let Ok(world) = Arc::try_unwrap(world) {
                world.stop().await;
            }
            done?;
        }
        Ok(())
    })
}

async fn of_world(world: &Arc<World>, at_once: usize) -> Outcome<()> {
    for proof in [Proof::Cookie, Proof::SignIn] {
        one_by_one(world, proof).await?;
    }
    all_at_once(world, at_once).await
}

fn browser() -> Outcome<reqwest::Client> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    Ok(client.timeout(PATIENCE).build()?)
}

async fn one_by_one(world: &World, proof: Proof) -> Outcome<()> {
    let how = match proof {
        Proof::Cookie => "the app's cookie",
        Proof::SignIn => "signing in",
    };
    let http = browser()?;
    let bare = Process::start(&["serve", "bare"], None)?;
    let nothing = format!("http://{}/", bare.addr()?);
    let (mut vault, mut provider, mut reference) = (Vec::new(), Vec::new(), Vec::new());
    let mut steps: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    let mut order: Vec<&'static str> = Vec::new();
    let mut asked = Asked::default();
    let mut before = (world.vault.cpu(), database_cpu(world));
    for number in 0..WARM_UP + COUNTED {
        if number == WARM_UP {
            before = (world.vault.cpu(), database_cpu(world));
        }
        let user = format!("{proof:?}-{number}").to_lowercase();
        let token = world.token(&user);
        world.provider.take();
        let taken = walk::connect(world, &http, &user, &token, proof).await?;
        let its = world.provider.take();
        let began = Instant::now();
        for _ in &taken {
            http.get(&nothing).send().await?.bytes().await?;
        }
        if number < WARM_UP {
            continue;
        }
        reference.push(ms(began.elapsed()));
        let all = taken.iter().map(|(_, took)| *took).sum::<Duration>();
        vault.push(ms(all.saturating_sub(total(&its))));
        provider.push(ms(total(&its)));
        for (step, took) in taken {
            if !order.contains(&step) {
                order.push(step);
            }
            steps.entry(step).or_default().push(ms(took));
        }
        asked.append(&mut merged(&asked, its));
    }
    let cpu = world.vault.cpu().since(&before.0, COUNTED) / 1000.0;
    let database = (database_cpu(world) - before.1) / 1000.0 / COUNTED as f64;
    let [vault, provider, reference] = [vault, provider, reference].map(sorted);
    let (p50, p99) = (share(&vault, 0.5), share(&vault, 0.99));
    println!(
        "\nconnect, {}, proved by {how}, one after another, {COUNTED} times: ms per connect",
        world.kind.name()
    );
    println!("{:<44}{:>10}{:>10}", "", "p50", "p99");
    for (name, all) in [
        ("vault, without the provider's answers", &vault),
        ("the provider's answers", &provider),
        ("as many requests to a bare axum handler", &reference),
    ] {
        println!("{name:<44}{:>10.2}{:>10.2}", share(all, 0.5), share(all, 0.99));
    }
    println!("processor time: vault {cpu:.2}, database {database:.2}");
    println!("of it, by request (the callbacks with the provider's answers):");
    for step in order {
        let all = sorted(steps.remove(step).unwrap_or_default());
        let times = all.len() / COUNTED;
        println!("  {step:<42}{:>10.2}{:>10.2}{times:>4} x", share(&all, 0.5), share(&all, 0.99));
    }
    for (path, (count, took)) in &asked {
        let mean = ms(*took) / *count as f64;
        println!("  asked of the provider: {path:<19}{mean:>10.2}{:>10.2} x", *count as f64 / COUNTED as f64);
    }
    println!("goal {}: {p50:.1} ms (goal {GOAL_MS})", if p50 <= GOAL_MS { "reached" } else { "NOT reached" });
    println!(
        "{}",
        json!({"bench": "connect", "store": world.kind.name(), "proof": how, "vault_p50_ms": p50, "vault_p99_ms": p99,
            "provider_p50_ms": share(&provider, 0.5), "bare_p50_ms": share(&reference, 0.5), "vault_cpu_ms": cpu,
            "database_cpu_ms": database})
    );
    Ok(())
}

fn merged(all: &Asked, more: Asked) -> Asked {
    let add = |(path, (count, took)): (String, (usize, Duration))| {
        let before = all.get(&path).copied().unwrap_or_default();
        (path, (before.0 + count, before.1 + took))
    };
    more.into_iter().map(add).collect()
}

/// Every user in a browser of its own, all of them beginning at the same time.
async fn all_at_once(world: &Arc<World>, count: usize) -> Outcome<()> {
    let users: Vec<(String, String)> = (0..count)
        .map(|number| {
            let user = format!("crowd-{number}");
            let token = world.token(&user);
            (user, token)
        })
        .collect();
    world.provider.take();
    let http = browser()?;
    let before = (world.vault.cpu(), database_cpu(world));
    let began = Instant::now();
    let mut browsers = JoinSet::new();
    for (user, token) in users {
        let (world, http) = (Arc::clone(world), http.clone());
        browsers.spawn(async move {
            let began = Instant::now();
            let walked = walk::connect(&world, &http, &user, &token, Proof::Cookie);
            let done = tokio::time::timeout(PATIENCE, walked).await;
            (began.elapsed(), done.unwrap_or_else(|_| Err("not done in two minutes".into())))
        });
    }
    let (mut took, mut requests, mut errors) = (Vec::new(), Vec::new(), BTreeMap::<String, usize>::new());
    while let Some(done) = browsers.join_next().await {
        match done? {
            (whole, Ok(steps)) => {
                took.push(ms(whole));
                requests.extend(slowest(&steps));
            }
            (_, Err(error)) => *errors.entry(error.to_string()).or_default() += 1,
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = world.vault.cpu().since(&before.0, count) / 1000.0;
    let database = (database_cpu(world) - before.1) / 1000.0 / count as f64;
    let failed: usize = errors.values().sum();
    let (took, requests) = (sorted(took), sorted(requests));
    println!(
        "\nconnect, {}, {count} at once: {} done in {seconds:.1} s ({:.0} per second), {failed} errors",
        world.kind.name(),
        took.len(),
        took.len() as f64 / seconds
    );
    println!("{:<44}{:>10}{:>10}{:>10}", "ms", "p50", "p99", "max");
    for (name, all) in [("whole connect", &took), ("its slowest request", &requests)] {
        println!("{name:<44}{:>10.0}{:>10.0}{:>10.0}", share(all, 0.5), share(all, 0.99), share(all, 1.0));
    }
    println!("processor time per connect: vault {cpu:.2} ms, database {database:.2} ms");
    for (error, times) in errors.iter().take(5) {
        println!("  {times} x {error}");
    }
    println!("goal {}: no error (goal 0)", if failed == 0 { "reached" } else { "NOT reached" });
    println!(
        "{}",
        json!({"bench": "connect at once", "store": world.kind.name(), "count": count, "seconds": seconds,
            "p50_ms": share(&took, 0.5), "p99_ms": share(&took, 0.99), "errors": failed, "vault_cpu_ms": cpu,
            "database_cpu_ms": database})
    );
    Ok(())
}

fn slowest(steps: &Steps) -> Option<f64> {
    steps.iter().map(|(_, took)| ms(*took)).max_by(f64::total_cmp)
}

/// Microseconds of all processes of the database so far.
fn database_cpu(world: &World) -> f64 {
    world.server.as_ref().map_or(0.0, crate::postgres::Server::cpu)
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

fn sorted(mut all: Vec<f64>) -> Vec<f64> {
    all.sort_by(f64::total_cmp);
    all
}

/// What this share (0 to 1) of them did not exceed.
fn share(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).ceil() as usize).copied().unwrap_or(f64::NAN)
}
