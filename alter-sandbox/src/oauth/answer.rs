//! Authorization responses (RFC 6749 §4.1.2, RFC 9207 §2), and what a fault makes of them.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use url::Url;

use super::{
    ledger::{CodeRequest, Identity},
    request::{AuthorizationRequest, Refused, Target},
};
use crate::{
    faults::AuthorizeFault,
    state::{State as Remembered, World},
};

/// Whose issuer `wrong_issuer` claims to be.
const ATTACKER: &str = "https://attacker.example";

/// Whoever has approved.
pub(crate) struct Approval {
    pub(crate) sub: String,
    pub(crate) account: String,
    /// When they signed in: seconds since the Unix epoch.
    pub(crate) auth_time: i64,
    /// What they granted, of what was asked.
    pub(crate) scope: String,
}

/// Issues a code and answers the address that takes it to the client.
pub(crate) fn approved(
    world: &World,
    state: &mut Remembered,
    request: &AuthorizationRequest,
    approval: Approval,
) -> String {
    let target = &request.target;
    let scope = match state.faults.granted_scope.as_deref() {
        Some(most) if target.site != crate::site::Site::Idp => narrowed(&approval.scope, most),
        _ => approval.scope,
    };
    let code = state.ledger.approve(
        CodeRequest {
            site: target.site,
            client_id: request.client_id.clone(),
            redirect_uri: target.redirect_uri.clone(),
            challenge: request.challenge.clone(),
            scope,
            identity: Identity {
                sub: approval.sub,
                account: approval.account,
                nonce: request.nonce.clone(),
                auth_time: approval.auth_time,
                audience: request.audience.clone(),
            },
        },
        world.clock.now_ms(),
    );
    state.tally.browser.approvals += 1;
    location(world, state, target, &[("code", &code)])
}

/// The address that takes an error to the client.
pub(crate) fn refused(
    world: &World,
    state: &mut Remembered,
    target: &Target,
    (error, why): Refused,
) -> String {
    state.tally.browser.denials += u64::from(error == "access_denied");
    location(world, state, target, &[("error", error), ("error_description", why)])
}

/// Those of the scopes that are among the others.
fn narrowed(scope: &str, most: &str) -> String {
    let most: Vec<&str> = most.split(' ').collect();
    scope.split(' ').filter(|scope| most.contains(scope)).collect::<Vec<_>>().join(" ")
}

fn location(world: &World, state: &mut Remembered, target: &Target, outcome: &[(&str, &str)]) -> String {
    let in_answer = |fault: AuthorizeFault| fault.error().is_none() && fault != AuthorizeFault::Page;
    let fault = state.faults.take_authorize_fault(target.site, in_answer);
    let issuer = match fault {
        AuthorizeFault::WrongIssuer => Some(ATTACKER.to_owned()),
        AuthorizeFault::OtherIssuer => Some(target.site.other().issuer(&world.base)),
        AuthorizeFault::NoIssuer => None,
        _ => Some(target.site.issuer(&world.base)),
    };
    let its_state = match fault {
        AuthorizeFault::WrongState => Some("a-state-that-nobody-asked-for"),
        AuthorizeFault::NoState => None,
        _ => target.state.as_deref(),
    };
    // It was one when the request was read.
    let Ok(mut url) = Url::parse(&target.redirect_uri) else { return world.base.clone() };
    let mut pairs = url.query_pairs_mut();
    for (name, value) in outcome {
        match (*name, fault) {
            ("code", AuthorizeFault::NoCode) => {}
            ("code", AuthorizeFault::WrongCode) => {
                pairs.append_pair(name, "sbx_ac_never-issued");
            }
            _ => {
                pairs.append_pair(name, value);
            }
        }
    }
    pairs.extend_pairs(its_state.map(|state| ("state", state)));
    pairs.extend_pairs(issuer.map(|issuer| ("iss", issuer)));
    drop(pairs);
    url.into()
}

/// Sends the browser on: 302 where it asked with GET, 303 where it posted.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let cache = HeaderValue::from_static("no-store");
    (status, [(header::LOCATION, location), (header::CACHE_CONTROL, cache)]).into_response()
}
