//! Connect and sign-in sessions.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use secrecy::{ExposeSecret, SecretSlice};

use super::{
    admit::{Admitted, admit, admitted, refuse},
    columns::{Micros, count, instant, integer},
    connection::{self, Made},
    grants, providers, users,
    writer::Unit,
};
use crate::{
    audit::{Action, AuditRow},
    domain::{Asked, ConnectSession, Progress, ProviderKind, Refusal, SessionRef, SessionUser, TokenDigest},
    resolve::{self, Caller},
    seal::{Sealed, SealedField},
    store::{AdvanceSession, Advanced, CreateSession, Outcome, PollSession, StoreError, draft},
};
use alter_core::wire::code::Code;

/// A session, whatever its state.
pub(super) fn load(sql: &Connection, session: SessionRef) -> Result<Option<ConnectSession>, StoreError> {
    let corrupt = |error: serde_json::Error| StoreError::Corrupt(format!("session {}: {error}", session.id));
    let found = sql
        .prepare_cached(
            "SELECT kind, token, version, created_at, expires_at, asked, progress, user_token \
             FROM connect_sessions WHERE app_id = ?1 AND id = ?2",
        )?
        .query_row(params![session.app_id, session.id], |row| {
            let texts: (String, String) = (row.get(5)?, row.get(6)?);
            let sealed: Option<Sealed> = row.get(7)?;
            let session = ConnectSession {
                session,
                kind: row.get(0)?,
                token: TokenDigest::from_bytes(row.get(1)?),
                version: count(row, 2)?,
                created_at: instant(row, 3)?,
                expires_at: instant(row, 4)?,
                asked: Asked::default(),
                progress: Progress::default(),
                user_token: sealed
                    .map(|sealed| SealedField { context: draft::user_token_context(session), sealed }),
            };
            Ok((session, texts))
        })
        .optional()?;
    let Some((mut session, (asked, progress))) = found else { return Ok(None) };
    session.asked = serde_json::from_str(&asked).map_err(corrupt)?;
    session.progress = serde_json::from_str(&progress).map_err(corrupt)?;
    Ok(Some(session))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Invalid(error.to_string()))
}

pub(super) fn create(
    unit: &mut Unit<'_>,
    command: &CreateSession,
    mut row: AuditRow,
) -> Result<Outcome<ConnectSession>, StoreError> {
    let admission = &command.admission;
    let app_id = admission.app_id;
    let caller = admitted!(unit, admission, row, Action::SessionCreated);
    let user = match users::seen(unit, admission, command.user.as_ref(), &mut row)? {
        Ok(user) => user,
        Err(refusal) => return refuse(unit, row, Action::SessionCreated, refusal),
    };
    let mut asked = command.asked.clone();
    asked.user = user.zip(command.user.as_ref()).map(|(id, identity)| SessionUser {
        id,
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
        name: identity.name.clone().or_else(|| identity.email.clone()),
    });
    if let Err(refusal) = check_asked(unit, &caller, app_id, &mut asked)? {
        return refuse(unit, row, Action::SessionCreated, refusal);
    }
    let session = SessionRef { app_id, id: command.id };
    unit.sql
        .prepare_cached(
            "INSERT INTO connect_sessions (app_id, id, kind, token, version, created_at, expires_at, asked, progress) \
             VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            app_id,
            command.id,
            command.kind,
            command.token.bytes(),
            Micros(admission.at),
            Micros(command.expires_at),
            json(&asked)?,
            json(&Progress::default())?
        ])?;
    unit.audit(row)?;
    let kept = load(unit.sql, session)?;
    kept.map(Outcome::Done).ok_or(StoreError::NotFound("session"))
}

