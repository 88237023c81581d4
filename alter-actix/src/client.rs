//! The client of a handler.

use std::{
    future::{Ready, ready},
    ops::Deref,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use alter_core::UserClient;

use crate::rejection::AlterRejection;

/// The application's client, bound to the caller of the request: every call is made on that caller's behalf.
///
/// It owns the caller's token; clone it, or move it into a task or a stream. As an argument it demands a token (401
/// `missing_bearer`); as `Option<AlterClient>` it is `None` for a caller without one. The token is **not verified** unless
/// the middleware does; the vault verifies it on every call.
#[derive(Debug, Clone)]
pub struct AlterClient(UserClient);

impl AlterClient {
    /// The client without its wrapper.
    #[must_use]
    pub fn into_inner(self) -> UserClient {
        self.0
    }
}

impl Deref for AlterClient {
    type Target = UserClient;

    fn deref(&self) -> &UserClient {
        &self.0
    }
}

impl From<AlterClient> for UserClient {
    fn from(client: AlterClient) -> Self {
        client.0
    }
}

impl FromRequest for AlterClient {
    type Error = AlterRejection;
    type Future = Ready<Result<Self, AlterRejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(AlterRejection::caller(request, "AlterClient").and_then(|caller| {
            if caller.app().is_none() {
                return Err(AlterRejection::not_set_up(
                    "AlterClient",
                    "the AlterMiddleware around this route has an agent and no application: extract `AlterAgent`, \
                     or use `AlterMiddleware::new(app)`",
                ));
            }
            caller.client().map(Self).ok_or_else(AlterRejection::no_token)
        }))
    }
}
