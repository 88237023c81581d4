//! On the way to the provider, and back in a window of its own.
//!
//! A form must not lead elsewhere (`form-action 'self'`), so the browser leaves from a page, by its script or a link. A
//! provider that cuts the window's tie to its opener is opened in a second window, from the person's click; the page waits
//! for that window's word over a `BroadcastChannel`, and looks by itself now and then.

use askama::Template;
use axum::extract::{Path, Query};
use http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{
    dance::{Dance, read_attempt},
    here::{Here, Page},
    show::last,
};
use crate::{
    audit::Action,
    oauth::{Authorization, authorization_url},
    web::{Shell, Trouble, Visit, shown},
};
use alter_core::wire::connect::CALLBACK_PATH;

type Params = Path<Vec<(String, String)>>;

#[derive(Template)]
#[template(path = "connect/go.html")]
pub(super) struct GoPage {
    pub(super) shell: Shell,
    pub(super) base: String,
    pub(super) provider: String,
    pub(super) url: String,
    pub(super) own_window: bool,
    /// Name of the channel on which the other window says that it is back.
    pub(super) channel: String,
    pub(super) version: u64,
}

#[derive(Deserialize)]
pub(super) struct GoQuery {
    #[serde(default)]
    attempt: String,
    #[serde(default)]
    select: String,
    #[serde(default)]
    adds: String,
}

/// `GET …/go`: leaves for the provider. It can be loaded again for as long as nothing newer was begun.
pub(super) async fn go(params: Params, Query(query): Query<GoQuery>, visit: Visit) -> Page {
    let here = Here::load(visit, last(&params.0, "session")).await?;
    let (true, true, Some(leaving), Some(attempt)) = (
        here.is_open(),
        here.is_proved(),
        here.session.progress.leaving.clone(),
        read_attempt(&query.attempt),
    ) else {
        return Ok(here.to(""));
    };
    let dance = Dance::new(&here.secret, here.session.session, &attempt);
    if dance.digest != leaving.state {
        return Ok(here.to(""));
    }
    let providers = here.providers().await?;
    let provider = providers.iter().find(|provider| provider.id == leaving.provider);
    let Some((provider, oauth)) = provider.and_then(|provider| Some((provider, provider.oauth.as_ref()?)))
    else {
        return Ok(here.to(""));
    };
    let redirect_uri = here.visit.public.join(CALLBACK_PATH);
    let url = authorization_url(&Authorization {
        oauth,
        redirect_uri: redirect_uri.as_str(),
        state: dance.state.expose_secret(),
        verifier: dance.verifier.expose_secret(),
        nonce: dance.nonce.expose_secret(),
        scopes: &leaving.scopes,
        select_account: !query.select.is_empty(),
        incremental: !query.adds.is_empty(),
    });
    let url = match url {
        Ok(url) => url,
        Err(error) => {
            let what = format!("the provider's definition cannot be used: {error}");
            let remark =
                here.remark_of(&provider.id, Action::ConnectFailed, Some("connect_config_error"), what);
            return Err(here.refuse(remark, misconfigured().link(here.path(""), "Go back")).await);
        }
    };
    let name = shown(&provider.name);
    Ok(here.visit.page(&GoPage {
        shell: here.visit.shell(here.brand(), format!("Continue at {name}")),
        base: here.path(""),
        provider: name,
        url: url.into(),
        own_window: leaving.own_window,
        channel: channel(&here),
        version: here.session.version,
    }))
}

fn misconfigured() -> Trouble {
    Trouble::new(
        StatusCode::BAD_GATEWAY,
        "This cannot be connected at the moment",
        "The application's registration at the provider is not complete.",
        "Tell the application's support, with the number below.",
    )
}

fn channel(here: &Here) -> String {
    format!("alter-connect:{}", here.session.session)
}

#[derive(Template)]
#[template(path = "connect/back.html")]
struct BackPage {
    shell: Shell,
    base: String,
    channel: String,
}

/// `GET …/back`: the window in which the provider was says that it is back, and closes.
pub(super) async fn back(params: Params, visit: Visit) -> Page {
    let here = Here::load(visit, last(&params.0, "session")).await?;
    let shell = here.visit.shell(here.brand(), "You can close this window");
    Ok(here.visit.page(&BackPage { shell, base: here.path(""), channel: channel(&here) }))
}

#[derive(Serialize)]
struct Status {
    version: u64,
}

/// `GET …/status`: whether something has happened, for a page that waits.
pub(super) async fn status(params: Params, visit: Visit) -> Page {
    let here = Here::load(visit, last(&params.0, "session")).await?;
    // Past its end it is something new as well.
    let version = if here.is_open() { here.session.version } else { 0 };
    Ok(here.visit.json(StatusCode::OK, &Status { version }))
}
