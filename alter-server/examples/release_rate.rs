//! How many credentials the embedded store releases per second, and what each costs the writer's thread.
//!
//! `cargo run --release -p alter-server --example release_rate -- [callers] [seconds] [folder]`

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alter_core::clock::{Clock, SystemClock};
use alter_server::{
    domain::{
        Actor, Address, Admission, AppId, Identity, ImportGrant, ImportOwner, KeyDigest, KeyId, KeyKind,
        NewKey, Nonce, Operator, Provider, ProviderId, ProviderKind, PutProvider, Scope,
    },
    seal::{Envelope, KeyRing},
    store::{Outcome, ReleaseCommand, RequestFacts, Store, sqlite::SqliteStore},
};
use secrecy::SecretSlice;

const USERS: usize = 1000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn identity(number: usize) -> Identity {
    Identity {
        issuer: "https://idp.example".to_owned(),
        subject: format!("user-{number}"),
        email: None,
        name: None,
        groups: Vec::new(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let callers: usize = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let folder = arguments.next().map_or_else(
        || std::env::temp_dir().join(format!("alter-release-rate-{}", std::process::id())),
        PathBuf::from,
    );
    let clock = SystemClock::shared();
    let store =
        Arc::new(SqliteStore::open(&folder, Envelope::new(KeyRing::generate("k")?), clock.clone()).await?);
    let (app_id, key_id) = prepare(&store).await?;
    let generation = store.app_config(app_id).await?.map_or(0, |config| config.generation);

    let (cpu, began) = (writer_cpu(), Instant::now());
    let (nonce, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let (store, nonce, done, clock) =
            (Arc::clone(&store), Arc::clone(&nonce), Arc::clone(&done), clock.clone());
        tasks.push(tokio::spawn(async move {
            let mut user = caller;
            while began.elapsed() < Duration::from_secs(seconds) {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(
                    &nonce.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(),
                );
                user = (user + 7) % USERS;
                let admission = Admission {
                    app_id,
                    key_id,
                    config_generation: generation,
                    at: clock.now(),
                    timestamp: clock.now().as_second(),
                    nonce: Nonce::from_bytes(bytes),
                    scope: Scope::TokensRetrieve,
                    actor: Actor::default(),
                    trace_parent: None,
                    request_id: uuid::Uuid::from_bytes(bytes),
                    remote: Some("127.0.0.1".to_owned()),
                };
                let command = ReleaseCommand {
                    admission,
                    address: Address::Provider {
                        provider: "google".to_owned(),
                        account: None,
                        label: None,
                        app_user_id: None,
                    },
                    user: Some(identity(user)),
                    request: RequestFacts::new(
                        "GET",
                        "https://api.example.com/v1/calendars/primary/events?page=2",
                    ),
                    reason: None,
                    last_resort: false,
                    unsaved: None,
                };
                match store.release(command).await? {
                    Outcome::Done(_) => done.fetch_add(1, Ordering::Relaxed),
                    other => return Err(format!("{other:?}").into()),
                };
            }
            Ok::<_, Failure>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let (wall, count) = (began.elapsed(), done.load(Ordering::Relaxed));
    let per_second = u128::from(count) * 1000 / wall.as_millis().max(1);
    let writer = (writer_cpu() - cpu).as_nanos() / u128::from(count.max(1));
    println!(
        "{callers} callers: {per_second} releases/s, {writer} ns of the writer's CPU each, {count} in all"
    );
    store.close().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

async fn prepare(store: &SqliteStore) -> Result<(AppId, KeyId), Failure> {
    let by = Operator { name: "example".to_owned(), at: SystemClock.now() };
    let (app_id, key_id) = (AppId::random(), KeyId::random());
    store.create_app(by.clone(), app_id, "rate".to_owned()).await?;
    let key = NewKey {
        id: key_id,
        app_id,
        kind: KeyKind::App,
        name: "rate".to_owned(),
        prefix: "alter_rk_abcd".to_owned(),
        digest: KeyDigest::of("key"),
        signing_key: SecretSlice::from(vec![1; 32]),
        scopes: Scope::ALL.to_vec(),
        expires_at: None,
        rate_limit_per_minute: None,
    };
    store.create_key(by.clone(), key).await?;
    let provider = Provider {
        id: "google".parse()?,
        kind: ProviderKind::OAuth,
        name: "Google".to_owned(),
        hosts: vec!["api.example.com".parse()?],
        injection: Default::default(),
        additional: Vec::new(),
        oauth: None,
    };
    store.put_provider(by.clone(), PutProvider { app_id, provider, client_secret: None }).await?;
    let google: ProviderId = "google".parse()?;
    let imports = (0..USERS).map(|number| {
        store.import_grant(
            by.clone(),
            ImportGrant {
                app_id,
                provider: google.clone(),
                owner: ImportOwner::Identity(identity(number)),
                account_identifier: Some(format!("user-{number}@example.com")),
                account_display_name: None,
                label: None,
                access_token: "t".repeat(1500).into(),
                refresh_token: Some("r".repeat(200).into()),
                token_expires_at: None,
                scopes: vec!["read".to_owned()],
                grant_expires_at: None,
            },
        )
    });
    futures_util::future::try_join_all(imports).await?;
    Ok((app_id, key_id))
}

/// CPU time of the writer's thread, from Linux's accounting.
fn writer_cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for thread in threads {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        if name.trim() == "alter-writer" {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let nanos = text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            return Duration::from_nanos(nanos);
        }
    }
    Duration::ZERO
}
