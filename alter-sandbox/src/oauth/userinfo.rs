//! The user info endpoint (OIDC Core 1.0 §5.3): whose account an access token is for.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    api,
    site::{Site, display_name, email},
    state::World,
};

pub(crate) async fn userinfo(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
) -> Response {
    let token = api::bearer_token(&headers);
    let bearer = token.and_then(|token| world.lock().ledger.bearer(token, world.clock.now_ms()));
    match bearer.filter(|bearer| bearer.site == site) {
        Some(user) => Json(json!({
            "sub": user.sub,
            "account": user.account,
            "email": email(&user.account),
            "name": display_name(&user.account),
        }))
        .into_response(),
        None => api::unauthorized(),
    }
}
