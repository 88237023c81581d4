//! Users: made when first seen.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    columns::{Micros, instant},
    writer::Unit,
};
use crate::{
    audit::{Action, AuditRow, Outcome},
    domain::{Admission, AppId, Identity, User, UserId},
    store::StoreError,
};

/// The user of a call, if it is made for one.
pub(super) fn seen(
    unit: &mut Unit<'_>,
    admission: &Admission,
    identity: Option<&Identity>,
) -> Result<Option<UserId>, StoreError> {
    let Some(identity) = identity else { return Ok(None) };
    find_or_create(unit, admission.app_id, admission.at, identity).map(Some)
}

/// The user with this issuer and subject. E-mail address and name follow what was said last.
pub(super) fn find_or_create(
    unit: &mut Unit<'_>,
    app_id: AppId,
    at: Timestamp,
    identity: &Identity,
) -> Result<UserId, StoreError> {
    let found = unit
        .sql
        .prepare_cached(
            "SELECT id, (?4 NOTNULL AND email IS NOT ?4) OR (?5 NOTNULL AND name IS NOT ?5) FROM users \
             WHERE app_id = ?1 AND issuer = ?2 AND subject = ?3",
        )?
        .query_row(
            params![app_id, identity.issuer, identity.subject, identity.email, identity.name],
            |columns| Ok((columns.get::<_, UserId>(0)?, columns.get::<_, bool>(1)?)),
        )
        .optional()?;
    let id = match found {
        Some((id, false)) => return Ok(id),
        Some((id, true)) => {
            unit.sql
                .prepare_cached("UPDATE users SET email = ifnull(?3, email), name = ifnull(?4, name) WHERE app_id = ?1 AND id = ?2")?
                .execute(params![app_id, id, identity.email, identity.name])?;
            return Ok(id);
        }
        None => UserId::random(),
    };
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
    Ok(id)
}

/// The app's users, oldest first.
pub(super) fn list(
    sql: &Connection,
    app_id: AppId,
    limit: u32,
    offset: u64,
) -> Result<Vec<User>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT id, issuer, subject, email, name, created_at, status FROM users WHERE app_id = ?1 \
         ORDER BY created_at, id LIMIT ?2 OFFSET ?3",
    )?;
    let users = statement.query_map(params![app_id, limit, super::columns::integer(offset)], |columns| {
        Ok(User {
            id: columns.get(0)?,
            app_id,
            issuer: columns.get(1)?,
            subject: columns.get(2)?,
            email: columns.get(3)?,
            name: columns.get(4)?,
            created_at: instant(columns, 5)?,
            status: columns.get(6)?,
        })
    })?;
    Ok(users.collect::<Result<_, _>>()?)
}
