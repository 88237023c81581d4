//! Discovery, key set, minted tokens; verified by jsonwebtoken, which shares no code with the signing here.

use alter_sandbox::{Sandbox, TokenAlgorithm, TokenRequest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation, decode_header, jwk::JwkSet};
use serde_json::Value;

use super::{http, json, sandbox};

async fn key_set(sandbox: &Sandbox) -> JwkSet {
    let discovery = format!("{}/.well-known/openid-configuration", sandbox.issuer());
    let document = json(http().get(discovery).send().await.unwrap()).await;
    assert_eq!(document["issuer"], sandbox.issuer());
    http().get(document["jwks_uri"].as_str().unwrap()).send().await.unwrap().json().await.unwrap()
}

/// The claims of a token that verifies against the published keys.
pub(super) async fn verify(sandbox: &Sandbox, token: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    verify_of(sandbox, &sandbox.issuer(), token).await
}

async fn verify_of(
    sandbox: &Sandbox,
    issuer: &str,
    token: &str,
) -> Result<Value, jsonwebtoken::errors::Error> {
    let keys = key_set(sandbox).await;
    let header = decode_header(token)?;
    let Some(jwk) = header.kid.as_deref().and_then(|kid| keys.find(kid)) else {
        return Err(jsonwebtoken::errors::ErrorKind::InvalidKeyFormat.into());
    };
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[issuer]);
    validation.validate_aud = false;
    validation.validate_nbf = true;
    Ok(jsonwebtoken::decode(token, &DecodingKey::from_jwk(jwk)?, &validation)?.claims)
}

pub(super) async fn verified(sandbox: &Sandbox, token: &str) -> Value {
    verify(sandbox, token).await.unwrap()
}

pub(super) async fn verified_of(sandbox: &Sandbox, issuer: &str, token: &str) -> Value {
    verify_of(sandbox, issuer, token).await.unwrap()
}

