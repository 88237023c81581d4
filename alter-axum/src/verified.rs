//! The verified caller.

use std::{ops::Deref, sync::Arc};

use alter_core::jwt;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::rejection::AlterRejection;

/// Who the caller's token was verified to be of, by the layer of [`AlterLayer::verify`](crate::AlterLayer::verify).
#[derive(Debug, Clone)]
pub struct VerifiedUser(pub Arc<jwt::VerifiedUser>);

impl VerifiedUser {
    fn of(parts: &Parts) -> Result<Option<Self>, AlterRejection> {
        let caller = AlterRejection::caller(parts, "VerifiedUser")?;
        match (caller.verified(), caller.token()) {
            (Some(user), _) => Ok(Some(Self(Arc::clone(user)))),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(AlterRejection::not_set_up(
                "VerifiedUser",
                "the AlterLayer around this route does not verify tokens: add `.verify(verifier)` to it",
            )),
        }
    }
}

impl Deref for VerifiedUser {
    type Target = jwt::VerifiedUser;

    fn deref(&self) -> &jwt::VerifiedUser {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for VerifiedUser {
    type Rejection = AlterRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AlterRejection> {
        Self::of(parts)?.ok_or_else(AlterRejection::no_token)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for VerifiedUser {
    type Rejection = AlterRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, AlterRejection> {
        Self::of(parts)
    }
}
