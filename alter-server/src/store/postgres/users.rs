//! Users: made when first seen, suspended, deleted, made active again.

use jiff::Timestamp;
use tokio_postgres::{Client, Row};

use super::{
    apps,
    columns::{execute, get, instant, integer, maybe_row, micros, params, rows},
    ending::{self, Ending},
    lanes::Unit,
};
use crate::{
    audit::{Action, AuditRow, Outcome},
    domain::{Admission, AppId, Identity, Operator, Refusal, User, UserId, UserRef, UserStatus},
    resolve,
    store::{ChangedUser, StoreError, draft},
};

/// A user as found.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) id: UserId,
    pub(super) status: UserStatus,
    /// The e-mail address or the name is another one now.
    changed: bool,
}

/// A user, if it is known.
pub(super) type Known = Option<Found>;

/// The user of a call, if it is made for one; refused if that user may not have grants. Added to `row` either way.
pub(super) async fn seen(
    unit: &mut Unit<'_>,
    admission: &Admission,
    identity: Option<&Identity>,
    row: &mut AuditRow,
) -> Result<Result<Option<UserId>, Box<Refusal>>, StoreError> {
    let known = look(unit.sql, admission.app_id, identity).await?;
    settle(unit, admission, identity, known, row).await
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

/// The same, given what was found: made or brought up to date where needed.
pub(super) async fn settle(
    unit: &mut Unit<'_>,
    admission: &Admission,
    identity: Option<&Identity>,
    known: Known,
    row: &mut AuditRow,
) -> Result<Result<Option<UserId>, Box<Refusal>>, StoreError> {
    let Some(identity) = identity else { return Ok(Ok(None)) };
    let found = make(unit, admission.app_id, admission.at, identity, known).await?;
    row.app_user_id = Some(found.id);
    Ok(resolve::admit_user(Some(found.status)).map(|()| Some(found.id)))
}

async fn find(sql: &Client, app_id: AppId, identity: &Identity) -> Result<Known, StoreError> {
    let Identity { issuer, subject, email, name, .. } = identity;
    let text = "SELECT id, status <> 2 AND (($4::text IS NOT NULL AND email IS DISTINCT FROM $4) \
         OR ($5::text IS NOT NULL AND name IS DISTINCT FROM $5)), status FROM users \
         WHERE app_id = $1 AND issuer = $2 AND subject = $3";
    let found = maybe_row(sql, text, params![app_id, *issuer, *subject, *email, *name]).await?;
    found
        .map(|row| Ok(Found { id: get(&row, 0)?, changed: get(&row, 1)?, status: get(&row, 2)? }))
        .transpose()
}

/// The user with this issuer and subject. E-mail address and name follow what was said last.
pub(super) async fn find_or_create(
    unit: &mut Unit<'_>,
    app_id: AppId,
    at: Timestamp,
    identity: &Identity,
) -> Result<Found, StoreError> {
    let known = find(unit.sql, app_id, identity).await?;
    make(unit, app_id, at, identity, known).await
}

async fn make(
    unit: &mut Unit<'_>,
    app_id: AppId,
    at: Timestamp,
    identity: &Identity,
    known: Known,
) -> Result<Found, StoreError> {
    if let Some(found) = known {
        return change(unit.sql, app_id, found, identity).await;
    }
    let Identity { issuer, subject, email, name, .. } = identity;
    let (id, status) = (UserId::random(), UserStatus::Active);
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
        let found = find(unit.sql, app_id, identity).await?.ok_or_else(gone)?;
        return change(unit.sql, app_id, found, identity).await;
    }
    let mut row = AuditRow::draft(app_id, at, Action::UserCreated, Outcome::Allowed);
    row.app_user_id = Some(id);
    row.detail = Some(subject.clone());
    unit.audit(row);
    Ok(Found { id, status, changed: false })
}

async fn change(sql: &Client, app_id: AppId, found: Found, identity: &Identity) -> Result<Found, StoreError> {
    if found.changed {
        let text = "UPDATE users SET email = coalesce($3, email), name = coalesce($4, name) WHERE app_id = $1 AND id = $2";
        execute(sql, text, params![app_id, found.id, identity.email, identity.name]).await?;
    }
    Ok(found)
}

/// Whether the named user may have grants; `None` if there is none, or none is named.
pub(super) async fn status_of(
    sql: &Client,
    app_id: AppId,
    id: Option<UserId>,
) -> Result<Option<UserStatus>, StoreError> {
    let Some(id) = id else { return Ok(None) };
    let text = "SELECT status FROM users WHERE app_id = $1 AND id = $2";
    maybe_row(sql, text, params![app_id, id]).await?.as_ref().map(|row| get(row, 0)).transpose()
}

