//! Users: made when first seen, suspended, deleted, made active again.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    apps,
    columns::{Micros, instant, principal_columns},
    ending, grants,
    writer::Unit,
};
use crate::{
    audit::{Action, AuditRow, Outcome},
    domain::{
        Admission, AppId, GrantId, Identity, Operator, Principal, Refusal, User, UserId, UserRef, UserStatus,
    },
    resolve,
    store::{ChangedUser, StoreError, draft},
};

/// A user as it is found or made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) id: UserId,
    pub(super) status: UserStatus,
}

/// The user of a call, if it is made for one, who must not be suspended or deleted. The one place that looks at this for signed
/// calls. Adds the user to `row`.
pub(super) fn seen(
    unit: &mut Unit<'_>,
    admission: &Admission,
    identity: Option<&Identity>,
    row: &mut AuditRow,
) -> Result<Result<Option<UserId>, Box<Refusal>>, StoreError> {
    let Some(identity) = identity else { return Ok(Ok(None)) };
    let found = find_or_create(unit, admission.app_id, admission.at, identity)?;
    row.app_user_id = Some(found.id);
    Ok(resolve::admit_user(Some(found.status)).map(|()| Some(found.id)))
}

/// The user with this issuer and subject. E-mail address and name follow what was said last, but not of a user that is gone.
pub(super) fn find_or_create(
    unit: &mut Unit<'_>,
    app_id: AppId,
    at: Timestamp,
    identity: &Identity,
) -> Result<Found, StoreError> {
    let found = unit
        .sql
        .prepare_cached(
            "SELECT id, status, status <> 2 AND ((?4 NOTNULL AND email IS NOT ?4) OR (?5 NOTNULL AND name IS NOT ?5)) \
             FROM users WHERE app_id = ?1 AND issuer = ?2 AND subject = ?3",
        )?
        .query_row(
            params![app_id, identity.issuer, identity.subject, identity.email, identity.name],
            |columns| {
                Ok((Found { id: columns.get(0)?, status: columns.get(1)? }, columns.get::<_, bool>(2)?))
            },
        )
        .optional()?;
    if let Some((found, news)) = found {
        if news {
            unit.sql
                .prepare_cached("UPDATE users SET email = ifnull(?3, email), name = ifnull(?4, name) WHERE app_id = ?1 AND id = ?2")?
                .execute(params![app_id, found.id, identity.email, identity.name])?;
        }
        return Ok(found);
    }
    let id = UserId::random();
    unit.sql
        .prepare_cached(
            "INSERT INTO users (app_id, id, issuer, subject, email, name, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            app_id,
            id,
            identity.issuer,
            identity.subject,
            identity.email,
            identity.name,
            Micros(at)
        ])?;
    let mut row = AuditRow::draft(app_id, at, Action::UserCreated, Outcome::Allowed);
    row.app_user_id = Some(id);
    row.detail = Some(identity.subject.clone());
    unit.audit(row)?;
    Ok(Found { id, status: UserStatus::Active })
}

/// Whether a user may have grants; `None` if there is no such user.
pub(super) fn status(sql: &Connection, app_id: AppId, id: UserId) -> Result<Option<UserStatus>, StoreError> {
    let mut statement = sql.prepare_cached("SELECT status FROM users WHERE app_id = ?1 AND id = ?2")?;
    Ok(statement.query_row(params![app_id, id], |row| row.get(0)).optional()?)
}

const USER: &str = "SELECT id, app_id, issuer, subject, email, name, created_at, status FROM users";

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(0)?,
        app_id: row.get(1)?,
        issuer: row.get(2)?,
        subject: row.get(3)?,
        email: row.get(4)?,
        name: row.get(5)?,
        created_at: instant(row, 6)?,
        status: row.get(7)?,
    })
}

