//! The way through the pages: sign in, choose an account, consent.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use url::form_urlencoded;

use super::{
    SignedIn, Visit, cookie,
    form::{Form, Here, Stop, here, unknown},
    next::{Next, after_account, first},
    pages,
};
use crate::{
    keys::random,
    oauth::{
        AuthorizationRequest,
        answer::{Approval, approved, redirect, refused},
        may_return_to,
    },
    params::Params,
    site::Site,
    state::{State as Remembered, World},
};

/// Longest name of an account that somebody may type, in bytes.
const MAX_ACCOUNT: usize = 200;

/// Puts a request before the person at this browser, or answers it if there is nothing to ask.
pub(crate) fn begin(
    world: &World,
    state: &mut Remembered,
    headers: &HeaderMap,
    request: AuthorizationRequest,
) -> Response {
    let site = request.target.site;
    let known = cookie::session(world, state, site, headers);
    let accounts = known.and_then(|digest| state.visits.sessions.get(&digest));
    let accounts = accounts.map(|session| session.accounts.clone()).unwrap_or_default();
    let next = match first(world, state, &request, &accounts) {
        Ok(next) => next,
        Err(why) => {
            let location = refused(world, state, &request.target, why);
            return redirect(StatusCode::FOUND, &location);
        }
    };
    let (session, new_cookie) = match known {
        Some(session) => (session, None),
        None => cookie::begin(world, state, site),
    };
    let id = URL_SAFE_NO_PAD.encode(random::<16>());
    state.visits.open.insert(id.clone(), Visit { session, request, account: None, answer: None });
    let mut response = go(world, state, &id, next, StatusCode::FOUND).into_response();
    response.headers_mut().extend(new_cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    response
}

/// Sends the browser to the next page, or back to the client.
fn go(
    world: &World,
    state: &mut Remembered,
    id: &str,
    next: Next,
    status: StatusCode,
) -> Result<Response, Stop> {
    let Some(visit) = state.visits.open.get_mut(&id.to_owned()) else { return Err(unknown()) };
    let prefix = visit.request.target.site.prefix();
    let page = next.page();
    match next {
        Next::Done(who) => {
            let scope = visit.request.scope.clone();
            visit.account = Some(who);
            finish(world, state, id, Some(scope), status)
        }
        Next::Consent(who) => {
            visit.account = Some(who);
            Ok(redirect(status, &format!("{prefix}/{page}?request={id}")))
        }
        Next::SignIn | Next::Accounts => Ok(redirect(status, &format!("{prefix}/{page}?request={id}"))),
    }
}

/// Answers the client, once: with a code for these scopes, or with `access_denied`.
fn finish(
    world: &World,
    state: &mut Remembered,
    id: &str,
    scope: Option<String>,
    status: StatusCode,
) -> Result<Response, Stop> {
    let Some(visit) = state.visits.open.get(&id.to_owned()) else { return Err(unknown()) };
    let request = visit.request.clone();
    let location = match (scope, visit.account.clone()) {
        (Some(scope), Some(SignedIn { account, at })) => {
            let sub = request.target.site.account_id(&account);
            approved(world, state, &request, Approval { sub, account, auth_time: at, scope })
        }
        _ => refused(world, state, &request.target, ("access_denied", "the user said no")),
    };
    if let Some(visit) = state.visits.open.get_mut(&id.to_owned()) {
        visit.answer = Some(location.clone());
    }
    Ok(redirect(status, &location))
}

fn asked_id(query: Option<&str>) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query?.as_bytes());
    pairs.find(|(name, _)| name == "request").map(|(_, id)| id.into_owned())
}

