//! Browsers in which somebody signed in to the wallet.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    columns::{Micros, instant},
    users,
    writer::Unit,
};
use crate::{
    audit::Action,
    domain::{BrowserSession, NewBrowserSession, SessionRef, TokenDigest, UserStatus},
    store::{Browser, StoreError, draft},
};

/// A session is noted as used again after so many seconds.
pub(super) const SEEN_EVERY: i64 = 60;

pub(super) fn open(
    unit: &mut Unit<'_>,
    browser: &Browser,
    new: &NewBrowserSession,
) -> Result<BrowserSession, StoreError> {
    let found = users::find_or_create(unit, new.app_id, browser.at, &new.identity)?;
    if found.status != UserStatus::Active {
        let text = "this user is suspended or deleted: ask the operator of the application";
        return Err(StoreError::Invalid(text.to_owned()));
    }
    unit.sql
        .prepare_cached(
            "INSERT INTO browser_sessions (app_id, id, secret, user_id, created_at, seen_at, expires_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
        )?
        .execute(params![
            new.app_id,
            new.id,
            new.secret.bytes(),
            found.id,
            Micros(browser.at),
            Micros(new.expires_at)
        ])?;
    let mut row = draft::of_browser(browser, new.app_id, Action::WalletSignedIn);
    row.app_user_id = Some(found.id);
    row.detail = Some(format!("browser session {}", new.id));
    unit.audit(row)?;
    let session = SessionRef { app_id: new.app_id, id: new.id };
    load(unit.sql, session)?.map(|(session, _)| session).ok_or(StoreError::NotFound("browser session"))
}

fn load(sql: &Connection, session: SessionRef) -> Result<Option<(BrowserSession, UserStatus)>, StoreError> {
    Ok(sql
        .prepare_cached(
            "SELECT b.secret, b.user_id, b.created_at, b.seen_at, b.expires_at, u.issuer, u.subject, u.status \
             FROM browser_sessions b JOIN users u ON u.app_id = b.app_id AND u.id = b.user_id \
             WHERE b.app_id = ?1 AND b.id = ?2",
        )?
        .query_row(params![session.app_id, session.id], |row| {
            let kept = BrowserSession {
                session,
                secret: TokenDigest::from_bytes(row.get(0)?),
                user: row.get(1)?,
                created_at: instant(row, 2)?,
                seen_at: instant(row, 3)?,
                expires_at: instant(row, 4)?,
                issuer: row.get(5)?,
                subject: row.get(6)?,
            };
            Ok((kept, row.get(7)?))
        })
        .optional()?)
}

/// The session if it still counts at `now`.
pub(super) fn valid(
    sql: &Connection,
    session: SessionRef,
    now: Timestamp,
    idle_seconds: u32,
) -> Result<Option<BrowserSession>, StoreError> {
    let found = load(sql, session)?;
    Ok(found.filter(|(_, status)| *status == UserStatus::Active).map(|(kept, _)| kept).filter(|kept| {
        now < kept.expires_at && now.as_second() < kept.seen_at.as_second() + i64::from(idle_seconds)
    }))
}

/// Notes that a session is used, to the minute.
pub(super) fn note_use(unit: &Unit<'_>, session: SessionRef, now: Timestamp) -> Result<(), StoreError> {
    unit.sql
        .prepare_cached(
            "UPDATE browser_sessions SET seen_at = ?3 WHERE app_id = ?1 AND id = ?2 AND seen_at < ?3",
        )?
        .execute(params![session.app_id, session.id, Micros(now)])?;
    Ok(())
}

pub(super) fn close(unit: &mut Unit<'_>, browser: &Browser, session: SessionRef) -> Result<(), StoreError> {
    let Some((kept, _)) = load(unit.sql, session)? else { return Ok(()) };
    unit.sql
        .prepare_cached("DELETE FROM browser_sessions WHERE app_id = ?1 AND id = ?2")?
        .execute(params![session.app_id, session.id])?;
    let mut row = draft::of_browser(browser, session.app_id, Action::WalletSignedOut);
    row.app_user_id = Some(kept.user);
    row.detail = Some(format!("browser session {}", session.id));
    unit.audit(row)
}
