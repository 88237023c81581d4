//! One vault process that can be stopped in the middle of a refresh: for the storm and crash matrices, and for whoever wants
//! to see with their own eyes what becomes of a half-done refresh.
//!
//! ```text
//! replica (--data-dir DIR | --database-url URL) --kek-file FILE [--lease-ms N] [--wait-ms N] [--stop-at STEP]
//! ```
//!
//! The first line on standard output is `{"base_url": …}`. With `--stop-at` (`note`, `noted`, `renewing`, `answered`,
//! `saved`) each refresh that reaches that step prints `{"step": …, "grant_id": …}` and stands still, until a line comes on
//! standard input: then all go on, and nothing stops any more. The end of standard input ends the process, so that it does
//! not outlive whoever started it.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead as _, Write as _},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use alter_server::{KekSource, RefreshObserver, RefreshStep, Vault, VaultConfig};
use tokio::net::TcpListener;

/// Calls per minute and key: as many as can be set, the matrices are not about rate limits.
const PLENTY: u32 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    // A refresh that stands still holds its thread, so there are more of them than refreshes that are stopped.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env());
    subscriber.init();
    runtime.block_on(run(arguments()?))
}

async fn run(mut given: BTreeMap<String, String>) -> Result<(), Box<dyn Error>> {
    let gate = Arc::new(Gate::default());
    let kek = PathBuf::from(given.remove("kek-file").ok_or("--kek-file is missing")?);
    let mut config = match (given.remove("data-dir"), given.remove("database-url")) {
        (Some(folder), None) => VaultConfig::new(folder),
        (None, Some(url)) => VaultConfig::postgres(url),
        _ => return Err("give one of --data-dir and --database-url".into()),
    };
    config = config.kek(KekSource::File(kek)).rate_limit_per_minute(PLENTY.try_into()?);
    if let Some(lease) = given.remove("lease-ms") {
        config = config.refresh_lease(Duration::from_millis(lease.parse()?));
    }
    if let Some(wait) = given.remove("wait-ms") {
        config = config.refresh_wait(Duration::from_millis(wait.parse()?));
    }
    if let Some(name) = given.remove("stop-at") {
        let stop_at =
            RefreshStep::ALL.into_iter().find(|step| step.as_str() == name).ok_or("no such step")?;
        let gate = Arc::clone(&gate);
        config = config.refresh_observer(RefreshObserver::new(move |step, grant| {
            if step == stop_at && !gate.is_open() {
                say(&serde_json::json!({ "step": step.as_str(), "grant_id": grant.to_string() }));
                // The other tasks of this thread move to another one.
                tokio::task::block_in_place(|| gate.wait());
            }
        }));
    }
    if let Some((unknown, _)) = given.pop_first() {
        return Err(format!("--{unknown} is not known").into());
    }
    let vault = Vault::open(config).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() {
                break;
            }
            gate.open();
        }
        std::process::exit(0);
    });
    say(&serde_json::json!({ "base_url": base_url }));
    vault.serve(listener, std::future::pending()).await?;
    Ok(())
}

/// `--name value`, each at most once.
fn arguments() -> Result<BTreeMap<String, String>, String> {
    let (mut given, mut words) = (BTreeMap::new(), std::env::args().skip(1));
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").ok_or_else(|| format!("{word} is no option"))?;
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        if given.insert(name.to_owned(), value).is_some() {
            return Err(format!("{word} is given twice"));
        }
    }
    Ok(given)
}

fn say(line: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: the end of standard input ends the process.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Where refreshes stand still until it is opened for good.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn is_open(&self) -> bool {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(open, |open| !*open).unwrap_or_else(PoisonError::into_inner));
    }
}
