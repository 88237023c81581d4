//! Databases as older programs left them: rows in the shape of each older schema, in plain SQL, and what the present program
//! must be able to do with them once it has brought the schema forward.
//!
//! What is sealed and hashed is kept here as it was written once (key `old`, 32 bytes of 1): what a vault holds must stay
//! readable whatever becomes of the code that wrote it. A new migration needs its rows in [`rows`], nothing else.

use alter_core::wire::code::Code;
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::{
    contract::{Key, START, World, code, decided, id_of, identity},
    refresh::{Finished, RefreshEnd},
};
use crate::{
    audit::Action,
    domain::{AppId, CredentialVersion, GrantFilter, GrantId, KeyDigest, KeyId, Scope},
    store::ListCommand,
};

const APP: Uuid = Uuid::from_u128(0xA1);
const KEY: Uuid = Uuid::from_u128(0xA2);
const USER: Uuid = Uuid::from_u128(0xA3);
const GRANT: Uuid = Uuid::from_u128(0xA4);
const RUN: Uuid = Uuid::from_u128(0xA5);
const ROWS: [Uuid; 2] = [Uuid::from_u128(0xA6), Uuid::from_u128(0xA7)];
const TOKEN: Uuid = Uuid::from_u128(0xA8);

const SIGNING_KEY: &str = "01036f6c64a2c110bdb7e83b0296b98f9b650d35926c0ba0a9140babfa747d420535be3cf9380c81e9370a010ce33819\
    c15b1df2dfc86cff29a601fdddcc2a1ac5e4fb9645fa76811865db1049adc77772e3d934926968ca7a9eaf9f6a163834\
    d70779a5fec177c35691ed9bcee5effe3e73a1d861c409a460fe34051a";
const CLIENT_SECRET: &str = "01036f6c6495960e6b6be71e4a244094d9ca0f521b04358a518956066b4f4986481a106542203d965b9bd62dce455e97\
    e66e1b2f32bc111f36112139db30e1366968aca5e50ec7eb6d680ff190570cc9e3faedadd8573388ab02be2e5aee2739\
    014883e7af48d174605f91bf8f8523ae32";
const ACCESS_TOKEN: &str = "01036f6c64a77d5d1f4f949407c54f28898eace5476a05a7343836a529362dd20eadbc10307a223d114b2083fdd6a003\
    d090538f7bcb319540eec2b4c5b21d75c0ee7bee45bf7b2149086ab3cd57c428573a7e2f7d1a721060d80252917a5001\
    7c6a72a9dbd6feeea137d01b1e039e57";
const REFRESH_TOKEN: &str = "01036f6c645bbd3c48127b0be2fe600bd438325bd6983b795093850a1c49a2a8b9e524893e7e2e317083d43cde5515c7\
    9caeeed4e3235bb3b96983be1e6a12820411f8f71f262a03969f27f66f9c5ca565053e98e00e7aeef6c9a2c120dc555f\
    983f98ace5f909ab840c4c7cc06bda22bd";
/// Of the chain's name, and of each row.
const HASHES: [&str; 3] = [
    "f03d837653de6a29f091ae0f8b7e40ae69d042e3c23cc70e21aff47fd657cc1d",
    "3c9fcc0a2a759ddeb8cdc7187a1a304f744ff3b0f0b3e26bff90d37179e6690e",
    "7e90c843cff009b44161ba91fc3bacd1155fd0786d6fa288727d65a3a8620c41",
];

/// As it was written before refreshing had settings.
const DEFINITION: &str = r#"{"id":"google","kind":"oauth","name":"Google","hosts":["api.example.com"],"injection":{"header":"Authorization","format":"Bearer {token}"},"oauth":{"token_url":"https://api.example.com/token","client_id":"client"}}"#;

/// How a database writes it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dialect {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

impl Dialect {
    fn blob(self, hexed: &str) -> String {
        match self {
            Self::Sqlite => format!("x'{hexed}'"),
            #[cfg(feature = "postgres")]
            Self::Postgres => format!("'\\x{hexed}'::bytea"),
        }
    }

    fn id(self, id: Uuid) -> String {
        match self {
            Self::Sqlite => self.blob(&id.simple().to_string()),
            #[cfg(feature = "postgres")]
            Self::Postgres => format!("'{id}'::uuid"),
        }
    }

    const fn truth(self, truth: bool) -> &'static str {
        match (self, truth) {
            (Self::Sqlite, false) => "0",
            (Self::Sqlite, true) => "1",
            #[cfg(feature = "postgres")]
            (Self::Postgres, false) => "FALSE",
            #[cfg(feature = "postgres")]
            (Self::Postgres, true) => "TRUE",
        }
    }

    /// Where the rows of the trail go.
    fn partition(self) -> String {
        match self {
            Self::Sqlite => String::new(),
            #[cfg(feature = "postgres")]
            Self::Postgres => {
                let (from, to) = (START - 86_400, START);
                format!(
                    "CREATE TABLE audit_rows_{from} PARTITION OF audit_rows FOR VALUES FROM ({from}000000) TO \
                     ({to}000000);"
                )
            }
        }
    }
}

