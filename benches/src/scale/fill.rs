//! Writes grants past the vault.

use std::{fmt::Write as _, fs};

use alter_server::{
    domain::AppId,
    seal::{Envelope, Field, KeyRing, SealContext},
};
use bytes::Bytes;
use futures_util::SinkExt;
use jiff::Timestamp;
use rusqlite::params;
use secrecy::SecretSlice;
use tokio_postgres::CopyInSink;
use uuid::Uuid;

use crate::{
    Outcome,
    store::{PROVIDER, Site},
};

/// Rows per message of `COPY`.
const STEP: u64 = 1_000;
/// Ten years, microseconds: nothing is due in a measurement.
const FAR: i64 = 10 * 365 * 86_400 * 1_000_000;
/// As long as Google's are.
const ACCESS_TOKEN: usize = 220;
const REFRESH_TOKEN: usize = 100;

/// Ids look random and can be found again. (One round of splitmix64 for each half.)
fn id(app: AppId, what: u64, number: u64) -> Uuid {
    let (high, low) = app.uuid().as_u64_pair();
    let mix = |seed: u64| {
        let mut mixed = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    uuid::Builder::from_u128(u128::from(mix(high ^ what)) << 64 | u128::from(mix(low ^ what)))
        .with_version(uuid::Version::Random)
        .with_variant(uuid::Variant::RFC4122)
        .into_uuid()
}

pub(super) fn user_id(app: AppId, number: u64) -> Uuid {
    id(app, 1, number)
}

pub(super) fn grant_id(app: AppId, number: u64) -> Uuid {
    id(app, 2, number)
}

struct Writer {
    app: AppId,
    envelope: Envelope,
    now: i64,
}

impl Writer {
    fn sealed(&self, field: Field, grant: Uuid, bytes: usize) -> Outcome<Vec<u8>> {
        let context = SealContext::of(self.app, field, grant, 1);
        Ok(self.envelope.seal(&context, &SecretSlice::from(vec![b't'; bytes]))?.as_bytes().to_vec())
    }

    fn tokens(&self, grant: Uuid) -> Outcome<(Vec<u8>, Vec<u8>)> {
        Ok((
            self.sealed(Field::GrantAccessToken, grant, ACCESS_TOKEN)?,
            self.sealed(Field::GrantRefreshToken, grant, REFRESH_TOKEN)?,
        ))
    }
}

/// Writes `count` users with a grant each.
pub(super) async fn fill(site: &Site, app: AppId, count: u64) -> Outcome<()> {
    let ring = KeyRing::from_file(&site.place.folder.join("data").join("kek"))?;
    let writer = Writer { app, envelope: Envelope::new(ring), now: Timestamp::now().as_microsecond() };
    match &site.database {
        Some(database) => postgres(&database.sql().await, &writer, count).await,
        None => sqlite(site, &writer, count),
    }
}

/// Takes the trail's index by grant away, to see what it costs.
pub(super) async fn drop_index(site: &Site) -> Outcome<()> {
    const DROP: &str = "DROP INDEX audit_rows_by_grant";
    match &site.database {
        Some(database) => Ok(database.sql().await.batch_execute(DROP).await?),
        None => {
            let file = site.place.folder.join("data").join("vault.db");
            Ok(rusqlite::Connection::open(file)?.execute_batch(DROP)?)
        }
    }
}

/// Size of what was written.
pub(super) async fn bytes(site: &Site) -> Outcome<f64> {
    match &site.database {
        Some(database) => {
            let sql = database.sql().await;
            let row = sql.query_one("SELECT pg_database_size(current_database())::float8", &[]).await?;
            Ok(row.get(0))
        }
        None => Ok(fs::metadata(site.place.folder.join("data").join("vault.db"))?.len() as f64),
    }
}

async fn postgres(sql: &tokio_postgres::Client, writer: &Writer, count: u64) -> Outcome<()> {
    // Indexes are made once the rows are there, as after a restore.
    let indexes = sql
        .query(
            "SELECT indexname::text, indexdef FROM pg_indexes WHERE tablename IN ('grants', 'users') AND indexname \
             NOT LIKE '%_pkey'",
            &[],
        )
        .await?;
    for index in &indexes {
        sql.batch_execute(&format!("DROP INDEX {}", index.get::<_, &str>(0))).await?;
    }
    // Other tables point here, and are empty.
    let references = sql
        .query(
            "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = \
             'f' AND confrelid IN ('users'::regclass, 'grants'::regclass)",
            &[],
        )
        .await?;
    for reference in &references {
        let (table, name): (&str, &str) = (reference.get(0), reference.get(1));
        sql.batch_execute(&format!("ALTER TABLE {table} DROP CONSTRAINT {name}")).await?;
    }
    let keys = "ALTER TABLE grants DROP CONSTRAINT grants_pkey; ALTER TABLE users DROP CONSTRAINT users_pkey";
    sql.batch_execute(keys).await?;
    let users = sql.copy_in("COPY users (app_id, id, issuer, subject, created_at) FROM STDIN").await?;
    copy(users, count, |line, number| {
        let user = user_id(writer.app, number);
        writeln!(line, "{}\t{user}\thttps://idp.example\tuser-{number}\t{}", writer.app, writer.now)?;
        Ok(())
    })
    .await?;
    let grants = sql
        .copy_in(
            "COPY grants (app_id, id, provider_id, kind, principal_kind, principal_id, account_identifier, status, \
             needs_reconnect, scope_mismatch, token_expires_at, generation, token_generation, created_at, obtained_at, \
             scopes, access_token, refresh_token) FROM STDIN",
        )
        .await?;
    copy(grants, count, |line, number| {
        let (grant, user) = (grant_id(writer.app, number), user_id(writer.app, number));
        let (access, refresh) = writer.tokens(grant)?;
        write!(
            line,
            "{}\t{grant}\t{PROVIDER}\t0\t0\t\\\\x{}\tuser-{number}@example.com\t0\tf\tf\t{}\t1\t{}\t{}\t{}\tread\t",
            writer.app,
            user.simple(),
            writer.now + FAR,
            id(writer.app, 3, number),
            writer.now,
            writer.now,
        )?;
        hex(line, &access);
        line.push('\t');
        hex(line, &refresh);
        line.push('\n');
        Ok(())
    })
    .await?;
    sql.batch_execute(
        "ALTER TABLE grants ADD PRIMARY KEY (app_id, id); ALTER TABLE users ADD PRIMARY KEY (app_id, id)",
    )
    .await?;
    for index in &indexes {
        sql.batch_execute(index.get(1)).await?;
    }
    for reference in &references {
        let (table, name, definition): (&str, &str, &str) =
            (reference.get(0), reference.get(1), reference.get(2));
        sql.batch_execute(&format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")).await?;
    }
    sql.batch_execute("VACUUM (ANALYZE) users, grants").await?;
    Ok(sql.batch_execute("CHECKPOINT").await?)
}

fn hex(line: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    line.push_str("\\\\x");
    for byte in bytes {
        line.push(char::from(DIGITS[usize::from(byte >> 4)]));
        line.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

async fn copy(
    sink: CopyInSink<Bytes>,
    count: u64,
    row: impl Fn(&mut String, u64) -> Outcome<()>,
) -> Outcome<()> {
    let mut sink = std::pin::pin!(sink);
    let mut from = 0;
    while from < count {
        let to = count.min(from + STEP);
        let mut lines = String::with_capacity(1 << 20);
        for number in from..to {
            row(&mut lines, number)?;
        }
        sink.send(Bytes::from(lines)).await?;
        from = to;
    }
    sink.finish().await?;
    Ok(())
}

fn sqlite(site: &Site, writer: &Writer, count: u64) -> Outcome<()> {
    let mut sql = rusqlite::Connection::open(site.place.folder.join("data").join("vault.db"))?;
    sql.pragma_update(None, "synchronous", "OFF")?;
    sql.pragma_update(None, "cache_size", -1_000_000)?;
    sql.pragma_update(None, "foreign_keys", false)?;
    sql.pragma_update(None, "wal_autocheckpoint", 100_000)?;
    let indexes: Vec<(String, String)> = sql
        .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name IN ('grants', 'users') AND sql IS NOT NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (name, _) in &indexes {
        sql.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    // In the order of the key, whose index then grows at its end.
    let mut order: Vec<(Uuid, u64)> =
        (0..count).map(|number| (user_id(writer.app, number), number)).collect();
    order.sort_unstable();
    let bytes = |id: &Uuid| id.as_bytes().to_vec();
    let app = bytes(&writer.app.uuid());
    for part in order.chunks(200_000) {
        let transaction = sql.transaction()?;
        {
            let mut insert = transaction.prepare(
                "INSERT INTO users (app_id, id, issuer, subject, created_at) VALUES (?1, ?2, 'https://idp.example', ?3, ?4)",
            )?;
            for (user, number) in part {
                insert.execute(params![app, bytes(user), format!("user-{number}"), writer.now])?;
            }
        }
        transaction.commit()?;
    }
    let mut order: Vec<(Uuid, u64)> =
        (0..count).map(|number| (grant_id(writer.app, number), number)).collect();
    order.sort_unstable();
    for part in order.chunks(200_000) {
        let transaction = sql.transaction()?;
        {
            let mut insert = transaction.prepare(
                "INSERT INTO grants (app_id, id, provider_id, kind, principal_kind, principal_id, account_identifier, \
                 status, needs_reconnect, scope_mismatch, token_expires_at, generation, token_generation, created_at, \
                 obtained_at, scopes, access_token, refresh_token) \
                 VALUES (?1, ?2, ?3, 0, 0, ?4, ?5, 0, 0, 0, ?6, 1, ?7, ?8, ?8, 'read', ?9, ?10)",
            )?;
            for (grant, number) in part {
                let (access, refresh) = writer.tokens(*grant)?;
                insert.execute(params![
                    app,
                    bytes(grant),
                    PROVIDER,
                    bytes(&user_id(writer.app, *number)),
                    format!("user-{number}@example.com"),
                    writer.now + FAR,
                    bytes(&id(writer.app, 3, *number)),
                    writer.now,
                    access,
                    refresh,
                ])?;
            }
        }
        transaction.commit()?;
    }
    for (_, text) in &indexes {
        sql.execute_batch(text)?;
    }
    Ok(sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}
