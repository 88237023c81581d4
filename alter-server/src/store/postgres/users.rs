//! Users: made when first seen.

use jiff::Timestamp;
use tokio_postgres::Client;

use super::{
    columns::{execute, get, instant, integer, maybe_row, micros, params, rows},
    lanes::Unit,
};
use crate::{
    audit::{Action, AuditRow, Outcome},
    domain::{Admission, AppId, Identity, User, UserId},
    store::StoreError,
};

/// A user as found: whether the e-mail address or the name is another one now.
pub(super) type Known = Option<(UserId, bool)>;

/// The user of a call, if it is made for one.
pub(super) async fn seen(
    unit: &mut Unit<'_>,
    admission: &Admission,
    identity: Option<&Identity>,
) -> Result<Option<UserId>, StoreError> {
    let known = look(unit.sql, admission.app_id, identity).await?;
    settle(unit, admission, identity, known).await
}

/// Looks for the user of a call; only reads.
pub(super) async fn look(
    sql: &Client,
    app_id: AppId,
    identity: Option<&Identity>,
) -> Result<Known, StoreError> {
    match identity {
        Some(identity) => find(sql, app_id, identity).await,
        None => Ok(None),
    }
}

/// The user of a call, given what was found: made or brought up to date where needed.
pub(super) async fn settle(
    unit: &mut Unit<'_>,
    admission: &Admission,
    identity: Option<&Identity>,
    known: Known,
) -> Result<Option<UserId>, StoreError> {
    let Some(identity) = identity else { return Ok(None) };
    make(unit, admission.app_id, admission.at, identity, known).await.map(Some)
}

async fn find(sql: &Client, app_id: AppId, identity: &Identity) -> Result<Known, StoreError> {
    let Identity { issuer, subject, email, name, .. } = identity;
    let text = "SELECT id, ($4::text IS NOT NULL AND email IS DISTINCT FROM $4) \
         OR ($5::text IS NOT NULL AND name IS DISTINCT FROM $5) FROM users \
         WHERE app_id = $1 AND issuer = $2 AND subject = $3";
    let found = maybe_row(sql, text, params![app_id, *issuer, *subject, *email, *name]).await?;
    found.map(|row| Ok((get(&row, 0)?, get(&row, 1)?))).transpose()
}

/// The user with this issuer and subject. E-mail address and name follow what was said last.
pub(super) async fn find_or_create(
    unit: &mut Unit<'_>,
    app_id: AppId,
    at: Timestamp,
    identity: &Identity,
) -> Result<UserId, StoreError> {
    let known = find(unit.sql, app_id, identity).await?;
    make(unit, app_id, at, identity, known).await
}

async fn make(
    unit: &mut Unit<'_>,
    app_id: AppId,
    at: Timestamp,
    identity: &Identity,
    known: Known,
) -> Result<UserId, StoreError> {
    if let Some((id, changed)) = known {
        if changed {
            change(unit.sql, app_id, id, identity).await?;
        }
        return Ok(id);
    }
    let Identity { issuer, subject, email, name, .. } = identity;
    let id = UserId::random();
    let inserted = execute(
        unit.sql,
        "INSERT INTO users (app_id, id, issuer, subject, email, name, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (app_id, issuer, subject) DO NOTHING",
        params![app_id, id, *issuer, *subject, *email, *name, micros(at)],
    )
    .await?;
    if inserted == 0 {
        // Another call made the user between the two statements; the next statement sees it.
        let gone = || StoreError::Corrupt("a user is there and is not".to_owned());
        let (id, changed) = find(unit.sql, app_id, identity).await?.ok_or_else(gone)?;
        if changed {
            change(unit.sql, app_id, id, identity).await?;
        }
        return Ok(id);
    }
    let mut row = AuditRow::draft(app_id, at, Action::UserCreated, Outcome::Allowed);
    row.app_user_id = Some(id);
    row.detail = Some(subject.clone());
    unit.audit(row);
    Ok(id)
}

async fn change(sql: &Client, app_id: AppId, id: UserId, identity: &Identity) -> Result<(), StoreError> {
    let text = "UPDATE users SET email = coalesce($3, email), name = coalesce($4, name) WHERE app_id = $1 AND id = $2";
    execute(sql, text, params![app_id, id, identity.email, identity.name]).await?;
    Ok(())
}

/// The app's users, oldest first.
pub(super) async fn list(
    sql: &Client,
    app_id: AppId,
    limit: u32,
    offset: u64,
) -> Result<Vec<User>, StoreError> {
    let text = "SELECT id, issuer, subject, email, name, created_at, status FROM users WHERE app_id = $1 \
         ORDER BY created_at, id LIMIT $2 OFFSET $3";
    let found = rows(sql, text, params![app_id, i64::from(limit), integer(offset)]).await?;
    let user = |row| {
        Ok(User {
            id: get(row, 0)?,
            app_id,
            issuer: get(row, 1)?,
            subject: get(row, 2)?,
            email: get(row, 3)?,
            name: get(row, 4)?,
            created_at: instant(row, 5)?,
            status: get(row, 6)?,
        })
    };
    found.iter().map(user).collect()
}
