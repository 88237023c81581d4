//! What the handlers of both apps do, in plain functions that know neither framework.

use std::{convert::Infallible, sync::Arc};

use alter_core::{
    App, Error, Kind, UserClient,
    error::Auth,
    scope::{self, InCurrentScope as _},
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::Method;
use serde_json::Value;
use tokio::task::yield_now;

/// What an app holds: its client, which is bound to nobody, and the provider's address.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) app: App,
    provider: String,
    url: String,
}

/// How a handler comes from its request to its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// With the extractor, at once.
    Plain,
    /// From the scope, between points at which the task gives way.
    Yielding,
    /// From the scope, in a task that was given it.
    SpawnedInScope,
    /// From the scope, in a task made by `scope::spawn`.
    ScopeSpawn,
    /// With the extractor, moved into a task.
    SpawnedOwned,
    /// In a task that was not given the scope: nobody, and never somebody else.
    SpawnedWithoutScope,
    /// From the scope, while the response body streams.
    Streaming,
}

impl Way {
    pub(crate) const ALL: [Self; 7] = [
        Self::Plain,
        Self::Yielding,
        Self::SpawnedInScope,
        Self::ScopeSpawn,
        Self::SpawnedOwned,
        Self::SpawnedWithoutScope,
        Self::Streaming,
    ];

    /// The first segment of its route.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Yielding => "yielding",
            Self::SpawnedInScope => "in-scope",
            Self::ScopeSpawn => "scope-spawn",
            Self::SpawnedOwned => "owned",
            Self::SpawnedWithoutScope => "without-scope",
            Self::Streaming => "streaming",
        }
    }

    pub(crate) fn of(name: &str) -> Self {
        Self::ALL.into_iter().find(|way| way.name() == name).unwrap()
    }

    /// Calls of the provider, each a line of the answer.
    pub(crate) fn calls(self) -> usize {
        match self {
            Self::SpawnedWithoutScope => 0,
            Self::Yielding => 2,
            Self::Streaming => 3,
            _ => 1,
        }
    }
}

impl Stage {
    pub(crate) fn new(app: &App, provider: &str, url: &str) -> Self {
        Self { app: app.clone(), provider: provider.to_owned(), url: url.to_owned() }
    }

    /// Everything but streaming: the lines of the answer.
    pub(crate) async fn lines(&self, way: Way, caller: UserClient, call: String) -> Result<String, Error> {
        let stage = self.clone();
        match way {
            Way::Plain => stage.as_caller(&caller, &call).await,
            Way::Yielding => {
                for _ in 0..3 {
                    yield_now().await;
                }
                let first = stage.in_scope(&call).await?;
                yield_now().await;
                Ok(format!("{first}\n{}", stage.in_scope(&call).await?))
            }
            Way::SpawnedInScope => {
                let task = async move {
                    yield_now().await;
                    stage.in_scope(&call).await
                };
                tokio::spawn(task.in_current_scope()).await.unwrap()
            }
            Way::ScopeSpawn => scope::spawn(async move { stage.in_scope(&call).await }).await.unwrap(),
            Way::SpawnedOwned => {
                tokio::spawn(async move { stage.as_caller(&caller, &call).await }).await.unwrap()
            }
            Way::SpawnedWithoutScope => {
                match tokio::spawn(async move { stage.in_scope(&call).await }).await.unwrap() {
                    Ok(sub) => Ok(format!("somebody: {sub}")),
                    Err(error) if matches!(error.kind(), Kind::Auth(Auth::NoIdentity)) => {
                        Ok("nobody".to_owned())
                    }
                    Err(error) => Err(error),
                }
            }
            Way::Streaming => unreachable!("streams have a function of their own"),
        }
    }

    /// The lines of [`Way::Streaming`], each of which is a call that is made when the line is asked for.
    pub(crate) fn stream(
        self,
        call: String,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        let stage = Arc::new((self, call));
        stream::unfold(0, move |line| {
            let stage = Arc::clone(&stage);
            async move {
                if line == Way::Streaming.calls() {
                    return None;
                }
                yield_now().await;
                let said = stage.0.in_scope(&stage.1).await.unwrap_or_else(|error| format!("error: {error}"));
                Some((Ok(Bytes::from(format!("{said}\n"))), line + 1))
            }
        })
    }

    /// The call of code that holds only the app's client.
    async fn in_scope(&self, call: &str) -> Result<String, Error> {
        self.sub(self.app.request(Method::GET, self.url.as_str()), call).await
    }

    async fn as_caller(&self, caller: &UserClient, call: &str) -> Result<String, Error> {
        self.sub(caller.request(Method::GET, self.url.as_str()), call).await
    }

    async fn sub(&self, request: alter_core::RequestBuilder, call: &str) -> Result<String, Error> {
        let answer = request.provider(self.provider.as_str()).header("X-Call-Id", call).send().await?;
        let me: Value = answer.json().await?;
        Ok(me["sub"].as_str().unwrap_or("no sub").to_owned())
    }
}
