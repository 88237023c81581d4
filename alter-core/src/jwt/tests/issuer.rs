//! An identity provider without a socket: it signs, it publishes, it fails when told.

use std::sync::{
    Arc, LazyLock, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    clock::ManualClock,
    jwt::{BoxFuture, JwtVerifier, KeySource, KeySourceError, TokenRules},
};

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const ISSUER: &str = "https://id.example.com";

static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

/// A key pair of an issuer, under a name.
pub(super) enum Signer {
    Rsa(&'static str),
    Ec(&'static str, EcdsaKeyPair),
    Ed(&'static str, Ed25519KeyPair),
}

impl Signer {
    pub(super) fn ec(id: &'static str) -> Self {
        Self::Ec(id, EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(super) fn ed(id: &'static str) -> Self {
        Self::Ed(id, Ed25519KeyPair::generate().unwrap())
    }

    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Rsa(id) | Self::Ec(id, _) | Self::Ed(id, _) => id,
        }
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(..) => "ES256",
            Self::Ed(..) => "EdDSA",
        }
    }

    pub(super) fn jwk(&self) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match self {
            Self::Rsa(_) => {
                // DER of two integers: nine bytes of framing, the 2048-bit modulus, then 65537.
                let der = RSA.public_key().as_ref();
                json!({"kty": "RSA", "n": b64(&der[9..265]), "e": "AQAB"})
            }
            Self::Ec(_, pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])})
            }
            Self::Ed(_, pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = self.id().into();
        jwk
    }

    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let message =
            format!("{}.{}", b64(header.to_string().as_bytes()), b64(claims.to_string().as_bytes()));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(_) => {
                let mut signature = vec![0; RSA.public_modulus_len()];
                RSA.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(_, pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed(_, pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", b64(&signature))
    }

    /// A token as the issuer makes it, for `user-1`, ten minutes long, with `changes` over its claims.
    pub(super) fn token(&self, changes: &Value) -> String {
        let mut claims = json!({"iss": ISSUER, "sub": "user-1", "aud": "api", "iat": NOW, "exp": NOW + 600});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.sign(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.id()}), &claims)
    }
}

pub(super) fn jwks(signers: &[&Signer]) -> Value {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()})
}

/// What the endpoint does.
#[derive(Debug, Clone)]
pub(super) enum Endpoint {
    Answers(Value),
    AnswersText(&'static str),
    Fails,
    Hangs,
    Panics,
}

/// An endpoint that is counted and can be changed while it is in use.
#[derive(Debug)]
pub(super) struct Published {
    endpoint: Mutex<Endpoint>,
    fetches: AtomicUsize,
}

impl Published {
    pub(super) fn new(set: Value) -> Arc<Self> {
        Arc::new(Self { endpoint: Mutex::new(Endpoint::Answers(set)), fetches: AtomicUsize::new(0) })
    }

    pub(super) fn set(&self, endpoint: Endpoint) {
        *self.endpoint.lock().unwrap() = endpoint;
    }

    pub(super) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl KeySource for Published {
    fn fetch(&self) -> BoxFuture<'_, Result<Bytes, KeySourceError>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let endpoint = self.endpoint.lock().unwrap().clone();
        Box::pin(async move {
            match endpoint {
                Endpoint::Answers(set) => Ok(set.to_string().into()),
                Endpoint::AnswersText(text) => Ok(text.into()),
                Endpoint::Fails => Err(KeySourceError::Status(500)),
                Endpoint::Hangs => std::future::pending().await,
                Endpoint::Panics => panic!("a source's fault"),
            }
        })
    }
}

pub(super) fn rules() -> TokenRules {
    TokenRules::new(ISSUER).unwrap().with_audience("api").unwrap()
}

pub(super) fn verifier(published: &Arc<Published>) -> (JwtVerifier, Arc<ManualClock>) {
    let clock = ManualClock::at(NOW);
    (JwtVerifier::new(rules(), Arc::clone(published) as _, clock.clone()), clock)
}

/// Lets the background task run to its end (or to where it waits for the endpoint).
pub(super) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