macro_rules! user {
    () => {
        "SELECT id, app_id, issuer, subject, email, name, created_at, status FROM users WHERE "
    };
}

fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: get(row, 0)?,
        app_id: get(row, 1)?,
        issuer: get(row, 2)?,
        subject: get(row, 3)?,
        email: get(row, 4)?,
        name: get(row, 5)?,
        created_at: instant(row, 6)?,
        status: get(row, 7)?,
    })
}

/// One user.
pub(super) async fn load(sql: &Client, app_id: AppId, id: UserId) -> Result<Option<User>, StoreError> {
    let text = concat!(user!(), "app_id = $1 AND id = $2");
    maybe_row(sql, text, params![app_id, id]).await?.as_ref().map(user).transpose()
}

/// The app's users, oldest first.
pub(super) async fn list(
    sql: &Client,
    app_id: AppId,
    limit: u32,
    offset: u64,
) -> Result<Vec<User>, StoreError> {
    let text = concat!(user!(), "app_id = $1 ORDER BY created_at, id LIMIT $2 OFFSET $3");
    let found = rows(sql, text, params![app_id, i64::from(limit), integer(offset)]).await?;
    found.iter().map(user).collect()
}

/// The same person in every app, oldest first.
pub(super) async fn same_person(sql: &Client, issuer: &str, subject: &str) -> Result<Vec<User>, StoreError> {
    let text = concat!(user!(), "issuer = $1 AND subject = $2 ORDER BY created_at, id");
    rows(sql, text, params![issuer, subject]).await?.iter().map(user).collect()
}

/// Sets a user's status as an operator.
pub(super) async fn set_status(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    who: &UserRef,
    status: UserStatus,
    reason: Option<&str>,
) -> Result<ChangedUser, StoreError> {
    apps::must_exist(unit.sql, app_id).await?;
    let mut row = draft::of_operator(by, app_id, Action::UserChanged);
    row.reason = reason.map(str::to_owned);
    change_status(unit, &row, &by.name, who, status).await
}

/// Sets a user's status. `row` is what is known of whoever does it; the user's row and those of its grants follow it. The app's
/// gate must be held exclusively.
pub(super) async fn change_status(
    unit: &mut Unit<'_>,
    row: &AuditRow,
    by: &str,
    who: &UserRef,
    status: UserStatus,
) -> Result<ChangedUser, StoreError> {
    let app_id = row.app_id;
    let id = match who {
        UserRef::Id(id) => *id,
        UserRef::Subject { issuer, subject } => {
            let (issuer, subject) = (issuer.clone(), subject.clone());
            let identity = Identity { issuer, subject, email: None, name: None, groups: Vec::new() };
            find_or_create(unit, app_id, row.at, &identity).await?.id
        }
    };
    let gone = || StoreError::NotFound("user");
    let before = load(unit.sql, app_id, id).await?.ok_or_else(gone)?;
    if before.status == UserStatus::Deleted && status != UserStatus::Deleted {
        return Err(StoreError::Conflict("this user was deleted for good".to_owned()));
    }
    if before.status == status {
        return Ok(ChangedUser { user: before, revoked: Vec::new() });
    }
    // What is known of a deleted user beyond its subject goes.
    let text = "UPDATE users SET status = $3, email = CASE WHEN $4 THEN NULL ELSE email END, \
         name = CASE WHEN $4 THEN NULL ELSE name END WHERE app_id = $1 AND id = $2";
    execute(unit.sql, text, params![app_id, id, status, status == UserStatus::Deleted]).await?;
    let mut revoked = Vec::new();
    if status != UserStatus::Active {
        let text = "DELETE FROM browser_sessions WHERE app_id = $1 AND user_id = $2";
        execute(unit.sql, text, params![app_id, id]).await?;
        let ended = draft::of_user_change(row, Action::GrantRevoked, id, status);
        let ending = Ending { at: row.at, by: by.to_owned(), row: ended };
        revoked = ending::end_all_of(unit, app_id, id, &ending).await?;
    }
    unit.audit(draft::of_user_change(row, Action::UserChanged, id, status));
    let user = load(unit.sql, app_id, id).await?.ok_or_else(gone)?;
    Ok(ChangedUser { user, revoked })
}
