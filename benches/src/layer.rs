//! (a) What `AlterLayer` costs a request that does nothing else.

use std::time::Instant;

use alter_axum::{AlterClient, AlterLayer};
use alter_core::App;
use axum::{Router, body::Body, routing::get};
use http::{HeaderValue, Request, header::AUTHORIZATION};
use http_body_util::BodyExt;
use serde_json::json;
use tower::{ServiceExt, layer::util::Identity};

use crate::{
    Outcome, Rounds,
    load::{self, Requests},
    one_thread,
    process::{self, Process},
    table::{Comparison, Goal, Round, Side},
};

const CONNECTIONS: usize = 32;
/// Length of an RS256 token with eight claims.
const TOKEN_LENGTH: usize = 746;

/// Which server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Bare,
    /// A layer that does nothing: what axum itself asks for any layer.
    Nothing,
    Layer,
    Extractor,
}

impl Kind {
    fn router(self) -> Outcome<Router> {
        let handler = get(async || "hello");
        let layer = || Outcome::Ok(AlterLayer::new(App::builder(crate::api_key()?.expose()).build()?));
        Ok(match self {
            Self::Bare => Router::new().route("/", handler),
            Self::Nothing => Router::new().route("/", handler).layer(Identity::new()),
            Self::Layer => Router::new().route("/", handler).layer(layer()?),
            Self::Extractor => {
                let handler = get(async |client: AlterClient| {
                    drop(client);
                    "hello"
                });
                Router::new().route("/", handler).layer(layer()?)
            }
        })
    }
}

/// Serves on one thread until standard input ends.
pub(crate) fn serve(kind: Kind) -> Outcome<()> {
    let router = kind.router()?;
    one_thread()?.block_on(async move {
        let listener = crate::loopback().await?;
        println!("{}", json!({"addr": listener.local_addr()?}));
        tokio::select! {
            served = axum::serve(listener, router) => served?,
            () = crate::orphaned() => {}
        }
        Ok(())
    })
}

/// Measures and prints.
pub(crate) fn measure(rounds: Rounds) -> Outcome<()> {
    let servers = [
        ("axum", Process::start(&["serve", "bare"], Some(0))?),
        ("axum + a layer that does nothing", Process::start(&["serve", "nothing"], Some(0))?),
        ("axum + AlterLayer", Process::start(&["serve", "layer"], Some(0))?),
        ("axum + AlterLayer, handler takes AlterClient", Process::start(&["serve", "extractor"], Some(0))?),
    ];
    process::pin_self(1);
    let token = token();
    in_process(&token)?;
    let request = Requests::repeated(
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\naccept: */*\r\nauthorization: Bearer {token}\r\n\r\n")
            .into_bytes(),
    );
    let mut sides: Vec<Side> = servers.iter().map(|(name, _)| Side::new(*name)).collect();
    one_thread()?.block_on(async {
        for (_, server) in &servers {
            load::run(server.addr()?, CONNECTIONS, rounds.warm_up(), request.cycled()).await?;
        }
        for _ in 0..rounds.rounds {
            for (side, (_, server)) in sides.iter_mut().zip(&servers) {
                let before = server.cpu();
                let answers = load::run(server.addr()?, CONNECTIONS, rounds.time(), request.cycled()).await?;
                let cpu = server.cpu().since(&before, answers.latencies.len());
                side.rounds.push(Round::new(&answers, cpu));
            }
        }
        Outcome::Ok(())
    })?;
    Comparison {
        name: "layer".to_owned(),
        concurrency: CONNECTIONS,
        sides,
        goals: vec![Goal { ours: 2, reference: 0, least: 0.97 }],
    }
    .print();
    Ok(())
}

fn token() -> String {
    format!("{}.{}.{}", "e".repeat(40), "y".repeat(TOKEN_LENGTH - 342), "s".repeat(300))
}

/// The same routers called as services, without sockets: the whole difference, and none of the system's noise.
fn in_process(token: &str) -> Outcome<()> {
    const CALLS: u32 = 50_000;
    const TURNS: usize = 7;
    let kinds = [
        ("axum", Kind::Bare),
        ("axum + a layer that does nothing", Kind::Nothing),
        ("axum + AlterLayer", Kind::Layer),
        ("axum + AlterLayer, handler takes AlterClient", Kind::Extractor),
    ];
    let token = HeaderValue::from_str(&format!("Bearer {token}"))?;
    let mut best = [f64::INFINITY; 4];
    one_thread()?.block_on(async {
        let routers = kinds.iter().map(|(_, kind)| kind.router()).collect::<Outcome<Vec<_>>>()?;
        for _ in 0..TURNS {
            for (best, router) in best.iter_mut().zip(&routers) {
                let begin = Instant::now();
                for _ in 0..CALLS {
                    let mut request = Request::new(Body::empty());
                    request.headers_mut().insert(AUTHORIZATION, token.clone());
                    let answer = router.clone().oneshot(request).await?;
                    answer.into_body().collect().await?;
                }
                *best = best.min(begin.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
            }
        }
        Outcome::Ok(())
    })?;
    println!("\nlayer, in process without sockets, best of {TURNS} turns of {CALLS} calls");
    println!("{:<44}{:>10}{:>12}", "", "ns/call", "above axum");
    for ((name, _), nanos) in kinds.iter().zip(best) {
        println!("{name:<44}{nanos:>10.0}{:>12.0}", nanos - best[0]);
    }
    println!("{}", json!({"bench": "layer, in process", "nanoseconds": best.map(f64::round)}));
    Ok(())
}
