//! The steps of a refresh. Leases and pauses are counted by the database's clock, which is one for all replicas.
//!
//! Each step locks the grant's row in `refreshes` first and reads the grant after that, so two replicas that take the lease or end
//! a refresh do it one after the other. The lock ends with the step's transaction: while a provider is being asked, nothing is
//! locked and no connection is in use.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_postgres::{Client, Row};

use super::{
    columns::{
        PlainId, count, execute, get, instant, integer, maybe_instant, maybe_row, micros, params, rows,
        scopes, scopes_text, small,
    },
    ending, events, grants,
    lanes::Unit,
    providers,
};
use crate::{
    domain::{
        AppId, CredentialVersion, GrantEvent, GrantHealth, GrantId, Provider, ProviderId, RefreshFailure,
    },
    seal::{Sealed, SealedField},
    store::{
        StoreError, draft,
        event::Change,
        lease::{self, KeptGrant, LeaseRow, Pause},
        refresh::{
            BeginRefresh, Begun, FinishRefresh, Finished, FreshTokens, IdleQuery, LeaseRef, RefreshEnd,
            RefreshLease,
        },
    },
};

/// Where it is told that a refresh ended; the payload is the grant's id.
pub(super) const CHANNEL: &str = "alter_refresh";

macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
}
pub(super) use now;

/// Locks the row, if there is one.
async fn lock(sql: &Client, app_id: AppId, grant_id: GrantId) -> Result<Option<LeaseRow>, StoreError> {
    let text = "SELECT fence, owner, lease_until, spending, spending_since, rotates, failures, not_before, failure_code, \
         failure_detail FROM refreshes WHERE app_id = $1 AND grant_id = $2 FOR UPDATE";
    let Some(row) = maybe_row(sql, text, params![app_id, grant_id]).await? else { return Ok(None) };
    Ok(Some(LeaseRow {
        fence: count(&row, 0)?,
        owner: get::<Option<PlainId>>(&row, 1)?.map(PlainId::uuid),
        lease_until: get(&row, 2)?,
        spending: get::<Option<i64>>(&row, 3)?.map(i64::unsigned_abs),
        spending_since: get(&row, 4)?,
        rotates: get(&row, 5)?,
        failures: count(&row, 6)?,
        not_before: get(&row, 7)?,
        failure: failure(&row, 8)?,
    }))
}

/// Reads two neighbouring columns.
fn failure(row: &Row, column: usize) -> Result<Option<RefreshFailure>, StoreError> {
    Ok(lease::failure(get(row, column)?, get(row, column + 1)?))
}

/// What is kept of a grant and about whom to ask, as it is now.
struct Around {
    grant: KeptGrant,
    provider: Option<Provider>,
    client_secret: Option<SealedField>,
    client: Option<Pause>,
    now: i64,
    /// Since when the server runs.
    up_since: i64,
}

async fn around(sql: &Client, app_id: AppId, id: GrantId) -> Result<Option<Around>, StoreError> {
    let text = concat!(
        grants::facts_columns!(),
        ", g.generation, g.token_generation, g.reconnect_reason, g.scopes, g.refresh_token, p.definition, \
         p.client_secret_generation, p.client_secret, b.failures, b.not_before, b.failure_code, b.failure_detail, ",
        now!(),
        ", (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint",
        " FROM grants g LEFT JOIN providers p ON p.app_id = g.app_id AND p.id = g.provider_id \
         LEFT JOIN refresh_backoff b ON b.app_id = g.app_id AND b.provider_id = g.provider_id \
         WHERE g.app_id = $1 AND g.id = $2"
    );
    let Some(row) = maybe_row(sql, text, params![app_id, id]).await? else { return Ok(None) };
    let facts = grants::facts(&row)?;
    let id = &facts.provider;
    let definition: Option<&str> = get(&row, 17)?;
    let client_secret = match get::<Option<Sealed>>(&row, 19)? {
        Some(sealed) => {
            Some(SealedField { context: draft::client_secret_context(app_id, id, count(&row, 18)?), sealed })
        }
        None => None,
    };
    let client = match (get::<Option<i64>>(&row, 21)?, failure(&row, 22)?) {
        (Some(not_before), Some(failure)) => Some(Pause { failures: count(&row, 20)?, not_before, failure }),
        _ => None,
    };
    Ok(Some(Around {
        provider: definition.map(|text| providers::parse(text, id.as_str())).transpose()?,
        client_secret,
        client,
        now: get(&row, 24)?,
        up_since: get(&row, 25)?,
        grant: KeptGrant {
            facts,
            generation: count(&row, 12)?,
            token_generation: get(&row, 13)?,
            reconnect_reason: get(&row, 14)?,
            scopes: scopes(get(&row, 15)?),
            refresh_token: get(&row, 16)?,
        },
    }))
}

