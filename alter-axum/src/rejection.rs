//! Why an extractor gives nothing.

use std::fmt;

use alter_tower::{Answer, Caller, Refusal};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use crate::error::respond;

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
    const LAYER: &'static str =
        "no AlterLayer is around this route: add `.layer(AlterLayer::new(app))` after the route";

    pub(crate) fn not_set_up(extractor: &'static str, missing: &'static str) -> Self {
        Self::NotSetUp { extractor, missing }
    }

    pub(crate) fn no_token() -> Self {
        Self::Refused(Refusal::Missing)
    }

    /// The caller of the request, which a layer must have found.
    pub(crate) fn caller<'a>(parts: &'a Parts, extractor: &'static str) -> Result<&'a Caller, Self> {
        Caller::of(&parts.extensions).ok_or_else(|| Self::not_set_up(extractor, Self::LAYER))
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

impl IntoResponse for AlterRejection {
    fn into_response(self) -> Response {
        match &self {
            Self::Refused(refusal) => respond(Answer::from(refusal)),
            Self::NotSetUp { .. } => {
                tracing::error!(reason = %self, "a route is not set up for its handler");
                respond(Answer::internal())
            }
        }
    }
}
