//! The user info endpoint: whose account an access token is for.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{api, state::World};

pub(super) async fn userinfo(State(world): State<Arc<World>>, headers: HeaderMap) -> Response {
    let token = api::bearer_token(&headers);
    match token.and_then(|token| world.lock().ledger.bearer(token, world.clock.now_ms())) {
        Some(user) => {
            let email = email(&user.account);
            Json(json!({"sub": user.sub, "account": user.account, "email": email})).into_response()
        }
        None => api::unauthorized(),
    }
}

/// An account's address. Two accounts of one user have two.
pub(super) fn email(account: &str) -> String {
    if account.contains('@') { account.to_owned() } else { format!("{account}@example.test") }
}
