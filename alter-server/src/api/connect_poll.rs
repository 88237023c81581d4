//! `POST /sdk/oauth/connect/session/poll` (spec/03 §1.2).

use alter_core::wire::connect::ConnectPollRequest;
use secrecy::ExposeSecret;

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint, decided},
};
use crate::{
    connect,
    domain::{Scope, SessionKind, TokenDigest},
    store::PollSession,
};

pub(super) struct PollConnect;

impl Endpoint for PollConnect {
    const ROUTE: &'static str = "POST /sdk/oauth/connect/session/poll";
    const SCOPE: Scope = Scope::ConnectInitiate;
    const MAX_BODY: usize = 64 * 1024;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let asked: ConnectPollRequest = call.json()?;
        let poll = command(call, SessionKind::Connect, asked.session_token.expose());
        let session = decided(call.core.store.poll_session(poll).await?)?;
        Ok(Reply::json(&connect::poll::connect(session.as_ref(), call.core.clock.now())))
    }
}

/// What the store is asked; a text that is no token of ours names no session.
pub(super) fn command(call: &Call, kind: SessionKind, token: &str) -> PollSession {
    let (session, token) = match connect::split_token(kind, token) {
        Some((session, secret)) => (Some(session), TokenDigest::of(secret.expose_secret())),
        None => (None, TokenDigest::of(&[])),
    };
    PollSession { admission: call.admission(), session, token, kind }
}
