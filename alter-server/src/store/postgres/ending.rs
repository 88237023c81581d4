//! The end of grants: their tokens go into the outbox, what hangs on them ends with them, and others are told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::Client;

use super::{
    columns::{execute, get, integer, micros, params, rows},
    events,
    grants::{self, facts_columns},
    lanes::Unit,
    providers,
    refresh::now,
};
use crate::{
    audit::{Action, AuditRow},
    domain::{AppId, GrantEvent, GrantFacts, GrantId, GrantKind, GrantStatus, Operator, Principal, UserId},
    store::{RevokeAsUser, Revoked, StoreError, draft, event::Change, lease::Orphans},
};

/// When and by whom grants are ended, and the row that is written for each.
pub(super) struct Ending {
    pub(super) at: Timestamp,
    /// As [`crate::domain::Grant::revoked_by`] shows it.
    pub(super) by: String,
    /// What the rows have in common.
    pub(super) row: AuditRow,
}

/// These grants and everything below them, as far as they are active, oldest first.
const DOOMED: &str = concat!(
    "WITH RECURSIVE tree (id) AS (SELECT unnest($2::uuid[]) UNION SELECT c.id FROM tree JOIN grants c \
     ON c.app_id = $1 AND c.parent_grant_id = tree.id) ",
    facts_columns!(),
    ", g.parent_grant_id FROM grants g JOIN tree ON tree.id = g.id WHERE g.app_id = $1 AND g.status = 0 ORDER BY g.n"
);

/// Ends these grants and every grant below them, as far as they are active, each with a row and an event. The app's gate must be
/// held exclusively. Answers which ended.
pub(super) async fn end(
    unit: &mut Unit<'_>,
    app_id: AppId,
    ids: &[GrantId],
    ending: &Ending,
) -> Result<Vec<GrantId>, StoreError> {
    let mut doomed: Vec<(GrantFacts, Option<GrantId>)> = Vec::new();
    for row in &rows(unit.sql, DOOMED, params![app_id, ids.to_vec()]).await? {
        doomed.push((grants::facts(row)?, get(row, 12)?));
    }
    if doomed.is_empty() {
        return Ok(Vec::new());
    }
    hand_over(unit.sql, app_id, &doomed, ending.at).await?;
    let ended: Vec<GrantId> = doomed.iter().map(|(facts, _)| facts.id).collect();
    let text = "UPDATE grants SET status = $3, revoked_at = $4, revoked_by = $5, access_token = NULL, refresh_token = NULL \
         WHERE app_id = $1 AND id = ANY ($2)";
    let (status, at) = (GrantStatus::Revoked, micros(ending.at));
    execute(unit.sql, text, params![app_id, ended, status, at, ending.by]).await?;
    for (facts, parent) in &doomed {
        let row = match parent {
            Some(parent) if !ids.contains(&facts.id) => draft::of_child(&ending.row, *parent, facts),
            _ => row_of(&ending.row, facts),
        };
        unit.audit(row);
        let change = Change::new(app_id, GrantEvent::Revoked, facts, ending.at);
        let (reason, by) = (ending.row.reason.as_deref(), Some(&*ending.by));
        events::tell(unit.sql, &Change { reason, by, ..change }).await?;
    }
    Ok(ended)
}

/// One more row of that kind.
fn row_of(row: &AuditRow, facts: &GrantFacts) -> AuditRow {
    let id = AuditRow::draft(row.app_id, row.at, row.action, row.outcome).id;
    let mut row = AuditRow { id, ..row.clone() };
    draft::describe(&mut row, facts);
    row
}

