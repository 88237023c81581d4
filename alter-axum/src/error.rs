//! What a handler answers when a call fails.

use std::fmt;

use alter_core::Error;
use alter_tower::Answer;
use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};

/// A failed call, as a handler's error: `?` makes it, and it answers with the status, headers and JSON of the
/// [crate's table](crate#what-a-failure-becomes).
///
/// To answer otherwise, look [inside](Self::inner) before, or wrap it in an error type of your own:
///
/// ```
/// use alter_axum::AlterError;
/// use alter_core::{Kind, error::Provider};
/// use axum::response::{IntoResponse, Redirect, Response};
///
/// struct Failure(AlterError);
///
/// impl From<alter_core::Error> for Failure {
///     fn from(error: alter_core::Error) -> Self {
///         Self(error.into())
///     }
/// }
///
/// impl IntoResponse for Failure {
///     fn into_response(self) -> Response {
///         match self.0.inner().kind() {
///             Kind::Grant(_) => Redirect::to("/settings/connections").into_response(),
///             _ => self.0.into_response(),
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct AlterError(Error);

impl AlterError {
    /// What went wrong.
    #[must_use]
    pub fn inner(&self) -> &Error {
        &self.0
    }

    /// What went wrong, owned.
    #[must_use]
    pub fn into_inner(self) -> Error {
        self.0
    }
}

impl From<Error> for AlterError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for AlterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for AlterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl IntoResponse for AlterError {
    fn into_response(self) -> Response {
        respond(Answer::logged(&self.0))
    }
}

/// The response; it carries the answer along, for `AlterLayer::map_answer`.
pub(crate) fn respond(answer: Answer) -> Response {
    let mut response = answer.clone().into_response().map(Body::from);
    response.extensions_mut().insert(answer);
    response
}
