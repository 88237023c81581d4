//! What comes back from our own pages, and whether it may.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use url::form_urlencoded;

use super::{Session, Visit, cookie};
use crate::{
    html,
    oauth::answer::redirect,
    params::Params,
    site::Site,
    state::{Digest, State as Remembered, World},
};

/// The way ends here, with this response.
pub(super) struct Stop(Box<Response>);

impl From<Response> for Stop {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl IntoResponse for Stop {
    fn into_response(self) -> Response {
        *self.0
    }
}

pub(super) fn unknown() -> Stop {
    let why = "Nothing of this name was begun here. Go back to the application and start again.";
    html::refusal(StatusCode::NOT_FOUND, "Nothing to do here", why).into()
}

fn refusal(status: StatusCode, why: &str) -> Stop {
    html::refusal(status, "Not here", why).into()
}

/// A visit with the session it belongs to, for the browser that has this session.
pub(super) struct Here<'a> {
    pub(super) id: String,
    pub(super) visit: &'a Visit,
    pub(super) session: &'a Session,
    pub(super) digest: Digest,
}

/// Finds the visit, or says why this browser may not go on with it. A visit that has been answered leads to the
/// same answer again.
pub(super) fn here<'a>(
    world: &World,
    state: &'a Remembered,
    site: Site,
    headers: &HeaderMap,
    id: Option<&str>,
) -> Result<Here<'a>, Stop> {
    let id = id.ok_or_else(unknown)?.to_owned();
    let visit = state.visits.open.get(&id).filter(|visit| visit.request.target.site == site);
    let visit = visit.ok_or_else(unknown)?;
    let digest = cookie::session(world, state, site, headers).filter(|digest| *digest == visit.session);
    let elsewhere = "This was begun in another browser, or this one keeps no cookies.";
    let digest = digest.ok_or_else(|| refusal(StatusCode::FORBIDDEN, elsewhere))?;
    let session = state.visits.sessions.get(&digest).ok_or_else(unknown)?;
    if let Some(answer) = &visit.answer {
        return Err(redirect(StatusCode::SEE_OTHER, answer).into());
    }
    Ok(Here { id, visit, session, digest })
}

/// A posted form: single values, and the scopes that were left ticked.
pub(super) struct Form {
    pub(super) params: Params,
    pub(super) scopes: Vec<String>,
}

impl Form {
    pub(super) fn read(body: &[u8]) -> Result<Self, Stop> {
        let mut scopes = Vec::new();
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(body) {
            if name == "scope" {
                scopes.push(value.into_owned());
            } else {
                rest.append_pair(&name, &value);
            }
        }
        let wrong = |_| refusal(StatusCode::BAD_REQUEST, "This form says something twice.");
        Ok(Self { params: Params::parse(rest.finish().as_bytes()).map_err(wrong)?, scopes })
    }

    /// Like [`here`], for a form that our own page sent.
    pub(super) fn here<'a>(
        &self,
        world: &World,
        state: &'a Remembered,
        site: Site,
        headers: &HeaderMap,
    ) -> Result<Here<'a>, Stop> {
        let found = here(world, state, site, headers, self.params.get("request"))?;
        let token = self.params.get("csrf").unwrap_or_default();
        let ours = verify_slices_are_equal(token.as_bytes(), found.session.csrf.as_bytes()).is_ok();
        let forged = "This form was not sent by our own page.";
        if ours { Ok(found) } else { Err(refusal(StatusCode::FORBIDDEN, forged)) }
    }
}
