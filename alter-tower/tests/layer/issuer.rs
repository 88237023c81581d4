//! An identity provider for tests of `verify`, in each of the crates for web frameworks.

use std::sync::Arc;

use alter_core::{
    clock::SystemClock,
    jwt::{JwtVerifier, StaticKeys, TokenRules},
};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::json;

/// An identity provider with one Ed25519 key.
pub(crate) struct Issuer(Ed25519KeyPair);

impl Issuer {
    pub(crate) fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn verifier(&self) -> JwtVerifier {
        let x = BASE64.encode(self.0.public_key().as_ref());
        self.verifier_with(
            &json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": x}]}),
        )
    }

    pub(crate) fn verifier_with(&self, keys: &serde_json::Value) -> JwtVerifier {
        let rules = TokenRules::new("https://id.example.com").unwrap().with_audience("app").unwrap();
        JwtVerifier::new(rules, Arc::new(StaticKeys::new(keys.to_string())), SystemClock::shared())
    }

    pub(crate) fn token(&self, subject: &str) -> String {
        self.token_until(subject, 4_000_000_000)
    }

    pub(crate) fn token_until(&self, subject: &str, exp: i64) -> String {
        let header = BASE64.encode(json!({"alg": "EdDSA", "kid": "k"}).to_string());
        let claims = json!({"iss": "https://id.example.com", "aud": "app", "sub": subject, "exp": exp});
        let message = format!("{header}.{}", BASE64.encode(claims.to_string()));
        let signature = BASE64.encode(self.0.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }
}