/// What a program that knew `version` migrations left: an app, a key, a user with one grant, two rows of the trail.
pub(super) fn rows(dialect: Dialect, version: usize) -> String {
    let [app, key, user, grant, run, token] = [APP, KEY, USER, GRANT, RUN, TOKEN].map(|id| dialect.id(id));
    let [signing_key, client_secret, access, refresh] =
        [SIGNING_KEY, CLIENT_SECRET, ACCESS_TOKEN, REFRESH_TOKEN].map(|sealed| dialect.blob(sealed));
    let [genesis, first, second] = HASHES.map(|hash| dialect.blob(hash));
    let [first_id, second_id] = ROWS.map(|id| dialect.id(id));
    let digest = dialect.blob(&hex::encode(KeyDigest::of("an old key").bytes()));
    let principal = dialect.blob(&USER.simple().to_string());
    let (no, partition) = (dialect.truth(false), dialect.partition());
    let (then, ends) = ((START - 100) * 1_000_000, (START + 3600) * 1_000_000);
    let mut text = format!(
        "INSERT INTO apps (id, name, status, config_generation, created_at) VALUES ({app}, 'shop', 0, 7, {then});
         INSERT INTO api_keys (app_id, id, digest, name, prefix, scopes, status, created_at, signing_key)
             VALUES ({app}, {key}, {digest}, 'backend', 'alter_rk_abcd', 31, 0, {then}, {signing_key});
         INSERT INTO users (app_id, id, issuer, subject, email, created_at)
             VALUES ({app}, {user}, 'https://idp.example', 'u1', 'u1@example.com', {then});
         INSERT INTO providers (app_id, id, kind, definition, client_secret, client_secret_generation)
             VALUES ({app}, 'google', 0, '{DEFINITION}', {client_secret}, 1);
         INSERT INTO grants (app_id, id, provider_id, kind, principal_kind, principal_id, account_identifier, status,
             needs_reconnect, scope_mismatch, token_expires_at, generation, token_generation, created_at, obtained_at,
             scopes, access_token, refresh_token)
             VALUES ({app}, {grant}, 'google', 0, 0, {principal}, 'a@x', 0, {no}, {no}, {ends}, 3, {token}, {then},
             {then}, 'read', {access}, {refresh});
         {partition}
         INSERT INTO audit_chains (app_id, run_id, begun_at, head_seq, head_hash, closed_at)
             VALUES ({app}, {run}, {then}, 2, {second}, {then});
         INSERT INTO audit_rows (app_id, run_id, seq, id, at, action, outcome, caller, caller_type, detail, prev_hash, hash)
             VALUES ({app}, {run}, 1, {first_id}, {then}, 'app.created', 0, 'cli:somebody', 'operator', 'shop', {genesis}, {first});
         INSERT INTO audit_rows (app_id, run_id, seq, id, at, action, outcome, caller, caller_type, grant_id, provider, account,
             token_generation, detail, prev_hash, hash)
             VALUES ({app}, {run}, 2, {second_id}, {then}, 'grant.imported', 0, 'cli:somebody', 'operator', {grant}, 'google', 'a@x',
             {token}, 'new', {first}, {second});"
    );
    if version >= 2 {
        let yes = dialect.truth(true);
        text += &format!(
            "UPDATE grants SET last_good_at = {then} WHERE id = {grant};
             INSERT INTO refreshes (app_id, grant_id, fence, rotates, failures, last_refreshed_at)
                 VALUES ({app}, {grant}, 5, {yes}, 0, {then});"
        );
    }
    text
}

/// Everything that is done with a grant, on a database that had `version` migrations.
pub(super) async fn everything_goes_on(world: &World, version: usize) {
    let key = Key { app_id: AppId::from_uuid(APP), key_id: KeyId::from_uuid(KEY) };
    let grant_id = GrantId::from_uuid(GRANT);
    let material = world.store.signing_material(KeyDigest::of("an old key")).await.unwrap().unwrap();
    assert_eq!(world.envelope.open(&material.signing_key).unwrap().expose_secret(), [7; 32]);

    assert_eq!(world.token_of(key, "u1").await.unwrap(), "an-old-access-token");
    let admission = world.admission(key, Scope::GrantsRead).await;
    let user = Some(identity("u1"));
    let list = ListCommand { admission, user, filter: GrantFilter::default(), limit: 10, offset: 0 };
    let page = decided(world.store.list_grants(list).await.unwrap()).unwrap();
    let listed: Vec<_> = page.grants.iter().map(|grant| (grant.facts.id, grant.generation)).collect();
    assert_eq!(listed, [(grant_id, 3)]);
    assert_eq!(world.store.list_users(key.app_id, 10, 0).await.unwrap().len(), 1);

    let health = world.store.grant_health(key.app_id, grant_id).await.unwrap();
    assert!(health.refreshable);
    assert_eq!(
        (health.last_refreshed_at.is_some(), health.last_good_at.is_some()),
        (version >= 2, version >= 2)
    );
    let before = CredentialVersion { app_id: key.app_id, grant_id, generation: 3 };
    let lease = world.take(before).await;
    assert_eq!((lease.fence, lease.seen_rotating), if version >= 2 { (6, true) } else { (1, false) });
    let opened = |field| world.envelope.open(field).unwrap().expose_secret().to_vec();
    assert_eq!(opened(&lease.refresh_token), b"an-old-refresh-token");
    assert_eq!(opened(lease.client_secret.as_ref().unwrap()), b"an-old-client-secret");
    let tokens = world.fresh("a-new-access-token", Some("a-new-refresh-token"), 3600);
    let ended = world.end(lease.name(), RefreshEnd::Renewed(Box::new(tokens))).await;
    assert_eq!(ended, Finished::Written { generation: 4 });
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "a-new-access-token");

    let rows = world.rows(key.app_id).await;
    assert_eq!([rows[0].id.uuid(), rows[1].id.uuid()], ROWS);
    assert!(rows.iter().any(|row| row.action == Action::TokenRefreshed));
    world.assert_chains_verify().await;
    world.revoke(key, grant_id, Some("u1")).await.unwrap();
    assert_eq!(code(world.token_of(key, "u1").await), Code::GrantRevoked);
    assert_eq!(world.store.list_providers(key.app_id).await.unwrap()[0].id, id_of("google"));
    world.assert_chains_verify().await;
    world.store.close().await.unwrap();
}
