//! Checkpoints and their keys in their tables.

use jiff::Timestamp;
use tokio_postgres::{Client, Row};

use super::columns::{count, execute, get, hash, instant, integer, maybe_row, micros, params, rows};
use crate::{
    audit::{Checkpoint, CheckpointKey, CheckpointKind, Due, NamedCut, PublicKey, Signer, signer_of},
    domain::{AppId, RunId},
    seal::{Envelope, Sealed, SealedField},
    store::{ChainEnd, StoreError},
};

/// Checkpoints that are read at once.
const STEP: i64 = 2000;
/// Replicas that need a first key at the same time take turns. (Two-number advisory locks are apart from the one-number locks of
/// units of work.)
const LOCK: &str = "SELECT pg_advisory_xact_lock(1634497637, 3)";

/// Notes of ends, or cuts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sort {
    Notes,
    Cuts,
}

impl Sort {
    pub(super) const BOTH: [Self; 2] = [Self::Cuts, Self::Notes];

    const fn table(self) -> &'static str {
        match self {
            Self::Notes => "audit_checkpoints",
            Self::Cuts => "audit_cuts",
        }
    }

    const fn of(kind: CheckpointKind) -> Self {
        match kind {
            CheckpointKind::Progress | CheckpointKind::Closed => Self::Notes,
            CheckpointKind::Cut => Self::Cuts,
        }
    }
}

const COLUMNS: &str =
    "app_id, run_id, kind, number, seq, hash, at, row_count, export, previous, public_key, signature";

fn maybe_hash(row: &Row, column: usize) -> Result<Option<[u8; 32]>, StoreError> {
    get::<Option<&[u8]>>(row, column)?.map(|_| hash(row, column)).transpose()
}

fn read(row: &Row) -> Result<Checkpoint, StoreError> {
    Ok(Checkpoint {
        app_id: get(row, 0)?,
        chain: get(row, 1)?,
        kind: match get::<i16>(row, 2)? {
            0 => CheckpointKind::Progress,
            1 => CheckpointKind::Closed,
            2 => CheckpointKind::Cut,
            _ => return Err(StoreError::Corrupt("unknown kind of checkpoint".to_owned())),
        },
        number: count(row, 3)?,
        seq: count(row, 4)?,
        hash: hash(row, 5)?,
        at: instant(row, 6)?,
        rows: count(row, 7)?,
        export: maybe_hash(row, 8)?,
        previous: maybe_hash(row, 9)?,
        key: PublicKey::from_bytes(hash(row, 10)?),
        signature: get(row, 11)?,
    })
}

async fn insert(sql: &Client, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let Checkpoint { app_id, chain, kind, number, seq, hash, at, rows, export, previous, key, signature } =
        checkpoint;
    let text = format!(
        "INSERT INTO {} ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        Sort::of(*kind).table()
    );
    let (export, previous) = (export.as_ref().map(<[u8; 32]>::as_slice), previous.as_ref());
    execute(
        sql,
        &text,
        params![
            *app_id,
            *chain,
            *kind as i16,
            integer(*number),
            integer(*seq),
            hash.as_slice(),
            micros(*at),
            integer(*rows),
            export,
            previous.map(<[u8; 32]>::as_slice),
            key.bytes().as_slice(),
            signature.as_slice(),
        ],
    )
    .await?;
    Ok(())
}

/// The chain's newest checkpoint of that sort.
pub(super) async fn newest(
    sql: &Client,
    sort: Sort,
    app_id: AppId,
    chain: RunId,
) -> Result<Option<Checkpoint>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM {} WHERE app_id = $1 AND run_id = $2 ORDER BY number DESC LIMIT 1",
        sort.table()
    );
    maybe_row(sql, &text, params![app_id, chain]).await?.as_ref().map(read).transpose()
}

/// Every checkpoint of that sort in the order of their numbers, some at a time; what cannot be read comes with the reason.
pub(super) async fn each(
    sql: &Client,
    sort: Sort,
    app_id: Option<AppId>,
    mut visit: impl FnMut(Result<Checkpoint, (AppId, RunId, String)>),
) -> Result<(), StoreError> {
    let condition = if app_id.is_some() { "app_id = $1" } else { "$1::uuid IS NULL" };
    let text = format!(
        "SELECT {COLUMNS} FROM {} WHERE {condition} AND (app_id, run_id, number) > ($2, $3, $4) \
         ORDER BY app_id, run_id, number LIMIT $5",
        sort.table()
    );
    let mut after = (AppId::VAULT, RunId::from_uuid(uuid::Uuid::nil()), 0_i64);
    loop {
        let found = rows(sql, &text, params![app_id, after.0, after.1, after.2, STEP]).await?;
        for row in &found {
            after = (get(row, 0)?, get(row, 1)?, get(row, 3)?);
            visit(read(row).map_err(|error| (after.0, after.1, error.to_string())));
        }
        if found.is_empty() {
            return Ok(());
        }
    }
}

