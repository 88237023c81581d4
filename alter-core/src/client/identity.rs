//! On whose behalf a call is made.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Client, Role};
use crate::{
    UserToken,
    error::{Auth, Error, InvalidInput, Kind},
    scope::{self, Identity},
};

/// The application's source of user tokens. What it says when it fails is dropped: it may quote a token.
#[derive(Clone)]
pub(crate) enum Getter {
    Sync(Arc<dyn Fn() -> Option<UserToken> + Send + Sync>),
    Async(Arc<dyn Fn() -> BoxFuture<'static, Option<UserToken>> + Send + Sync>),
}

/// What a call says about its identity.
#[derive(Debug, Default, Clone)]
pub(crate) struct Wanted {
    /// The call's own token.
    pub(crate) per_call: Option<UserToken>,
    /// The token of the client that makes it.
    pub(crate) bound: Option<UserToken>,
    /// The application itself is meant.
    pub(crate) as_app: bool,
    /// Without a user the call reaches more than one person's grants.
    pub(crate) wide: bool,
}

impl Client {
    /// The token to send, from the most explicit source that has one.
    pub(crate) async fn identity(&self, wanted: &Wanted) -> Result<Option<UserToken>, Error> {
        if wanted.as_app {
            if wanted.per_call.is_some() || wanted.bound.is_some() {
                return Err(Error::invalid(
                    InvalidInput::UserToken,
                    "a call cannot be both on a user's behalf and .as_app()",
                ));
            }
            return if self.0.require_user { Err(Error::no_identity()) } else { Ok(None) };
        }
        if let Some(token) = wanted.per_call.as_ref().or(wanted.bound.as_ref()) {
            return Ok(Some(token.clone()));
        }
        if let Some(token) = self.ask_getter().await? {
            return Ok(Some(token));
        }
        let needed = self.0.require_user || (wanted.wide && self.0.role == Role::App);
        match scope::current_for(self.0.scope_key) {
            Some(Identity::User(token)) => Ok(Some(token)),
            Some(Identity::Anonymous) if needed => Err(Error::anonymous()),
            None if needed => Err(Error::no_identity()),
            Some(Identity::Anonymous) | None => Ok(None),
        }
    }

    async fn ask_getter(&self) -> Result<Option<UserToken>, Error> {
        let answer = match &self.0.getter {
            None => return Ok(None),
            Some(Getter::Sync(getter)) => getter(),
            Some(Getter::Async(getter)) => getter().await,
        };
        // Never on to the next source: a getter that fails has lost the identity that it was asked for.
        answer.map(Some).ok_or_else(|| {
            Error::new(Kind::Auth(Auth::TokenSource), "the user token getter gave no usable token")
        })
    }
}