/// Moves the grants' own tokens, sealed as they are, into jobs that tell their providers, as far as those can be told.
async fn hand_over(
    sql: &Client,
    app_id: AppId,
    doomed: &[(GrantFacts, Option<GrantId>)],
    at: Timestamp,
) -> Result<(), StoreError> {
    let oauth = doomed.iter().map(|(facts, _)| facts).filter(|facts| facts.kind == GrantKind::OAuth);
    let mut told: BTreeMap<&str, bool> = BTreeMap::new();
    let mut ids = Vec::new();
    for facts in oauth {
        let name = facts.provider.as_str();
        let tell = if let Some(tell) = told.get(name) {
            *tell
        } else {
            let oauth =
                providers::load(sql, app_id, &facts.provider).await?.and_then(|provider| provider.oauth);
            let tell = oauth.is_some_and(|oauth| oauth.revoke_url.is_some());
            told.insert(name, tell);
            tell
        };
        if tell {
            ids.push(facts.id);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    let text = concat!(
        "INSERT INTO outbox (app_id, id, kind, state, grant_id, provider_id, attempts, not_before, created_at, generation, \
         access_token, refresh_token) SELECT app_id, gen_random_uuid(), 0, 0, id, provider_id, 0, ",
        now!(),
        ", $3, generation, access_token, refresh_token FROM grants WHERE app_id = $1 AND id = ANY ($2) \
         AND (access_token IS NOT NULL OR refresh_token IS NOT NULL) ORDER BY n"
    );
    execute(sql, text, params![app_id, ids, micros(at)]).await.map(|_| ())
}

/// The same for fresh tokens that came when the grant had ended.
pub(super) async fn hand_over_orphans(
    sql: &Client,
    app_id: AppId,
    facts: &GrantFacts,
    orphans: &Orphans,
    at: Timestamp,
) -> Result<(), StoreError> {
    let oauth = providers::load(sql, app_id, &facts.provider).await?.and_then(|provider| provider.oauth);
    if oauth.is_none_or(|oauth| oauth.revoke_url.is_none()) {
        return Ok(());
    }
    let text = concat!(
        "INSERT INTO outbox (app_id, id, kind, state, grant_id, provider_id, attempts, not_before, created_at, generation, \
         access_token, refresh_token) VALUES ($1, gen_random_uuid(), 0, 0, $2, $3, 0, ",
        now!(),
        ", $4, $5, $6, $7)"
    );
    let Orphans { generation, access, refresh } = orphans;
    let generation = integer(*generation);
    execute(sql, text, params![app_id, facts.id, facts.provider, micros(at), generation, access, refresh])
        .await
        .map(|_| ())
}

/// Ends one grant that is active, and what is below it.
pub(super) async fn end_one(
    unit: &mut Unit<'_>,
    app_id: AppId,
    id: GrantId,
    ending: &Ending,
) -> Result<Revoked, StoreError> {
    end(unit, app_id, &[id], ending).await?;
    Ok(Revoked { grant_id: id, revoked_at: ending.at })
}

/// Revokes as an operator.
pub(super) async fn revoke_as_operator(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: GrantId,
    reason: Option<&str>,
) -> Result<Revoked, StoreError> {
    let grant = grants::load(unit.sql, app_id, id).await?;
    if let Some(revoked_at) = grant.revoked_at {
        return Ok(Revoked { grant_id: id, revoked_at });
    }
    let mut row = draft::of_operator(by, app_id, Action::GrantRevoked);
    row.reason = reason.map(str::to_owned);
    end_one(unit, app_id, id, &Ending { at: by.at, by: by.name.clone(), row }).await
}

/// Revokes as the grant's user.
pub(super) async fn revoke_as_user(
    unit: &mut Unit<'_>,
    revoke: &RevokeAsUser,
) -> Result<Revoked, StoreError> {
    let RevokeAsUser { browser, app_id, grant_id } = revoke;
    let gone = || StoreError::NotFound("grant");
    let user = browser.user.ok_or_else(gone)?;
    let grant = grants::load(unit.sql, *app_id, *grant_id).await?;
    if grant.facts.principal != Principal::User(user) {
        return Err(gone());
    }
    if let Some(revoked_at) = grant.revoked_at {
        return Ok(Revoked { grant_id: *grant_id, revoked_at });
    }
    let row = draft::of_browser(browser, *app_id, Action::GrantRevoked);
    end_one(unit, *app_id, *grant_id, &Ending { at: browser.at, by: format!("user:{user}"), row }).await
}

/// Ends everything that a user has.
pub(super) async fn end_all_of(
    unit: &mut Unit<'_>,
    app_id: AppId,
    user: UserId,
    ending: &Ending,
) -> Result<Vec<GrantId>, StoreError> {
    let text = "SELECT id FROM grants WHERE app_id = $1 AND principal_kind = 0 AND principal_id = $2 AND status = 0 ORDER BY n";
    let found = rows(unit.sql, text, params![app_id, user.bytes().as_slice()]).await?;
    let ids = found.iter().map(|row| get(row, 0)).collect::<Result<Vec<GrantId>, _>>()?;
    end(unit, app_id, &ids, ending).await
}

/// Removes revoked grants that ended before `before` and have no job left; their ids, and whose they were, remain.
pub(super) async fn purge(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<GrantId>, StoreError> {
    let text = concat!(
        facts_columns!(),
        " FROM grants g WHERE g.app_id = $1 AND g.status = 1 AND g.revoked_at < $2 AND NOT EXISTS \
         (SELECT 1 FROM outbox o WHERE o.app_id = g.app_id AND o.grant_id = g.id) ORDER BY g.revoked_at, g.n LIMIT $3"
    );
    let found = rows(unit.sql, text, params![app_id, micros(before), i64::from(limit)]).await?;
    let old: Vec<GrantFacts> = found.iter().map(grants::facts).collect::<Result<_, _>>()?;
    let ids: Vec<GrantId> = old.iter().map(|grant| grant.id).collect();
    let text = "UPDATE grants SET status = $3, account_identifier = NULL, account_display_name = NULL, account_id = NULL, \
         label = NULL, scopes = '', reconnect_reason = NULL, provider_revocation = NULL \
         WHERE app_id = $1 AND id = ANY ($2)";
    execute(unit.sql, text, params![app_id, ids, GrantStatus::Deleted]).await?;
    let text = "DELETE FROM refreshes WHERE app_id = $1 AND grant_id = ANY ($2)";
    execute(unit.sql, text, params![app_id, ids]).await?;
    for facts in &old {
        let mut row = draft::of_operator(by, app_id, Action::GrantDeleted);
        draft::describe(&mut row, facts);
        row.account = None;
        unit.audit(row);
        events::tell(unit.sql, &Change::new(app_id, GrantEvent::Deleted, facts, by.at)).await?;
    }
    Ok(ids)
}
