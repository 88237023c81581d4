//! Connect and sign-in sessions. Each is replaced as a whole, and only by whoever read it last.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice};
use tokio_postgres::{Client, Row};

use super::{
    admit::{admitted, admitted_user, refuse},
    columns::{count, execute, get, hash, instant, integer, maybe_row, micros, params},
    connection::{self, Made},
    grants,
    lanes::Unit,
    providers,
};
use crate::{
    audit::{Action, AuditRow},
    domain::{
        AppId, Asked, ConnectSession, Progress, ProviderKind, Refusal, SessionRef, SessionUser, TokenDigest,
    },
    resolve::{self, Caller},
    seal::{Sealed, SealedField},
    store::{AdvanceSession, Advanced, CreateSession, Outcome, PollSession, StoreError, draft},
};
use alter_core::wire::code::Code;

macro_rules! session {
    () => {
        "SELECT kind, token, version, created_at, expires_at, asked, progress, user_token FROM connect_sessions \
         WHERE app_id = $1 AND id = $2"
    };
}

fn read(session: SessionRef, row: &Row) -> Result<ConnectSession, StoreError> {
    let corrupt = |error: serde_json::Error| StoreError::Corrupt(format!("session {}: {error}", session.id));
    let user_token: Option<Sealed> = get(row, 7)?;
    Ok(ConnectSession {
        session,
        kind: get(row, 0)?,
        token: TokenDigest::from_bytes(hash(row, 1)?),
        version: count(row, 2)?,
        created_at: instant(row, 3)?,
        expires_at: instant(row, 4)?,
        asked: serde_json::from_str(get(row, 5)?).map_err(corrupt)?,
        progress: serde_json::from_str(get(row, 6)?).map_err(corrupt)?,
        user_token: user_token
            .map(|sealed| SealedField { context: draft::user_token_context(session), sealed }),
    })
}

/// A session, whatever its state.
pub(super) async fn load(sql: &Client, session: SessionRef) -> Result<Option<ConnectSession>, StoreError> {
    let found = maybe_row(sql, session!(), params![session.app_id, session.id]).await?;
    found.map(|row| read(session, &row)).transpose()
}

/// The same, and nobody else changes it until this transaction ends.
async fn lock(sql: &Client, session: SessionRef) -> Result<Option<ConnectSession>, StoreError> {
    let text = concat!(session!(), " FOR UPDATE");
    let found = maybe_row(sql, text, params![session.app_id, session.id]).await?;
    found.map(|row| read(session, &row)).transpose()
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Invalid(error.to_string()))
}

pub(super) async fn create(
    unit: &mut Unit<'_>,
    command: &CreateSession,
    mut row: AuditRow,
) -> Result<Outcome<ConnectSession>, StoreError> {
    let admission = &command.admission;
    let app_id = admission.app_id;
    let caller = admitted!(unit, admission, row, Action::SessionCreated);
    let user = admitted_user!(unit, admission, command.user.as_ref(), row, Action::SessionCreated);
    let mut asked = command.asked.clone();
    asked.user = user.zip(command.user.as_ref()).map(|(id, identity)| SessionUser {
        id,
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
        name: identity.name.clone().or_else(|| identity.email.clone()),
    });
    if let Err(refusal) = check_asked(unit.sql, &caller, app_id, &mut asked).await? {
        return Ok(refuse(unit, row, Action::SessionCreated, refusal));
    }
    execute(
        unit.sql,
        "INSERT INTO connect_sessions (app_id, id, kind, token, version, created_at, expires_at, asked, progress) \
         VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8)",
        params![
            app_id,
            command.id,
            command.kind,
            command.token.bytes().as_slice(),
            micros(admission.at),
            micros(command.expires_at),
            json(&asked)?,
            json(&Progress::default())?,
        ],
    )
    .await?;
    unit.audit(row);
    let session = SessionRef { app_id, id: command.id };
    let kept = load(unit.sql, session).await?;
    kept.map(Outcome::Done).ok_or(StoreError::NotFound("session"))
}

