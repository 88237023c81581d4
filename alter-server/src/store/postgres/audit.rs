//! The trail in its tables.

use tokio_postgres::{Client, Row};

use super::checkpoints::{self, Sort};
use super::columns::{PlainId, count, get, hash, instant, integer, maybe_row, micros, params, rows};
use crate::{
    audit::{
        Action, AuditFilter, AuditPage, AuditRow, ChainHead, ChainRecord, Checkpoint, Evidence, Outcome,
        Verifier, VerifyReport,
    },
    domain::{AppId, AuditId, RunId},
    seal::{Envelope, Field, SealContext, Sealed, SealedField},
    store::{AuditVerifyScope, StoreError},
};

/// Rows that are read at once when walking.
const STEP: i64 = 2000;

macro_rules! columns {
    () => {
        "app_id, run_id, seq, id, at, action, outcome, code, key_id, key_prefix, caller, caller_type, actor_id, agent_id, \
         principal, app_user_id, grant_id, provider, account, method, url, status, latency_ms, reason, context, \
         token_generation, request_id, trace_parent, remote, detail, bodies_digest, prev_hash, hash"
    };
}

/// Rows of an app after a place in the order of writing, each with that place and its bodies. (Bodies that were moved from another
/// store know their instant to the millisecond only.)
pub(super) const EXPORT: &str = concat!(
    "SELECT ",
    columns!(),
    ", n, CASE WHEN bodies_digest IS NOT NULL THEN (SELECT b.sealed FROM audit_bodies b \
     WHERE b.app_id = audit_rows.app_id AND b.id = audit_rows.id AND b.at > audit_rows.at - 1000 AND b.at <= audit_rows.at) END \
     FROM audit_rows WHERE app_id = $1 AND n > $2 ORDER BY n LIMIT $3"
);

/// Writes a row that is in its chain already, and the chain's new end: one statement.
pub(super) async fn insert(sql: &Client, row: &AuditRow, head: ChainHead) -> Result<(), StoreError> {
    let text = concat!(
        "WITH head AS (INSERT INTO audit_chains (app_id, run_id, begun_at, head_seq, head_hash) \
         VALUES ($1, $2, $5, $34, $35) ON CONFLICT (app_id, run_id) \
         DO UPDATE SET head_seq = excluded.head_seq, head_hash = excluded.head_hash) INSERT INTO audit_rows (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
         $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)"
    );
    let latency = row.latency_ms.map(integer);
    let status = row.status.map(i32::from);
    let request_id = row.request_id.map(PlainId::from_uuid);
    let digest = row.bodies_digest.as_ref().map(<[u8; 32]>::as_slice);
    let outcome = row.outcome as i16;
    super::columns::execute(
        sql,
        text,
        params![
            row.app_id,
            row.chain,
            integer(row.seq),
            row.id,
            micros(row.at),
            row.action.as_str(),
            outcome,
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
            status,
            latency,
            row.reason,
            row.context,
            row.token_generation,
            request_id,
            row.trace_parent,
            row.remote,
            row.detail,
            digest,
            row.prev_hash.as_slice(),
            row.hash.as_slice(),
            integer(head.seq),
            head.hash.as_slice(),
        ],
    )
    .await?;
    Ok(())
}

pub(super) fn read(row: &Row) -> Result<AuditRow, StoreError> {
    let wrong = |what: &str| StoreError::Corrupt(what.to_owned());
    Ok(AuditRow {
        app_id: get(row, 0)?,
        chain: get(row, 1)?,
        seq: count(row, 2)?,
        id: get(row, 3)?,
        at: instant(row, 4)?,
        action: Action::parse(get(row, 5)?).ok_or_else(|| wrong("unknown action"))?,
        outcome: match get::<i16>(row, 6)? {
            0 => Outcome::Allowed,
            1 => Outcome::Refused,
            _ => return Err(wrong("unknown outcome")),
        },
        code: get(row, 7)?,
        key_id: get(row, 8)?,
        key_prefix: get(row, 9)?,
        caller: get(row, 10)?,
        caller_type: get(row, 11)?,
        actor_id: get(row, 12)?,
        agent_id: get(row, 13)?,
        principal: get(row, 14)?,
        app_user_id: get(row, 15)?,
        grant_id: get(row, 16)?,
        provider: get(row, 17)?,
        account: get(row, 18)?,
        method: get(row, 19)?,
        url: get(row, 20)?,
        status: get::<Option<i32>>(row, 21)?
            .map(u16::try_from)
            .transpose()
            .map_err(|_| wrong("a status is out of its range"))?,
        latency_ms: get::<Option<i64>>(row, 22)?.map(i64::unsigned_abs),
        reason: get(row, 23)?,
        context: get(row, 24)?,
        token_generation: get(row, 25)?,
        request_id: get::<Option<PlainId>>(row, 26)?.map(PlainId::uuid),
        trace_parent: get(row, 27)?,
        remote: get(row, 28)?,
        detail: get(row, 29)?,
        bodies_digest: match get::<Option<&[u8]>>(row, 30)? {
            None => None,
            Some(_) => Some(hash(row, 30)?),
        },
        prev_hash: hash(row, 31)?,
        hash: hash(row, 32)?,
    })
}

