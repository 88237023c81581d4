//! What the tests do as the application's backend, as its operator, and as time.

use std::sync::Arc;

use alter_core::{
    UserToken,
    error::Error,
    wire::{
        header,
        sign::{Stamp, sign},
    },
};
use alter_server::{
    admin::Admin,
    audit::AuditFilter,
    domain::{AppId, PageSettings, Provider},
};
use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{Failure, Stage};

pub(crate) fn router() -> Router<Arc<Stage>> {
    Router::new()
        .route("/control/signed", post(signed))
        .route("/control/shop", post(shop))
        .route("/control/call", post(call))
        .route("/control/clock", post(clock))
        .route("/control/page", post(page))
        .route("/control/provider", post(provider))
        .route("/control/app", post(app))
        .route("/control/audit", get(audit))
}

/// What went wrong here, and not in what is tested.
struct Broken(Failure);

impl<E: Into<Failure>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Broken {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"broken": self.0.to_string()}))).into_response()
    }
}

/// A call of the vault as the application.
#[derive(Deserialize)]
struct Signed {
    path: String,
    body: Map<String, Value>,
    /// Whose token goes along.
    user: Option<String>,
}

async fn signed(
    State(stage): State<Arc<Stage>>,
    Json(Signed { path, mut body, user }): Json<Signed>,
) -> Result<Json<Value>, Broken> {
    if let Some(user) = user {
        body.insert("user_token".to_owned(), stage.token(&user).await?.into());
    }
    let body = serde_json::to_vec(&body)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::API_KEY, HeaderValue::from_str(stage.key.expose())?);
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let stamp = Stamp::fresh(alter_core::clock::Clock::now(&*stage.clock).as_second())?;
    sign(&stage.key.signing_key(), &Method::POST, &path, &stamp, &body, &mut headers)?;
    let answer = stage.http.post(format!("{}{path}", stage.vault)).headers(headers).body(body).send().await?;
    let status = answer.status().as_u16();
    let text = answer.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Json(json!({"status": status, "body": body})))
}

#[derive(Deserialize)]
struct NewPage {
    name: String,
    session: Value,
}

/// A page of the host application whose button opens a session.
async fn shop(State(stage): State<Arc<Stage>>, Json(new): Json<NewPage>) -> Json<Value> {
    let path = format!("/shop/{}", new.name);
    stage.shop.put(new.name, new.session);
    Json(json!({"path": path}))
}

/// A call of the provider's API for a user, through the client.
#[derive(Deserialize)]
struct Call {
    user: String,
    provider: String,
    reason: String,
    /// Where the reconnect link leads to at the end.
    return_url: Option<String>,
}

/// What the application sees: the provider's answer, or the typed error and the link that mends it.
async fn call(State(stage): State<Arc<Stage>>, Json(call): Json<Call>) -> Result<Json<Value>, Broken> {
    let user = stage.app.for_user(UserToken::parse(stage.token(&call.user).await?)?);
    let url = format!("{}/me", stage.api_url);
    let request = user.request(Method::GET, url).provider(&call.provider).reason(&call.reason);
    let error = match request.send().await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            return Ok(Json(json!({"status": status, "body": answer.json::<Value>().await?})));
        }
        Err(error) => error,
    };
    let mut seen = json!({"error": describe(&error)});
    if error.needs_connection() {
        let mut session = user.connect_session_for(&error);
        if let Some(url) = call.return_url {
            session = session.return_url(url);
        }
        match session.create().await {
            Ok(session) => {
                seen["reconnect"] = json!({"url": session.url(), "token": session.token().expose(), "baseURL": session.base_url()});
            }
            Err(error) => seen["reconnect_error"] = describe(&error),
        }
    }
    Ok(Json(seen))
}

fn describe(error: &Error) -> Value {
    json!({
        "kind": format!("{:?}", error.kind()),
        "code": error.code().map(ToString::to_string),
        "message": error.to_string(),
        "needs_connection": error.needs_connection(),
    })
}

#[derive(Deserialize)]
struct Shift {
    seconds: i64,
}

/// The vault's clock, relative to the machine's.
async fn clock(State(stage): State<Arc<Stage>>, Json(shift): Json<Shift>) -> Json<Value> {
    stage.clock.shift(shift.seconds);
    Json(json!({}))
}

/// How the application appears; members that are left out stay as they are.
async fn page(
    State(stage): State<Arc<Stage>>,
    Json(change): Json<Map<String, Value>>,
) -> Result<Json<Value>, Broken> {
    let (admin, app) = stage.operator()?;
    let mut now = serde_json::to_value(admin.app_config(app).await?.page)?;
    if let Some(now) = now.as_object_mut() {
        now.extend(change);
    }
    let page: PageSettings = serde_json::from_value(now)?;
    admin.set_page(app, page).await?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct ChangeProvider {
    id: String,
    #[serde(default)]
    provider: Map<String, Value>,
    #[serde(default)]
    oauth: Map<String, Value>,
}

/// What the vault knows of a provider; members that are left out stay as they are.
async fn provider(
    State(stage): State<Arc<Stage>>,
    Json(change): Json<ChangeProvider>,
) -> Result<Json<Value>, Broken> {
    let (admin, app) = stage.operator()?;
    let mut now = serde_json::to_value(admin.provider(app, &change.id.parse()?).await?)?;
    if let Some(oauth) = now["oauth"].as_object_mut() {
        oauth.extend(change.oauth);
    }
    if let Some(now) = now.as_object_mut() {
        now.extend(change.provider);
    }
    let provider: Provider = serde_json::from_value(now)?;
    admin.put_provider(app, provider, None).await?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct NewApp {
    name: String,
}

/// Another application with the same identity provider, and a name that people see.
async fn app(State(stage): State<Arc<Stage>>, Json(new): Json<NewApp>) -> Result<Json<Value>, Broken> {
    let (admin, first) = stage.operator()?;
    let known = admin.app_config(first).await?;
    let app = admin.create_app(&new.name.to_lowercase().replace(' ', "-")).await?.id;
    admin.set_page(app, PageSettings { display_name: Some(new.name), ..PageSettings::default() }).await?;
    if let (Some(idp), Some(sign_in)) = (known.idp, known.sign_in) {
        admin.set_idp(app, idp).await?;
        let secret = stage.dev.as_ref().map(|dev| dev.sandbox.sign_in_client().client_secret);
        admin.set_sign_in(app, sign_in, secret.map(SecretString::from)).await?;
    }
    Ok(Json(json!({"id": app})))
}

/// The newest rows of the trail, of the whole vault.
async fn audit(State(stage): State<Arc<Stage>>) -> Result<Json<Value>, Broken> {
    let filter = AuditFilter { newest_first: true, limit: 200, ..AuditFilter::default() };
    let page = stage.operator()?.0.audit(filter).await?;
    Ok(Json(serde_json::to_value(page.rows)?))
}

impl Stage {
    /// A token of a user of the application.
    async fn token(&self, user: &str) -> Result<String, Failure> {
        let url = reqwest::Url::parse_with_params(&self.mint_url, [("sub", user), ("ttl", "86400")])?;
        let answer: Value = self.http.get(url).send().await?.error_for_status()?.json().await?;
        Ok(answer["token"].as_str().ok_or("the sandbox minted no token")?.to_owned())
    }

    /// The operator of the vault, and the application.
    fn operator(&self) -> Result<(Admin, AppId), Failure> {
        let dev = self.dev.as_ref().ok_or("this vault is another program's")?;
        Ok((dev.vault.admin("browser"), dev.ready.app.id))
    }
}
