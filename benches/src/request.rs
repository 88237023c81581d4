//! (b) One call on behalf of a user: ours, the same by hand, and the published Python package, on the same servers.
//!
//! By hand means two reqwest calls with the same bodies, signed before the round: what a program would do that knows
//! the vault's protocol by heart, checks nothing and reports nothing. Ours reports each call to the vault in the
//! background, as the protocol asks; the third side adds that by hand too, after the call and out of its way.

use std::{
    future::Future,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alter_core::{App, UserToken};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Outcome, Rounds,
    load::Answers,
    process::Cpu,
    table::{Comparison, Goal, Round, Side},
    vault::Vault,
};

const CONCURRENCY: [usize; 2] = [1, 16];
/// The published package that is measured.
const PACKAGE: &str = "alter-sdk==0.29.0";

/// Measures and prints.
pub(crate) fn measure(rounds: Rounds, python: bool) -> Outcome<()> {
    let vault = Vault::start()?;
    let mut python = if python { Some(Python::start(&vault)?) } else { None };
    let runtime = tokio::runtime::Runtime::new()?;
    for concurrency in CONCURRENCY {
        compare(&runtime, &vault, python.as_mut(), concurrency, rounds)?.print();
    }
    Ok(())
}

fn compare(
    runtime: &tokio::runtime::Runtime,
    vault: &Vault,
    mut python: Option<&mut Python>,
    concurrency: usize,
    rounds: Rounds,
) -> Outcome<Comparison> {
    let mut by_hand = Side::new("by hand, 2 reqwest calls, signed before");
    let mut ours = Side::new("alter.request(..).provider(..).send()");
    let mut with_report = Side::new("by hand, and a report after each call");
    let mut package = Side::new(PACKAGE);
    let warm = runtime.block_on(hand_written(vault, concurrency, rounds.warm_up(), 3_000, false))?;
    let enough = (warm.per_second() * rounds.seconds * 2.0) as usize + 2_000;
    runtime.block_on(our_own(vault, concurrency, rounds.warm_up()))?;
    for _ in 0..rounds.rounds {
        let time = rounds.time();
        by_hand.rounds.push(runtime.block_on(counted(hand_written(
            vault,
            concurrency,
            time,
            enough,
            false,
        )))?);
        ours.rounds.push(runtime.block_on(counted(our_own(vault, concurrency, time)))?);
        with_report.rounds.push(runtime.block_on(counted(hand_written(
            vault,
            concurrency,
            time,
            enough,
            true,
        )))?);
        if let Some(python) = python.as_mut() {
            package.rounds.push(python.round(concurrency, time)?);
        }
    }
    let mut goals = vec![Goal { ours: 1, reference: 0, least: 0.90 }];
    let mut sides = vec![by_hand, ours, with_report];
    if python.is_some() {
        goals.push(Goal { ours: 1, reference: sides.len(), least: 10.0 });
        sides.push(package);
    }
    Ok(Comparison { name: "request".to_owned(), concurrency, sides, goals })
}

/// A round with the processor time that this process used for it.
async fn counted(round: impl Future<Output = Outcome<Answers>>) -> Outcome<Round> {
    let me = std::process::id();
    let before = Cpu::of(me);
    let answers = round.await?;
    Ok(Round::new(&answers, Cpu::of(me).since(&before, answers.latencies.len())))
}

