//! The agent's client of a handler.

use std::{
    future::{Ready, ready},
    ops::Deref,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use alter_core::{Agent, UserClient};

use crate::rejection::AlterRejection;

/// The agent's client, bound to the caller of the request: calls are signed with the agent's key and made on that
/// caller's behalf, with what the caller delegated to the agent.
///
/// The agent comes from [`AlterMiddleware::agent`](crate::AlterMiddleware::agent) or
/// [`AlterMiddleware::for_agent`](crate::AlterMiddleware::for_agent). As an argument it demands a token (401
/// `missing_bearer`); as `Option<AlterAgent>` it is `None` for a caller without one. It never falls back to what the
/// agent may do by itself; for that there is [`itself`](Self::itself).
#[derive(Debug, Clone)]
pub struct AlterAgent {
    client: UserClient,
    agent: Agent,
}

impl AlterAgent {
    /// The agent's own client, which is not bound to the caller.
    #[must_use]
    pub fn itself(&self) -> &Agent {
        &self.agent
    }

    /// The client without its wrapper.
    #[must_use]
    pub fn into_inner(self) -> UserClient {
        self.client
    }
}

impl Deref for AlterAgent {
    type Target = UserClient;

    fn deref(&self) -> &UserClient {
        &self.client
    }
}

impl From<AlterAgent> for UserClient {
    fn from(agent: AlterAgent) -> Self {
        agent.client
    }
}

impl FromRequest for AlterAgent {
    type Error = AlterRejection;
    type Future = Ready<Result<Self, AlterRejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(AlterRejection::caller(request, "AlterAgent").and_then(|caller| {
            let agent = caller.agent().cloned().ok_or_else(|| {
                AlterRejection::not_set_up(
                    "AlterAgent",
                    "the AlterMiddleware around this route has no agent: add `.agent(agent)` to it",
                )
            })?;
            let client = caller.agent_client().ok_or_else(AlterRejection::no_token)?;
            Ok(Self { client, agent })
        }))
    }
}
