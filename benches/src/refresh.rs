//! What a request takes that finds its token expired, against the provider's own time to answer.

use std::time::{Duration, Instant};

use alter_core::wire::key::ApiKey;
use alter_sandbox::Faults;
use alter_server::{
    dev::Dev,
    domain::{Identity, ImportGrant, ImportOwner},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{
    Outcome, load,
    postgres::Server,
    store::{Kind, Site},
    vault,
};

/// Milliseconds until the provider answers, and how many requests are measured.
const DELAYS: [(u64, usize); 3] = [(0, 60), (50, 40), (300, 20)];
const GOAL: f64 = 1.2;

/// Measures and prints.
pub(crate) fn measure() -> Outcome<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        println!(
            "\nrefresh, 1 at a time: medians in ms. \"Added\" is a request that refreshes less one that does not; the ratio \
             is added / provider"
        );
        println!("{:<14}{:>10}{:>12}{:>12}{:>12}{:>8}", "", "provider", "no refresh", "refresh", "added", "ratio");
        for kind in [Kind::Sqlite, Kind::Postgres] {
            let server = (kind == Kind::Postgres).then(Server::start);
            let site = Site::new(server.as_ref()).await?;
            of_store(kind, &site).await?;
        }
        Ok(())
    })
}

async fn of_store(kind: Kind, site: &Site) -> Outcome<()> {
    let listener = crate::loopback().await?;
    let addr = listener.local_addr()?;
    let dev = Dev::start_with(Some(site.place.folder.join("dev")), format!("http://{addr}"), |_| {
        site.place.config()
    })
    .await?;
    let served = tokio::spawn(axum::serve(listener, dev.vault.router()).into_future());
    let key = ApiKey::parse(dev.ready.app.key.expose())?;
    let mut reached = true;
    for (delay_ms, count) in DELAYS {
        let mut slow = Faults::default();
        slow.delay_ms = delay_ms;
        dev.sandbox.set_faults(slow);
        let (mut provider, mut without, mut with) = (Vec::new(), Vec::new(), Vec::new());
        let http = reqwest::Client::builder().no_proxy().build()?;
        for number in 0..count {
            let account = format!("account-{delay_ms}-{number}");
            let grant = expired(&dev, &account).await?;
            let body = json!({
                "grant_id": grant,
                "request": {"method": "GET", "url": format!("{}/me", dev.ready.provider.api_url)},
            });
            let body = serde_json::to_vec(&body)?;
            // The provider by itself, over a kept connection as the vault's.
            provider.push(ask(&dev, &http, &account).await?);
            for side in [&mut with, &mut without] {
                let call = vault::call(&key, &body)?;
                let began = Instant::now();
                let answer = load::once(addr, &call).await?;
                if answer.status != 200 {
                    let text = String::from_utf8_lossy(&answer.body).into_owned();
                    return Err(format!("answered {}: {text}", answer.status).into());
                }
                side.push(began.elapsed());
            }
        }
        let [provider, without, with] = [provider, without, with].map(median);
        let added = with - without;
        let ratio = added / provider;
        reached &= delay_ms < 300 || ratio <= GOAL;
        println!(
            "{:<14}{provider:>10.2}{without:>12.2}{with:>12.2}{added:>12.2}{ratio:>8.3}",
            format!("{}, {delay_ms}", kind.name())
        );
        println!(
            "{}",
            json!({"bench": "refresh", "store": kind.name(), "delay_ms": delay_ms, "provider_ms": provider,
                "without_ms": without, "with_ms": with, "ratio": ratio})
        );
    }
    println!(
        "goal {}: added / provider at 300 ms (goal {GOAL})",
        if reached { "reached" } else { "NOT reached" }
    );
    served.abort();
    dev.stop().await?;
    Ok(())
}

/// A grant of a new account whose token's time is over.
async fn expired(dev: &Dev, account: &str) -> Outcome<alter_server::domain::GrantId> {
    let credential = dev.sandbox.connect("user-1", account);
    let identity = Identity {
        issuer: dev.sandbox.issuer(),
        subject: "user-1".to_owned(),
        email: None,
        name: None,
        groups: Vec::new(),
    };
    let import = ImportGrant {
        app_id: dev.ready.app.id,
        provider: dev.ready.provider.id.clone(),
        owner: ImportOwner::Identity(identity),
        account_identifier: Some(account.to_owned()),
        account_display_name: None,
        label: None,
        access_token: credential.access_token.into(),
        refresh_token: Some(credential.refresh_token.into()),
        token_expires_at: Some(Timestamp::now() - SignedDuration::from_secs(60)),
        scopes: vec!["read".to_owned()],
        grant_expires_at: None,
    };
    Ok(dev.vault.admin("bench").import_grant(import).await?.grant.facts.id)
}

/// A refresh by hand.
async fn ask(dev: &Dev, http: &reqwest::Client, account: &str) -> Outcome<Duration> {
    let credential = dev.sandbox.connect("user-2", account);
    let client = dev.sandbox.client();
    let began = Instant::now();
    let answer = http
        .post(dev.sandbox.oauth_endpoints().token)
        .basic_auth(&client.client_id, Some(&client.client_secret))
        .form(&[("grant_type", "refresh_token"), ("refresh_token", credential.refresh_token.as_str())])
        .send()
        .await?;
    let status = answer.status();
    answer.bytes().await?;
    if !status.is_success() {
        return Err(format!("the provider answered {status}").into());
    }
    Ok(began.elapsed())
}

/// In milliseconds.
fn median(mut all: Vec<Duration>) -> f64 {
    all.sort_unstable();
    all.get(all.len() / 2).map_or(f64::NAN, |middle| middle.as_secs_f64() * 1000.0)
}
