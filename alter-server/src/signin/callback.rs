//! `GET /sdk/auth/callback`: a browser comes back from an identity provider.

use alter_core::wire::code::Code;
use axum::{extract::RawQuery, response::Response};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use super::{
    Purpose, SignInError, SignedIn,
    party::{Returned, Tokens},
    state::State,
};
use crate::{
    audit::Action,
    domain::AppId,
    idp::{AppEntry, TokenRefused},
    store::StoreError,
    web::{Brand, BrowserSecret, Remark, Trouble, Visit, shown},
};

/// Finishes a sign-in, and hands it on to what it was for.
pub(crate) async fn callback(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let Some(params) = Params::read(query.as_deref().unwrap_or_default()) else {
        let what = "GET /sdk/auth/callback: a parameter is missing or comes twice";
        return nobodys(&visit, Code::InvalidRequest, what).await;
    };
    let claimed = State::read(&params.state);
    let state = claimed.and_then(|claimed| {
        let secret = visit.secret(claimed.purpose.cookie())?;
        claimed.of(&secret).map(|state| (state, secret))
    });
    let Some((state, secret)) = state else {
        let what = "GET /sdk/auth/callback: the state was not given to this browser";
        return nobodys(&visit, Code::from("state_mismatch"), what).await;
    };
    let app = match visit.app(state.purpose.app_id()).await {
        Ok(Some(app)) => app,
        Ok(None) => {
            return nobodys(&visit, Code::NotFound, "GET /sdk/auth/callback: there is no such app").await;
        }
        Err(error) => return visit.store_trouble(Brand::vault(), &error),
    };
    let signed_in = match finish(&visit, &app, &state, params.returned).await {
        Ok(signed_in) => signed_in,
        Err(error) => return visit.store_trouble(Brand::of(&app.config), &error),
    };
    hand_on(visit, app, state.purpose, secret, signed_in).await
}

async fn hand_on(
    visit: Visit,
    app: std::sync::Arc<AppEntry>,
    purpose: Purpose,
    secret: BrowserSecret,
    signed_in: Result<SignedIn, SignInError>,
) -> Response {
    match purpose {
        Purpose::Connect(_) | Purpose::SignIn(_) => {
            crate::connect::after_sign_in(visit, purpose, secret, signed_in).await
        }
        Purpose::Wallet(_) => crate::wallet::after_sign_in(visit, app, signed_in).await,
    }
}

async fn finish(
    visit: &Visit,
    app: &AppEntry,
    state: &State,
    returned: Returned,
) -> Result<Result<SignedIn, SignInError>, StoreError> {
    if state.is_stale(visit.at) {
        return Ok(Err(SignInError::TooLate));
    }
    let Some(party) = &app.relying_party else { return Ok(Err(SignInError::NotConfigured)) };
    let sealed = visit.core.store.sign_in_secret(app.config.app_id).await?;
    let secret = sealed.map(|sealed| visit.core.open(&sealed)).transpose()?;
    let secret = secret.and_then(|bytes| {
        std::str::from_utf8(bytes.expose_secret()).ok().map(|text| SecretString::from(text.to_owned()))
    });
    let (identity, tokens) = match party.finish(&visit.public, secret.as_ref(), state, returned).await {
        Ok(done) => done,
        Err(error) => return Ok(Err(error)),
    };
    // What the app is handed must be what it takes: found out here, and not by the app's first call.
    let identity = match &tokens {
        Tokens::Access(token) => app.identify(token.expose_secret()).await,
        Tokens::Id(token) if matches!(state.purpose, Purpose::SignIn(_)) => {
            app.identify(token.expose_secret()).await
        }
        Tokens::Id(_) => Ok(identity),
    };
    Ok(match identity {
        Ok(identity) => Ok(SignedIn { identity, user_token: tokens.into_inner() }),
        Err(refused) => Err(not_taken(&refused)),
    })
}

fn not_taken(refused: &TokenRefused) -> SignInError {
    if refused.is_transient() {
        SignInError::Unavailable(refused.to_string())
    } else {
        SignInError::Misconfigured(format!(
            "the app's rules do not take the token that users sign in with ({refused}): see `idp set --audience` and `--user-token`"
        ))
    }
}

/// An answer that nobody here waits for: forged, replayed into another browser, or of a browser whose cookie is gone.
async fn nobodys(visit: &Visit, code: Code, what: &str) -> Response {
    let remark = Remark::refused(AppId::VAULT, Action::RequestRefused, code, what);
    let trouble = Trouble::new(
        StatusCode::FORBIDDEN,
        "This sign-in was refused",
        "It was not begun in this browser, or the browser no longer has the cookie that says so. Nobody was signed in.",
        "Go back to where you started and try again there. If a link brought you here, do not trust whoever sent it.",
    );
    visit.refuse_stranger(Brand::vault(), remark, trouble).await
}

struct Params {
    state: String,
    returned: Returned,
}

impl Params {
    /// `None` if there is no state, or one of the parameters that count comes twice (RFC 6749 §3.1).
    fn read(query: &str) -> Option<Self> {
        let (mut state, mut code, mut iss, mut error) = (None, None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut state,
                "code" => &mut code,
                "iss" => &mut iss,
                "error" => &mut error,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        let returned =
            Returned { code: code.map(SecretString::from), iss, error: error.map(|error| shown(&error)) };
        Some(Self { state: state?, returned })
    }
}
