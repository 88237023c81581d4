//! What bringing a large audit trail to the schema of connect costs: how long the first new program takes to start, and
//! what calls of the programs beside it wait for meanwhile.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use alter_server::Vault;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    Outcome,
    postgres::Server,
    store::{Kind, Site},
};

/// The schema before. The last is the one that is measured.
const SQLITE: [(&str, &str); 3] = [
    ("0001_vault", include_str!("../../alter-server/migrations/sqlite/0001_vault.sql")),
    ("0002_refresh", include_str!("../../alter-server/migrations/sqlite/0002_refresh.sql")),
    ("0003_checkpoints", include_str!("../../alter-server/migrations/sqlite/0003_checkpoints.sql")),
];
const POSTGRES: [(&str, &str); 3] = [
    ("0001_vault", include_str!("../../alter-server/migrations/postgres/0001_vault.sql")),
    ("0002_refresh", include_str!("../../alter-server/migrations/postgres/0002_refresh.sql")),
    ("0003_checkpoints", include_str!("../../alter-server/migrations/postgres/0003_checkpoints.sql")),
];
/// Days over which the rows are spread: as many partitions.
const DAYS: i64 = 30;
const DAY: i64 = 86_400_000_000;

/// Measures and prints.
pub(crate) fn measure(rows: u64, only: Option<Kind>) -> Outcome<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        println!("\nupgrade to schema 4 with {rows} audit rows in {DAYS} days");
        if only != Some(Kind::Postgres) {
            sqlite(rows).await?;
        }
        if only != Some(Kind::Sqlite) {
            for prepared in [false, true] {
                postgres(rows, prepared).await?;
            }
        }
        Ok(())
    })
}

/// The first instant of the oldest day, microseconds.
fn first_day() -> i64 {
    (Timestamp::now().as_microsecond() / DAY - DAYS + 1) * DAY
}

