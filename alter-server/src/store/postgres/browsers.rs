//! Browsers in which somebody signed in to the wallet.

use jiff::Timestamp;
use tokio_postgres::Client;

use super::{
    columns::{execute, get, hash, instant, maybe_row, micros, params},
    lanes::Unit,
    users,
};
use crate::{
    audit::Action,
    domain::{BrowserSession, NewBrowserSession, SessionRef, TokenDigest, UserStatus},
    store::{Browser, StoreError, draft},
};

/// A session is noted as used again after so many seconds.
pub(super) const SEEN_EVERY: i64 = 60;

pub(super) async fn open(
    unit: &mut Unit<'_>,
    browser: &Browser,
    new: &NewBrowserSession,
) -> Result<BrowserSession, StoreError> {
    let found = users::find_or_create(unit, new.app_id, browser.at, &new.identity).await?;
    if found.status != UserStatus::Active {
        let text = "this user is suspended or deleted: ask the operator of the application";
        return Err(StoreError::Invalid(text.to_owned()));
    }
    execute(
        unit.sql,
        "INSERT INTO browser_sessions (app_id, id, secret, user_id, created_at, seen_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $5, $6)",
        params![
            new.app_id,
            new.id,
            new.secret.bytes().as_slice(),
            found.id,
            micros(browser.at),
            micros(new.expires_at),
        ],
    )
    .await?;
    let mut row = draft::of_browser(browser, new.app_id, Action::WalletSignedIn);
    row.app_user_id = Some(found.id);
    row.detail = Some(format!("browser session {}", new.id));
    unit.audit(row);
    let session = SessionRef { app_id: new.app_id, id: new.id };
    let kept = load(unit.sql, session).await?;
    kept.map(|(kept, _)| kept).ok_or(StoreError::NotFound("browser session"))
}

async fn load(sql: &Client, session: SessionRef) -> Result<Option<(BrowserSession, UserStatus)>, StoreError> {
    let text = "SELECT b.secret, b.user_id, b.created_at, b.seen_at, b.expires_at, u.issuer, u.subject, u.status \
         FROM browser_sessions b JOIN users u ON u.app_id = b.app_id AND u.id = b.user_id \
         WHERE b.app_id = $1 AND b.id = $2";
    let Some(row) = maybe_row(sql, text, params![session.app_id, session.id]).await? else { return Ok(None) };
    let kept = BrowserSession {
        session,
        secret: TokenDigest::from_bytes(hash(&row, 0)?),
        user: get(&row, 1)?,
        created_at: instant(&row, 2)?,
        seen_at: instant(&row, 3)?,
        expires_at: instant(&row, 4)?,
        issuer: get(&row, 5)?,
        subject: get(&row, 6)?,
    };
    Ok(Some((kept, get(&row, 7)?)))
}

/// The session if it still counts at `now`.
pub(super) async fn valid(
    sql: &Client,
    session: SessionRef,
    now: Timestamp,
    idle_seconds: u32,
) -> Result<Option<BrowserSession>, StoreError> {
    let counts = |kept: &BrowserSession, status: UserStatus| {
        status == UserStatus::Active
            && now < kept.expires_at
            && now.as_second() < kept.seen_at.as_second() + i64::from(idle_seconds)
    };
    let found = load(sql, session).await?;
    Ok(found.filter(|(kept, status)| counts(kept, *status)).map(|(kept, _)| kept))
}

/// Notes that a session is used, to the minute.
pub(super) async fn note_use(sql: &Client, session: SessionRef, now: Timestamp) -> Result<(), StoreError> {
    let text = "UPDATE browser_sessions SET seen_at = $3 WHERE app_id = $1 AND id = $2 AND seen_at < $3";
    execute(sql, text, params![session.app_id, session.id, micros(now)]).await.map(|_| ())
}

pub(super) async fn close(
    unit: &mut Unit<'_>,
    browser: &Browser,
    session: SessionRef,
) -> Result<(), StoreError> {
    let text = "DELETE FROM browser_sessions WHERE app_id = $1 AND id = $2 RETURNING user_id";
    let Some(gone) = maybe_row(unit.sql, text, params![session.app_id, session.id]).await? else {
        return Ok(());
    };
    let mut row = draft::of_browser(browser, session.app_id, Action::WalletSignedOut);
    row.app_user_id = Some(get(&gone, 0)?);
    row.detail = Some(format!("browser session {}", session.id));
    unit.audit(row);
    Ok(())
}
