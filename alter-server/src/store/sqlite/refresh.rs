//! The steps of a refresh. Leases and pauses are counted by the system's clock: one machine has the database, and only its
//! processes share it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    columns::{Micros, count, integer, maybe_instant, scopes_text},
    ending, events, grants, providers,
    writer::Unit,
};
use crate::{
    domain::{AppId, CredentialVersion, GrantEvent, GrantHealth, GrantId, ProviderId},
    seal::SealedField,
    store::{
        StoreError,
        event::Change,
        lease::{self, KeptGrant, LeaseRow, Pause},
        refresh::{
            BeginRefresh, Begun, FinishRefresh, Finished, FreshTokens, IdleQuery, LeaseRef, RefreshEnd,
            RefreshLease,
        },
    },
};

fn uuid(bytes: Option<[u8; 16]>) -> Option<Uuid> {
    bytes.map(Uuid::from_bytes)
}

fn lease_row(sql: &Connection, app_id: AppId, grant_id: GrantId) -> Result<Option<LeaseRow>, StoreError> {
    let found = sql
        .prepare_cached(
            "SELECT fence, owner, lease_until, spending, spending_since, rotates, failures, not_before, failure_code, \
             failure_detail FROM refreshes WHERE app_id = ?1 AND grant_id = ?2",
        )?
        .query_row(params![app_id, grant_id], |row| {
            let (code, detail): (Option<String>, Option<String>) = (row.get(8)?, row.get(9)?);
            Ok(LeaseRow {
                fence: count(row, 0)?,
                owner: uuid(row.get(1)?),
                lease_until: row.get(2)?,
                spending: row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs),
                spending_since: row.get(4)?,
                rotates: row.get(5)?,
                failures: count(row, 6)?,
                not_before: row.get(7)?,
                failure: lease::failure(code.as_deref(), detail.as_deref()),
            })
        });
    Ok(found.optional()?)
}

fn client_pause(sql: &Connection, app_id: AppId, provider: &ProviderId) -> Result<Option<Pause>, StoreError> {
    let found = sql
        .prepare_cached(
            "SELECT failures, not_before, failure_code, failure_detail FROM refresh_backoff \
             WHERE app_id = ?1 AND provider_id = ?2",
        )?
        .query_row(params![app_id, provider], |row| {
            let (code, detail): (String, String) = (row.get(2)?, row.get(3)?);
            let failure = lease::failure(Some(&code), Some(&detail));
            Ok((count(row, 0)?, row.get(1)?, failure))
        })
        .optional()?;
    Ok(found.and_then(|(failures, not_before, failure)| {
        failure.map(|failure| Pause { failures, not_before, failure })
    }))
}

fn kept(sql: &Connection, app_id: AppId, id: GrantId) -> Result<Option<KeptGrant>, StoreError> {
    let Some((facts, row_id)) = grants::facts_by_id(sql, app_id, id)? else { return Ok(None) };
    let grant = sql
        .prepare_cached(
            "SELECT generation, token_generation, reconnect_reason, scopes, refresh_token FROM grants WHERE rowid = ?1",
        )?
        .query_row([row_id], |row| {
            Ok(KeptGrant {
                facts,
                generation: count(row, 0)?,
                token_generation: row.get(1)?,
                reconnect_reason: row.get(2)?,
                scopes: super::columns::scopes(&row.get::<_, String>(3)?),
                refresh_token: row.get(4)?,
            })
        })?;
    Ok(Some(grant))
}

/// `at` is the vault's own time.
pub(super) fn begin(unit: &mut Unit<'_>, begin: &BeginRefresh, at: Timestamp) -> Result<Begun, StoreError> {
    let CredentialVersion { app_id, grant_id, generation } = begin.version;
    let grant = kept(unit.sql, app_id, grant_id)?;
    let provider = match &grant {
        Some(grant) => providers::load(unit.sql, app_id, &grant.facts.provider)?,
        None => None,
    };
    if let Err(other) = lease::decide_possible(begin, grant.as_ref(), provider.as_ref(), at) {
        return Ok(other);
    }
    let (Some(grant), Some(provider)) = (grant, provider) else { return Ok(Begun::Moved) };
    let Some(refresh_token) = grant.refresh_token else { return Ok(Begun::Moved) };
    let row = lease_row(unit.sql, app_id, grant_id)?.unwrap_or_default();
    let client = client_pause(unit.sql, app_id, &provider.id)?;
    let taking = match lease::decide_taking(begin, &row, client, lease::wall_clock()) {
        Ok(taking) => taking,
        Err(other) => return Ok(other),
    };
    unit.sql
        .prepare_cached(
            "INSERT INTO refreshes (app_id, grant_id, fence, owner, lease_until, spending, spending_since) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (app_id, grant_id) DO UPDATE SET fence = excluded.fence, \
             owner = excluded.owner, lease_until = excluded.lease_until, spending = excluded.spending, \
             spending_since = excluded.spending_since",
        )?
        .execute(params![
            app_id,
            grant_id,
            integer(taking.fence),
            begin.owner.as_bytes(),
            taking.lease_until,
            integer(generation),
            taking.spending_since
        ])?;
    let context = lease::refresh_token_at(&begin.version, generation);
    Ok(Begun::Taken(Box::new(RefreshLease {
        version: begin.version,
        owner: begin.owner,
        fence: taking.fence,
        client_secret: providers::client_secret(unit.sql, app_id, &provider.id)?,
        provider: Arc::new(provider),
        refresh_token: SealedField { context, sealed: refresh_token },
        scopes: grant.scopes,
        seen_rotating: row.rotates,
        unresolved_since: taking.unresolved_since,
    })))
}