/// `at` is the vault's own time.
pub(super) async fn begin(
    unit: &mut Unit<'_>,
    begin: &BeginRefresh,
    at: Timestamp,
) -> Result<Begun, StoreError> {
    let begun = taken(unit.sql, begin, at).await?;
    if !matches!(begun, Begun::Taken(_)) {
        unit.leave_nothing();
    }
    Ok(begun)
}

async fn taken(sql: &Client, begin: &BeginRefresh, at: Timestamp) -> Result<Begun, StoreError> {
    let CredentialVersion { app_id, grant_id, generation } = begin.version;
    let mut row = match lock(sql, app_id, grant_id).await? {
        Some(row) => row,
        None => {
            // Somebody else may be making it at this moment; then this waits for them.
            let text =
                "INSERT INTO refreshes (app_id, grant_id, fence) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING";
            execute(sql, text, params![app_id, grant_id]).await?;
            lock(sql, app_id, grant_id).await?.unwrap_or_default()
        }
    };
    let around = around(sql, app_id, grant_id).await?;
    let possible = around.as_ref().map(|around| (&around.grant, around.provider.as_ref()));
    let (grant, provider) = possible.unzip();
    if let Err(other) = lease::decide_possible(begin, grant, provider.flatten(), at) {
        return Ok(other);
    }
    let Some(Around { grant, provider: Some(provider), client_secret, client, now, up_since }) = around
    else {
        return Ok(Begun::Moved);
    };
    let Some(refresh_token) = grant.refresh_token else { return Ok(Begun::Moved) };
    // While the server was away nobody could renew: holders have a lease's time from its start to say that they live.
    if row.owner != Some(begin.owner) {
        row.lease_until = row.lease_until.map(|until| until.max(up_since + lease::micros_of(begin.lease)));
    }
    let taking = match lease::decide_taking(begin, &row, client, now) {
        Ok(taking) => taking,
        Err(other) => return Ok(other),
    };
    let text = "UPDATE refreshes SET fence = $3, owner = $4, lease_until = $5, spending = $6, spending_since = $7 \
         WHERE app_id = $1 AND grant_id = $2";
    execute(
        sql,
        text,
        params![
            app_id,
            grant_id,
            integer(taking.fence),
            PlainId::from_uuid(begin.owner),
            taking.lease_until,
            integer(generation),
            taking.spending_since,
        ],
    )
    .await?;
    let context = lease::refresh_token_at(&begin.version, generation);
    Ok(Begun::Taken(Box::new(RefreshLease {
        version: begin.version,
        owner: begin.owner,
        fence: taking.fence,
        provider: Arc::new(provider),
        client_secret,
        refresh_token: SealedField { context, sealed: refresh_token },
        scopes: grant.scopes,
        seen_rotating: row.rotates,
        unresolved_since: taking.unresolved_since,
    })))
}

/// One statement, so that it needs no lane and waits for none.
pub(super) async fn renew(sql: &Client, lease: &LeaseRef, lasts: Duration) -> Result<bool, StoreError> {
    let CredentialVersion { app_id, grant_id, generation } = lease.version;
    let text = concat!(
        "UPDATE refreshes SET lease_until = $5 + ",
        now!(),
        " WHERE app_id = $1 AND grant_id = $2 AND fence = $3 AND owner = $4 \
         AND EXISTS (SELECT 1 FROM grants WHERE app_id = $1 AND id = $2 AND generation = $6 AND status = 0)"
    );
    let owner = PlainId::from_uuid(lease.owner);
    let (lasts, fence, generation) = (lease::micros_of(lasts), integer(lease.fence), integer(generation));
    Ok(execute(sql, text, params![app_id, grant_id, fence, owner, lasts, generation]).await? == 1)
}

