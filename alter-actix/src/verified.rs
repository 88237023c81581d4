//! The verified caller.

use std::{
    future::{Ready, ready},
    ops::Deref,
    sync::Arc,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use alter_core::jwt;

use crate::rejection::AlterRejection;

/// Who the caller's token was verified to be of, by the middleware of
/// [`AlterMiddleware::verify`](crate::AlterMiddleware::verify).
#[derive(Debug, Clone)]
pub struct VerifiedUser(pub Arc<jwt::VerifiedUser>);

impl Deref for VerifiedUser {
    type Target = jwt::VerifiedUser;

    fn deref(&self) -> &jwt::VerifiedUser {
        &self.0
    }
}

impl FromRequest for VerifiedUser {
    type Error = AlterRejection;
    type Future = Ready<Result<Self, AlterRejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = AlterRejection::caller(request, "VerifiedUser");
        ready(caller.and_then(|caller| match (caller.verified(), caller.token()) {
            (Some(user), _) => Ok(Self(Arc::clone(user))),
            (None, None) => Err(AlterRejection::no_token()),
            (None, Some(_)) => Err(AlterRejection::not_set_up(
                "VerifiedUser",
                "the AlterMiddleware around this route does not verify tokens: add `.verify(verifier)` to it",
            )),
        }))
    }
}
