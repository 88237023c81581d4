//! `POST /sdk/token` of several replicas over one PostgreSQL, against `pgbench` on the same server.

use std::time::Duration;

use alter_sandbox::TokenRequest;
use alter_server::dev::Dev;
use serde_json::json;

use crate::{
    Outcome, Rounds,
    load::{self, Requests},
    one_thread,
    pgbench::{Ran, Script, Way},
    postgres::{Server, children_cpu, written},
    process::{Cpu, Process},
    store::Site,
    table::{Comparison, Goal, Round, Side},
    vault,
};

const REPLICAS: [usize; 3] = [1, 2, 4];
const CALLERS: [usize; 2] = [16, 64];

/// Measures and prints.
pub(crate) fn measure(rounds: Rounds) -> Outcome<()> {
    let runtime = one_thread()?;
    runtime.block_on(async {
        let server = Server::start();
        let site = Site::new(Some(&server)).await?;
        // Sets everything up, and is the identity provider.
        let dev = Dev::start_with(Some(site.place.folder.join("dev")), "http://127.0.0.1".to_owned(), |_| {
            site.place.config()
        })
        .await?;
        let world = World::new(&server, &site, &dev).await?;
        for callers in CALLERS {
            world.compare(callers, rounds).await?.print();
        }
        dev.stop().await?;
        Ok(())
    })
}

struct World<'a> {
    server: &'a Server,
    url: String,
    sql: tokio_postgres::Client,
    key: alter_core::wire::key::ApiKey,
    body: Vec<u8>,
    replicas: Vec<Process>,
    folder: std::path::PathBuf,
}

impl<'a> World<'a> {
    async fn new(server: &'a Server, site: &Site, dev: &Dev) -> Outcome<Self> {
        let database = site.database.as_ref().ok_or("no database")?;
        let token = dev.sandbox.mint(TokenRequest::subject("user-1").ttl(3600));
        let body = json!({
            "provider_id": dev.ready.provider.id,
            "user_token": token,
            "reason": null,
            "request": {"method": "GET", "url": format!("{}/me", dev.ready.provider.api_url)},
        });
        let most = REPLICAS.into_iter().max().unwrap_or(1);
        let world = Self {
            server,
            url: database.text(),
            sql: database.sql().await,
            key: alter_core::wire::key::ApiKey::parse(dev.ready.app.key.expose())?,
            body: serde_json::to_vec(&body)?,
            replicas: (0..most).map(|_| site.place.serve()).collect::<Outcome<_>>()?,
            folder: site.place.folder.clone(),
        };
        // The first call of a minute also notes when the grant was used; what is logged is one after it.
        world.warm(0.2).await?;
        world.log(true).await?;
        for _ in 0..3 {
            let answer = load::once(world.replicas[0].addr()?, &world.calls(1)?[0]).await?;
            if answer.status != 200 {
                return Err(format!("answered {}", answer.status).into());
            }
        }
        world.log(false).await?;
        Ok(world)
    }

    /// Has the server log every statement, or no longer.
    async fn log(&self, on: bool) -> Outcome<()> {
        let change = if on { "SET log_statement = 'all'" } else { "RESET log_statement" };
        self.sql.batch_execute(&format!("ALTER SYSTEM {change}")).await?;
        self.sql.batch_execute("SELECT pg_reload_conf()").await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    fn calls(&self, count: usize) -> Outcome<Vec<Vec<u8>>> {
        (0..count).map(|_| vault::call(&self.key, &self.body)).collect()
    }

    fn addrs(&self, count: usize) -> Outcome<Vec<std::net::SocketAddr>> {
        self.replicas.iter().take(count).map(Process::addr).collect()
    }

    async fn warm(&self, seconds: f64) -> Outcome<f64> {
        let calls = Requests::once(self.calls(20_000)?);
        let time = Duration::from_secs_f64(seconds);
        Ok(load::run_over(&self.addrs(4)?, 16, time, calls).await?.per_second())
    }

    async fn compare(&self, callers: usize, rounds: Rounds) -> Outcome<Comparison> {
        let log = self.server.0.log();
        let scripts = [Way::TwoFlights, Way::OneByOne]
            .into_iter()
            .map(|way| Script::of_last_release(&log, &self.folder, way))
            .collect::<Outcome<Vec<_>>>()?;
        let mut sides = vec![
            Side::new("pgbench, reads and writes in two flights"),
            Side::new("pgbench, one statement after another"),
        ];
        sides.extend(REPLICAS.map(|count| Side::new(format!("replicas: {count}"))));
        let rate = self.warm(1.0).await?;
        let seconds = rounds.seconds.ceil() as u64;
        let mut about = vec![[0.0; 3]; sides.len()];
        for _ in 0..rounds.rounds {
            for (place, script) in scripts.iter().enumerate() {
                let before = (self.server.cpu(), written(&self.sql).await?, children_cpu());
                let ran = script.run(&self.url, callers, seconds)?;
                let count = ran.transactions as f64;
                let own = (children_cpu() - before.2) / count;
                about[place] = [
                    (self.server.cpu() - before.0) / count,
                    own,
                    (written(&self.sql).await? - before.1) / count,
                ];
                sides[place].rounds.push(of(&ran, own));
            }
            for (place, count) in REPLICAS.into_iter().enumerate() {
                let place = place + scripts.len();
                let addrs = self.addrs(count)?;
                let calls = Requests::once(self.calls((rate * rounds.seconds * 2.0) as usize + 5_000)?);
                let cpu = || self.replicas.iter().take(count).map(Process::cpu).collect::<Vec<_>>();
                let before =
                    (self.server.cpu(), written(&self.sql).await?, Cpu::of(std::process::id()), cpu());
                let answers = load::run_over(&addrs, callers, rounds.time(), calls).await?;
                let count = answers.latencies.len();
                let own = cpu().iter().zip(&before.3).map(|(after, before)| after.since(before, count)).sum();
                about[place] = [
                    (self.server.cpu() - before.0) / count as f64,
                    Cpu::of(std::process::id()).since(&before.2, count),
                    (written(&self.sql).await? - before.1) / count as f64,
                ];
                sides[place].rounds.push(Round::new(&answers, own));
            }
        }
        println!(
            "\nper release, in the last round: CPU µs of the database, of the load generator, bytes of log"
        );
        for (side, [database, generator, log]) in sides.iter().zip(&about) {
            println!("{:<44}{database:>11.0}{generator:>11.0}{log:>11.0}", side.name);
        }
        let goals = (2..sides.len()).map(|ours| Goal { ours, reference: 0, least: 0.5 }).collect();
        Ok(Comparison { name: "replicas, POST /sdk/token".to_owned(), concurrency: callers, sides, goals })
    }
}

fn of(ran: &Ran, cpu: f64) -> Round {
    Round { per_second: ran.per_second, p50: ran.latency, p99: f64::NAN, cpu }
}
