//! The agent's client of a handler.

use std::ops::Deref;

use alter_core::{Agent, UserClient};
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::rejection::AlterRejection;

/// The agent's client, bound to the caller of the request: calls are signed with the agent's key and made on that
/// caller's behalf, with what the caller delegated to the agent.
///
/// The agent comes from [`AlterLayer::agent`](crate::AlterLayer::agent) or
/// [`AlterLayer::for_agent`](crate::AlterLayer::for_agent). As an argument it demands a token (401 `missing_bearer`); as
/// `Option<AlterAgent>` it is `None` for a caller without one. It never falls back to what the agent may do by itself;
/// for that there is [`itself`](Self::itself).
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

    fn of(parts: &Parts) -> Result<Option<Self>, AlterRejection> {
        let caller = AlterRejection::caller(parts, "AlterAgent")?;
        let Some(agent) = caller.agent() else {
            return Err(AlterRejection::not_set_up(
                "AlterAgent",
                "the AlterLayer around this route has no agent: add `.agent(agent)` to it",
            ));
        };
        Ok(caller.agent_client().map(|client| Self { client, agent: agent.clone() }))
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

impl<S: Sync> FromRequestParts<S> for AlterAgent {
    type Rejection = AlterRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AlterRejection> {
        Self::of(parts)?.ok_or_else(AlterRejection::no_token)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for AlterAgent {
    type Rejection = AlterRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, AlterRejection> {
        Self::of(parts)
    }
}