/// What only the store can check of what is asked for.
async fn check_asked(
    sql: &Client,
    caller: &Caller,
    app_id: AppId,
    asked: &mut Asked,
) -> Result<Result<(), Box<Refusal>>, StoreError> {
    for id in &asked.providers {
        let provider = providers::load(sql, app_id, id).await?;
        if provider.is_none_or(|provider| provider.kind != ProviderKind::OAuth) {
            let text =
                format!("the application has no OAuth provider {:?}: add it, or leave it out", id.as_str());
            return Ok(Err(Refusal::new(Code::InvalidRequest, text)));
        }
    }
    let Some(repair) = asked.repair else { return Ok(Ok(())) };
    let found = grants::facts_by_id(sql, app_id, repair).await?;
    let user = asked.user.as_ref().map(|user| user.id);
    Ok(resolve::decide_repair(caller, user, &asked.providers, found.as_ref()).map(|facts| {
        asked.providers = vec![facts.provider.clone()];
    }))
}

pub(super) async fn poll(
    unit: &mut Unit<'_>,
    command: &PollSession,
    mut row: AuditRow,
) -> Result<Outcome<Option<ConnectSession>>, StoreError> {
    let admission = &command.admission;
    let _ = admitted!(unit, admission, row, Action::SessionPolled);
    let found = match command.session.filter(|session| session.app_id == admission.app_id) {
        Some(session) => load(unit.sql, session).await?,
        None => None,
    };
    let found = found.filter(|session| session.kind == command.kind && session.token == command.token);
    if let Some(session) = &found
        && !session.is_open(admission.at)
    {
        row.app_user_id = session.asked.user.as_ref().map(|user| user.id);
        row.detail = Some(format!("session {}", session.session.id));
        unit.audit(row);
    }
    Ok(Outcome::Done(found))
}

/// The session's row is locked first: whoever comes second on whichever replica reads what the first one left, and has moved.
pub(super) async fn advance(
    unit: &mut Unit<'_>,
    advance: &AdvanceSession,
    mut row: AuditRow,
) -> Result<Advanced, StoreError> {
    let session = advance.session;
    let kept = lock(unit.sql, session).await?;
    let Some(kept) = kept.filter(|kept| resolve::may_advance(kept, advance)) else {
        unit.leave_nothing();
        return Ok(Advanced::Moved);
    };
    let mut progress = advance.progress.clone();
    if let Some(new) = &advance.connection {
        match connection::make(unit, session.app_id, new, &mut row).await? {
            Made::Done(connected) => {
                progress.grants.retain(|grant| grant.grant_id != connected.grant_id);
                progress.grants.push(*connected);
            }
            Made::Moved => {
                unit.leave_nothing();
                return Ok(Advanced::Moved);
            }
            Made::Refused(refusal) => {
                draft::refuse(&mut row, Action::ConnectFailed, &refusal);
                unit.audit(row);
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
    let text = "UPDATE connect_sessions SET version = version + 1, progress = $4, user_token = coalesce($5, user_token) \
         WHERE app_id = $1 AND id = $2 AND version = $3";
    let version = integer(kept.version);
    let swapped =
        execute(unit.sql, text, params![session.app_id, session.id, version, json(&progress)?, user_token])
            .await?;
    if swapped != 1 {
        unit.leave_nothing();
        return Ok(Advanced::Moved);
    }
    unit.audit(row);
    let kept = load(unit.sql, session).await?.ok_or(StoreError::NotFound("session"))?;
    Ok(Advanced::Done(Box::new(kept)))
}

/// Removes sessions and browser sessions whose time was over before `before`, up to `limit` in all. Replicas that sweep at the
/// same time take different ones.
pub(super) async fn sweep(sql: &Client, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let mut gone = 0;
    for table in ["connect_sessions", "browser_sessions"] {
        let left = integer(u64::from(limit).saturating_sub(gone));
        let text = format!(
            "DELETE FROM {table} t USING (SELECT app_id, id FROM {table} WHERE expires_at < $1 ORDER BY expires_at \
             LIMIT $2 FOR UPDATE SKIP LOCKED) old WHERE t.app_id = old.app_id AND t.id = old.id"
        );
        gone += execute(sql, &text, params![micros(before), left]).await?;
    }
    Ok(gone)
}
