//! Signing keys of the identity provider: generated at start, published as a JWK set, rotated on demand.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::{
    hmac, rand,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Key sets that stay published beside the current one; older ones are forgotten.
const KEPT_SETS: usize = 4;

/// What signs a minted token (JWA names of RFC 7518 §3.1 and RFC 8037 §3.1).
///
/// The last two are attacks: every verifier must refuse them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TokenAlgorithm {
    /// ECDSA on P-256 with SHA-256; the default.
    #[default]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    Rs256,
    /// Ed25519.
    EdDsa,
    /// `none`: no signature at all.
    None,
    /// HMAC with SHA-256, keyed with the bytes of the published ES256 public key (the uncompressed point):
    /// the confusion attack on verifiers that let the token choose the algorithm.
    Hs256,
}

impl TokenAlgorithm {
    /// The name as it stands in a token's header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
            Self::None => "none",
            Self::Hs256 => "HS256",
        }
    }
}

/// The algorithms a provider may publish keys for.
pub(crate) const SIGNING: [TokenAlgorithm; 3] =
    [TokenAlgorithm::Es256, TokenAlgorithm::EdDsa, TokenAlgorithm::Rs256];

impl FromStr for TokenAlgorithm {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Es256, Self::Rs256, Self::EdDsa, Self::None, Self::Hs256]
            .into_iter()
            .find(|alg| alg.as_str() == name)
            .ok_or_else(|| "alg is one of ES256, RS256, EdDSA, none, HS256".to_owned())
    }
}

/// One private key with the id it is published under.
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[expect(
    clippy::expect_used,
    reason = "the keys are made here with parameters aws-lc supports; generating and signing with them fails only \
              when the machine has no memory or no randomness, and then nothing else works either"
)]
impl SigningKey {
    fn ec() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key");
        Self { kid: kid("es"), pair: Pair::Ec(pair) }
    }

    fn ed() -> Self {
        Self { kid: kid("ed"), pair: Pair::Ed(Ed25519KeyPair::generate().expect("an Ed25519 key")) }
    }

    fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        Self { kid: kid("rs"), pair: Pair::Rsa(Box::new(pair)) }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let rng = aws_lc_rs::rand::SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&rng, message).expect("a P-256 signature").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature).expect("an RSA signature");
                signature
            }
        }
    }
}

impl SigningKey {
    /// The public half as a JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
    fn jwk(&self) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Ec(pair) => {
                // An uncompressed point: one tag byte, then x and y of 32 bytes each.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
                       "x": b64(x), "y": b64(y)})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                                     "kid": self.kid, "x": b64(pair.public_key().as_ref())}),
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid,
                       "n": b64(public.modulus().big_endian_without_leading_zero()),
                       "e": b64(public.exponent().big_endian_without_leading_zero())})
            }
        }
    }

    /// HMAC-SHA-256 keyed with this key's public bytes.
    pub(crate) fn confuse(&self, message: &[u8]) -> Vec<u8> {
        let public = match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_ref(),
            Pair::Ed(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
        };
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public), message).as_ref().to_vec()
    }
}

/// One generation: a key for each algorithm.
#[derive(Debug)]
pub(crate) struct KeySet {
    ec: SigningKey,
    ed: SigningKey,
    rsa: OnceLock<SigningKey>,
}

impl KeySet {
    /// New keys. The RSA key, which takes a noticeable part of a second, waits until it is asked for.
    pub(crate) fn generate() -> Arc<Self> {
        Arc::new(Self { ec: SigningKey::ec(), ed: SigningKey::ed(), rsa: OnceLock::new() })
    }

    /// The key that signs `alg`; for the attacks, the key that they impersonate.
    ///
    /// The first use of the RSA key blocks for the making of it.
    pub(crate) fn key(&self, alg: TokenAlgorithm) -> &SigningKey {
        match alg {
            TokenAlgorithm::Es256 | TokenAlgorithm::None | TokenAlgorithm::Hs256 => &self.ec,
            TokenAlgorithm::EdDsa => &self.ed,
            TokenAlgorithm::Rs256 => self.rsa.get_or_init(SigningKey::rsa),
        }
    }
}

/// The published generations, newest first. Only the newest signs.
#[derive(Debug)]
pub(crate) struct KeyRing(VecDeque<Arc<KeySet>>);

impl KeyRing {
    pub(crate) fn new(first: Arc<KeySet>) -> Self {
        Self(VecDeque::from([first]))
    }

    pub(crate) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.0[0])
    }

    pub(crate) fn published(&self) -> Vec<Arc<KeySet>> {
        self.0.iter().cloned().collect()
    }

    pub(crate) fn rotate(&mut self, next: Arc<KeySet>) {
        self.0.push_front(next);
        self.0.truncate(KEPT_SETS + 1);
    }

    pub(crate) fn retire(&mut self) {
        self.0.truncate(1);
    }
}

/// The JWK set document (RFC 7517 §5) of these generations. Blocks where an RSA key has to be made.
pub(crate) fn jwk_set(sets: &[Arc<KeySet>], algorithms: &[TokenAlgorithm]) -> Value {
    let keys: Vec<Value> =
        sets.iter().flat_map(|set| algorithms.iter().map(|&alg| set.key(alg).jwk())).collect();
    json!({ "keys": keys })
}

fn kid(prefix: &str) -> String {
    format!("{prefix}-{}", hex::encode(random::<6>()))
}

/// Random bytes from the operating system's generator.
#[expect(
    clippy::expect_used,
    reason = "aws-lc aborts rather than fail here; there is no randomness to go on with"
)]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("random bytes");
    bytes
}
