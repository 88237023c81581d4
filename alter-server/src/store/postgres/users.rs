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

/// The user of a call, if it is made for one.
pub(super) async fn seen(
    unit: &mut Unit<'_>,
    admission: &Admission,
    identity: Option<&Identity>,
) -> Result<Option<UserId>, StoreError> {
    let Some(identity) = identity else { return Ok(None) };
    find_or_create(unit, admission.app_id, admission.at, identity).await.map(Some)
}

async fn find(sql: &Client, app_id: AppId, identity: &Identity) -> Result<Option<UserId>, StoreError> {
    let Identity { issuer, subject, email, name, .. } = identity;
    let text = "SELECT id, ($4::text IS NOT NULL AND email IS DISTINCT FROM $4) \
         OR ($5::text IS NOT NULL AND name IS DISTINCT FROM $5) FROM users \
         WHERE app_id = $1 AND issuer = $2 AND subject = $3";
    let found = maybe_row(sql, text, params![app_id, *issuer, *subject, *email, *name]).await?;
    let Some(row) = found else { return Ok(None) };
    let id: UserId = get(&row, 0)?;
    if get(&row, 1)? {
        let text = "UPDATE users SET email = coalesce($3, email), name = coalesce($4, name) \
             WHERE app_id = $1 AND id = $2";
        execute(sql, text, params![app_id, id, *email, *name]).await?;
    }
    Ok(Some(id))
}

/// The user with this issuer and subject. E-mail address and name follow what was said last.
pub(super) async fn find_or_create(
    unit: &mut Unit<'_>,
    app_id: AppId,
    at: Timestamp,
    identity: &Identity,
) -> Result<UserId, StoreError> {
    if let Some(id) = find(unit.sql, app_id, identity).await? {
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
        return find(unit.sql, app_id, identity).await?.ok_or_else(gone);
    }
    let mut row = AuditRow::draft(app_id, at, Action::UserCreated, Outcome::Allowed);
    row.app_user_id = Some(id);
    row.detail = Some(subject.clone());
    unit.audit(row).await?;
    Ok(id)
}

/// The app's users, oldest first.
pub(super) async fn list(
    sql: &Client,
    app_id: AppId,
    limit: u32,
    offset: u64,
) -> Result<Vec<User>, StoreError> {
    let text = "SELECT id, issuer, subject, email, name, created_at FROM users WHERE app_id = $1 \
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
        })
    };
    found.iter().map(user).collect()
}
