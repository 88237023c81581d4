//! What the layer promises, driven by `oneshot` and by hand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admission;
mod isolation;
#[cfg(feature = "verify")]
mod issuer;
mod place;
mod scope;
#[cfg(feature = "verify")]
mod verify;

use std::convert::Infallible;

use alter_core::{
    App,
    scope::Identity,
    wire::key::{ApiKey, KeyKind},
};
use alter_tower::ResponseBody;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};

pub(crate) type Text = Full<Bytes>;

pub(crate) fn app() -> App {
    App::builder("alter_rk_abcdefghijklmnopqrstuv_iwpykn").build().unwrap()
}

pub(crate) fn agent_key() -> String {
    ApiKey::mint(KeyKind::Agent).unwrap().expose().to_owned()
}

pub(crate) fn text(body: impl Into<Bytes>) -> Response<Text> {
    Response::new(Full::new(body.into()))
}

/// A request with these values of the `Authorization` header.
pub(crate) fn request(authorization: &[&str]) -> Request<()> {
    let mut request = Request::new(());
    for value in authorization {
        request.headers_mut().append("authorization", value.parse().unwrap());
    }
    request
}

pub(crate) fn bearer(token: &str) -> Request<()> {
    request(&[&format!("Bearer {token}")])
}

/// The identity as a word, for comparing.
pub(crate) fn name(identity: Option<Identity>) -> String {
    match identity {
        Some(Identity::User(token)) => token.expose().to_owned(),
        Some(_) => "anonymous".to_owned(),
        None => "out of scope".to_owned(),
    }
}

pub(crate) async fn read<B>(response: Response<ResponseBody<B>>) -> (u16, String)
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A handler that tells who it acts for.
pub(crate) async fn who<B>(app: App, _: Request<B>) -> Result<Response<Text>, Infallible> {
    Ok(text(name(alter_core::scope::current_for(app.scope_key()))))
}