pub(super) async fn finish(unit: &mut Unit<'_>, finish: &FinishRefresh) -> Result<Finished, StoreError> {
    let lease = &finish.lease;
    let CredentialVersion { app_id, grant_id, .. } = lease.version;
    let row = lock(unit.sql, app_id, grant_id).await?;
    let around = around(unit.sql, app_id, grant_id).await?;
    let grant = around.as_ref().map(|around| &around.grant);
    if !lease::still_ours(lease, grant, row.as_ref()) {
        if let Some(orphans) = lease::seal_orphans(unit.envelope, finish, grant)?
            && let Some(grant) = grant
        {
            ending::hand_over_orphans(unit.sql, app_id, &grant.facts, &orphans, finish.at).await?;
        }
        return Ok(Finished::Overtaken);
    }
    let (Some(around), Some(row)) = (around, row) else { return Ok(Finished::Overtaken) };
    let Around { grant, client, now, .. } = around;
    let generation = match &finish.end {
        RefreshEnd::Renewed(tokens) => renewed(unit, finish, &grant, tokens).await?,
        RefreshEnd::Failed { failure, retry_after, unresolved } => {
            let said = (*retry_after, *unresolved);
            let failing = lease::decide_failing(grant_id, failure, said, &row, client.as_ref(), now);
            failed(unit.sql, finish, &grant.facts.provider, &failing).await?;
            grant.generation
        }
        RefreshEnd::Dead { failure } => {
            dead(unit.sql, finish, failure).await?;
            let change = Change::new(app_id, GrantEvent::ReconnectNeeded, &grant.facts, finish.at);
            events::tell(unit.sql, &Change { reason: Some(&lease::reason_text(failure)), ..change }).await?;
            grant.generation
        }
    };
    unit.audit(lease::audit_row(finish, &grant));
    // Goes out when this is committed.
    rows(unit.sql, "SELECT pg_notify($1, $2)", params![CHANNEL, grant_id.to_string()]).await?;
    Ok(Finished::Written { generation })
}

async fn renewed(
    unit: &Unit<'_>,
    finish: &FinishRefresh,
    grant: &KeptGrant,
    tokens: &FreshTokens,
) -> Result<u64, StoreError> {
    let CredentialVersion { app_id, grant_id, .. } = finish.lease.version;
    let pair = lease::seal_pair(unit.envelope, &finish.lease, grant, tokens)?;
    let text = "UPDATE grants SET access_token = $3, refresh_token = $4, token_expires_at = $5, obtained_at = $6, \
         generation = $7, token_generation = $8, scopes = $9, needs_reconnect = false, reconnect_reason = NULL, \
         refused_generation = NULL WHERE app_id = $1 AND id = $2";
    execute(
        unit.sql,
        text,
        params![
            app_id,
            grant_id,
            pair.access,
            pair.refresh,
            tokens.expires_at.map(micros),
            micros(tokens.obtained_at),
            integer(pair.generation),
            tokens.token_generation,
            scopes_text(&pair.scopes),
        ],
    )
    .await?;
    let text = "UPDATE refreshes SET owner = NULL, lease_until = NULL, spending = NULL, spending_since = NULL, rotates = $3, \
         failures = 0, not_before = NULL, last_refreshed_at = $4, failure_code = NULL, failure_detail = NULL \
         WHERE app_id = $1 AND grant_id = $2";
    execute(unit.sql, text, params![app_id, grant_id, tokens.rotated, micros(finish.at)]).await?;
    let text = "DELETE FROM refresh_backoff WHERE app_id = $1 AND provider_id = $2";
    execute(unit.sql, text, params![app_id, grant.facts.provider]).await?;
    Ok(pair.generation)
}

async fn failed(
    sql: &Client,
    finish: &FinishRefresh,
    provider: &ProviderId,
    failing: &lease::Failing,
) -> Result<(), StoreError> {
    let CredentialVersion { app_id, grant_id, .. } = finish.lease.version;
    let (code, detail) = (failing.failure.code.as_str(), &failing.failure.detail);
    let text = "UPDATE refreshes SET owner = NULL, lease_until = NULL, spending = CASE WHEN $3 THEN NULL ELSE spending END, \
         spending_since = CASE WHEN $3 THEN NULL ELSE spending_since END, failures = $4, not_before = $5, \
         last_failed_at = $6, failure_code = $7, failure_detail = $8 WHERE app_id = $1 AND grant_id = $2";
    execute(
        sql,
        text,
        params![
            app_id,
            grant_id,
            failing.resolved,
            integer(failing.failures),
            failing.not_before,
            micros(finish.at),
            code,
            detail,
        ],
    )
    .await?;
    if let Some((failures, until)) = failing.client {
        // Several grants may fail at once: the longest pause counts.
        let text = "INSERT INTO refresh_backoff AS b (app_id, provider_id, failures, not_before, failure_code, failure_detail) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (app_id, provider_id) DO UPDATE SET \
             failures = excluded.failures, not_before = greatest(b.not_before, excluded.not_before), \
             failure_code = excluded.failure_code, failure_detail = excluded.failure_detail";
        execute(sql, text, params![app_id, *provider, integer(failures), until, code, detail]).await?;
    }
    Ok(())
}

