//! What a release costs with few and with many grants in the store.
//!
//! Every grant is real: its tokens are sealed for its row, so any of them can be called. They are written past the vault,
//! with `COPY` and as SQLite rows, because ten million imports with an audit row each would take an hour.

mod fill;

use std::time::Duration;

use alter_core::wire::key::ApiKey;
use serde_json::json;

use crate::{
    Outcome, Rounds,
    load::{self, Requests},
    one_thread,
    postgres::Server,
    process::{Cpu, Process},
    store::{self, App, Kind, PROVIDER, Site},
    table::{Comparison, Goal, Round, Side},
    vault,
};

const CONNECTIONS: usize = 32;
/// Grants that are called again and again.
const HOT: u64 = 500;

/// Which grants are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// The same few, spread over the whole store.
    Hot,
    /// Any.
    All,
}

struct Filled {
    name: String,
    grants: u64,
    app: App,
    process: Process,
    _site: Site,
    memory: f64,
}

/// Measures and prints. With `unindexed`, each size once more without the index of the trail by grant.
pub(crate) fn measure(rounds: Rounds, sizes: &[u64], only: Option<Kind>, unindexed: bool) -> Outcome<()> {
    let sizes: Vec<(u64, bool)> = if unindexed {
        sizes.iter().flat_map(|grants| [(*grants, false), (*grants, true)]).collect()
    } else {
        sizes.iter().map(|grants| (*grants, false)).collect()
    };
    let runtime = one_thread()?;
    for kind in [Kind::Postgres, Kind::Sqlite] {
        if only.is_none_or(|only| only == kind) {
            runtime.block_on(of_store(kind, &sizes, rounds))?;
        }
    }
    Ok(())
}

async fn of_store(kind: Kind, sizes: &[(u64, bool)], rounds: Rounds) -> Outcome<()> {
    let server = (kind == Kind::Postgres).then(Server::start);
    let mut filled = Vec::new();
    for (grants, unindexed) in sizes {
        let site = Site::new(server.as_ref()).await?;
        let app = store::set_up(&site.place).await?;
        let began = std::time::Instant::now();
        fill::fill(&site, app.id, *grants).await?;
        let mut name = format!("{grants} grants");
        if *unindexed {
            fill::drop_index(&site).await?;
            name.push_str(", trail not indexed by grant");
        }
        let bytes = fill::bytes(&site).await?;
        println!(
            "{}: {grants} grants written in {:.0} s, {:.0} MB",
            kind.name(),
            began.elapsed().as_secs_f64(),
            bytes / 1e6
        );
        let process = site.place.serve()?;
        filled.push(Filled { name, grants: *grants, app, process, _site: site, memory: 0.0 });
    }
    for calls in [Calls::Hot, Calls::All] {
        compare(kind, calls, server.as_ref(), &mut filled, rounds).await?.print();
    }
    for one in &filled {
        println!("memory of the vault with {}: {:.0} MB", one.name, one.memory);
    }
    Ok(())
}

async fn compare(
    kind: Kind,
    calls: Calls,
    server: Option<&Server>,
    filled: &mut [Filled],
    rounds: Rounds,
) -> Outcome<Comparison> {
    let mut sides: Vec<Side> = filled.iter().map(|one| Side::new(one.name.clone())).collect();
    let mut rates = Vec::new();
    for one in filled.iter() {
        let warm = Requests::once(requests(one, calls, 20_000)?);
        let seen = load::run(one.process.addr()?, CONNECTIONS, Duration::from_secs(3), warm).await?;
        rates.push(seen.per_second());
    }
    for _ in 0..rounds.rounds {
        for ((one, side), rate) in filled.iter_mut().zip(&mut sides).zip(&rates) {
            let enough = (rate * rounds.seconds * 2.0) as usize + 5_000;
            let requests = Requests::once(requests(one, calls, enough)?);
            let before = (one.process.cpu(), server.map(Server::cpu));
            let answers = load::run(one.process.addr()?, CONNECTIONS, rounds.time(), requests).await?;
            let database = server.map_or(0.0, Server::cpu) - before.1.unwrap_or(0.0);
            let own = one.process.cpu().since(&before.0, answers.latencies.len());
            side.rounds.push(Round::new(&answers, own + database / answers.latencies.len().max(1) as f64));
            one.memory = one.process.memory();
        }
    }
    let what = match calls {
        Calls::Hot => format!("{HOT} of the grants"),
        Calls::All => "any grant".to_owned(),
    };
    let goals = (1..sides.len()).map(|ours| Goal { ours, reference: 0, least: 1.0 / 1.2 }).collect();
    let name = format!("scale, {}, calls for {what}; CPU is vault and database", kind.name());
    Ok(Comparison { name, concurrency: CONNECTIONS, sides, goals })
}

/// Signed calls, by turns by the grant's id and by its provider and user.
fn requests(one: &Filled, calls: Calls, count: usize) -> Outcome<Vec<Vec<u8>>> {
    let key: &ApiKey = &one.app.key;
    let mut state = 0x2545_f491_4f6c_dd1d ^ std::process::id() as u64 ^ Cpu::of(std::process::id()).total();
    (0..count)
        .map(|number| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let grant = match calls {
                Calls::Hot => state % HOT.min(one.grants) * (one.grants / HOT.min(one.grants)),
                Calls::All => state % one.grants,
            };
            let mut body = if number % 2 == 0 {
                json!({"grant_id": fill::grant_id(one.app.id, grant)})
            } else {
                json!({"provider_id": PROVIDER, "app_user_id": fill::user_id(one.app.id, grant)})
            };
            body["reason"] = serde_json::Value::Null;
            body["request"] =
                json!({"method": "GET", "url": "https://www.googleapis.com/calendar/v3/events"});
            vault::call(key, &serde_json::to_vec(&body)?)
        })
        .collect()
}
