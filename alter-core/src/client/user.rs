//! A client bound to one user.

use http::Method;

use super::{Client, ConnectBuilder, ConnectHandle, Grants, NoAddress, RequestBuilder};
use crate::{UserToken, error::Error, wire::secret::SecretText};

/// A client bound to one user: every call is made on that user's behalf, whatever scope the task is in.
///
/// It owns the token, is cheap to clone, and may be moved into a spawned task.
#[derive(Debug, Clone)]
pub struct UserClient {
    client: Client,
    token: UserToken,
}

impl UserClient {
    pub(super) fn new(client: Client, token: UserToken) -> Self {
        Self { client, token }
    }

    /// Starts a call of a third-party API on the user's behalf.
    pub fn request(&self, method: Method, url: impl Into<String>) -> RequestBuilder<NoAddress> {
        RequestBuilder::new(self.client.clone(), Some(self.token.clone()), method, url.into())
    }

    /// The user's grants.
    #[must_use]
    pub fn grants(&self) -> Grants {
        Grants::new(self.client.clone(), Some(self.token.clone()))
    }

    /// Starts a connect session: the page on which a person gives access to an account.
    pub fn connect_session(&self) -> ConnectBuilder {
        ConnectBuilder::new(self.client.clone(), Some(self.token.clone()))
    }

    /// Starts the connect session that follows from an error: for its provider, for its agent if it names one, and as a
    /// repair of the same grant where the credential is what broke (spec/03 §1.3). See [`Error::needs_connection`].
    ///
    /// An error that does not say which provider it is about, as after a call by grant id, needs a
    /// [`provider`](ConnectBuilder::provider).
    pub fn connect_session_for(&self, error: &Error) -> ConnectBuilder {
        ConnectBuilder::after(self.client.clone(), Some(self.token.clone()), error)
    }

    /// Polls a session of which only the token is at hand: the one that was given to a browser, on another replica.
    #[must_use]
    pub fn connect_handle(&self, token: SecretText) -> ConnectHandle {
        ConnectHandle::new(self.client.clone(), token)
    }

    /// The user's token.
    #[must_use]
    pub fn user_token(&self) -> &UserToken {
        &self.token
    }
}