/// Shows a page of a visit.
fn show(
    world: &World,
    site: Site,
    headers: &HeaderMap,
    query: Option<&str>,
    render: impl FnOnce(&Here<'_>) -> Response,
) -> Result<Response, Stop> {
    let state = world.lock();
    Ok(render(&here(world, &state, site, headers, asked_id(query).as_deref())?))
}

pub(super) async fn sign_in_page(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Stop> {
    show(&world, site, &headers, query.as_deref(), |here| {
        pages::sign_in(&here.id, here.visit, here.session, None)
    })
}

pub(super) async fn accounts_page(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Stop> {
    show(&world, site, &headers, query.as_deref(), |here| pages::accounts(&here.id, here.visit, here.session))
}

pub(super) async fn consent_page(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Stop> {
    show(&world, site, &headers, query.as_deref(), |here| match &here.visit.account {
        Some(who) => pages::consent(&here.id, here.visit, here.session, who),
        None => redirect(StatusCode::SEE_OTHER, &format!("{}/signin?request={}", site.prefix(), here.id)),
    })
}

pub(super) async fn sign_in(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Stop> {
    let mut state = world.lock();
    let form = Form::read(&body)?;
    let found = form.here(&world, &state, site, &headers)?;
    let account = form.params.get("account").unwrap_or_default().trim();
    let wrong = if account.is_empty() {
        Some("Enter a user name.")
    } else if account.len() > MAX_ACCOUNT || account.chars().any(char::is_control) {
        Some("A user name has at most 200 bytes and no control characters.")
    } else {
        None
    };
    if wrong.is_some() {
        return Ok(pages::sign_in(&found.id, found.visit, found.session, wrong));
    }
    let (id, digest, request) = (found.id, found.digest, found.visit.request.clone());
    let session = state.visits.sessions.get_mut(&digest).ok_or_else(unknown)?;
    let who = session.sign_in(account, world.clock.now());
    state.tally.browser.sign_ins += 1;
    let next = after_account(&world, &state, &request, who);
    go(&world, &mut state, &id, next, StatusCode::SEE_OTHER)
}

pub(super) async fn pick(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Stop> {
    let mut state = world.lock();
    let form = Form::read(&body)?;
    let found = form.here(&world, &state, site, &headers)?;
    let (id, digest, request) = (found.id, found.digest, found.visit.request.clone());
    let account = form.params.get("account").unwrap_or_default();
    let who = found.session.accounts.iter().find(|known| known.account == account).cloned();
    // Signed out in another tab, say. And a client that wants a sign-in gets one, whichever page was opened.
    let Some(who) = who.filter(|_| !request.prompt.login) else {
        return go(&world, &mut state, &id, Next::SignIn, StatusCode::SEE_OTHER);
    };
    if let Some(session) = state.visits.sessions.get_mut(&digest) {
        session.sign_in(&who.account, who.at);
    }
    let next = after_account(&world, &state, &request, who);
    go(&world, &mut state, &id, next, StatusCode::SEE_OTHER)
}

pub(super) async fn decide(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Stop> {
    let mut state = world.lock();
    let form = Form::read(&body)?;
    let found = form.here(&world, &state, site, &headers)?;
    let asked = found.visit.request.scope.split(' ');
    let ticked: Vec<&str> = asked.filter(|scope| form.scopes.iter().any(|t| t == scope)).collect();
    // Nothing ticked is a no in other words. Whatever is not a yes is a no.
    let allowed = form.params.get("decision") == Some("allow") && !ticked.is_empty();
    let (id, scope) = (found.id, allowed.then(|| ticked.join(" ")));
    finish(&world, &mut state, &id, scope, StatusCode::SEE_OTHER)
}

/// Signs this browser out of every account at this provider. At the identity provider this is the end session
/// endpoint (OIDC RP-Initiated Logout 1.0 §2), which returns to a `post_logout_redirect_uri` on loopback.
pub(crate) async fn sign_out(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let query = query.unwrap_or_default();
    // The endpoint takes both methods; the parameters are in one of the two places.
    let params = Params::parse(if query.is_empty() { &body } else { query.as_bytes() });
    {
        let mut state = world.lock();
        if let Some(digest) = cookie::session(&world, &state, site, &headers)
            && let Some(session) = state.visits.sessions.get_mut(&digest)
        {
            session.accounts.clear();
        }
    }
    let Ok(params) = params else { return pages::signed_out(site) };
    let back = params.get("post_logout_redirect_uri").filter(|uri| may_return_to(uri));
    match back.and_then(|uri| url::Url::parse(uri).ok()) {
        Some(mut url) => {
            if let Some(state) = params.get("state") {
                url.query_pairs_mut().append_pair("state", state);
            }
            redirect(StatusCode::SEE_OTHER, url.as_str())
        }
        None => pages::signed_out(site),
    }
}
