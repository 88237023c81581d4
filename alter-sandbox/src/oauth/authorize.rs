//! The authorization endpoint (RFC 6749 §3.1) of every provider here.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};

use super::{
    answer::{Approval, approved, redirect, refused},
    request::{AuthorizationRequest, Target},
};
use crate::{
    faults::AuthorizeFault,
    html,
    params::{Params, Repeated},
    site::Site,
    state::{State as Remembered, World},
    visit,
};

pub(crate) async fn authorize(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let late = world.lock().faults.authorize_delay_ms;
    if late > 0 {
        tokio::time::sleep(Duration::from_millis(late)).await;
    }
    let params = match Params::parse(query.unwrap_or_default().as_bytes()) {
        Ok(params) => params,
        Err(Repeated(name)) => return nowhere(&format!("{name} occurs more than once")),
    };
    let (target, client) = match Target::of(&world, site, &params) {
        Ok(found) => found,
        Err(why) => return nowhere(why),
    };
    let mut state = world.lock();
    state.tally.browser.authorize_calls += 1;
    if let Some(response) = fault(&world, &mut state, &target) {
        return response;
    }
    let request = match AuthorizationRequest::parse(&params, &target, client) {
        Ok(request) => request,
        Err(why) => return redirect(StatusCode::FOUND, &refused(&world, &mut state, &target, why)),
    };
    if let Some((sub, account)) = request.at_once.clone() {
        let scope = request.scope.clone();
        let approval = Approval { sub, account, auth_time: world.clock.now(), scope };
        return redirect(StatusCode::FOUND, &approved(&world, &mut state, &request, approval));
    }
    visit::begin(&world, &mut state, &headers, request)
}

/// What is done in the place of what was asked.
fn fault(world: &World, state: &mut Remembered, target: &Target) -> Option<Response> {
    let at_once = |fault: AuthorizeFault| fault.error().is_some() || fault == AuthorizeFault::Page;
    let fault = state.faults.take_authorize_fault(target.site, at_once);
    if fault == AuthorizeFault::Page {
        let why = "We will be back soon.";
        return Some(html::refusal(StatusCode::SERVICE_UNAVAILABLE, "Out of order", why));
    }
    let error = fault.error()?;
    let location = refused(world, state, target, (error, "the sandbox was told to fail"));
    Some(redirect(StatusCode::FOUND, &location))
}

/// What the user sees when there is nowhere safe to send them.
fn nowhere(why: &str) -> Response {
    html::refusal(StatusCode::BAD_REQUEST, "This request cannot be approved", why)
}
