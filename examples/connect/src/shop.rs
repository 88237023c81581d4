//! The shop. Of a connected account it keeps nothing: no token, no grant id. What is connected, the vault knows.

use std::sync::Arc;

use alter_core::{
    App, ConnectBuilder, Error, Kind, UserClient, answer::Answer, error, wire::grants::Grant,
    wire::secret::SecretText,
};
use askama::Template;
use axum::{
    Form, Json, Router,
    extract::{FromRequestParts, Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{AppendHeaders, Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::users::{Callback, User, Users};

/// What can be connected, as the vault names it, and what the shop calls it.
const PROVIDERS: [(&str, &str); 2] = [("sandbox", "Sandbox"), ("sandbox-two", "Sandbox Two")];
/// The shop's own scripts and style, and the widget's. The widget's popup is the vault's page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// What every handler needs.
pub(crate) struct Shop {
    alter: App,
    origin: String,
    /// The provider's API.
    api: String,
    users: Users,
    widget: Option<Vec<u8>>,
}

impl Shop {
    pub(crate) fn new(alter: App, origin: &str, api: &str, users: Users, widget: Option<Vec<u8>>) -> Self {
        Self { alter, origin: origin.to_owned(), api: api.to_owned(), users, widget }
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/", get(home))
            .route("/sign-in", get(sign_in))
            .route("/sign-in/callback", get(signed_in))
            .route("/sign-out", post(sign_out))
            .route("/connect", post(connect))
            .route("/connect/popup", post(popup))
            .route("/disconnect", post(disconnect))
            .route("/profile/{provider}", get(profile))
            .route("/shop.js", get(async || asset("text/javascript", include_str!("../assets/shop.js"))))
            .route("/shop.css", get(async || asset("text/css", include_str!("../assets/shop.css"))))
            .route("/alter-connect.umd.js", get(widget))
            .with_state(Arc::new(self))
    }
}

/// Somebody who is signed in, with a client that acts for them. Forms need no token against forgery beyond this: the shop's
/// cookie is `SameSite=Lax`, so no other site's form carries it.
struct Visitor {
    user: Arc<User>,
    alter: UserClient,
    /// Where the vault's page leads back to.
    home: String,
}

impl FromRequestParts<Arc<Shop>> for Visitor {
    type Rejection = Redirect;

    async fn from_request_parts(parts: &mut Parts, shop: &Arc<Shop>) -> Result<Self, Redirect> {
        let user = shop.users.who(&parts.headers).ok_or_else(|| Redirect::to("/"))?;
        Ok(Self { alter: shop.alter.for_user(user.token.clone()), user, home: format!("{}/", shop.origin) })
    }
}

impl Visitor {
    /// A session that is good in this visitor's browser only. A link to it that is sent to somebody else connects nothing.
    fn bound(&self, session: ConnectBuilder) -> ConnectBuilder {
        session.browser_binding(&self.user.binding).return_url(&self.home)
    }
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    user: String,
    accounts: Vec<Account>,
    providers: [(&'static str, &'static str); 2],
    widget: bool,
    notice: Option<&'static str>,
}

/// A connected account, as the page shows it.
struct Account {
    grant: String,
    provider: String,
    name: String,
    scopes: String,
    since: String,
    needs_reconnect: bool,
}

#[derive(Deserialize)]
struct Back {
    #[serde(default)]
    alter_connect_success: String,
    #[serde(default)]
    error_code: String,
}

async fn home(
    State(shop): State<Arc<Shop>>,
    Query(back): Query<Back>,
    visitor: Result<Visitor, Redirect>,
) -> Result<Response, Failure> {
    #[derive(Template)]
    #[template(path = "welcome.html")]
    struct Welcome;
    let Ok(visitor) = visitor else { return Ok(page(StatusCode::OK, &Welcome)) };

    let mut accounts = Vec::new();
    let mut grants = visitor.alter.grants().list().status("active").pages();
    while let Some(grant) = grants.next().await? {
        if let Grant::Oauth(grant) = grant {
            accounts.push(Account {
                name: grant.account_identifier.unwrap_or_else(|| "account".to_owned()),
                provider: grant.provider_id,
                grant: grant.grant_id,
                scopes: grant.scopes.join(", "),
                since: grant.created_at.chars().take(10).collect(),
                needs_reconnect: grant.needs_reconnect,
            });
        }
    }
    // Anybody can make an address with these parameters, so they choose a sentence and no more. The list is what counts.
    let notice = match (back.alter_connect_success.as_str(), back.error_code.as_str()) {
        ("true", _) => Some("That is done."),
        (_, "") => None,
        (_, "connect_denied") => Some("Nothing was connected: you did not allow it."),
        _ => Some("Nothing was connected. Please try again."),
    };
    Ok(page(
        StatusCode::OK,
        &HomePage {
            user: visitor.user.name.clone(),
            accounts,
            providers: PROVIDERS,
            widget: shop.widget.is_some(),
            notice,
        },
    ))
}

#[derive(Deserialize)]
struct Wanted {
    provider: String,
}

/// The Connect button without any script: to the vault's page, which leads back here.
async fn connect(visitor: Visitor, Form(wanted): Form<Wanted>) -> Result<Redirect, Failure> {
    let session = visitor.alter.connect_session().provider(wanted.provider);
    let session = visitor.bound(session).create().await?;
    // The token stands in the fragment, which browsers keep to themselves.
    Ok(Redirect::to(session.url()))
}

/// The Connect button with the npm widget, which opens the vault's page in a popup and hears of the result by `postMessage`.
async fn popup(
    State(shop): State<Arc<Shop>>,
    visitor: Visitor,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>, Failure> {
    let session = visitor.alter.connect_session().provider(wanted.provider).allowed_origin(&shop.origin);
    let session = visitor.bound(session).create().await?;
    Ok(Json(json!({ "token": session.token().expose(), "baseURL": session.base_url() })))
}

#[derive(Deserialize)]
struct Unwanted {
    grant: String,
}

/// Only the visitor's own grants can be revoked: the client acts for them.
async fn disconnect(visitor: Visitor, Form(unwanted): Form<Unwanted>) -> Result<Redirect, Failure> {
    let revoke = visitor.alter.grants().revoke(unwanted.grant.as_str());
    revoke.reason("disconnected in the shop").send().await?;
    Ok(Redirect::to("/"))
}

#[derive(Template)]
#[template(path = "profile.html")]
struct ProfilePage {
    provider: String,
    told: Option<String>,
    /// Which of several accounts is meant.
    choices: Vec<String>,
    /// The page that mends the connection.
    reconnect: Option<SecretText>,
    why: String,
}

#[derive(Deserialize)]
struct Which {
    account: Option<String>,
}

/// A call on the visitor's behalf, and what becomes of it.
async fn profile(
    State(shop): State<Arc<Shop>>,
    visitor: Visitor,
    Path(provider): Path<String>,
    Query(which): Query<Which>,
) -> Result<Response, Failure> {
    let mut call = visitor
        .alter
        .request(Method::GET, format!("{}/me", shop.api))
        .provider(&provider)
        .reason("show the user's own profile");
    if let Some(account) = which.account {
        call = call.account(account);
    }
    let mut shown =
        ProfilePage { provider, told: None, choices: Vec::new(), reconnect: None, why: String::new() };
    let answered = match call.send().await {
        Ok(response) => response.json::<Value>().await,
        Err(error) => Err(error),
    };
    let error = match answered {
        Ok(told) => {
            shown.told = serde_json::to_string_pretty(&told).ok();
            return Ok(page(StatusCode::OK, &shown));
        }
        Err(error) => error,
    };
    // The error is typed: it says what would help.
    if let Kind::Grant(error::Grant::Ambiguous(ambiguous)) = error.kind() {
        shown.choices.clone_from(&ambiguous.account_identifiers);
        return Ok(page(StatusCode::CONFLICT, &shown));
    }
    if error.needs_connection() {
        shown.reconnect = visitor.bound(visitor.alter.connect_session_for(&error)).link().await;
        let answer = Answer::logged(&error);
        shown.why = answer.body["message"].as_str().unwrap_or_default().to_owned();
        return Ok(page(answer.status, &shown));
    }
    Err(error.into())
}

async fn sign_in(State(shop): State<Arc<Shop>>) -> Result<Response, Failure> {
    let (url, cookie) = shop.users.begin().map_err(|error| Failure::Said(error.to_string()))?;
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to(url.as_str())).into_response())
}

async fn signed_in(
    State(shop): State<Arc<Shop>>,
    headers: HeaderMap,
    Query(back): Query<Callback>,
) -> Result<Response, Failure> {
    let cookies = shop.users.finish(&headers, &back).await.map_err(Failure::Said)?;
    let cookies = AppendHeaders(cookies.map(|cookie| (header::SET_COOKIE, cookie)));
    Ok((cookies, Redirect::to("/")).into_response())
}

async fn sign_out(State(shop): State<Arc<Shop>>, headers: HeaderMap) -> Response {
    let cookies = AppendHeaders(shop.users.sign_out(&headers).map(|cookie| (header::SET_COOKIE, cookie)));
    (cookies, Redirect::to("/")).into_response()
}

async fn widget(State(shop): State<Arc<Shop>>) -> Response {
    match &shop.widget {
        Some(script) => asset("text/javascript", script.clone()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn asset(kind: &'static str, body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => {
            let headers = [
                (HeaderName::from_static("content-security-policy"), HeaderValue::from_static(POLICY)),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (status, headers, Html(html)).into_response()
        }
        // Writing into a string does not fail.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What went wrong, as a page.
enum Failure {
    Vault(Error),
    Said(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Vault(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Template)]
        #[template(path = "trouble.html")]
        struct Trouble {
            what: String,
        }
        match self {
            // The user's own token is over.
            Self::Vault(error) if matches!(error.kind(), Kind::Auth(error::Auth::UserToken)) => {
                Redirect::to("/sign-in").into_response()
            }
            Self::Vault(error) => {
                let answer = Answer::logged(&error);
                let what = answer.body["message"].as_str().unwrap_or_default().to_owned();
                page(answer.status, &Trouble { what })
            }
            Self::Said(what) => page(StatusCode::BAD_REQUEST, &Trouble { what }),
        }
    }
}
