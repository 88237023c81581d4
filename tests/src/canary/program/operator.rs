//! What operators do, and what they get wrong.

use std::collections::BTreeMap;

use alter_server::{
    KekSource, Vault, VaultConfig,
    admin::{AdminError, KeyRequest},
    audit::AuditFilter,
    domain::{ImportGrant, ImportOwner, Principal},
    seal::KeyRing,
    store::AuditVerifyScope,
};
use secrecy::SecretString;
use serde_json::json;

use super::{Kind, Program, show_error};
use crate::harness::world::PROVIDER;

fn said<T: std::fmt::Debug>(what: &str, result: Result<T, AdminError>) {
    match result {
        Ok(value) => println!("{what}: {value:?}"),
        Err(error) => show_error(what, &error),
    }
}

pub(super) async fn mistakes(program: &mut Program) {
    let secret = program.invent("an operator's secret");
    let (admin, app) = (program.world.admin(), program.tenant.app);
    println!("{admin:?} {:?}", program.world.vault);
    for value in [format!("{secret}\n"), format!(" {secret}"), format!("{secret}é"), secret.repeat(200)] {
        let value = SecretString::from(value);
        let made = admin.create_secret(app, "sandbox-bearer".parse().unwrap(), "x", value, BTreeMap::new());
        said("a value that cannot be injected", made.await);
    }
    let value = SecretString::from(secret.as_str());
    said(
        "a second secret",
        admin
            .create_secret(app, "sandbox-bearer".parse().unwrap(), "x", value.clone(), BTreeMap::new())
            .await,
    );
    said(
        "a secret at an OAuth provider",
        admin.create_secret(app, PROVIDER.parse().unwrap(), "x", value.clone(), BTreeMap::new()).await,
    );
    let id = admin.secret(app, "sandbox-bearer").await.unwrap().id;
    said(
        "a secret turned",
        admin
            .rotate_secret(app, id, value.clone(), BTreeMap::from([("further".to_owned(), value.clone())]))
            .await,
    );
    said(
        "another app's secret",
        admin.rotate_secret(alter_server::domain::AppId::random(), id, value.clone(), BTreeMap::new()).await,
    );
    let import = |token: &str, provider: &str| ImportGrant {
        app_id: app,
        provider: provider.parse().unwrap(),
        owner: ImportOwner::Principal(Principal::System),
        account_identifier: Some("a".to_owned()),
        account_display_name: None,
        label: None,
        access_token: SecretString::from(token),
        refresh_token: Some(SecretString::from(token)),
        token_expires_at: None,
        scopes: Vec::new(),
        grant_expires_at: None,
    };
    for (token, provider) in
        [(format!("{secret}\n"), PROVIDER), (secret.clone(), "none"), (secret.clone(), PROVIDER)]
    {
        let import = import(&token, provider);
        println!("{import:?}");
        said("an import", admin.import_grant(import).await);
    }
    let line = |value: serde_json::Value| value.to_string();
    let lines = [
        line(
            json!({"sub": "dave", "provider": PROVIDER, "account": "a", "access_token": format!("{secret} ")}),
        ),
        line(json!({"sub": "dave", "provider": PROVIDER, "account": "b", "access_token": [secret]})),
        line(
            json!({"sub": "dave", "provider": PROVIDER, "account": "c", "access_token": secret, secret.as_str(): 1}),
        ),
        line(json!({"sub": "dave", "provider": secret, "access_token": secret})),
        format!("{{\"sub\": \"{}\"", hex::encode(&secret)),
    ];
    for text in lines.iter().cloned().chain([
        lines.join("\n"),
        line(json!({"sub": "dave", "provider": PROVIDER, "access_token": secret, "refresh_token": secret})),
    ]) {
        match admin.plan_import(app, &SecretString::from(text)).await {
            Ok(Ok(plan)) => {
                println!("{plan:?}");
                println!("{:?}", admin.run_import(plan).await);
            }
            Ok(Err(faults)) => {
                for fault in &faults {
                    println!("{fault} {fault:?} {}", serde_json::to_string(fault).unwrap());
                }
            }
            Err(error) => show_error("a plan", &error),
        }
    }
    let ring = program.invent("a key ring that is none");
    for text in
        [ring.clone(), format!("name:{ring}"), format!("{ring}:AAAA"), format!("a:{},b", hex::encode(&ring))]
    {
        match KeyRing::parse(&SecretString::from(text)) {
            Ok(ring) => println!("{ring:?}"),
            Err(error) => show_error("a key ring", &error),
        }
    }
    let minted = admin.create_key(app, KeyRequest::named("shown once")).await.unwrap();
    println!("{minted:?} {}", serde_json::to_string(&minted.record).unwrap());
    program.plant("minted key", Kind::ApiKey, minted.key.expose());
    said("keys", admin.keys(app).await);
    said("secrets", admin.secrets(app).await);
    said("providers", admin.providers(app).await);
    said("grants", admin.grants(app, Default::default(), 100, 0).await);
    said("users", admin.users(app, 100, 0).await);
    said("apps", admin.apps().await);
}

pub(super) async fn rotation(program: &mut Program) {
    said("rotation", program.world.admin().rotate_keys().await);
    program.plant_keys();
    said("again", program.world.admin().reseal().await);
    // The folder with another ring: it does not open, and what is said about it says nothing.
    let kek = program.world.data.path().join("other-kek");
    KeyRing::from_file_or_generate(&kek).unwrap();
    let text = std::fs::read_to_string(&kek).unwrap();
    program.plant("another ring", Kind::Text, text.trim().split_once(':').unwrap().1);
    let config = VaultConfig::new(program.world.data.path()).kek(KekSource::File(kek.clone()));
    println!("{config:?}");
    let refused = Vault::open(config).await.unwrap_err();
    show_error("another ring", &refused);
    std::fs::remove_file(kek).unwrap();
}

/// The trail as operators read it.
pub(super) async fn trail(program: &Program) {
    let admin = program.world.admin();
    let page = admin.audit(AuditFilter { limit: 10_000, ..AuditFilter::default() }).await.unwrap();
    for row in &page.rows {
        println!("{row:?} {}", serde_json::to_string(row).unwrap());
    }
    said("the walk", admin.verify_audit(AuditVerifyScope::Everything).await);
}