/// Part of the trail in the order of writing. Rows of transactions that go on at the same moment may be committed in another
/// order than they were numbered, so the newest rows of a busy vault are complete only a moment later.
pub(super) async fn page(sql: &Client, filter: &AuditFilter) -> Result<AuditPage, StoreError> {
    let limit = filter.limit.clamp(1, 10_000);
    let (comparison, order, from) =
        if filter.newest_first { ("<", "DESC", i64::MAX) } else { (">", "ASC", 0) };
    let (from, most) = (filter.after.map_or(from, integer), i64::from(limit) + 1);
    let found = match (filter.app_id, filter.grants.is_empty()) {
        (None, true) => {
            let text = format!(
                "SELECT {}, n FROM audit_rows WHERE n {comparison} $1 ORDER BY n {order} LIMIT $2",
                columns!()
            );
            rows(sql, &text, params![from, most]).await?
        }
        (Some(app_id), true) => {
            let text = format!(
                "SELECT {}, n FROM audit_rows WHERE app_id = $3 AND n {comparison} $1 ORDER BY n {order} LIMIT $2",
                columns!()
            );
            rows(sql, &text, params![from, most, app_id]).await?
        }
        (Some(app_id), false) => {
            // The rows of each grant in order from the index of their own: what is far behind is never touched.
            let text = format!(
                "SELECT {}, n FROM (SELECT DISTINCT unnest($4::uuid[]) AS one) wanted CROSS JOIN LATERAL (SELECT * FROM \
                 audit_rows r WHERE r.app_id = $3 AND r.grant_id = wanted.one AND r.n {comparison} $1 \
                 ORDER BY r.n {order} LIMIT $2) found ORDER BY n {order} LIMIT $2",
                columns!()
            );
            rows(sql, &text, params![from, most, app_id, filter.grants]).await?
        }
        (None, false) => {
            let text = "rows about grants are those of one app: name it";
            return Err(StoreError::Invalid(text.to_owned()));
        }
    };
    let mut page = AuditPage { rows: Vec::new(), next: None };
    let mut last = 0;
    for row in &found {
        if page.rows.len() == limit as usize {
            page.next = Some(last);
            break;
        }
        last = count(row, 33)?;
        page.rows.push(read(row)?);
    }
    Ok(page)
}

/// The sealed bodies of a report.
pub(super) async fn bodies(
    sql: &Client,
    app_id: AppId,
    id: AuditId,
) -> Result<Option<SealedField>, StoreError> {
    let text = "SELECT sealed FROM audit_bodies WHERE app_id = $1 AND id = $2";
    let found = maybe_row(sql, text, params![app_id, id]).await?;
    let sealed: Option<Sealed> = found.as_ref().map(|row| get(row, 0)).transpose()?;
    let context = SealContext::of(app_id, Field::AuditBodies, id.uuid(), 1);
    Ok(sealed.map(|sealed| SealedField { context, sealed }))
}

/// Walks the chains, all of it in one view of the database, some rows at a time.
pub(super) async fn verify(
    sql: &Client,
    scope: AuditVerifyScope,
    evidence: &Evidence,
    envelope: &Envelope,
) -> Result<VerifyReport, StoreError> {
    let app_id = match scope {
        AuditVerifyScope::App(app_id) => Some(app_id),
        AuditVerifyScope::Everything => None,
    };
    let condition = if app_id.is_some() { "app_id = $1" } else { "$1::uuid IS NULL" };
    let text = format!(
        "SELECT app_id, run_id, head_seq, head_hash, closed_at IS NOT NULL FROM audit_chains WHERE {condition}"
    );
    let mut records = Vec::new();
    for row in &rows(sql, &text, params![app_id]).await? {
        let head = ChainHead { seq: count(row, 2)?, hash: hash(row, 3)? };
        records.push(ChainRecord { app_id: get(row, 0)?, chain: get(row, 1)?, head, closed: get(row, 4)? });
    }
    let mut verifier = Verifier::new(records, evidence.keys(&checkpoints::keys(sql).await?, envelope));
    for sort in Sort::BOTH {
        let visit = |read: Result<Checkpoint, (AppId, RunId, String)>| match read {
            Ok(checkpoint) => verifier.push_checkpoint(&checkpoint),
            Err((app_id, chain, what)) => verifier.push_unreadable_checkpoint(app_id, chain, &what),
        };
        checkpoints::each(sql, sort, app_id, visit).await?;
    }
    for anchor in evidence.anchors_of(app_id) {
        verifier.push_anchor(anchor);
    }
    let text =
        format!("SELECT {}, n FROM audit_rows WHERE {condition} AND n > $2 ORDER BY n LIMIT $3", columns!());
    let mut after = i64::MIN;
    loop {
        let found = rows(sql, &text, params![app_id, after, STEP]).await?;
        for row in &found {
            match read(row) {
                Ok(row) => verifier.push(&row),
                Err(error) => {
                    let nowhere = RunId::from_uuid(uuid::Uuid::nil());
                    let app_id = get(row, 0).unwrap_or(AppId::VAULT);
                    verifier.push_unreadable(app_id, get(row, 1).unwrap_or(nowhere), &error.to_string());
                }
            }
        }
        match found.last() {
            Some(last) => after = get(last, 33)?,
            None => return Ok(verifier.finish()),
        }
    }
}
