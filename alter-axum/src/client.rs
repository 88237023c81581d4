//! The client of a handler.

use std::ops::Deref;

use alter_core::UserClient;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::rejection::AlterRejection;

/// The application's client, bound to the caller of the request: every call is made on that caller's behalf.
///
/// It owns the caller's token; clone it, or move it into a task or a stream. As an argument it demands a token (401
/// `missing_bearer`); as `Option<AlterClient>` it is `None` for a caller without one. The token is **not verified** unless
/// the layer says [`verify`](crate::AlterLayer); the vault verifies it on every call.
///
/// ```
/// use alter_axum::{AlterClient, AlterError, Method};
///
/// async fn greeting(alter: Option<AlterClient>) -> Result<String, AlterError> {
///     let Some(alter) = alter else {
///         return Ok("hello, stranger".to_owned());
///     };
///     let me = alter.request(Method::GET, "https://api.github.com/user").provider("github").send().await?;
///     Ok(me.text().await?)
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(greeting));
/// ```
#[derive(Debug, Clone)]
pub struct AlterClient(UserClient);

impl AlterClient {
    /// The client without its wrapper.
    #[must_use]
    pub fn into_inner(self) -> UserClient {
        self.0
    }

    fn of(parts: &Parts) -> Result<Option<Self>, AlterRejection> {
        let caller = AlterRejection::caller(parts, "AlterClient")?;
        if caller.app().is_none() {
            return Err(AlterRejection::not_set_up(
                "AlterClient",
                "the AlterLayer around this route has an agent and no application: extract `AlterAgent`, or use \
                 `AlterLayer::new(app)`",
            ));
        }
        Ok(caller.client().map(Self))
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

impl<S: Sync> FromRequestParts<S> for AlterClient {
    type Rejection = AlterRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AlterRejection> {
        Self::of(parts)?.ok_or_else(AlterRejection::no_token)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for AlterClient {
    type Rejection = AlterRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, AlterRejection> {
        Self::of(parts)
    }
}
