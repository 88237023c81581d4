//! `POST /sdk/auth/poll` (spec/03 §2.2), which may be held open.

use std::time::Duration;

use alter_core::wire::{
    auth::{AuthPollRequest, MAX_WAIT_MS},
    secret::SecretText,
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint, decided},
    connect_poll::command,
};
use crate::{
    connect,
    domain::{ConnectSession, Identity, Scope, SessionKind, TokenDigest},
    store::PollSession,
};

/// How often a held poll looks.
const LOOK: Duration = Duration::from_millis(500);

pub(super) struct PollSignIn;

impl Endpoint for PollSignIn {
    const ROUTE: &'static str = "POST /sdk/auth/poll";
    const SCOPE: Scope = Scope::IdpUsersRead;
    const MAX_BODY: usize = 64 * 1024;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let asked: AuthPollRequest = call.json()?;
        let mut poll = command(call, SessionKind::SignIn, asked.session_token.expose());
        let wait = Duration::from_millis(asked.wait_ms.unwrap_or(0).min(MAX_WAIT_MS));
        if held(call, &poll, wait).await? {
            // The row is of the moment at which the token is handed out, and the key must still be good then.
            poll.admission.at = call.core.clock.now();
        }
        let session = decided(call.core.store.poll_session(poll).await?)?;
        let user = match session.as_ref().and_then(|session| session.user_token.as_ref()) {
            Some(sealed) => Some(user(call, sealed).await?),
            None => None,
        };
        Ok(Reply::json(&connect::poll::sign_in(session.as_ref(), user, call.core.clock.now())))
    }
}

/// Waits for the sign-in to end, for `wait` at most. Whether it waited at all: not for a token that is none, not when as many
/// are waiting as may, and no longer than the vault is open. Nothing is admitted by this, so a caller that goes away leaves
/// nothing behind.
async fn held(call: &Call, poll: &PollSession, wait: Duration) -> Result<bool, Failure> {
    let Some(session) = poll.session.filter(|session| session.app_id == poll.admission.app_id) else {
        return Ok(false);
    };
    let Ok(_place) = call.core.waiting.try_acquire() else { return Ok(false) };
    let deadline = Instant::now() + wait;
    let mut waited = false;
    loop {
        let found = call.core.store.session(session).await?;
        let under_way = found.is_some_and(|found| is_under_way(&found, poll.token, call));
        let left = deadline.saturating_duration_since(Instant::now());
        if !under_way || left.is_zero() || call.core.is_draining() {
            return Ok(waited);
        }
        sleep(LOOK.min(left)).await;
        waited = true;
    }
}

fn is_under_way(session: &ConnectSession, token: TokenDigest, call: &Call) -> bool {
    session.token == token && session.kind == SessionKind::SignIn && session.is_open(call.core.clock.now())
}

/// The token, and what it says of its bearer.
async fn user(
    call: &Call,
    sealed: &crate::seal::SealedField,
) -> Result<(SecretText, Map<String, Value>), Failure> {
    let opened = call.core.open(sealed).map_err(|error| Failure::Internal(error.to_string()))?;
    let text = std::str::from_utf8(opened.expose_secret());
    let token = text.map_err(|error| Failure::Internal(error.to_string()))?;
    // It was verified when it was sealed. If it has expired since, its bearer learns so from whoever it is shown to.
    let info = call.app.identify(token).await.map(info).unwrap_or_default();
    Ok((SecretText::from(token), info))
}

fn info(user: Identity) -> Map<String, Value> {
    let known = [("sub", Some(user.subject)), ("email", user.email), ("name", user.name)];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}
