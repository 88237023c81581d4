//! Everything that an operator, an application and its users do with the parts, failures included, in a process of its
//! own whose every log line and output the test searches. Nothing here checks anything: it only makes things happen.

mod mirror;
mod operator;
mod printed;
mod refreshes;
mod users;

use std::{env, fmt::Debug, fs, path::PathBuf};

use alter_core::Error;
use alter_server::admin::InjectionStyle;
use tracing_subscriber::fmt::format::FmtSpan;
use uuid::Uuid;

use self::mirror::Mirror;
use super::{FOLDER, KEPT, Kind, PLANTED, Secret};
use crate::harness::{Tenant, World};

/// What the program works with, and what it must not show.
struct Program {
    world: World,
    tenant: Tenant,
    mirror: Mirror,
    secrets: Vec<Secret>,
    folder: PathBuf,
}

impl Program {
    fn plant(&mut self, name: &str, kind: Kind, value: impl Into<String>) -> String {
        let value = value.into();
        self.secrets.push(Secret { name: name.to_owned(), kind, value: value.clone() });
        value
    }

    /// A text that nobody else has, with every kind of character that an encoding may touch.
    fn invent(&mut self, name: &str) -> String {
        let (one, two) = (Uuid::new_v4().simple(), Uuid::new_v4().simple());
        self.plant(name, Kind::Text, format!("{one}+/=&%\"\\'{two}"))
    }

    /// A token of a user, which must not be shown either.
    fn jwt(&mut self, sub: &str) -> String {
        let token = self.world.jwt(sub);
        self.plant(&format!("{sub}'s JWT"), Kind::Jwt, token)
    }

    /// Keeps copies of what lies in the vault's folder.
    fn keep(&self, when: &str) {
        let kept = self.folder.join(KEPT);
        fs::create_dir_all(&kept).unwrap();
        for entry in fs::read_dir(self.world.data.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name != "kek" {
                fs::copy(&path, kept.join(format!("{when}-{name}"))).unwrap();
            }
        }
    }

    /// The key-encryption keys as they are now.
    fn plant_keys(&mut self) {
        let ring = fs::read_to_string(self.world.data.path().join("kek")).unwrap();
        for line in ring.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, key) = line.split_once(':').unwrap();
            self.plant(&format!("key-encryption key {name}, encoded"), Kind::Text, key.trim());
            let bytes =
                base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key.trim()).unwrap();
            self.plant(&format!("key-encryption key {name}"), Kind::Bytes, hex::encode(bytes));
        }
    }
}

/// Prints a result in every way in which a program may print it.
fn show<T: Debug>(what: &str, result: &Result<T, Error>) {
    match result {
        Ok(value) => println!("{what}: {value:?}"),
        Err(error) => show_error(what, error),
    }
}

fn show_error(what: &str, error: &(dyn std::error::Error + 'static)) {
    println!("{what}: {error} | {error:?} | {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        println!("  because {error} | {error:?} | {error:#?}");
        source = error.source();
    }
}

/// Passes what other crates say through the `log` crate to standard error.
struct Records;

impl log::Log for Records {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{} {}: {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}

#[test]
#[ignore = "started by the test that searches what it prints"]
fn the_whole_program() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    log::set_logger(&Records).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(PathBuf::from(folder)));
}

async fn run(folder: PathBuf) {
    let world = World::start().await;
    let tenant = world.tenant("canary").await;
    let mirror = Mirror::start().await;
    let mut program = Program { world, tenant, mirror, secrets: Vec::new(), folder };
    let decoy = program.plant("decoy", Kind::Decoy, format!("decoy-{}", Uuid::new_v4().simple()));
    println!("{decoy}");
    tracing::trace!(decoy, "the search must find this");
    program.plant_keys();
    set_up(&mut program).await;
    users::calls(&mut program).await;
    users::services(&mut program).await;
    users::strangers(&mut program).await;
    refreshes::all(&mut program).await;
    printed::values(&mut program).await;
    program.keep("running");
    operator::mistakes(&mut program).await;
    operator::rotation(&mut program).await;
    operator::trail(&program).await;
    program.keep("rotated");
    program.world.vault.close().await.unwrap();
    program.keep("closed");
    fs::write(program.folder.join(PLANTED), serde_json::to_vec(&program.secrets).unwrap()).unwrap();
}

async fn set_up(program: &mut Program) {
    let client_secret = program.world.sandbox.client().client_secret;
    program.plant("client secret", Kind::Text, &client_secret["sbx_cs_".len()..]);
    program.plant("app key", Kind::ApiKey, program.tenant.key.clone());
    program.plant("agent key", Kind::ApiKey, program.tenant.agent_key.clone());
    for (sub, accounts) in [("alice", &["work"][..]), ("bob", &["work", "home"])] {
        for account in accounts {
            let (_, tokens) = program.tenant.connect(&program.world.sandbox, sub, account).await;
            let of = format!("{sub}'s {account}");
            program.plant(&format!("{of} access token"), Kind::Text, &tokens.access_token["sbx_at_".len()..]);
            program.plant(
                &format!("{of} refresh token"),
                Kind::Text,
                &tokens.refresh_token["sbx_rt_".len()..],
            );
        }
    }
    let (access, refresh) =
        (program.invent("mirrored access token"), program.invent("mirrored refresh token"));
    for (provider, addr) in
        [("mirror", program.mirror.addr), ("garbage", program.mirror.garbage), ("dead", program.mirror.dead)]
    {
        program.tenant.provider_at(addr, provider).await;
        program.tenant.import(provider, "alice", "work", &access, &refresh).await;
    }
    for (name, style) in [
        ("bearer", InjectionStyle::Bearer),
        ("header", InjectionStyle::Header("X-Api-Key".to_owned())),
        ("query", InjectionStyle::Query("api_key".to_owned())),
        ("basic", InjectionStyle::Basic),
    ] {
        let invented = program.invent(&format!("managed secret for {name}"));
        let value = if style == InjectionStyle::Basic { format!("user:{invented}") } else { invented };
        for (at, addr) in [
            ("sandbox", program.world.sandbox.addr()),
            ("mirror", program.mirror.addr),
            ("garbage", program.mirror.garbage),
            ("dead", program.mirror.dead),
        ] {
            let slug = format!("{at}-{name}");
            let secret = if at == "sandbox" {
                program.tenant.secret(&program.world.sandbox, &slug, &style, &value).await
            } else {
                program.tenant.secret_at(addr, &slug, &style, &value).await
            };
            let agent = alter_server::domain::Principal::Agent(program.tenant.agent);
            program.tenant.grant(secret, alter_server::domain::Principal::System).await;
            program.tenant.grant(secret, agent).await;
        }
    }
}