async fn dead(sql: &Client, finish: &FinishRefresh, failure: &RefreshFailure) -> Result<(), StoreError> {
    let CredentialVersion { app_id, grant_id, .. } = finish.lease.version;
    let failure = RefreshFailure::new(failure.code, &failure.detail);
    let text =
        "UPDATE grants SET needs_reconnect = true, reconnect_reason = $3 WHERE app_id = $1 AND id = $2";
    execute(sql, text, params![app_id, grant_id, lease::reason_text(&failure)]).await?;
    let text = "UPDATE refreshes SET owner = NULL, lease_until = NULL, spending = NULL, spending_since = NULL, \
         not_before = NULL, failures = failures + 1, last_failed_at = $3, failure_code = $4, failure_detail = $5 \
         WHERE app_id = $1 AND grant_id = $2";
    let (at, code) = (micros(finish.at), failure.code.as_str());
    execute(sql, text, params![app_id, grant_id, at, code, failure.detail]).await?;
    Ok(())
}

/// Forgets what went wrong with a credential that has been replaced. The fence and the note stay: whoever still asks with the
/// old one is recognized by them.
pub(super) async fn forgive(sql: &Client, app_id: AppId, id: GrantId) -> Result<(), StoreError> {
    let text = "UPDATE refreshes SET failures = 0, not_before = NULL, failure_code = NULL, \
         failure_detail = NULL WHERE app_id = $1 AND grant_id = $2";
    execute(sql, text, params![app_id, id]).await?;
    Ok(())
}

/// How a grant is doing.
pub(super) async fn health(sql: &Client, app_id: AppId, id: GrantId) -> Result<GrantHealth, StoreError> {
    let text = concat!(
        "SELECT g.generation, g.token_generation, g.refresh_token IS NOT NULL, g.token_expires_at, g.obtained_at, \
         g.last_used_at, g.last_good_at, r.last_refreshed_at, r.last_failed_at, r.failure_code, r.failure_detail, \
         r.failures, coalesce(greatest(r.not_before, b.not_before), 0), \
         g.refused_generation IS NOT DISTINCT FROM g.generation, g.needs_reconnect, g.reconnect_reason, ",
        now!(),
        ", g.provider_id FROM grants g LEFT JOIN refreshes r ON r.app_id = g.app_id AND r.grant_id = g.id \
         LEFT JOIN refresh_backoff b ON b.app_id = g.app_id AND b.provider_id = g.provider_id \
         WHERE g.app_id = $1 AND g.id = $2"
    );
    let row = maybe_row(sql, text, params![app_id, id]).await?.ok_or(StoreError::NotFound("grant"))?;
    let refreshable = get(&row, 2)?;
    let provider = providers::load(sql, app_id, &get(&row, 17)?).await?;
    Ok(GrantHealth {
        grant_id: id,
        generation: count(&row, 0)?,
        token_generation: get(&row, 1)?,
        refreshable,
        provider_refreshes: lease::refreshes(provider.as_ref()),
        token_expires_at: maybe_instant(&row, 3)?,
        obtained_at: maybe_instant(&row, 4)?,
        last_used_at: maybe_instant(&row, 5)?,
        last_good_at: maybe_instant(&row, 6)?,
        last_refreshed_at: maybe_instant(&row, 7)?,
        last_failed_at: maybe_instant(&row, 8)?,
        last_failure: failure(&row, 9)?,
        failures: small(&row, 11)?.unwrap_or_default(),
        retry_in_seconds: lease::seconds_until(get(&row, 12)?, get(&row, 16)?).filter(|_| refreshable),
        refused: get(&row, 13)?,
        needs_reconnect: get(&row, 14)?,
        reconnect_reason: get(&row, 15)?,
    })
}

