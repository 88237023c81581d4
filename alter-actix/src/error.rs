//! What a handler answers when a call fails.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use alter_core::{Error, answer::Answer};

/// A failed call, as a handler's error: `?` makes it, and it answers with the status, headers and JSON of the
/// [crate's table](crate#what-a-failure-becomes).
///
/// To answer otherwise, look [inside](Self::inner) before, or wrap it in an error type of your own.
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

impl ResponseError for AlterError {
    fn status_code(&self) -> StatusCode {
        crate::answer::status(&Answer::from(&self.0))
    }

    fn error_response(&self) -> HttpResponse {
        crate::answer::response(&Answer::logged(&self.0))
    }
}
