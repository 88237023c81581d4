//! Who an incoming request is from: what the crates for web frameworks share, so that they cannot differ in it.
//!
//! A service does not call this itself; `alter-tower`, `alter-axum` and `alter-actix` do.

#[cfg(feature = "jwt")]
use std::sync::Arc;

use http::Extensions;

#[cfg(feature = "jwt")]
use crate::jwt::VerifiedUser;
use crate::{
    Agent, App, UserClient, UserToken,
    answer::Refusal,
    scope::{Identity, Snapshot},
};

/// The clients that act for the callers of one layer: an application's, an agent's, or both.
#[derive(Debug, Clone)]
pub struct Clients {
    app: Option<App>,
    agent: Option<Agent>,
}

impl Clients {
    /// An application's.
    #[must_use]
    pub fn of_app(app: App) -> Self {
        Self { app: Some(app), agent: None }
    }

    /// An agent's alone.
    #[must_use]
    pub fn of_agent(agent: Agent) -> Self {
        Self { app: None, agent: Some(agent) }
    }

    /// With an agent.
    #[must_use]
    pub fn with_agent(mut self, agent: Agent) -> Self {
        self.agent = Some(agent);
        self
    }

    /// The scope, inside the present one, in which each of these clients and no other acts for `identity`.
    #[must_use]
    pub fn scope(&self, identity: &Identity) -> Snapshot {
        let keys = (self.app.as_ref().map(App::scope_key), self.agent.as_ref().map(Agent::scope_key));
        let nested = |key| Snapshot::nested(Some(key), identity.clone());
        match keys {
            (Some(app), Some(agent)) => nested(app).enter(|| nested(agent)),
            (Some(key), None) | (None, Some(key)) => nested(key),
            (None, None) => Snapshot::take(),
        }
    }
}

/// Who a request is from, given what was found in it.
///
/// Without a token a caller is anonymous where none is `required`, and for a `preflight` (any `OPTIONS` request), which
/// never carries one (Fetch §4.8): to refuse it would break every call that follows.
///
/// # Errors
///
/// The [`Refusal`] of the token that was found broken, in every case; [`Refusal::Missing`] where one is required.
pub fn identify(
    found: Result<Option<UserToken>, Refusal>,
    required: bool,
    preflight: bool,
) -> Result<Identity, Refusal> {
    match found? {
        Some(token) => Ok(Identity::User(token)),
        None if required && !preflight => Err(Refusal::Missing),
        None => Ok(Identity::Anonymous),
    }
}

/// The caller of a request, as the layer found it and as a handler finds it in the request's extensions.
///
/// It owns what it holds: clone it, or take the [`client`](Self::client) out, and move it into a task or a stream.
///
/// With several layers around one service, each for an application of its own, there is one caller per layer.
#[derive(Debug, Clone)]
pub struct Caller {
    clients: Clients,
    identity: Identity,
    #[cfg(feature = "jwt")]
    verified: Option<Arc<VerifiedUser>>,
    outer: Option<Box<Caller>>,
}

impl Caller {
    /// A caller for whom these clients act.
    #[must_use]
    pub fn new(clients: Clients, identity: Identity) -> Self {
        Self {
            clients,
            identity,
            #[cfg(feature = "jwt")]
            verified: None,
            outer: None,
        }
    }

    /// A caller whose token was verified to be of `user`.
    #[cfg(feature = "jwt")]
    #[must_use]
    pub fn verified_as(mut self, user: Arc<VerifiedUser>) -> Self {
        self.verified = Some(user);
        self
    }

    /// Remembers the caller that a layer further out found.
    #[must_use]
    pub fn inside(mut self, outer: Option<Caller>) -> Self {
        self.outer = outer.map(Box::new);
        self
    }

    /// Puts this caller into the extensions of a request, inside of the one that is there already.
    pub fn insert_into(self, extensions: &mut Extensions) {
        if let Some(outer) = extensions.insert(self)
            && let Some(inner) = extensions.get_mut::<Self>()
        {
            inner.outer = Some(Box::new(outer));
        }
    }

    /// The caller that the innermost layer found; `None` when the request came through none.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The caller that the layer of that application found, or that of a clone of it.
    #[must_use]
    pub fn for_app<'a>(extensions: &'a Extensions, app: &App) -> Option<&'a Self> {
        Self::of(extensions)?.at(app)
    }

    /// Of this caller and those further out, the one that the layer of that application found.
    #[must_use]
    pub fn at(&self, app: &App) -> Option<&Self> {
        let key = app.scope_key();
        std::iter::successors(Some(self), |caller| caller.outer.as_deref())
            .find(|caller| caller.app().is_some_and(|app| app.scope_key() == key))
    }

    /// A client of the application that acts for this caller and for nobody else; `None` for a caller without a token,
    /// and under a layer for an agent alone.
    #[must_use]
    pub fn client(&self) -> Option<UserClient> {
        Some(self.app()?.for_user(self.token()?.clone()))
    }

    /// A client of the agent that acts for this caller and for nobody else; `None` for a caller without a token, and
    /// under a layer without an agent.
    #[must_use]
    pub fn agent_client(&self) -> Option<UserClient> {
        Some(self.agent()?.for_user(self.token()?.clone()))
    }

    /// The application's own client, which acts for whoever is in scope; `None` under a layer for an agent alone.
    #[must_use]
    pub fn app(&self) -> Option<&App> {
        self.clients.app.as_ref()
    }

    /// The agent's own client, which acts for whoever is in scope; `None` under a layer without an agent.
    #[must_use]
    pub fn agent(&self) -> Option<&Agent> {
        self.clients.agent.as_ref()
    }

    /// The caller's token, **not verified** unless the layer says so; `None` for a caller without one.
    #[must_use]
    pub fn token(&self) -> Option<&UserToken> {
        match &self.identity {
            Identity::User(token) => Some(token),
            Identity::Anonymous => None,
        }
    }

    /// The identity that is in scope.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The scope, inside the present one, in which the layer's clients act for this caller.
    #[must_use]
    pub fn scope(&self) -> Snapshot {
        self.clients.scope(&self.identity)
    }

    /// Who the token was verified to be of; `None` when the layer does not verify, or there is no token.
    #[cfg(feature = "jwt")]
    #[must_use]
    pub fn verified(&self) -> Option<&Arc<VerifiedUser>> {
        self.verified.as_ref()
    }
}
