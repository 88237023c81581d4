//! What a token source and a skip rule see of a request.

use std::fmt;

use http::{Extensions, HeaderMap, Method, Request, Uri};

/// A request without its body. Free to copy.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    /// The head of a request.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The method.
    #[must_use]
    pub fn method(self) -> &'a Method {
        self.method
    }

    /// The target, as this layer sees it: a router above it may have cut off the prefix of a nested route.
    #[must_use]
    pub fn uri(self) -> &'a Uri {
        self.uri
    }

    /// The path of the target.
    #[must_use]
    pub fn path(self) -> &'a str {
        self.uri.path()
    }

    /// The headers.
    #[must_use]
    pub fn headers(self) -> &'a HeaderMap {
        self.headers
    }

    /// What layers outside of this one left for it.
    #[must_use]
    pub fn extensions(self) -> &'a Extensions {
        self.extensions
    }
}

// Headers, query and extensions may hold secrets.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
