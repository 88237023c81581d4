//! The wallet: where people see which applications can reach their accounts and what was done with that, and take it back.
//!
//! | Module | What it does |
//! |---|---|
//! | [`sign_in`] | signing in at an app's identity provider, and out |
//! | [`session`] | the browser that is signed in; names and form tokens that count in it alone |
//! | [`holdings`] | what belongs to the person |
//! | [`connections`] | the pages of it, and taking it back |
//! | [`activity`] | what was done with it, as a page and as CSV |
//!
//! No page holds a token, and no address a grant's id: a connection is named by an HMAC under the browser's own secret, so that a
//! name says nothing, works in one browser for one session, and finds only what belongs to the person.

mod activity;
mod connections;
mod csv;
mod holdings;
mod session;
mod sign_in;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};

pub(crate) use sign_in::after_sign_in;

use crate::vault::Core;

/// The wallet's pages.
pub(crate) fn pages() -> Router<Arc<Core>> {
    Router::new()
        .route("/wallet", get(connections::all))
        .route("/wallet/sign-in", get(sign_in::sign_in))
        .route("/wallet/sign-out", post(sign_in::sign_out))
        .route("/wallet/signed-out", get(sign_in::signed_out_page))
        .route("/wallet/grants/{connection}", get(connections::one))
        .route("/wallet/grants/{connection}/revoke", get(connections::confirm).post(connections::revoke))
        .route("/wallet/activity", get(activity::page))
        .route("/wallet/activity.csv", get(activity::csv))
}

/// An instant for people: the day and minute, in UTC.
fn told(at: jiff::Timestamp) -> Moment {
    Moment {
        words: at.strftime("%-d %b %Y, %H:%M UTC").to_string(),
        exact: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
}

/// An instant as a page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    words: String,
    /// For `datetime` and `title`.
    exact: String,
}
