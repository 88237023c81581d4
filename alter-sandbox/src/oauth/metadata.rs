//! What a provider says of itself (RFC 8414 §2, OIDC Discovery 1.0 §3).

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use serde_json::{Value, json};

use super::OauthEndpoints;
use crate::{site::Site, state::World};

/// The metadata of an OAuth provider.
pub(crate) async fn metadata(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
) -> Json<Value> {
    let mut document = describe(&world, site);
    document["revocation_endpoint"] = OauthEndpoints::at(&world.base, site).revoke.into();
    document["revocation_endpoint_auth_methods_supported"] =
        document["token_endpoint_auth_methods_supported"].clone();
    document["scopes_supported"] = json!(["openid", "read", "write"]);
    document["grant_types_supported"] = json!(["authorization_code", "refresh_token"]);
    Json(document)
}

/// What all providers here have in common.
pub(crate) fn describe(world: &World, site: Site) -> Value {
    let endpoints = OauthEndpoints::at(&world.base, site);
    json!({
        "issuer": endpoints.issuer,
        // One key set for all.
        "jwks_uri": format!("{}/jwks", world.issuer()),
        "authorization_endpoint": endpoints.authorize,
        "token_endpoint": endpoints.token,
        "userinfo_endpoint": endpoints.userinfo,
        "end_session_endpoint": endpoints.sign_out,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "subject_types_supported": ["public"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "id_token_signing_alg_values_supported":
            world.algorithms.iter().map(|alg| alg.as_str()).collect::<Vec<_>>(),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "claims_supported": ["sub", "email", "name", "groups"],
    })
}