/// What only the store can check of what is asked for.
fn check_asked(
    unit: &Unit<'_>,
    caller: &Caller,
    app_id: crate::domain::AppId,
    asked: &mut Asked,
) -> Result<Result<(), Box<Refusal>>, StoreError> {
    for id in &asked.providers {
        let provider = providers::load(unit.sql, app_id, id)?;
        if provider.is_none_or(|provider| provider.kind != ProviderKind::OAuth) {
            let text =
                format!("the application has no OAuth provider {:?}: add it, or leave it out", id.as_str());
            return Ok(Err(Refusal::new(Code::InvalidRequest, text)));
        }
    }
    let Some(repair) = asked.repair else { return Ok(Ok(())) };
    let found = grants::facts_by_id(unit.sql, app_id, repair)?;
    let user = asked.user.as_ref().map(|user| user.id);
    let facts = found.as_ref().map(|(facts, _)| facts);
    Ok(resolve::decide_repair(caller, user, &asked.providers, facts).map(|facts| {
        asked.providers = vec![facts.provider.clone()];
    }))
}

pub(super) fn poll(
    unit: &mut Unit<'_>,
    command: &PollSession,
    mut row: AuditRow,
) -> Result<Outcome<Option<ConnectSession>>, StoreError> {
    let admission = &command.admission;
    let _ = admitted!(unit, admission, row, Action::SessionPolled);
    let named = command.session.filter(|session| session.app_id == admission.app_id);
    let found = match named {
        Some(session) => load(unit.sql, session)?,
        None => None,
    };
    let found = found.filter(|session| session.kind == command.kind && session.token == command.token);
    if let Some(session) = &found
        && !session.is_open(admission.at)
    {
        row.app_user_id = session.asked.user.as_ref().map(|user| user.id);
        row.detail = Some(format!("session {}", session.session.id));
        unit.audit(row)?;
    }
    Ok(Outcome::Done(found))
}

pub(super) fn advance(unit: &mut Unit<'_>, advance: AdvanceSession) -> Result<Advanced, StoreError> {
    let session = advance.session;
    let kept = load(unit.sql, session)?;
    let Some(kept) = kept.filter(|kept| resolve::may_advance(kept, &advance)) else {
        return Ok(Advanced::Moved);
    };
    let at = advance.note.browser.at;
    let mut row = draft::of_browser_note(&advance.note);
    row.app_id = session.app_id;
    let mut progress = advance.progress;
    if let Some(new) = &advance.connection {
        match connection::make(unit, session.app_id, new, at, &mut row)? {
            Made::Done(connected) => {
                progress.grants.retain(|grant| grant.grant_id != connected.grant_id);
                progress.grants.push(*connected);
            }
            Made::Moved => return Ok(Advanced::Moved),
            Made::Refused(refusal) => {
                draft::refuse(&mut row, Action::ConnectFailed, &refusal);
                unit.audit(row)?;
                return Ok(Advanced::Refused(refusal));
            }
        }
    }
    let user_token = match &advance.user_token {
        None => None,
        Some(token) => {
            let plain = SecretSlice::from(token.expose_secret().as_bytes().to_vec());
            Some(unit.envelope.seal(&draft::user_token_context(session), &plain)?)
        }
    };
    unit.sql
        .prepare_cached(
            "UPDATE connect_sessions SET version = version + 1, progress = ?4, user_token = ifnull(?5, user_token) \
             WHERE app_id = ?1 AND id = ?2 AND version = ?3",
        )?
        .execute(params![session.app_id, session.id, integer(kept.version), json(&progress)?, user_token])?;
    unit.audit(row)?;
    let kept = load(unit.sql, session)?.ok_or(StoreError::NotFound("session"))?;
    Ok(Advanced::Done(Box::new(kept)))
}

/// Removes sessions and browser sessions whose time was over before `before`, up to `limit` in all.
pub(super) fn sweep(unit: &Unit<'_>, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let mut gone = 0;
    for table in ["connect_sessions", "browser_sessions"] {
        let left = integer(u64::from(limit).saturating_sub(gone));
        gone += unit
            .sql
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE rowid IN \
                 (SELECT rowid FROM {table} WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)"
            ))?
            .execute(params![Micros(before), left])? as u64;
    }
    Ok(gone)
}