async fn minted(sandbox: &Sandbox, query: &str) -> String {
    let answer = json(http().get(format!("{}?{query}", sandbox.mint_url())).send().await.unwrap()).await;
    answer["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// A part of a token, unverified.
fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn tokens_of_all_three_algorithms_verify_against_the_published_keys() {
    let sandbox = sandbox().await;
    for (alg, name) in
        [(TokenAlgorithm::Es256, "ES256"), (TokenAlgorithm::Rs256, "RS256"), (TokenAlgorithm::EdDsa, "EdDSA")]
    {
        let by_method = sandbox.mint(TokenRequest::subject("user-1").algorithm(alg));
        let by_http = minted(&sandbox, &format!("sub=user-1&alg={name}")).await;
        for token in [by_method, by_http] {
            assert_eq!(part(&token, 0)["alg"], name);
            let claims = verified(&sandbox, &token).await;
            assert_eq!((&claims["sub"], &claims["aud"]), (&"user-1".into(), &"alter-dev".into()));
        }
    }
}

#[tokio::test]
async fn a_token_carries_what_was_asked_for() {
    let sandbox = sandbox().await;
    let query = "sub=user-3&ttl=300&aud=other&email=u3%40example.test&name=U%20Three&groups=a,b";
    let claims = verified(&sandbox, &minted(&sandbox, query).await).await;
    assert_eq!((&claims["sub"], &claims["aud"]), (&"user-3".into(), &"other".into()));
    assert_eq!((&claims["email"], &claims["name"]), (&"u3@example.test".into(), &"U Three".into()));
    assert_eq!(claims["groups"], serde_json::json!(["a", "b"]));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
}

#[tokio::test]
async fn hostile_tokens_are_hostile_in_the_one_way_asked_for() {
    let sandbox = sandbox().await;
    for query in [
        "sub=u&ttl=-120",
        "sub=u&nbf=300",
        "sub=u&iss=https://elsewhere.example",
        "sub=u&kid=unknown",
        "sub=u&forged=true",
        "sub=u&forged=true&alg=EdDSA",
        "sub=u&forged=true&alg=RS256",
        "sub=u&without=exp",
        "sub=u&alg=none",
        "sub=u&alg=HS256",
    ] {
        let token = minted(&sandbox, query).await;
        assert!(verify(&sandbox, &token).await.is_err(), "{query}");
    }
    let unsigned = minted(&sandbox, "sub=u&alg=none").await;
    assert_eq!((part(&unsigned, 0)["alg"].as_str(), unsigned.ends_with('.')), (Some("none"), true));
    let expired = part(&minted(&sandbox, "sub=u&ttl=-120").await, 1);
    assert!(expired["iat"].as_i64() < expired["exp"].as_i64());
    let odd = sandbox
        .mint(TokenRequest::subject("u").header("crit", serde_json::json!(["x"])).claim("n", 1.into()));
    assert_eq!((part(&odd, 0)["crit"][0].as_str(), part(&odd, 1)["n"].as_i64()), (Some("x"), Some(1)));
}

#[tokio::test]
async fn an_hmac_token_is_keyed_with_the_public_key() {
    let sandbox = sandbox().await;
    let token = minted(&sandbox, "sub=u&alg=HS256").await;
    let keys = json(http().get(format!("{}/jwks", sandbox.issuer())).send().await.unwrap()).await;
    let ec = keys["keys"].as_array().unwrap().iter().find(|key| key["alg"] == "ES256").unwrap();
    assert_eq!(part(&token, 0)["kid"], ec["kid"]);
    let mut point = vec![4];
    for axis in ["x", "y"] {
        point.extend(URL_SAFE_NO_PAD.decode(ec[axis].as_str().unwrap()).unwrap());
    }
    let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.validate_aud = false;
    jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_secret(&point), &validation).unwrap();
}

#[tokio::test]
async fn rotation_publishes_a_new_key_and_retiring_withdraws_the_old_ones() {
    let sandbox = sandbox().await;
    let before = sandbox.mint(TokenRequest::subject("user-1"));
    let url = format!("{}/rotate", sandbox.issuer());
    let kid = json(http().post(url).send().await.unwrap()).await["kid"].as_str().unwrap().to_owned();
    let after = sandbox.mint(TokenRequest::subject("user-1"));
    assert_eq!(part(&after, 0)["kid"], kid.as_str());
    assert_ne!(part(&before, 0)["kid"], kid.as_str());
    assert!(key_set(&sandbox).await.find(&kid).is_some());
    verified(&sandbox, &before).await;
    verified(&sandbox, &after).await;

    sandbox.retire_keys();
    assert!(verify(&sandbox, &before).await.is_err());
    verified(&sandbox, &after).await;
    for _ in 0..10 {
        sandbox.rotate_keys();
    }
    assert_eq!(key_set(&sandbox).await.keys.len(), 5 * 3, "old generations are bounded");
}

#[tokio::test]
async fn a_provider_publishes_the_algorithms_it_was_built_with() {
    let sandbox = Sandbox::builder().algorithms([TokenAlgorithm::EdDsa]).start().await.unwrap();
    let discovery = format!("{}/.well-known/openid-configuration", sandbox.issuer());
    let document = json(http().get(discovery).send().await.unwrap()).await;
    assert_eq!(document["id_token_signing_alg_values_supported"], serde_json::json!(["EdDSA"]));
    assert_eq!(key_set(&sandbox).await.keys.len(), 1);
    verified(&sandbox, &sandbox.mint(TokenRequest::subject("u").algorithm(TokenAlgorithm::EdDsa))).await;
    assert!(verify(&sandbox, &sandbox.mint(TokenRequest::subject("u"))).await.is_err());
}

#[tokio::test]
async fn a_mint_request_with_a_mistake_says_which() {
    let sandbox = sandbox().await;
    for (query, named) in [
        ("ttl=5", "sub"),
        ("sub=u&ttl=soon", "ttl"),
        ("sub=u&alg=ES999", "ES256"),
        ("sub=u&audience=x", "audience"),
        ("sub=u&sub=v", "sub"),
    ] {
        let response = http().get(format!("{}?{query}", sandbox.mint_url())).send().await.unwrap();
        assert_eq!(response.status(), 400);
        let body = json(response).await;
        assert!(body["message"].as_str().unwrap().contains(named), "{query}: {body}");
    }
}
