//! Checkpoints and their keys in their tables.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::{Micros, count, instant, integer};
use crate::{
    audit::{Checkpoint, CheckpointKey, CheckpointKind, Due, NamedCut, PublicKey, Signer, signer_of},
    domain::{AppId, RunId},
    seal::{Envelope, SealedField},
    store::{ChainEnd, StoreError},
};

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

fn read(row: &Row<'_>) -> rusqlite::Result<Checkpoint> {
    Ok(Checkpoint {
        app_id: row.get(0)?,
        chain: row.get(1)?,
        kind: match row.get::<_, i64>(2)? {
            0 => CheckpointKind::Progress,
            1 => CheckpointKind::Closed,
            2 => CheckpointKind::Cut,
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(2, other)),
        },
        number: count(row, 3)?,
        seq: count(row, 4)?,
        hash: row.get(5)?,
        at: instant(row, 6)?,
        rows: count(row, 7)?,
        export: row.get(8)?,
        previous: row.get(9)?,
        key: PublicKey::from_bytes(row.get(10)?),
        signature: row.get(11)?,
    })
}

fn insert(sql: &Connection, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let Checkpoint { app_id, chain, kind, number, seq, hash, at, rows, export, previous, key, signature } =
        checkpoint;
    let table = Sort::of(*kind).table();
    sql.prepare_cached(&format!(
        "INSERT INTO {table} ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    ))?
    .execute(params![
        app_id,
        chain,
        *kind as i64,
        integer(*number),
        integer(*seq),
        hash,
        Micros(*at),
        integer(*rows),
        export,
        previous,
        key.bytes(),
        signature
    ])?;
    Ok(())
}

/// The chain's newest checkpoint of that sort.
pub(super) fn newest(
    sql: &Connection,
    sort: Sort,
    app_id: AppId,
    chain: RunId,
) -> Result<Option<Checkpoint>, StoreError> {
    let table = sort.table();
    Ok(sql
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM {table} WHERE app_id = ?1 AND run_id = ?2 ORDER BY number DESC LIMIT 1"
        ))?
        .query_row(params![app_id, chain], read)
        .optional()?)
}

/// Every checkpoint of that sort in the order of their numbers; what cannot be read comes with the reason.
pub(super) fn each(
    sql: &Connection,
    sort: Sort,
    app_id: Option<AppId>,
    mut visit: impl FnMut(Result<Checkpoint, (AppId, RunId, String)>),
) -> Result<(), StoreError> {
    let (table, condition) = (sort.table(), if app_id.is_some() { "app_id = ?1" } else { "?1 IS NULL" });
    let mut statement = sql.prepare(&format!(
        "SELECT {COLUMNS} FROM {table} WHERE {condition} ORDER BY app_id, run_id, number"
    ))?;
    let mut rows = statement.query([app_id])?;
    while let Some(row) = rows.next()? {
        visit(read(row).map_err(|error| {
            let chain = row.get(1).unwrap_or(RunId::from_uuid(uuid::Uuid::nil()));
            (row.get(0).unwrap_or(AppId::VAULT), chain, error.to_string())
        }));
    }
    Ok(())
}

/// The newest checkpoint of each sort and chain.
pub(super) fn newest_of_all(sql: &Connection, app_id: Option<AppId>) -> Result<Vec<Checkpoint>, StoreError> {
    let mut found = Vec::new();
    for sort in Sort::BOTH {
        let (table, condition) = (sort.table(), if app_id.is_some() { "app_id = ?1" } else { "?1 IS NULL" });
        let mut statement = sql.prepare(&format!(
            "SELECT {COLUMNS} FROM {table} c WHERE {condition} AND number = (SELECT max(number) FROM {table} o \
             WHERE o.app_id = c.app_id AND o.run_id = c.run_id) ORDER BY app_id, run_id"
        ))?;
        let rows = statement.query_map([app_id], read)?;
        for row in rows {
            found.push(row?);
        }
    }
    Ok(found)
}

/// The cuts that name a file, each with the one before it.
pub(super) fn cuts_naming(sql: &Connection, export: [u8; 32]) -> Result<Vec<NamedCut>, StoreError> {
    let mut statement = sql.prepare(&format!("SELECT {COLUMNS} FROM audit_cuts WHERE export = ?1"))?;
    let cuts = statement.query_map([export], read)?;
    let mut before = sql.prepare(&format!(
        "SELECT {COLUMNS} FROM audit_cuts WHERE app_id = ?1 AND run_id = ?2 AND number = ?3"
    ))?;
    let mut named = Vec::new();
    for cut in cuts {
        let cut = cut?;
        let number = integer(cut.number) - 1;
        let before = before.query_row(params![cut.app_id, cut.chain, number], read).optional()?;
        named.push(NamedCut { cut, before });
    }
    Ok(named)
}

/// The keys, oldest first.
pub(super) fn keys(sql: &Connection) -> Result<Vec<CheckpointKey>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT public_key, created_at, private_key FROM audit_keys ORDER BY created_at, public_key",
    )?;
    let found = statement.query_map([], |row| {
        let public = PublicKey::from_bytes(row.get(0)?);
        let private = SealedField { context: CheckpointKey::context(public), sealed: row.get(2)? };
        Ok(CheckpointKey { public, created_at: instant(row, 1)?, private })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Makes a key, inside a unit of work.
pub(super) fn add_key(
    sql: &Connection,
    envelope: &Envelope,
    at: Timestamp,
) -> Result<(CheckpointKey, Signer), StoreError> {
    let (key, signer) = CheckpointKey::generate(envelope, at)?;
    sql.prepare_cached("INSERT INTO audit_keys (public_key, created_at, private_key) VALUES (?1, ?2, ?3)")?
        .execute(params![key.public.bytes(), Micros(at), key.private.sealed])?;
    Ok((key, signer))
}

/// The key that signs, made if there is none; inside a unit of work, so that there is only one first.
pub(super) fn signer(sql: &Connection, envelope: &Envelope, at: Timestamp) -> Result<Signer, StoreError> {
    match signer_of(&keys(sql)?, envelope) {
        Some(signer) => Ok(signer),
        None => Ok(add_key(sql, envelope, at)?.1),
    }
}

/// Signs one chain, inside a unit of work.
pub(super) fn sign_one(sql: &Connection, signer: &Signer, due: &Due) -> Result<(), StoreError> {
    let before = newest(sql, Sort::of(due.kind), due.app_id, due.chain)?;
    insert(sql, &signer.sign(due, before.as_ref()))
}

/// Signs the chains that moved since their newest checkpoint, inside a unit of work.
pub(super) fn sign(
    sql: &Connection,
    envelope: &Envelope,
    at: Timestamp,
    kind: CheckpointKind,
    ends: &[ChainEnd],
) -> Result<u64, StoreError> {
    let mut known = None;
    let mut signed = 0;
    for end in ends {
        let before = newest(sql, Sort::of(kind), end.app_id, end.chain)?;
        let moved = before.as_ref().is_none_or(|before| {
            before.seq < end.head.seq || (before.kind == CheckpointKind::Progress && kind != before.kind)
        });
        if end.head.seq == 0 || !moved {
            continue;
        }
        let signer = match &known {
            Some(signer) => signer,
            None => known.insert(signer(sql, envelope, at)?),
        };
        let due = Due { app_id: end.app_id, chain: end.chain, kind, head: end.head, at, export: None };
        insert(sql, &signer.sign(&due, before.as_ref()))?;
        signed += 1;
    }
    Ok(signed)
}