fn checksum(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

async fn sqlite(rows: u64) -> Outcome<()> {
    let rows = i64::try_from(rows)?;
    let site = Site::new(None).await?;
    let file = site.place.folder.join("data").join("vault.db");
    for end in ["", "-wal", "-shm"] {
        // Those beside the database may be gone already.
        let _ = fs::remove_file(format!("{}{end}", file.display()));
    }
    let sql = rusqlite::Connection::open(&file)?;
    sql.pragma_update(None, "journal_mode", "WAL")?;
    sql.pragma_update(None, "synchronous", "OFF")?;
    sql.execute_batch(
        "CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BLOB NOT NULL, needs \
         INTEGER) STRICT",
    )?;
    for (version, (name, text)) in (1..).zip(SQLITE) {
        sql.execute_batch(text)?;
        let entry = "INSERT INTO migrations VALUES (?1, ?2, ?3, 1)";
        sql.execute(entry, rusqlite::params![version, name, checksum(text)])?;
    }
    sql.pragma_update(None, "user_version", i64::try_from(SQLITE.len())?)?;
    let step = DAYS * DAY / rows.max(1);
    sql.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
         INSERT INTO audit_rows (n, app_id, run_id, seq, id, at, action, outcome, key_id, key_prefix, caller, \
         app_user_id, grant_id, provider, account, method, url, reason, request_id, prev_hash, hash) \
         SELECT i, zeroblob(16), zeroblob(16), i, randomblob(16), ?2 + i * ?3, 'token.released', 0, zeroblob(16), \
         'alter_rk_abcdefgh', 'bench', randomblob(16), unhex(printf('%032x', abs(random()) % 10000)), 'google', \
         'user@example.com', 'GET', 'https://www.googleapis.com/calendar/v3/events', 'sync the calendar', \
         randomblob(16), randomblob(32), randomblob(32) FROM n",
        rusqlite::params![rows, first_day(), step],
    )?;
    sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    drop(sql);
    let before = fs::metadata(&file)?.len();
    let began = Instant::now();
    let vault = Vault::open(site.place.config()).await?;
    let took = began.elapsed().as_secs_f64();
    vault.close().await?;
    let (before, after) = (mb(before), mb(fs::metadata(&file)?.len()));
    println!("SQLite: the vault opens in {took:.1} s; the file grows from {before:.0} to {after:.0} MB");
    println!(
        "{}",
        json!({"bench": "upgrade", "store": "SQLite", "rows": rows, "seconds": took, "mb": after})
    );
    Ok(())
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// `prepared`: the index was built for each partition before, beside the calls.
async fn postgres(rows: u64, prepared: bool) -> Outcome<()> {
    let server = Server::start();
    let site = Site::new(Some(&server)).await?;
    let database = site.database.as_ref().ok_or("no database")?;
    let sql = database.sql().await;
    sql.batch_execute(
        "CREATE TABLE alter_migrations \
         (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BYTEA NOT NULL, needs INTEGER)",
    )
    .await?;
    for (version, (name, text)) in (1_i32..).zip(POSTGRES) {
        sql.batch_execute(text).await?;
        let entry = "INSERT INTO alter_migrations VALUES ($1, $2, $3, 1)";
        sql.execute(entry, &[&version, &name, &checksum(text)]).await?;
    }
    fill(&sql, rows).await?;
    let mut building = 0.0;
    if prepared {
        let began = Instant::now();
        for partition in partitions(&sql).await? {
            let build = format!(
                "CREATE INDEX CONCURRENTLY ON {partition} (app_id, grant_id, n) WHERE grant_id IS NOT NULL"
            );
            sql.batch_execute(&build).await?;
        }
        building = began.elapsed().as_secs_f64();
    }
    let done = Arc::new(AtomicBool::new(false));
    let probes = ["INSERT", "SELECT"].map(|what| {
        let (done, url) = (Arc::clone(&done), database.text());
        tokio::spawn(async move { longest(&url, what, &done).await })
    });
    let began = Instant::now();
    let opened = Vault::open(site.place.config()).await;
    let took = began.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    for probe in probes {
        waits.push(probe.await??.as_secs_f64());
    }
    opened?.close().await?;
    let size = "SELECT sum(pg_relation_size(indexrelid))::float8 FROM pg_index WHERE pg_get_indexdef(indexrelid) LIKE \
                '%(app_id, grant_id, n)%' AND indrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = \
                'audit_rows'::regclass)";
    let size: f64 = sql.query_one(size, &[]).await?.get(0);
    let how = if prepared { "index built before" } else { "index built by the upgrade" };
    println!(
        "PostgreSQL, {how}: the vault opens in {took:.1} s; beside it a row waits {:.1} s to be written, and a grant {:.1} s \
         to be read, at most; the index has {:.0} MB{}",
        waits[0],
        waits[1],
        size / 1e6,
        if prepared { format!("; building it took {building:.1} s") } else { String::new() }
    );
    println!(
        "{}",
        json!({"bench": "upgrade", "store": "PostgreSQL", "rows": rows, "prepared": prepared, "seconds": took,
            "building_seconds": building, "write_wait_s": waits[0], "read_wait_s": waits[1]})
    );
    Ok(())
}

async fn partitions(sql: &tokio_postgres::Client) -> Outcome<Vec<String>> {
    let text = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_rows'::regclass";
    Ok(sql.query(text, &[]).await?.iter().map(|row| row.get(0)).collect())
}

async fn fill(sql: &tokio_postgres::Client, rows: u64) -> Outcome<()> {
    let first = first_day();
    for day in 0..DAYS {
        let (from, to) = (first + day * DAY, first + (day + 1) * DAY);
        sql.batch_execute(&format!(
            "CREATE TABLE audit_rows_{name} PARTITION OF audit_rows FOR VALUES FROM ({from}) TO ({to})",
            name = from / 1_000_000
        ))
        .await?;
    }
    let (rows, step) = (i64::try_from(rows)?, DAYS * DAY / i64::try_from(rows.max(1))?);
    sql.batch_execute(&format!(
        "INSERT INTO audit_rows (app_id, run_id, seq, id, at, action, outcome, key_id, key_prefix, caller, app_user_id, \
         grant_id, provider, account, method, url, reason, request_id, prev_hash, hash) \
         SELECT '{zero}', '{zero}', i, gen_random_uuid(), {first} + i * {step}, 'token.released', 0, '{zero}', \
         'alter_rk_abcdefgh', 'bench', gen_random_uuid(), lpad(to_hex((random() * 10000)::bigint), 32, '0')::uuid, \
         'google', 'user@example.com', 'GET', 'https://www.googleapis.com/calendar/v3/events', 'sync the calendar', \
         gen_random_uuid(), decode(repeat(md5(i::text), 2), 'hex'), decode(repeat(md5(i::text), 2), 'hex') \
         FROM generate_series(0::bigint, {rows} - 1) AS i",
        zero = uuid::Uuid::nil(),
    ))
    .await?;
    sql.batch_execute("VACUUM (ANALYZE) audit_rows").await?;
    Ok(sql.batch_execute("CHECKPOINT").await?)
}

/// How long a statement of another program waits at most, until it is said that all is done.
async fn longest(url: &str, what: &str, done: &AtomicBool) -> Outcome<Duration> {
    let (sql, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let driven = tokio::spawn(connection);
    let now = Timestamp::now().as_microsecond();
    let text = match what {
        "INSERT" => format!(
            "INSERT INTO audit_rows (app_id, run_id, seq, id, at, action, outcome, prev_hash, hash) VALUES \
             (gen_random_uuid(), gen_random_uuid(), 1, gen_random_uuid(), {now}, 'probe', 0, '', '')"
        ),
        _ => "SELECT count(*) FROM grants".to_owned(),
    };
    let mut longest = Duration::ZERO;
    while !done.load(Ordering::Relaxed) {
        let began = Instant::now();
        sql.batch_execute(&text).await?;
        longest = longest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    driven.abort();
    Ok(longest)
}