pub(super) fn renew(unit: &Unit<'_>, lease: &LeaseRef, lasts: Duration) -> Result<bool, StoreError> {
    let CredentialVersion { app_id, grant_id, generation } = lease.version;
    let until = lease::wall_clock().saturating_add(lease::micros_of(lasts));
    let renewed = unit
        .sql
        .prepare_cached(
            "UPDATE refreshes SET lease_until = ?5 WHERE app_id = ?1 AND grant_id = ?2 AND fence = ?3 AND owner = ?4 \
             AND EXISTS (SELECT 1 FROM grants WHERE app_id = ?1 AND id = ?2 AND generation = ?6 AND status = 0)",
        )?
        .execute(params![
            app_id,
            grant_id,
            integer(lease.fence),
            lease.owner.as_bytes(),
            until,
            integer(generation)
        ])?;
    Ok(renewed == 1)
}

pub(super) fn finish(unit: &mut Unit<'_>, finish: &FinishRefresh) -> Result<Finished, StoreError> {
    let lease = &finish.lease;
    let CredentialVersion { app_id, grant_id, .. } = lease.version;
    let row = lease_row(unit.sql, app_id, grant_id)?;
    let grant = kept(unit.sql, app_id, grant_id)?;
    if !lease::still_ours(lease, grant.as_ref(), row.as_ref()) {
        if let Some(orphans) = lease::seal_orphans(unit.envelope, finish, grant.as_ref())?
            && let Some(grant) = &grant
        {
            ending::hand_over_orphans(unit, app_id, &grant.facts, &orphans, finish.at)?;
        }
        return Ok(Finished::Overtaken);
    }
    let (Some(grant), Some(row)) = (grant, row) else { return Ok(Finished::Overtaken) };
    let generation = match &finish.end {
        RefreshEnd::Renewed(tokens) => renewed(unit, finish, &grant, tokens)?,
        RefreshEnd::Failed { failure, retry_after, unresolved } => {
            let provider = &grant.facts.provider;
            let client = client_pause(unit.sql, app_id, provider)?;
            let now = lease::wall_clock();
            let said = (*retry_after, *unresolved);
            let failing = lease::decide_failing(grant_id, failure, said, &row, client.as_ref(), now);
            failed(unit.sql, finish, provider, &failing)?;
            grant.generation
        }
        RefreshEnd::Dead { failure } => {
            unit.sql
                .prepare_cached(
                    "UPDATE grants SET needs_reconnect = 1, reconnect_reason = ?3 WHERE app_id = ?1 AND id = ?2",
                )?
                .execute(params![app_id, grant_id, lease::reason_text(failure)])?;
            unit.sql
                .prepare_cached(
                    "UPDATE refreshes SET owner = NULL, lease_until = NULL, spending = NULL, spending_since = NULL, \
                     not_before = NULL, failures = failures + 1, last_failed_at = ?3, failure_code = ?4, \
                     failure_detail = ?5 WHERE app_id = ?1 AND grant_id = ?2",
                )?
                .execute(params![
                    app_id,
                    grant_id,
                    Micros(finish.at),
                    failure.code.as_str(),
                    failure.detail
                ])?;
            let change = Change::new(app_id, GrantEvent::ReconnectNeeded, &grant.facts, finish.at);
            events::tell(unit, &Change { reason: Some(&lease::reason_text(failure)), ..change })?;
            grant.generation
        }
    };
    unit.audit(lease::audit_row(finish, &grant))?;
    Ok(Finished::Written { generation })
}