/// Grants whose refresh token has not been used for long and that are not in a pause of their own, oldest first; `at` is the vault's own time.
pub(super) async fn idle(
    sql: &Client,
    query: &IdleQuery,
    at: Timestamp,
) -> Result<Vec<CredentialVersion>, StoreError> {
    let text = concat!(
        "SELECT id, generation FROM grants WHERE app_id = $1 AND provider_id = $2 AND obtained_at < $3 \
         AND status = 0 AND refresh_token IS NOT NULL AND NOT needs_reconnect \
         AND coalesce(grant_expires_at > $4, true) AND NOT EXISTS (SELECT 1 FROM refreshes r WHERE r.app_id = $1 \
         AND r.grant_id = grants.id AND r.not_before BETWEEN ",
        now!(),
        " AND 3600000000 + ",
        now!(),
        ") ORDER BY obtained_at LIMIT $5"
    );
    let IdleQuery { app_id, provider, before, limit } = query;
    let (before, at, limit) = (micros(*before), micros(at), i64::from(*limit));
    let found = rows(sql, text, params![*app_id, *provider, before, at, limit]).await?;
    let version = |row: &Row| {
        Ok(CredentialVersion { app_id: *app_id, grant_id: get(row, 0)?, generation: count(row, 1)? })
    };
    found.iter().map(version).collect()
}

/// The oldest token of each provider that can be refreshed: one look into the index per provider of each app.
pub(super) async fn oldest(sql: &Client, at: Timestamp) -> Result<Vec<(ProviderId, Timestamp)>, StoreError> {
    let text = "SELECT p.id, min(o.obtained_at) FROM providers p CROSS JOIN LATERAL (SELECT g.obtained_at FROM grants g \
         WHERE g.app_id = p.app_id AND g.provider_id = p.id AND g.status = 0 AND g.refresh_token IS NOT NULL \
         AND NOT g.needs_reconnect AND g.obtained_at IS NOT NULL AND coalesce(g.grant_expires_at > $1, true) \
         ORDER BY g.obtained_at LIMIT 1) o WHERE p.kind = 0 GROUP BY p.id ORDER BY p.id";
    let found = rows(sql, text, params![micros(at)]).await?;
    found.iter().map(|row| Ok((get(row, 0)?, instant(row, 1)?))).collect()
}

/// What a report is compared with.
pub(super) struct Reported {
    /// The last note of a good call is old enough.
    good_is_old: bool,
}

impl Reported {
    /// Reads it from the column of the last good call.
    pub(super) fn of(row: &Row, column: usize, at: Timestamp) -> Result<Self, StoreError> {
        let last = maybe_instant(row, column)?;
        let old = |last: Timestamp| last.as_second() + lease::GOOD_NOTED_EVERY <= at.as_second();
        Ok(Self { good_is_old: last.is_none_or(old) })
    }
}

/// Notes what a report says about the grant's present token: refused, or good.
pub(super) async fn reported(
    sql: &Client,
    (app_id, grant_id): (AppId, GrantId),
    known: &Reported,
    report: &crate::audit::CallReport,
    at: Timestamp,
) -> Result<(), StoreError> {
    let now = micros(at);
    match (report.status, report.token_generation) {
        (401, Some(token)) => {
            let text = "UPDATE grants SET refused_generation = generation, refused_at = $4 WHERE app_id = $1 AND id = $2 \
                 AND token_generation = $3 AND refresh_token IS NOT NULL AND refused_generation IS DISTINCT FROM generation \
                 AND coalesce(abs($4 - refused_at) >= $5, true)";
            let pause = lease::REFUSAL_COUNTS_EVERY * 1_000_000;
            execute(sql, text, params![app_id, grant_id, token, now, pause]).await?;
        }
        (1..=399, _) if known.good_is_old => {
            // Reports of the same moment do not wait for each other to note the same.
            let text = "UPDATE grants SET last_good_at = $3 WHERE app_id = $1 AND id = (SELECT id FROM grants \
                 WHERE app_id = $1 AND id = $2 FOR NO KEY UPDATE SKIP LOCKED)";
            execute(sql, text, params![app_id, grant_id, now]).await?;
        }
        _ => {}
    }
    Ok(())
}
