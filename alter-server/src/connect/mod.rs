//! Connecting accounts: from an app's request for a session to a grant, through the pages that a person sees.
//!
//! | Module | What it does |
//! |---|---|
//! | `request`, `poll` | what an app may ask for, and what it is told |
//! | `open` | the page with the token in its fragment; binds the session to the first browser |
//! | `here` | one request of that browser: who it is, what may be changed |
//! | `show` | the session's page: proof, choice, consent, end |
//! | `prove` | that the browser is the user's (session fixation) |
//! | `decide` | what the person decides: go, use, decline, finish |
//! | `leave` | on the way to the provider, and back in another window |
//! | `callback`, `redeem` | what the provider answers |
//! | `dance` | the secrets of one authorization request |
//! | `choice`, `deliver`, `view` | what can be chosen, where the result goes, what pages say |
//!
//! Whatever may happen once (the binding to a browser, the use of a state, the end) is the compare-and-set of
//! [`crate::store::Connections::advance_session`]; its row is part of it.

mod callback;
pub(crate) mod choice;
mod dance;
mod decide;
mod deliver;
mod here;
mod leave;
mod open;
pub(crate) mod poll;
mod prove;
mod redeem;
mod request;
mod show;
mod view;

use std::{sync::Arc, time::Duration};

use alter_core::wire::connect::{CALLBACK_PATH, PAGE_PATH};
use axum::{
    Router,
    routing::{get, post},
};
use secrecy::SecretSlice;

pub(crate) use prove::after_sign_in;
pub(crate) use request::read as read_request;

use crate::{
    domain::{SessionKind, SessionRef},
    vault::Core,
};

/// How long a session lasts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
/// Page of a sign-in session.
pub(crate) const SIGN_IN_PATH: &str = "/sdk/auth/sign-in";
/// Where the page posts the token to.
const OPEN_PATH: &str = "/sdk/oauth/connect/open";

/// The pages' routes.
pub(crate) fn pages() -> Router<Arc<Core>> {
    let session = |rest: &str| format!("{PAGE_PATH}/s/{{session}}{rest}");
    Router::new()
        .route(PAGE_PATH, get(open::shell))
        // The widget adds its path to a base URL that may end with a slash (spec/03 §6.2).
        .route(&format!("/{PAGE_PATH}"), get(open::shell))
        .route(SIGN_IN_PATH, get(open::shell))
        .route(OPEN_PATH, post(open::open))
        .route(CALLBACK_PATH, get(callback::callback))
        .route(&session(""), get(show::session))
        .route(&session("/p/{provider}"), get(show::provider))
        .route(&session("/p/{provider}/go"), post(decide::go))
        .route(&session("/p/{provider}/use"), post(decide::use_connected))
        .route(&session("/p/{provider}/decline"), post(decide::decline))
        .route(&session("/finish"), post(decide::finish))
        .route(&session("/sign-in"), get(prove::leave).post(prove::sign_in))
        .route(&session("/go"), get(leave::go))
        .route(&session("/back"), get(leave::back))
        .route(&session("/status"), get(leave::status))
}

/// What a session's token begins with.
pub(crate) fn token_prefix(kind: SessionKind) -> &'static str {
    match kind {
        SessionKind::Connect => "cs_",
        SessionKind::SignIn => "as_",
    }
}

/// Which session a token names, and its secret half, which is not checked by this.
pub(crate) fn split_token(kind: SessionKind, token: &str) -> Option<(SessionRef, SecretSlice<u8>)> {
    SessionRef::split(token.strip_prefix(token_prefix(kind))?)
}