fn renewed(
    unit: &Unit<'_>,
    finish: &FinishRefresh,
    grant: &KeptGrant,
    tokens: &FreshTokens,
) -> Result<u64, StoreError> {
    let CredentialVersion { app_id, grant_id, .. } = finish.lease.version;
    let pair = lease::seal_pair(unit.envelope, &finish.lease, grant, tokens)?;
    unit.sql
        .prepare_cached(
            "UPDATE grants SET access_token = ?3, refresh_token = ?4, token_expires_at = ?5, obtained_at = ?6, \
             generation = ?7, token_generation = ?8, scopes = ?9, needs_reconnect = 0, reconnect_reason = NULL, \
             refused_generation = NULL WHERE app_id = ?1 AND id = ?2",
        )?
        .execute(params![
            app_id,
            grant_id,
            pair.access,
            pair.refresh,
            tokens.expires_at.map(Micros),
            Micros(tokens.obtained_at),
            integer(pair.generation),
            tokens.token_generation,
            scopes_text(&pair.scopes)
        ])?;
    unit.sql
        .prepare_cached(
            "UPDATE refreshes SET owner = NULL, lease_until = NULL, spending = NULL, spending_since = NULL, \
             rotates = ?3, failures = 0, not_before = NULL, last_refreshed_at = ?4, failure_code = NULL, \
             failure_detail = NULL WHERE app_id = ?1 AND grant_id = ?2",
        )?
        .execute(params![app_id, grant_id, tokens.rotated, Micros(finish.at)])?;
    unit.sql
        .prepare_cached("DELETE FROM refresh_backoff WHERE app_id = ?1 AND provider_id = ?2")?
        .execute(params![app_id, grant.facts.provider])?;
    Ok(pair.generation)
}

fn failed(
    sql: &Connection,
    finish: &FinishRefresh,
    provider: &ProviderId,
    failing: &lease::Failing,
) -> Result<(), StoreError> {
    let CredentialVersion { app_id, grant_id, .. } = finish.lease.version;
    let (code, detail) = (failing.failure.code.as_str(), &failing.failure.detail);
    sql.prepare_cached(
        "UPDATE refreshes SET owner = NULL, lease_until = NULL, spending = iif(?3, NULL, spending), \
         spending_since = iif(?3, NULL, spending_since), failures = ?4, not_before = ?5, last_failed_at = ?6, \
         failure_code = ?7, failure_detail = ?8 WHERE app_id = ?1 AND grant_id = ?2",
    )?
    .execute(params![
        app_id,
        grant_id,
        failing.resolved,
        integer(failing.failures),
        failing.not_before,
        Micros(finish.at),
        code,
        detail
    ])?;
    if let Some((failures, until)) = failing.client {
        sql.prepare_cached(
            "INSERT INTO refresh_backoff (app_id, provider_id, failures, not_before, failure_code, failure_detail) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (app_id, provider_id) DO UPDATE SET \
             failures = excluded.failures, not_before = excluded.not_before, failure_code = excluded.failure_code, \
             failure_detail = excluded.failure_detail",
        )?
        .execute(params![app_id, provider, integer(failures), until, code, detail])?;
    }
    Ok(())
}

/// Forgets what went wrong with a credential that has been replaced. The fence and the note stay: whoever still asks with the
/// old one is recognized by them.
pub(super) fn forgive(sql: &Connection, app_id: AppId, id: GrantId) -> Result<(), StoreError> {
    sql.prepare_cached(
        "UPDATE refreshes SET failures = 0, not_before = NULL, failure_code = NULL, \
         failure_detail = NULL WHERE app_id = ?1 AND grant_id = ?2",
    )?
    .execute(params![app_id, id])?;
    Ok(())
}

