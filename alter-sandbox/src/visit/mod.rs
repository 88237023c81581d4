//! A person at a provider: the browser's session, and what is asked of them before the client has its answer.
//!
//! A **visit** is one authorization request in one browser. It lives under a random id that the pages' addresses
//! carry, belongs to the session whose cookie began it, and keeps its answer, so that a second click leads to
//! where the first one did.

mod cookie;
mod form;
mod next;
mod pages;
mod steps;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderName, HeaderValue},
    response::Response,
    routing::get,
};

pub(crate) use steps::begin;

use crate::{
    bounded::Bounded,
    oauth::AuthorizationRequest,
    site::Site,
    state::{Digest, World},
};

const SESSIONS: usize = 20_000;
const VISITS: usize = 20_000;
/// Accounts that one browser is signed in to at one provider; the one used longest ago goes first.
const ACCOUNTS: usize = 10;

/// A browser at one provider.
struct Session {
    site: Site,
    /// What every form of this browser carries.
    csrf: String,
    /// The one signed in last comes first.
    accounts: Vec<SignedIn>,
}

/// An account that a browser is signed in to.
#[derive(Debug, Clone)]
struct SignedIn {
    account: String,
    /// Seconds since the Unix epoch.
    at: i64,
}

/// See the module.
struct Visit {
    session: Digest,
    request: AuthorizationRequest,
    /// Who is to be asked for consent, once that is settled.
    account: Option<SignedIn>,
    /// Where the browser was sent in the end.
    answer: Option<String>,
}

/// All browsers.
pub(crate) struct Visits {
    sessions: Bounded<Digest, Session>,
    open: Bounded<String, Visit>,
}

impl Visits {
    pub(crate) fn new() -> Self {
        Self { sessions: Bounded::new(SESSIONS), open: Bounded::new(VISITS) }
    }
}

impl Session {
    /// Signs in, or makes an account the current one again.
    fn sign_in(&mut self, account: &str, at: i64) -> SignedIn {
        let signed_in = SignedIn { account: account.to_owned(), at };
        self.accounts.retain(|known| known.account != account);
        self.accounts.insert(0, signed_in.clone());
        self.accounts.truncate(ACCOUNTS);
        signed_in
    }
}

/// The pages of one provider, below its prefix.
pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/signin", get(steps::sign_in_page).post(steps::sign_in))
        .route("/accounts", get(steps::accounts_page).post(steps::pick))
        .route("/consent", get(steps::consent_page).post(steps::decide))
        .route("/signout", get(steps::sign_out).post(steps::sign_out))
}

const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Cuts a popup off from its opener, where that is asked for; on redirects too, as browsers heed it there.
pub(crate) async fn opener(
    State((world, site)): State<(Arc<World>, Site)>,
    mut response: Response,
) -> Response {
    let asked = {
        let faults = &world.lock().faults;
        if site == Site::Idp { faults.sign_in_coop } else { faults.coop }
    };
    if asked {
        response.headers_mut().insert(OPENER, HeaderValue::from_static("same-origin"));
    }
    response
}
