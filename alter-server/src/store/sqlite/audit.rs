//! The trail in its tables.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    checkpoints::{self, Sort},
    columns::{Micros, count, instant, integer},
};
use crate::{
    audit::{
        Action, AuditFilter, AuditPage, AuditRow, ChainHead, ChainRecord, Evidence, Outcome, Verifier,
        VerifyReport,
    },
    domain::{AppId, AuditId, RunId},
    seal::{Envelope, Field, SealContext, Sealed, SealedField},
    store::{AuditVerifyScope, StoreError},
};

macro_rules! columns {
    () => {
        "app_id, run_id, seq, id, at, action, outcome, code, key_id, key_prefix, caller, caller_type, actor_id, agent_id, \
         principal, app_user_id, grant_id, provider, account, method, url, status, latency_ms, reason, context, \
         token_generation, request_id, trace_parent, remote, detail, bodies_digest, prev_hash, hash"
    };
}

/// Rows of an app after a place in the order of writing, each with that place and its bodies.
pub(super) const EXPORT: &str = concat!(
    "SELECT ",
    columns!(),
    ", n, CASE WHEN bodies_digest IS NOT NULL THEN (SELECT b.sealed FROM audit_bodies b \
     WHERE b.app_id = audit_rows.app_id AND b.id = audit_rows.id) END \
     FROM audit_rows WHERE app_id = ?1 AND n > ?2 ORDER BY n LIMIT ?3"
);

/// Writes a row that is in its chain already.
pub(super) fn insert(sql: &Connection, row: &AuditRow) -> Result<(), StoreError> {
    sql.prepare_cached(concat!(
        "INSERT INTO audit_rows (",
        columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
         ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)"
    ))?
    .execute(params![
        row.app_id,
        row.chain,
        integer(row.seq),
        row.id,
        Micros(row.at),
        row.action.as_str(),
        row.outcome as i64,
        row.code,
        row.key_id,
        row.key_prefix,
        row.caller,
        row.caller_type,
        row.actor_id,
        row.agent_id,
        row.principal,
        row.app_user_id,
        row.grant_id,
        row.provider,
        row.account,
        row.method,
        row.url,
        row.status,
        row.latency_ms.map(integer),
        row.reason,
        row.context,
        row.token_generation,
        row.request_id.as_ref().map(uuid::Uuid::as_bytes),
        row.trace_parent,
        row.remote,
        row.detail,
        row.bodies_digest,
        row.prev_hash,
        row.hash
    ])?;
    Ok(())
}

fn unreadable(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, what.into())
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let action = row.get_ref(5)?.as_str()?;
    Ok(AuditRow {
        app_id: row.get(0)?,
        chain: row.get(1)?,
        seq: count(row, 2)?,
        id: row.get(3)?,
        at: instant(row, 4)?,
        action: Action::parse(action).ok_or_else(|| unreadable(5, "unknown action"))?,
        outcome: match row.get::<_, i64>(6)? {
            0 => Outcome::Allowed,
            1 => Outcome::Refused,
            _ => return Err(unreadable(6, "unknown outcome")),
        },
        code: row.get(7)?,
        key_id: row.get(8)?,
        key_prefix: row.get(9)?,
        caller: row.get(10)?,
        caller_type: row.get(11)?,
        actor_id: row.get(12)?,
        agent_id: row.get(13)?,
        principal: row.get(14)?,
        app_user_id: row.get(15)?,
        grant_id: row.get(16)?,
        provider: row.get(17)?,
        account: row.get(18)?,
        method: row.get(19)?,
        url: row.get(20)?,
        status: row.get(21)?,
        latency_ms: row.get::<_, Option<i64>>(22)?.map(i64::unsigned_abs),
        reason: row.get(23)?,
        context: row.get(24)?,
        token_generation: row.get(25)?,
        request_id: row.get::<_, Option<[u8; 16]>>(26)?.map(uuid::Uuid::from_bytes),
        trace_parent: row.get(27)?,
        remote: row.get(28)?,
        detail: row.get(29)?,
        bodies_digest: row.get(30)?,
        prev_hash: row.get(31)?,
        hash: row.get(32)?,
    })
}

/// Part of the trail in the order of writing.
pub(super) fn page(sql: &Connection, filter: &AuditFilter) -> Result<AuditPage, StoreError> {
    let limit = filter.limit.clamp(1, 10_000);
    let (comparison, order, from) =
        if filter.newest_first { ("<", "DESC", i64::MAX) } else { (">", "ASC", 0) };
    let from = filter.after.map_or(from, integer);
    if !filter.grants.is_empty() {
        return of_grants(sql, filter, (limit, from), (comparison, order));
    }
    // The app's index carries the row number, so both forms read in order.
    let condition = if filter.app_id.is_some() { "app_id = ?3 AND" } else { "?3 IS NULL AND" };
    let mut statement = sql.prepare_cached(&format!(
        "SELECT {}, n FROM audit_rows WHERE {condition} n {comparison} ?1 ORDER BY n {order} LIMIT ?2",
        columns!()
    ))?;
    let mut rows = statement.query(params![from, i64::from(limit) + 1, filter.app_id])?;
    let mut page = AuditPage { rows: Vec::new(), next: None };
    let mut last = 0;
    while let Some(row) = rows.next()? {
        if page.rows.len() == limit as usize {
            page.next = Some(last);
            break;
        }
        last = count(row, 33)?;
        page.rows.push(read(row)?);
    }
    Ok(page)
}

