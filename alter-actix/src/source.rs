//! Where the caller's token is found in a request.
//!
//! [`Bearer`] is the default. Others are set with
//! [`AlterMiddleware::token_source`](crate::AlterMiddleware::token_source); a closure over
//! [`ServiceRequest`] is one too.
//!
//! The rule for all: `Ok(None)` only when there is no token at all. A token that is there but broken is a [`Refusal`],
//! with or without [`required`](crate::AlterMiddleware::required); it never makes a caller anonymous.

use std::{fmt, marker::PhantomData};

use actix_web::{
    HttpMessage,
    dev::ServiceRequest,
    http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue},
};
use alter_core::{UserToken, answer::Refusal, bearer};

/// Finds the caller's token in a request. See the [module docs](self).
pub trait TokenSource: Send + Sync + 'static {
    /// The token; `None` when the request has none.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when there is a token that cannot be read, or when it cannot be told.
    fn token(&self, request: &ServiceRequest) -> Result<Option<UserToken>, Refusal>;
}

impl<F> TokenSource for F
where
    F: Fn(&ServiceRequest) -> Result<Option<UserToken>, Refusal> + Send + Sync + 'static,
{
    fn token(&self, request: &ServiceRequest) -> Result<Option<UserToken>, Refusal> {
        self(request)
    }
}

/// `Authorization: Bearer`, as RFC 6750 §2.1 has it: scheme in any case, one header, one token of at most 8,192 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bearer;

impl TokenSource for Bearer {
    fn token(&self, request: &ServiceRequest) -> Result<Option<UserToken>, Refusal> {
        Ok(bearer::find(request.headers().get_all(AUTHORIZATION).map(HeaderValue::as_bytes))?)
    }
}

/// A header that holds the token and nothing else, as some proxies in front of a service set it.
///
/// Only for a header that the proxy sets or removes on **every** request; otherwise callers set it themselves.
#[derive(Debug, Clone)]
pub struct Header(HeaderName);

impl Header {
    /// The header with that name.
    #[must_use]
    pub fn new(name: HeaderName) -> Self {
        Self(name)
    }
}

impl TokenSource for Header {
    fn token(&self, request: &ServiceRequest) -> Result<Option<UserToken>, Refusal> {
        Ok(bearer::find_bare(request.headers().get_all(&self.0).map(HeaderValue::as_bytes))?)
    }
}

/// A cookie that holds the token and nothing else (RFC 6265 §5.4).
///
/// Browsers send cookies along without being asked. Protect routes that change something against cross-site requests
/// (`SameSite`, or a CSRF middleware) before you use this.
#[derive(Debug, Clone)]
pub struct Cookie(Box<str>);

impl Cookie {
    /// The cookie with that name, compared exactly.
    #[must_use]
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self(name.into())
    }
}

impl TokenSource for Cookie {
    fn token(&self, request: &ServiceRequest) -> Result<Option<UserToken>, Refusal> {
        Ok(bearer::find_cookie(request.headers().get_all(COOKIE).map(HeaderValue::as_bytes), &self.0)?)
    }
}

/// A request extension of type `T` that a middleware outside of this one has set. Made with [`extension`].
pub struct Extension<T, F>(F, PhantomData<fn(&T)>);

/// The token in a request extension, read by `read`; no extension, or `None`, means no token.
///
/// ```
/// struct CurrentUser {
///     jwt: String,
/// }
///
/// # fn example(app: alter_core::App) -> alter_actix::AlterMiddleware {
/// let source = alter_actix::source::extension(|user: &CurrentUser| Some(user.jwt.as_str()));
/// alter_actix::AlterMiddleware::new(app).token_source(source)
/// # }
/// ```
pub fn extension<T, F>(read: F) -> Extension<T, F>
where
    T: 'static,
    F: Fn(&T) -> Option<&str> + Send + Sync + 'static,
{
    Extension(read, PhantomData)
}

impl<T, F> TokenSource for Extension<T, F>
where
    T: 'static,
    F: Fn(&T) -> Option<&str> + Send + Sync + 'static,
{
    fn token(&self, request: &ServiceRequest) -> Result<Option<UserToken>, Refusal> {
        match request.extensions().get::<T>().and_then(&self.0) {
            Some(text) => Ok(Some(UserToken::parse(text)?)),
            None => Ok(None),
        }
    }
}

impl<T, F> fmt::Debug for Extension<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extension<{}>", std::any::type_name::<T>())
    }
}
