//! Making JSON Web Tokens: honest ones for any subject, and hostile ones for attack tests.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::{
    keys::{KeySet, TokenAlgorithm},
    state::World,
};

/// Audience of a minted token that names none.
pub const DEFAULT_AUDIENCE: &str = "alter-dev";

/// Lifetime of a minted token that names none, in seconds.
const DEFAULT_TTL: i64 = 3600;

/// A token to be minted. Honest unless told otherwise: signed with the published ES256 key, for
/// [`DEFAULT_AUDIENCE`], valid from now for an hour.
///
/// ```
/// use alter_sandbox::{TokenAlgorithm, TokenRequest};
///
/// let honest = TokenRequest::subject("user-1").email("user-1@example.test").groups(["staff"]);
/// let expired = TokenRequest::subject("user-1").ttl(-60);
/// let unsigned = TokenRequest::subject("user-1").algorithm(TokenAlgorithm::None);
/// let critical = TokenRequest::subject("user-1").header("crit", serde_json::json!(["exp"]));
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is minted until the request is given to `Sandbox::mint`"]
pub struct TokenRequest {
    sub: String,
    ttl: i64,
    not_before: Option<i64>,
    audience: Option<String>,
    issuer: Option<String>,
    kid: Option<String>,
    forged: bool,
    without: Vec<String>,
    headers: Vec<(String, Value)>,
    claims: Vec<(String, Value)>,
    algorithm: TokenAlgorithm,
}

impl TokenRequest {
    /// A token whose `sub` is this subject.
    pub fn subject(sub: impl Into<String>) -> Self {
        Self {
            sub: sub.into(),
            ttl: DEFAULT_TTL,
            not_before: None,
            audience: None,
            issuer: None,
            kid: None,
            forged: false,
            without: Vec::new(),
            headers: Vec::new(),
            claims: Vec::new(),
            algorithm: TokenAlgorithm::Es256,
        }
    }

    /// Seconds from now until the token expires. Negative: it expired that long ago.
    pub fn ttl(mut self, seconds: i64) -> Self {
        self.ttl = seconds;
        self
    }

    /// Adds an `nbf` this many seconds from now.
    pub fn not_before(mut self, seconds: i64) -> Self {
        self.not_before = Some(seconds);
        self
    }

    /// Replaces the audience.
    pub fn audience(mut self, aud: impl Into<String>) -> Self {
        self.audience = Some(aud.into());
        self
    }

    /// Replaces the issuer. The signature stays this sandbox's own.
    pub fn issuer(mut self, iss: impl Into<String>) -> Self {
        self.issuer = Some(iss.into());
        self
    }

    /// Chooses what signs the token.
    pub fn algorithm(mut self, algorithm: TokenAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Replaces the key id in the header; the signing key stays.
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// Signs with a fresh key that is published nowhere, under the key id of the published one.
    pub fn forged(mut self) -> Self {
        self.forged = true;
        self
    }

    /// Adds the `email` claim.
    pub fn email(self, email: impl Into<String>) -> Self {
        self.claim("email", Value::String(email.into()))
    }

    /// Adds the `name` claim.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.claim("name", Value::String(name.into()))
    }

    /// Adds the `groups` claim, an array of strings.
    pub fn groups<I: IntoIterator<Item = S>, S: Into<String>>(self, groups: I) -> Self {
        let groups: Vec<Value> = groups.into_iter().map(|group| Value::String(group.into())).collect();
        self.claim("groups", Value::Array(groups))
    }

    /// Adds or replaces any claim, the registered ones of RFC 7519 §4.1 included.
    pub fn claim(mut self, name: impl Into<String>, value: Value) -> Self {
        self.claims.push((name.into(), value));
        self
    }

    /// Leaves a claim out.
    pub fn without(mut self, claim: impl Into<String>) -> Self {
        self.without.push(claim.into());
        self
    }

    /// Adds or replaces any header member (`alg`, `kid`, `crit`, `jku`, …). The signature does not follow.
    pub fn header(mut self, name: impl Into<String>, value: Value) -> Self {
        self.headers.push((name.into(), value));
        self
    }

    /// Signs with an algorithm that this world publishes a key for.
    pub(crate) fn published(self, world: &World) -> Self {
        let algorithm = world.algorithms.first().copied().unwrap_or_default();
        self.algorithm(algorithm)
    }

    /// The compact serialisation (RFC 7515 §7.1), made at `now` (Unix seconds) by the identity provider `issuer`.
    pub(crate) fn sign(&self, issuer: &str, now: i64, keys: &KeySet) -> String {
        let message = format!("{}.{}", part(&self.header_json(keys)), part(&self.claims_json(issuer, now)));
        let forger;
        let key = if self.forged {
            forger = KeySet::generate();
            forger.key(self.algorithm)
        } else {
            keys.key(self.algorithm)
        };
        let signature = match self.algorithm {
            TokenAlgorithm::None => Vec::new(),
            TokenAlgorithm::Hs256 => key.confuse(message.as_bytes()),
            TokenAlgorithm::Es256 | TokenAlgorithm::Rs256 | TokenAlgorithm::EdDsa => {
                key.sign(message.as_bytes())
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header_json(&self, keys: &KeySet) -> Map<String, Value> {
        let mut header = Map::new();
        header.insert("typ".to_owned(), json!("JWT"));
        header.insert("alg".to_owned(), json!(self.algorithm.as_str()));
        let kid = self.kid.as_deref().unwrap_or(&keys.key(self.algorithm).kid);
        header.insert("kid".to_owned(), json!(kid));
        header.extend(self.headers.iter().cloned());
        header
    }

    fn claims_json(&self, issuer: &str, now: i64) -> Map<String, Value> {
        let exp = now.saturating_add(self.ttl);
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), json!(self.issuer.as_deref().unwrap_or(issuer)));
        claims.insert("sub".to_owned(), json!(self.sub));
        claims.insert("aud".to_owned(), json!(self.audience.as_deref().unwrap_or(DEFAULT_AUDIENCE)));
        // An expired token was issued before it expired, or it would be refused for the wrong reason.
        claims.insert("iat".to_owned(), json!(now.min(exp.saturating_sub(1))));
        claims.insert("exp".to_owned(), json!(exp));
        if let Some(seconds) = self.not_before {
            claims.insert("nbf".to_owned(), json!(now.saturating_add(seconds)));
        }
        claims.extend(self.claims.iter().cloned());
        claims.retain(|name, _| !self.without.contains(name));
        claims
    }
}

fn part(json: &Map<String, Value>) -> String {
    URL_SAFE_NO_PAD.encode(Value::Object(json.clone()).to_string())
}