/// Rows about some grants. Each grant's rows are read in order from the index of their own, and only the places: what is far behind
/// is never touched.
fn of_grants(
    sql: &Connection,
    filter: &AuditFilter,
    (limit, from): (u32, i64),
    (comparison, order): (&str, &str),
) -> Result<AuditPage, StoreError> {
    let Some(app_id) = filter.app_id else {
        return Err(StoreError::Invalid("rows about grants are those of one app: name it".to_owned()));
    };
    let mut statement = sql.prepare_cached(&format!(
        "SELECT n FROM audit_rows WHERE app_id = ?1 AND grant_id = ?2 AND n {comparison} ?3 ORDER BY n {order} LIMIT ?4"
    ))?;
    let mut places = BTreeSet::new();
    for grant in &filter.grants {
        let found = statement
            .query_map(params![app_id, grant, from, i64::from(limit) + 1], |row| row.get::<_, i64>(0))?;
        for place in found {
            places.insert(place?);
        }
    }
    let mut places: Vec<i64> = places.into_iter().collect();
    if filter.newest_first {
        places.reverse();
    }
    let more = places.len() > limit as usize;
    places.truncate(limit as usize);
    let mut statement =
        sql.prepare_cached(concat!("SELECT ", columns!(), " FROM audit_rows WHERE n = ?1"))?;
    let mut page = AuditPage { rows: Vec::with_capacity(places.len()), next: None };
    for place in &places {
        // One that retention removed meanwhile is gone.
        page.rows.extend(statement.query_row([place], read).optional()?);
    }
    page.next = places.last().filter(|_| more).map(|place| place.unsigned_abs());
    Ok(page)
}

/// The sealed bodies of a report.
pub(super) fn bodies(
    sql: &Connection,
    app_id: AppId,
    id: AuditId,
) -> Result<Option<SealedField>, StoreError> {
    let sealed: Option<Sealed> = sql
        .prepare_cached("SELECT sealed FROM audit_bodies WHERE app_id = ?1 AND id = ?2")?
        .query_row(params![app_id, id], |row| row.get(0))
        .optional()?;
    let context = SealContext::of(app_id, Field::AuditBodies, id.uuid(), 1);
    Ok(sealed.map(|sealed| SealedField { context, sealed }))
}

/// Walks the chains, all of it in one view of the database.
pub(super) fn verify(
    sql: &Connection,
    scope: AuditVerifyScope,
    evidence: &Evidence,
    envelope: &Envelope,
) -> Result<VerifyReport, StoreError> {
    sql.execute_batch("BEGIN")?;
    let report = walk(sql, scope, evidence, envelope);
    sql.execute_batch("COMMIT")?;
    report
}

pub(super) fn walk(
    sql: &Connection,
    scope: AuditVerifyScope,
    evidence: &Evidence,
    envelope: &Envelope,
) -> Result<VerifyReport, StoreError> {
    let app_id = match scope {
        AuditVerifyScope::App(app_id) => Some(app_id),
        AuditVerifyScope::Everything => None,
    };
    let mut statement = sql.prepare(
        "SELECT app_id, run_id, head_seq, head_hash, closed_at IS NOT NULL FROM audit_chains WHERE app_id = ?1 OR ?1 IS NULL",
    )?;
    let records = statement.query_map([app_id], |row| {
        let head = ChainHead { seq: count(row, 2)?, hash: row.get(3)? };
        Ok(ChainRecord { app_id: row.get(0)?, chain: row.get(1)?, head, closed: row.get(4)? })
    })?;
    let records = records.collect::<Result<Vec<_>, _>>()?;
    let mut verifier = Verifier::new(records, evidence.keys(&checkpoints::keys(sql)?, envelope));
    for sort in Sort::BOTH {
        checkpoints::each(sql, sort, app_id, |read| match read {
            Ok(checkpoint) => verifier.push_checkpoint(&checkpoint),
            Err((app_id, chain, what)) => verifier.push_unreadable_checkpoint(app_id, chain, &what),
        })?;
    }
    for anchor in evidence.anchors_of(app_id) {
        verifier.push_anchor(anchor);
    }
    let condition = if app_id.is_some() { "app_id = ?1" } else { "?1 IS NULL" };
    let mut statement =
        sql.prepare(&format!("SELECT {} FROM audit_rows WHERE {condition} ORDER BY n", columns!()))?;
    let mut rows = statement.query([app_id])?;
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(row) => verifier.push(&row),
            Err(error) => {
                let nowhere = RunId::from_uuid(uuid::Uuid::nil());
                let app_id = row.get(0).unwrap_or(AppId::VAULT);
                verifier.push_unreadable(app_id, row.get(1).unwrap_or(nowhere), &error.to_string());
            }
        }
    }
    Ok(verifier.finish())
}