/// The newest checkpoint of each sort and chain.
pub(super) async fn newest_of_all(
    sql: &Client,
    app_id: Option<AppId>,
) -> Result<Vec<Checkpoint>, StoreError> {
    let condition = if app_id.is_some() { "app_id = $1" } else { "$1::uuid IS NULL" };
    let mut found = Vec::new();
    for sort in Sort::BOTH {
        let text = format!(
            "SELECT DISTINCT ON (app_id, run_id) {COLUMNS} FROM {} WHERE {condition} ORDER BY app_id, run_id, number DESC",
            sort.table()
        );
        for row in &rows(sql, &text, params![app_id]).await? {
            found.push(read(row)?);
        }
    }
    Ok(found)
}

/// The cuts that name a file, each with the one before it.
pub(super) async fn cuts_naming(sql: &Client, export: &[u8; 32]) -> Result<Vec<NamedCut>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM audit_cuts WHERE export = $1");
    let mut named = Vec::new();
    for row in &rows(sql, &text, params![export.as_slice()]).await? {
        let cut = read(row)?;
        let text =
            format!("SELECT {COLUMNS} FROM audit_cuts WHERE app_id = $1 AND run_id = $2 AND number = $3");
        let before = maybe_row(sql, &text, params![cut.app_id, cut.chain, integer(cut.number) - 1]).await?;
        let before = before.as_ref().map(read).transpose()?;
        named.push(NamedCut { cut, before });
    }
    Ok(named)
}

/// The keys, oldest first.
pub(super) async fn keys(sql: &Client) -> Result<Vec<CheckpointKey>, StoreError> {
    let text = "SELECT public_key, created_at, private_key FROM audit_keys ORDER BY created_at, public_key";
    let mut keys = Vec::new();
    for row in &rows(sql, text, &[]).await? {
        let public = PublicKey::from_bytes(hash(row, 0)?);
        let private = SealedField { context: CheckpointKey::context(public), sealed: get::<Sealed>(row, 2)? };
        keys.push(CheckpointKey { public, created_at: instant(row, 1)?, private });
    }
    Ok(keys)
}

/// Makes a key, inside a unit of work.
pub(super) async fn add_key(
    sql: &Client,
    envelope: &Envelope,
    at: Timestamp,
) -> Result<(CheckpointKey, Signer), StoreError> {
    let (key, signer) = CheckpointKey::generate(envelope, at)?;
    let text = "INSERT INTO audit_keys (public_key, created_at, private_key) VALUES ($1, $2, $3)";
    execute(sql, text, params![key.public.bytes().as_slice(), micros(at), key.private.sealed]).await?;
    Ok((key, signer))
}

/// The key that signs, made if there is none; inside a unit of work.
pub(super) async fn signer(sql: &Client, envelope: &Envelope, at: Timestamp) -> Result<Signer, StoreError> {
    if let Some(signer) = signer_of(&keys(sql).await?, envelope) {
        return Ok(signer);
    }
    rows(sql, LOCK, &[]).await?;
    if let Some(signer) = signer_of(&keys(sql).await?, envelope) {
        return Ok(signer);
    }
    Ok(add_key(sql, envelope, at).await?.1)
}

/// Signs one chain, inside a unit of work.
pub(super) async fn sign_one(sql: &Client, signer: &Signer, due: &Due) -> Result<(), StoreError> {
    let before = newest(sql, Sort::of(due.kind), due.app_id, due.chain).await?;
    insert(sql, &signer.sign(due, before.as_ref())).await
}

/// Signs the chains that moved since their newest checkpoint, inside a unit of work.
pub(super) async fn sign(
    sql: &Client,
    envelope: &Envelope,
    at: Timestamp,
    kind: CheckpointKind,
    ends: &[ChainEnd],
) -> Result<u64, StoreError> {
    let mut known = None;
    let mut signed = 0;
    for end in ends {
        let before = newest(sql, Sort::of(kind), end.app_id, end.chain).await?;
        let moved = before.as_ref().is_none_or(|before| {
            before.seq < end.head.seq || (before.kind == CheckpointKind::Progress && kind != before.kind)
        });
        if end.head.seq == 0 || !moved {
            continue;
        }
        let signer = match &known {
            Some(signer) => signer,
            None => known.insert(signer(sql, envelope, at).await?),
        };
        let due = Due { app_id: end.app_id, chain: end.chain, kind, head: end.head, at, export: None };
        insert(sql, &signer.sign(&due, before.as_ref())).await?;
        signed += 1;
    }
    Ok(signed)
}
