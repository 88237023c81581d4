//! From the answer of `alter-core`, which is on version 1 of the `http` crate, to actix-web, which is on version 0.2.

use actix_web::{
    Error, HttpResponse,
    body::BoxBody,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
};
use alter_core::answer::Answer;
use bytes::Bytes;

use crate::{error::AlterError, rejection::AlterRejection};

/// Status and headers of an answer, and its body apart.
pub(crate) fn parts(answer: &Answer) -> (HttpResponse<()>, Bytes) {
    let mut head = HttpResponse::with_body(status(answer), ());
    for (name, value) in &answer.headers {
        // Both versions have the same rules, so neither fails.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_str().as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            head.headers_mut().append(name, value);
        }
    }
    (head, answer.body_bytes())
}

pub(crate) fn response(answer: &Answer) -> HttpResponse {
    let (head, bytes) = parts(answer);
    head.set_body(BoxBody::new(bytes))
}

pub(crate) fn status(answer: &Answer) -> StatusCode {
    StatusCode::from_u16(answer.status.as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer that an error of this crate stands for.
pub(crate) fn in_error(error: &Error) -> Option<Answer> {
    match (error.as_error::<AlterError>(), error.as_error::<AlterRejection>()) {
        (Some(error), _) => Some(error.answer()),
        (None, Some(rejection)) => Some(rejection.answer()),
        (None, None) => None,
    }
}