/// The app's users, oldest first.
pub(super) fn list(
    sql: &Connection,
    app_id: AppId,
    limit: u32,
    offset: u64,
) -> Result<Vec<User>, StoreError> {
    let mut statement =
        sql.prepare_cached(&format!("{USER} WHERE app_id = ?1 ORDER BY created_at, id LIMIT ?2 OFFSET ?3"))?;
    let users = statement.query_map(params![app_id, limit, super::columns::integer(offset)], user)?;
    Ok(users.collect::<Result<_, _>>()?)
}

/// The same person in every app.
pub(super) fn same_person(sql: &Connection, issuer: &str, subject: &str) -> Result<Vec<User>, StoreError> {
    let mut statement = sql
        .prepare_cached(&format!("{USER} WHERE issuer = ?1 AND subject = ?2 ORDER BY created_at, app_id"))?;
    let users = statement.query_map(params![issuer, subject], user)?;
    Ok(users.collect::<Result<_, _>>()?)
}

fn load(sql: &Connection, app_id: AppId, id: UserId) -> Result<User, StoreError> {
    sql.prepare_cached(&format!("{USER} WHERE app_id = ?1 AND id = ?2"))?
        .query_row(params![app_id, id], user)
        .optional()?
        .ok_or(StoreError::NotFound("user"))
}

/// Sets a user's status as an operator.
pub(super) fn set_status(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    who: &UserRef,
    status: UserStatus,
    reason: Option<&str>,
) -> Result<ChangedUser, StoreError> {
    apps::must_exist(unit.sql, app_id)?;
    let mut row = draft::of_operator(by, app_id, Action::UserChanged);
    row.reason = reason.map(str::to_owned);
    change_status(unit, &row, &by.name, who, status)
}

/// Sets a user's status. `row` is what is known of whoever does it; the user's row and those of its grants follow it.
pub(super) fn change_status(
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
            let identity = Identity {
                issuer: issuer.clone(),
                subject: subject.clone(),
                email: None,
                name: None,
                groups: Vec::new(),
            };
            find_or_create(unit, app_id, row.at, &identity)?.id
        }
    };
    let before = load(unit.sql, app_id, id)?;
    if before.status == UserStatus::Deleted && status != UserStatus::Deleted {
        return Err(StoreError::Conflict("this user was deleted for good".to_owned()));
    }
    if before.status == status {
        return Ok(ChangedUser { user: before, revoked: Vec::new() });
    }
    unit.sql
        .prepare_cached(
            "UPDATE users SET status = ?3, email = iif(?4, NULL, email), name = iif(?4, NULL, name) \
             WHERE app_id = ?1 AND id = ?2",
        )?
        .execute(params![app_id, id, status, status == UserStatus::Deleted])?;
    let mut revoked = Vec::new();
    if status != UserStatus::Active {
        unit.sql
            .prepare_cached("DELETE FROM browser_sessions WHERE app_id = ?1 AND user_id = ?2")?
            .execute(params![app_id, id])?;
        for grant in active_grants(unit.sql, app_id, id)? {
            let Some((facts, _)) = grants::facts_by_id(unit.sql, app_id, grant)? else { continue };
            // One that hung on another of them has ended with it.
            if facts.status == crate::domain::GrantStatus::Active {
                let ended = draft::of_user_change(row, Action::GrantRevoked, id, status);
                revoked.extend(ending::end(unit, ended, &facts, by)?);
            }
        }
    }
    unit.audit(draft::of_user_change(row, Action::UserChanged, id, status))?;
    Ok(ChangedUser { user: load(unit.sql, app_id, id)?, revoked })
}

fn active_grants(sql: &Connection, app_id: AppId, user: UserId) -> Result<Vec<GrantId>, StoreError> {
    let owner = Principal::User(user);
    let (kind, principal) = principal_columns(&owner);
    let mut statement = sql.prepare_cached(
        "SELECT id FROM grants WHERE app_id = ?1 AND principal_kind = ?2 AND principal_id = ?3 AND status = 0",
    )?;
    let grants = statement.query_map(params![app_id, kind, principal], |row| row.get(0))?;
    Ok(grants.collect::<Result<_, _>>()?)
}