/// Makes `concurrency` callers call for `time`.
async fn drive<F, Fut>(concurrency: usize, time: Duration, call: F) -> Outcome<Answers>
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Outcome<()>> + Send,
{
    let begin = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..concurrency {
        let call = call.clone();
        callers.spawn(async move {
            let mut latencies = Vec::new();
            while begin.elapsed() < time {
                let sent = Instant::now();
                call().await?;
                latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Outcome::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = callers.join_next().await {
        latencies.extend(done??);
    }
    Ok(Answers::new(begin.elapsed().as_secs_f64(), latencies))
}

async fn our_own(vault: &Vault, concurrency: usize, time: Duration) -> Outcome<Answers> {
    let app = App::builder(vault.text("/app/key")?).backend_url(vault.text("/base_url")?).build()?;
    let client = app.for_user(UserToken::parse(vault.text("/users/0/token")?)?);
    let (provider, target) = (vault.text("/provider/id")?.to_owned(), vault.target()?);
    let call = move || {
        let request = client.request(Method::GET, target.as_str()).provider(provider.as_str());
        async move {
            let body = request.send().await?.bytes().await?;
            check(&body)
        }
    };
    let answers = drive(concurrency, time, call).await?;
    // Reports that are still queued must not burden the next side.
    app.close().await;
    Ok(answers)
}

async fn hand_written(
    vault: &Vault,
    concurrency: usize,
    time: Duration,
    signed: usize,
    report: bool,
) -> Outcome<Answers> {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
    let (body, key) = (vault.by_user_token()?, vault.key()?);
    let tokens: Vec<HeaderMap> = (0..signed).map(|_| vault.signed(&key, &body)).collect::<Outcome<_>>()?;
    let reports = if report { Some(Arc::new(Reports::new(vault, signed)?)) } else { None };
    let by_hand = Arc::new(ByHand {
        http,
        token_url: format!("{}/sdk/token", vault.text("/base_url")?),
        target: vault.target()?,
        body: body.into(),
        tokens,
        next: AtomicUsize::new(0),
        reports,
    });
    let begun = drive(concurrency, time, move || {
        let by_hand = Arc::clone(&by_hand);
        async move { by_hand.call().await }
    });
    begun.await
}

/// The calls that somebody would write who has no client.
struct ByHand {
    http: reqwest::Client,
    token_url: String,
    target: String,
    body: Bytes,
    tokens: Vec<HeaderMap>,
    next: AtomicUsize,
    reports: Option<Arc<Reports>>,
}

impl ByHand {
    async fn call(&self) -> Outcome<()> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        let headers = self.tokens.get(at).ok_or("more calls than were signed")?.clone();
        let token = self.http.post(&self.token_url).headers(headers).body(self.body.clone()).send().await?;
        let token: Value = serde_json::from_slice(&token.error_for_status()?.bytes().await?)?;
        let token = token["access_token"].as_str().ok_or("no token in the answer")?;
        let answer = self.http.get(&self.target).bearer_auth(token).send().await?.error_for_status()?;
        check(&answer.bytes().await?)?;
        if let Some(reports) = &self.reports {
            let (reports, http) = (Arc::clone(reports), self.http.clone());
            tokio::spawn(async move { reports.send(&http, at).await });
        }
        Ok(())
    }
}

/// Reports by hand, signed before.
struct Reports {
    url: String,
    body: Bytes,
    signed: Vec<HeaderMap>,
}

impl Reports {
    fn new(vault: &Vault, count: usize) -> Outcome<Self> {
        use alter_core::wire::report::API_CALL_PATH;

        let body = serde_json::to_vec(&json!({
            "grant_id": vault.text("/users/0/grants/0/grant_id")?,
            "provider_id": vault.text("/provider/id")?,
            "method": "GET",
            "url": vault.target()?,
            "request_headers": null,
            "request_body": null,
            "response_status": 200,
            "response_headers": {},
            "response_body": null,
            "latency_ms": 1,
            "reason": null,
        }))?;
        let key = vault.key()?;
        let signed =
            (0..count).map(|_| vault.signed_for(API_CALL_PATH, &key, &body)).collect::<Outcome<_>>()?;
        Ok(Self { url: format!("{}{API_CALL_PATH}", vault.text("/base_url")?), body: body.into(), signed })
    }

    async fn send(&self, http: &reqwest::Client, at: usize) {
        let Some(headers) = self.signed.get(at) else { return };
        let sent = http.post(&self.url).headers(headers.clone()).body(self.body.clone()).send().await;
        if let Some(refused) = sent.and_then(reqwest::Response::error_for_status).err() {
            eprintln!("a report by hand was refused: {refused}");
        }
    }
}

fn check(body: &[u8]) -> Outcome<()> {
    let answer: Value = serde_json::from_slice(body)?;
    if answer["sub"] == "user-1" { Ok(()) } else { Err("another user's data".into()) }
}

/// The published package in a process of its own.
struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    fn start(vault: &Vault) -> Outcome<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python_request.py");
        let mut command = Command::new(environment()?.join("bin/python"));
        // The package honours proxy variables even for loopback.
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name).env_remove(name.to_ascii_lowercase());
        }
        let mut child = command
            .arg(script)
            .env("ALTER_BASE_URL", vault.text("/base_url")?)
            .env("BENCH_KEY", vault.text("/app/key")?)
            .env("BENCH_URL", vault.target()?)
            .env("BENCH_PROVIDER", vault.text("/provider/id")?)
            .env("BENCH_TOKEN", vault.text("/users/0/token")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("python has no standard input")?;
        let output = BufReader::new(child.stdout.take().ok_or("python has no standard output")?);
        let mut python = Self { child, input, output };
        println!("\npython: {}", python.line()?);
        python.round(1, Duration::from_millis(200))?;
        Ok(python)
    }

    fn line(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|_| format!("python said {line:?}").into())
    }

    fn round(&mut self, concurrency: usize, time: Duration) -> Outcome<Round> {
        writeln!(self.input, "{concurrency} {}", time.as_secs_f64())?;
        let said = self.line()?;
        let latencies = said["latencies"].as_array().map(Vec::as_slice).unwrap_or_default();
        let latencies =
            latencies.iter().filter_map(Value::as_u64).map(|us| u32::try_from(us).unwrap_or(u32::MAX));
        let answers = Answers::new(said["seconds"].as_f64().unwrap_or(f64::NAN), latencies.collect());
        let cpu =
            said["cpu_seconds"].as_f64().unwrap_or(f64::NAN) * 1e6 / answers.latencies.len().max(1) as f64;
        Ok(Round::new(&answers, cpu))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A virtual environment with the package, made the first time.
fn environment() -> Outcome<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let folder = target.join("bench-venv");
    let run = |command: &mut Command| {
        let status = command.stdout(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
            .map_err(crate::Failure::from)
    };
    if !folder.join("bin/python").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    run(Command::new(folder.join("bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        PACKAGE,
    ]))?;
    Ok(folder)
}
