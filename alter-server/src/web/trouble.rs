//! Errors as pages: what happened, what to do, and under which id the operator finds it.

use std::borrow::Cow;

use askama::Template;
use http::StatusCode;

use super::{Brand, Shell, Visit};

/// What an error page says.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) status: StatusCode,
    /// A few words.
    pub(crate) title: String,
    /// What happened. Escaped by the template, but to be cut and cleaned if it is somebody else's text.
    pub(crate) what: Cow<'static, str>,
    /// What to do.
    pub(crate) next: Cow<'static, str>,
    /// A path of the vault (without prefix) and the words of its link.
    pub(crate) link: Option<(String, &'static str)>,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
}

impl Trouble {
    pub(crate) fn new(
        status: StatusCode,
        title: impl Into<String>,
        what: impl Into<Cow<'static, str>>,
        next: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            title: title.into(),
            what: what.into(),
            next: next.into(),
            link: None,
            retry_after: None,
        }
    }

    /// With a way on.
    pub(crate) fn link(mut self, path: impl Into<String>, words: &'static str) -> Self {
        self.link = Some((path.into(), words));
        self
    }

    pub(crate) fn too_often() -> Self {
        let mut trouble = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many requests",
            "Too many requests came from your network in a short time.",
            "Wait a few seconds and load the page again.",
        );
        trouble.retry_after = Some(2);
        trouble
    }

    pub(crate) fn cross_site() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This request was refused",
            "It did not come from a page of this site, so it may not have been you who sent it. Nothing was changed.",
            "Go back to the page that you came from, load it again and repeat what you wanted to do.",
        )
    }

    /// The form's `csrf` is not this browser's: its cookie went away or belongs to something else by now.
    pub(crate) fn stale_form() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This page is out of date",
            "The page that you sent this from no longer belongs to your session. Nothing was changed.",
            "Go back, load the page again and repeat what you wanted to do. Cookies must be allowed for this site.",
        )
    }

    pub(crate) fn bad_form() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "This request cannot be read",
            "What the browser sent is not what the page asks for. Nothing was changed.",
            "Go back, load the page again and repeat what you wanted to do.",
        )
    }

    pub(crate) fn busy() -> Self {
        let mut trouble = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not possible at the moment",
            "The service is busy or being restarted. Nothing was changed.",
            "Load the page again in a few seconds.",
        );
        trouble.retry_after = Some(2);
        trouble
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong",
            "The service failed. That is not your fault.",
            "Try again. If it happens again, tell the application's support the number below.",
        )
    }

    pub(super) fn page(self, visit: &Visit, brand: Brand) -> impl Template {
        TroublePage { shell: visit.shell(brand, self.title.clone()), trouble: self }
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage {
    shell: Shell,
    trouble: Trouble,
}
