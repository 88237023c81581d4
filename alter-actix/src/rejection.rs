//! Why an extractor gives nothing.

use std::fmt;

use actix_web::{HttpRequest, HttpResponse, ResponseError, http::StatusCode};
use alter_core::{
    answer::{Answer, Refusal},
    edge::Caller,
};

use crate::request::AlterRequestExt;

/// Why an extractor of this crate gives nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlterRejection {
    /// The caller's fault: there is no token. Answered with 401.
    Refused(Refusal),
    /// Ours: the route is not set up for what the handler asks. Answered with 500 and a text that says nothing; the
    /// log says everything.
    NotSetUp {
        /// The extractor.
        extractor: &'static str,
        /// What is missing around the route.
        missing: &'static str,
    },
}

impl AlterRejection {
    pub(crate) fn not_set_up(extractor: &'static str, missing: &'static str) -> Self {
        // Here and not where it is answered: actix makes `None` of it for an `Option`, and nobody would be told.
        tracing::error!(extractor, missing, "a route is not set up for its handler");
        Self::NotSetUp { extractor, missing }
    }

    pub(crate) fn no_token() -> Self {
        Self::Refused(Refusal::Missing)
    }

    /// The caller of the request, which a middleware must have found.
    pub(crate) fn caller(request: &HttpRequest, extractor: &'static str) -> Result<Caller, Self> {
        request.alter_caller().ok_or_else(|| {
            Self::not_set_up(
                extractor,
                "no AlterMiddleware is around this route: add `.wrap(AlterMiddleware::new(app))`",
            )
        })
    }

    pub(crate) fn answer(&self) -> Answer {
        match self {
            Self::Refused(refusal) => Answer::from(refusal),
            Self::NotSetUp { .. } => Answer::internal(),
        }
    }
}

impl fmt::Display for AlterRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NotSetUp { extractor, missing } => {
                write!(f, "`{extractor}` cannot be extracted: {missing}")
            }
        }
    }
}

impl std::error::Error for AlterRejection {}

impl ResponseError for AlterRejection {
    fn status_code(&self) -> StatusCode {
        crate::answer::status(&self.answer())
    }

    fn error_response(&self) -> HttpResponse {
        crate::answer::response(&self.answer())
    }
}
