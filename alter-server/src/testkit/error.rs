//! What stops a browser.

use http::StatusCode;

use super::Page;
use crate::web::shown;

/// Why a [`Browser`](super::Browser) did not get where it was to go.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrowseError {
    /// Nothing that a browser could go to.
    #[error("{0:?} is no address that a browser can go to")]
    Address(String),
    /// Nobody answered.
    #[error("no answer from {url}")]
    Unreachable {
        /// Without its query.
        url: String,
        /// What the system said.
        #[source]
        source: reqwest::Error,
    },
    /// Redirected again and again.
    #[error("redirected without end, at last to {0}")]
    Redirects(String),
    /// Pages led to pages, again and again.
    #[error("the pages lead round in circles, at last to {0:?}")]
    Endless(String),
    /// What was to be pressed or followed is not there.
    #[error("the page {title:?} has no {what:?}")]
    Missing {
        /// The page's heading.
        title: String,
        /// The id of what is missing.
        what: String,
    },
    /// The page says that it cannot be done.
    #[error("{title}: {text} (HTTP {})", status.as_u16())]
    Refused {
        /// Status of the page.
        status: StatusCode,
        /// Its heading.
        title: String,
        /// What it says, at most 300 characters.
        text: String,
    },
    /// The user's token is none.
    #[error(transparent)]
    Token(#[from] alter_core::TokenFormatError),
    /// The vault refused the application, or says that the session did not end well.
    #[error(transparent)]
    Vault(#[from] alter_core::Error),
}

impl BrowseError {
    pub(super) fn missing(page: &Page, what: &str) -> Self {
        Self::Missing { title: page.title(), what: what.to_owned() }
    }

    pub(super) fn refused(page: &Page) -> Self {
        let (title, text) = (page.title(), page.main());
        Self::Refused { status: page.status(), title, text: shown(&text) }
    }
}
