//! A client bound to one user.

use http::Method;

use super::{Client, Grants, NoAddress, RequestBuilder};
use crate::UserToken;

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

    /// The user's token.
    #[must_use]
    pub fn user_token(&self) -> &UserToken {
        &self.token
    }
}