/// How a grant is doing.
pub(super) fn health(sql: &Connection, app_id: AppId, id: GrantId) -> Result<GrantHealth, StoreError> {
    let now = lease::wall_clock();
    let found = sql
        .prepare_cached(
            "SELECT g.generation, g.token_generation, g.refresh_token IS NOT NULL, g.token_expires_at, g.obtained_at, \
             g.last_used_at, g.last_good_at, r.last_refreshed_at, r.last_failed_at, r.failure_code, r.failure_detail, \
             r.failures, max(ifnull(r.not_before, 0), ifnull(b.not_before, 0)), \
             g.refused_generation IS g.generation, g.needs_reconnect, g.reconnect_reason, g.provider_id \
             FROM grants g LEFT JOIN refreshes r ON r.app_id = g.app_id AND r.grant_id = g.id \
             LEFT JOIN refresh_backoff b ON b.app_id = g.app_id AND b.provider_id = g.provider_id \
             WHERE g.app_id = ?1 AND g.id = ?2",
        )?
        .query_row(params![app_id, id], |row| {
            let (code, detail): (Option<String>, Option<String>) = (row.get(9)?, row.get(10)?);
            let refreshable = row.get(2)?;
            let pause: i64 = row.get(12)?;
            let provider: ProviderId = row.get(16)?;
            let health = GrantHealth {
                grant_id: id,
                generation: count(row, 0)?,
                token_generation: row.get(1)?,
                refreshable,
                provider_refreshes: false,
                token_expires_at: maybe_instant(row, 3)?,
                obtained_at: maybe_instant(row, 4)?,
                last_used_at: maybe_instant(row, 5)?,
                last_good_at: maybe_instant(row, 6)?,
                last_refreshed_at: maybe_instant(row, 7)?,
                last_failed_at: maybe_instant(row, 8)?,
                last_failure: lease::failure(code.as_deref(), detail.as_deref()),
                failures: row.get::<_, Option<u32>>(11)?.unwrap_or_default(),
                retry_in_seconds: lease::seconds_until(pause, now).filter(|_| refreshable),
                refused: row.get(13)?,
                needs_reconnect: row.get(14)?,
                reconnect_reason: row.get(15)?,
            };
            Ok((health, provider))
        });
    let (health, provider) = found.optional()?.ok_or(StoreError::NotFound("grant"))?;
    let provider = providers::load(sql, app_id, &provider)?;
    Ok(GrantHealth { provider_refreshes: lease::refreshes(provider.as_ref()), ..health })
}

/// Grants whose refresh token has not been used for long and that are not in a pause of their own, oldest first; `at` is the vault's own time.
pub(super) fn idle(
    sql: &Connection,
    query: &IdleQuery,
    at: Timestamp,
) -> Result<Vec<CredentialVersion>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT id, generation FROM grants WHERE app_id = ?1 AND provider_id = ?2 AND obtained_at < ?3 \
         AND status = 0 AND refresh_token IS NOT NULL AND needs_reconnect = 0 \
         AND ifnull(grant_expires_at > ?4, 1) AND NOT EXISTS (SELECT 1 FROM refreshes r WHERE r.app_id = ?1 \
         AND r.grant_id = grants.id AND r.not_before > ?6 AND r.not_before <= ?6 + 3600000000) ORDER BY obtained_at LIMIT ?5",
    )?;
    let IdleQuery { app_id, provider, before, limit } = query;
    let now = lease::wall_clock();
    let found = statement
        .query_map(params![app_id, provider, Micros(*before), Micros(at), limit, now], |row| {
            Ok(CredentialVersion { app_id: *app_id, grant_id: row.get(0)?, generation: count(row, 1)? })
        })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The oldest token of each provider that can be refreshed: one look into the index per provider of each app.
pub(super) fn oldest(sql: &Connection, at: Timestamp) -> Result<Vec<(ProviderId, Timestamp)>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT id, min(oldest) FROM (SELECT p.id, (SELECT g.obtained_at FROM grants g WHERE g.app_id = p.app_id \
         AND g.provider_id = p.id AND g.status = 0 AND g.refresh_token IS NOT NULL AND g.needs_reconnect = 0 \
         AND g.obtained_at IS NOT NULL AND ifnull(g.grant_expires_at > ?1, 1) ORDER BY g.obtained_at LIMIT 1) AS oldest \
         FROM providers p WHERE p.kind = 0) WHERE oldest IS NOT NULL GROUP BY id ORDER BY id",
    )?;
    let found =
        statement.query_map([Micros(at)], |row| Ok((row.get(0)?, super::columns::instant(row, 1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Notes what a report says about the grant's present token: refused, or good.
pub(super) fn reported(
    sql: &Connection,
    (app_id, grant_id): (AppId, GrantId),
    report: &crate::audit::CallReport,
    at: Timestamp,
) -> Result<(), StoreError> {
    let now = Micros(at);
    match (report.status, report.token_generation) {
        (401, Some(token)) => {
            sql.prepare_cached(
                "UPDATE grants SET refused_generation = generation, refused_at = ?4 WHERE app_id = ?1 AND id = ?2 \
                 AND token_generation = ?3 AND refresh_token IS NOT NULL \
                 AND refused_generation IS NOT generation AND ifnull(abs(?4 - refused_at) >= ?5, 1)",
            )?
            .execute(params![app_id, grant_id, token, now, lease::REFUSAL_COUNTS_EVERY * 1_000_000])?;
        }
        (1..=399, _) => {
            sql.prepare_cached(
                "UPDATE grants SET last_good_at = ?3 WHERE app_id = ?1 AND id = ?2 \
                 AND ifnull(last_good_at <= ?3 - ?4, 1)",
            )?
            .execute(params![app_id, grant_id, now, lease::GOOD_NOTED_EVERY * 1_000_000])?;
        }
        _ => {}
    }
    Ok(())
}
