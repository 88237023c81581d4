//! The caller's token.

use std::ops::Deref;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::rejection::AlterRejection;

/// The caller's token, of the right form and **not verified**. Most handlers want [`AlterClient`](crate::AlterClient).
///
/// `Debug` prints a fingerprint of it.
#[derive(Debug, Clone)]
pub struct UserToken(pub alter_core::UserToken);

impl Deref for UserToken {
    type Target = alter_core::UserToken;

    fn deref(&self) -> &alter_core::UserToken {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for UserToken {
    type Rejection = AlterRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AlterRejection> {
        let token = AlterRejection::caller(parts, "UserToken")?.token().cloned();
        token.map(Self).ok_or_else(AlterRejection::no_token)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for UserToken {
    type Rejection = AlterRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, AlterRejection> {
        Ok(AlterRejection::caller(parts, "UserToken")?.token().cloned().map(Self))
    }
}
