//! Calls a vault with fresh signatures until its standard input ends; used by `deploy/check`.
//!
//! `ALTER_KEY=… signed-load http://127.0.0.1:8080 GRANT_ID [CALLERS]` asks for the credential of a managed secret, over and over,
//! by `CALLERS` (8) callers at once. It repeats nothing: a call that is not answered 200 is a broken one. Prints one line
//! of JSON and exits with 1 if there was any.

use std::{
    collections::BTreeMap,
    error::Error,
    io::Read as _,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use alter_core::wire::{
    header,
    key::ApiKey,
    sign::{Stamp, sign},
    token,
};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;

type Failure = Box<dyn Error + Send + Sync>;

/// What one caller saw: how many calls were answered 200, and how often what else happened.
#[derive(Default)]
struct Seen {
    served: u64,
    slowest: Duration,
    broken: BTreeMap<String, u64>,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args().skip(1);
    let base_url = arguments.next().ok_or("the first argument is the base URL")?;
    let grant = arguments.next().ok_or("the second argument is the grant's id")?;
    let callers: usize = arguments.next().as_deref().unwrap_or("8").parse()?;
    let key = Arc::new(ApiKey::parse(std::env::var("ALTER_KEY")?)?);
    let done = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let calls: Vec<_> = (0..callers)
        .map(|_| {
            let (client, key, done) = (client.clone(), Arc::clone(&key), Arc::clone(&done));
            let (url, grant) = (format!("{}{}", base_url.trim_end_matches('/'), token::PATH), grant.clone());
            tokio::spawn(async move { call_until(&client, &key, &url, &grant, &done).await })
        })
        .collect();
    // A thread of its own: reading standard input cannot be given up.
    let end = Arc::clone(&done);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::Relaxed);
    });
    let mut all = Seen::default();
    for call in calls {
        let seen = call.await??;
        all.served += seen.served;
        all.slowest = all.slowest.max(seen.slowest);
        for (what, count) in seen.broken {
            *all.broken.entry(what).or_default() += count;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let slowest = all.slowest.as_millis();
    println!(
        "{}",
        json!({"seconds": seconds, "served": all.served, "slowest_ms": slowest, "broken": all.broken})
    );
    Ok(if all.broken.is_empty() && all.served > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn call_until(
    client: &reqwest::Client,
    key: &ApiKey,
    url: &str,
    grant: &str,
    done: &AtomicBool,
) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let body =
        json!({"grant_id": grant, "request": {"method": "GET", "url": "https://billing.example.test/"}});
    let body = body.to_string().into_bytes();
    while !done.load(Ordering::Relaxed) {
        let mut headers = HeaderMap::new();
        headers.insert(header::API_KEY, HeaderValue::from_str(key.expose())?);
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let stamp = Stamp::fresh(jiff::Timestamp::now().as_second())?;
        sign(&key.signing_key(), &Method::POST, token::PATH, &stamp, &body, &mut headers)?;
        let began = Instant::now();
        let what = match client.post(url).headers(headers).body(body.clone()).send().await {
            Ok(answer) => {
                let status = answer.status();
                // The answer counts when all of it has come.
                match answer.text().await {
                    Ok(_) if status == 200 => None,
                    Ok(text) => Some(format!("{status} {}", text.chars().take(100).collect::<String>())),
                    Err(_) => Some("cut off".to_owned()),
                }
            }
            Err(error) => Some(format!("{error:?}").chars().take(200).collect()),
        };
        seen.slowest = seen.slowest.max(began.elapsed());
        match what {
            None => seen.served += 1,
            Some(what) => *seen.broken.entry(what).or_default() += 1,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(seen)
}
