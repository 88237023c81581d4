//! Where the caller's token is found in a request.
//!
//! [`Bearer`] is the default. Others are set with [`AlterLayer::token_source`](crate::AlterLayer::token_source); a
//! closure is one too:
//!
//! ```
//! use alter_core::{App, UserToken};
//! use alter_tower::{AlterLayer, RequestHead};
//!
//! #[derive(Clone)]
//! struct Session {
//!     access_token: String,
//! }
//!
//! fn layer(app: App) -> AlterLayer {
//!     AlterLayer::new(app).token_source(|head: RequestHead<'_>| match head.extensions().get::<Session>() {
//!         Some(session) => Ok(Some(UserToken::parse(session.access_token.clone())?)),
//!         None => Ok(None),
//!     })
//! }
//! ```
//!
//! The rule for all: `Ok(None)` only when there is no token at all. A token that is there but broken is a [`Refusal`],
//! with or without [`required`](crate::AlterLayer::required); it never makes a caller anonymous.

use std::{fmt, marker::PhantomData};

use alter_core::{UserToken, answer::Refusal, bearer};
use http::{HeaderName, HeaderValue, header::COOKIE};

use crate::head::RequestHead;

/// Finds the caller's token in a request. See the [module docs](self).
pub trait TokenSource: Send + Sync + 'static {
    /// The token; `None` when the request has none.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when there is a token that cannot be read, or when it cannot be told.
    fn token(&self, head: RequestHead<'_>) -> Result<Option<UserToken>, Refusal>;
}

impl<F> TokenSource for F
where
    F: Fn(RequestHead<'_>) -> Result<Option<UserToken>, Refusal> + Send + Sync + 'static,
{
    fn token(&self, head: RequestHead<'_>) -> Result<Option<UserToken>, Refusal> {
        self(head)
    }
}

/// `Authorization: Bearer`, as RFC 6750 §2.1 has it: scheme in any case, one header, one token of at most 8,192 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bearer;

impl TokenSource for Bearer {
    fn token(&self, head: RequestHead<'_>) -> Result<Option<UserToken>, Refusal> {
        Ok(bearer::token(head.headers())?)
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
    fn token(&self, head: RequestHead<'_>) -> Result<Option<UserToken>, Refusal> {
        Ok(bearer::find_bare(head.headers().get_all(&self.0).iter().map(HeaderValue::as_bytes))?)
    }
}

/// A cookie that holds the token and nothing else (RFC 6265 §5.4).
///
/// Browsers send cookies along without being asked. Protect routes that change something against cross-site requests
/// (`SameSite`, or a CSRF layer) before you use this.
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
    fn token(&self, head: RequestHead<'_>) -> Result<Option<UserToken>, Refusal> {
        Ok(bearer::find_cookie(head.headers().get_all(COOKIE).iter().map(HeaderValue::as_bytes), &self.0)?)
    }
}

/// A request extension of type `T` that a layer outside of this one has set. Made with [`extension`].
pub struct Extension<T, F>(F, PhantomData<fn(&T)>);

/// The token in a request extension, read by `read`; no extension, or `None`, means no token.
///
/// ```
/// #[derive(Clone)]
/// struct CurrentUser {
///     jwt: String,
/// }
///
/// # fn example(app: alter_core::App) -> alter_tower::AlterLayer {
/// let source = alter_tower::source::extension(|user: &CurrentUser| Some(user.jwt.as_str()));
/// alter_tower::AlterLayer::new(app).token_source(source)
/// # }
/// ```
pub fn extension<T, F>(read: F) -> Extension<T, F>
where
    T: Send + Sync + 'static,
    F: Fn(&T) -> Option<&str> + Send + Sync + 'static,
{
    Extension(read, PhantomData)
}

impl<T, F> TokenSource for Extension<T, F>
where
    T: Send + Sync + 'static,
    F: Fn(&T) -> Option<&str> + Send + Sync + 'static,
{
    fn token(&self, head: RequestHead<'_>) -> Result<Option<UserToken>, Refusal> {
        match head.extensions().get::<T>().and_then(&self.0) {
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

#[cfg(test)]
mod tests {
    use http::{Request, header::AUTHORIZATION};

    use super::*;

    fn read(source: &impl TokenSource, headers: &[(&'static str, &str)]) -> Result<Option<String>, Refusal> {
        let mut request = Request::new(());
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
        source.token(RequestHead::of(&request)).map(|token| token.map(|token| token.expose().to_owned()))
    }

    fn found(token: &str) -> Result<Option<String>, Refusal> {
        Ok(Some(token.to_owned()))
    }

    fn is_malformed(result: &Result<Option<String>, Refusal>) -> bool {
        matches!(result, Err(Refusal::Malformed(_)))
    }

    #[test]
    fn a_header_of_its_own_holds_the_bare_token_once() {
        let source = Header::new(HeaderName::from_static("x-user-jwt"));
        assert_eq!(read(&source, &[]), Ok(None));
        assert_eq!(read(&source, &[("authorization", "Bearer other")]), Ok(None));
        assert_eq!(read(&source, &[("x-user-jwt", " a.b.c ")]), found("a.b.c"));
        for broken in [&[("x-user-jwt", "")][..], &[("x-user-jwt", "Bearer a")], &[("x-user-jwt", "a"); 2]] {
            assert!(is_malformed(&read(&source, broken)), "{broken:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let source = Cookie::new("jwt");
        assert_eq!(read(&source, &[]), Ok(None));
        assert_eq!(read(&source, &[("cookie", "jwt2=x; notjwt=y; JWT=z; jwt")]), Ok(None));
        assert_eq!(read(&source, &[("cookie", "a=b;jwt=a.b.c ;c=d")]), found("a.b.c"));
        assert_eq!(read(&source, &[("cookie", "a=b"), ("cookie", "jwt=\"a.b.c==\"")]), found("a.b.c=="));
        for broken in ["jwt=", "jwt=a b", "jwt=\"a", "jwt=a; jwt=a", "jwt=é"] {
            assert!(is_malformed(&read(&source, &[("cookie", broken)])), "{broken}");
        }
    }

    #[test]
    fn an_extension_of_an_outer_layer_gives_the_token() {
        #[derive(Clone)]
        struct User(Option<String>);
        let source = extension(|user: &User| user.0.as_deref());
        let mut request = Request::new(());
        assert!(source.token(RequestHead::of(&request)).unwrap().is_none());
        request.extensions_mut().insert(User(None));
        assert!(source.token(RequestHead::of(&request)).unwrap().is_none());
        request.extensions_mut().insert(User(Some("a.b.c".into())));
        assert_eq!(source.token(RequestHead::of(&request)).unwrap().unwrap().expose(), "a.b.c");
        request.extensions_mut().insert(User(Some(String::new())));
        assert!(source.token(RequestHead::of(&request)).is_err());
    }

    #[test]
    fn the_head_shows_no_secret() {
        let mut request = Request::get("https://host/path?key=canary").body(()).unwrap();
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer canary"));
        assert!(!format!("{:?}", RequestHead::of(&request)).contains("canary"));
    }
}
