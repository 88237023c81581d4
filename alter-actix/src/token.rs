//! The caller's token.

use std::{
    future::{Ready, ready},
    ops::Deref,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};

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

impl FromRequest for UserToken {
    type Error = AlterRejection;
    type Future = Ready<Result<Self, AlterRejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = AlterRejection::caller(request, "UserToken");
        ready(
            caller.and_then(|caller| caller.token().cloned().map(Self).ok_or_else(AlterRejection::no_token)),
        )
    }
}
