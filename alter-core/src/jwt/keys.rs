//! A published key set (JWKS, RFC 7517): what can be used of it, each key bound to its one algorithm.

use std::fmt;

use aws_lc_rs::{
    digest,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::Value;

use super::rules::Algorithm;

/// Keys read from one set; more are skipped.
const MAX_KEYS: usize = 100;

/// What one key is, whatever it is called: SHA-256 over its algorithm and its public half.
pub(super) type Fingerprint = [u8; 32];

/// A public key that verifies signatures of one algorithm only, whatever a token's header says.
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) fingerprint: Fingerprint,
    // Parsed once. jsonwebtoken's verifier objects would parse it on each call and are not `Send`.
    public: ParsedPublicKey,
}

impl Key {
    /// Whether `signature` over `message` is this key's.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Keys for one token.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// Keys that may have signed it: almost always one (RFC 7517 §4.5 lets keys share a `kid`).
    Keys(Vec<&'a Key>),
    /// The named key is there and is for another algorithm.
    OtherAlgorithm,
    /// There is no such key, or a token without `kid` does not tell which.
    Nothing,
}

/// The usable keys of one published set.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    skipped: usize,
    fetched_at: Timestamp,
}

impl KeySet {
    /// Reads a set. A key that is broken, of another kind or for another use is skipped, never fatal.
    ///
    /// # Errors
    ///
    /// A message when the text is not a JSON object with an array `keys`: then it is no set at all.
    pub(super) fn parse(text: &[u8], fetched_at: Timestamp) -> Result<Self, &'static str> {
        let Ok(Value::Object(mut set)) = serde_json::from_slice(text) else {
            return Err("the answer is not a JSON object");
        };
        let Some(Value::Array(entries)) = set.remove("keys") else {
            return Err("the answer has no array `keys`");
        };
        let published = entries.len();
        let keys: Vec<Key> = entries.iter().take(MAX_KEYS).filter_map(read_key).collect();
        Ok(Self { skipped: published - keys.len(), keys, fetched_at })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many published keys were not taken.
    pub(super) fn skipped(&self) -> usize {
        self.skipped
    }

    pub(super) fn fetched_at(&self) -> Timestamp {
        self.fetched_at
    }

    /// Whether this very key is in the set.
    pub(super) fn holds(&self, fingerprint: &Fingerprint) -> bool {
        self.keys.iter().any(|key| key.fingerprint == *fingerprint)
    }

    /// The keys that may have signed a token with this header.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let of_algorithm = self.keys.iter().filter(|key| key.algorithm == algorithm);
        let Some(id) = id else {
            let keys: Vec<_> = of_algorithm.collect();
            return if keys.len() == 1 { Found::Keys(keys) } else { Found::Nothing };
        };
        let keys: Vec<_> = of_algorithm.filter(|key| key.id.as_deref() == Some(id)).collect();
        if !keys.is_empty() {
            Found::Keys(keys)
        } else if self.keys.iter().any(|key| key.id.as_deref() == Some(id)) {
            Found::OtherAlgorithm
        } else {
            Found::Nothing
        }
    }
}

/// One entry of the set, if it is a public key for signatures of an [`Algorithm`].
fn read_key(entry: &Value) -> Option<Key> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    if !matches!(entry.get("use"), None | Some(Value::Null)) && text("use") != Some("sig") {
        return None;
    }
    match entry.get("key_ops") {
        None | Some(Value::Null) => {}
        Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => {}
        Some(_) => return None,
    }
    // A key published with its private half is anybody's key.
    if entry.get("d").is_some() {
        return None;
    }
    let id = match entry.get("kid") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return None,
    };
    let part = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    let (algorithm, public, bytes) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let (n, e) = (part("n")?, part("e")?);
            let n = &n[n.iter().position(|byte| *byte != 0)?..];
            let e = &e[e.iter().position(|byte| *byte != 0)?..];
            // 2048 to 8192 bits: the first byte is not zero, its high bit is set in every key of a full size.
            if !(256..=1024).contains(&n.len()) || (n.len() == 256 && n[0] < 0x80) {
                return None;
            }
            let public =
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
            (Algorithm::Rs256, public, [n, &[0], e].concat())
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (part("x")?, part("y")?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            (Algorithm::Es256, ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).ok()?, point)
        }
        ("OKP", Some("Ed25519")) => {
            let x = part("x")?;
            if x.len() != 32 {
                return None;
            }
            (Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, &x).ok()?, x)
        }
        _ => return None,
    };
    match entry.get("alg") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) if Algorithm::from_name(name) == Some(algorithm) => {}
        Some(_) => return None,
    }
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[algorithm as u8]);
    context.update(&bytes);
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    Some(Key { id, algorithm, fingerprint, public })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn only_key(jwk: &Value) -> KeySet {
        let set =
            KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(set.len(), 1);
        set
    }

    fn verifies(set: &KeySet, algorithm: Algorithm, jws: &str) -> bool {
        let (message, signature) = jws.rsplit_once('.').unwrap();
        let Found::Keys(keys) = set.find(None, algorithm) else { panic!("no key") };
        keys[0].verifies(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
    }

    #[test]
    fn the_rs256_example_of_rfc_7515_a_2_verifies() {
        let set = only_key(&json!({"kty": "RSA", "e": "AQAB", "n": concat!(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs",
            "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV",
            "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ")}));
        assert!(verifies(
            &set,
            Algorithm::Rs256,
            concat!(
                "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
                "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZ",
                "cAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-e",
                "OkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
            )
        ));
    }

    #[test]
    fn the_es256_example_of_rfc_7515_a_3_verifies() {
        let set = only_key(&json!({"kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}));
        assert!(verifies(
            &set,
            Algorithm::Es256,
            concat!(
                "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
            )
        ));
    }

    #[test]
    fn the_eddsa_example_of_rfc_8037_a_4_verifies() {
        let set = only_key(
            &json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        );
        let jws = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
            hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert!(verifies(&set, Algorithm::EdDsa, jws));
        assert!(!verifies(&set, Algorithm::EdDsa, &jws.replace("RXho", "RXhp").replace("ZSBv", "ZSBw")));
    }

    #[test]
    fn what_is_not_a_public_signature_key_is_skipped_and_the_rest_is_kept() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let set = json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "good", "use": "sig", "alg": "EdDSA", "key_ops": ["verify"]},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "use": "enc"},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "key_ops": ["sign"]},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "RS256"},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "alg": 7},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "d": "published"},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": 7},
            {"kty": "OKP", "crv": "Ed25519", "x": "short"},
            {"kty": "OKP", "crv": "X25519", "x": x},
            {"kty": "EC", "crv": "P-256", "x": x, "y": x},
            {"kty": "EC", "crv": "P-384", "x": x, "y": x},
            {"kty": "RSA", "n": x, "e": "AQAB"},
            {"kty": "RSA", "n": "AAAA", "e": "AQAB"},
            {"kty": "RSA", "n": "!", "e": "AQAB"},
            {"kty": "oct", "k": x, "alg": "HS256"},
            {"kty": "AKP", "alg": "ML-DSA-65", "pub": x},
            {}, [], null, "text", 7,
        ]});
        let set = KeySet::parse(set.to_string().as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((set.len(), set.skipped()), (1, 20));
        assert!(matches!(set.find(Some("good"), Algorithm::EdDsa), Found::Keys(_)));
        assert!(matches!(set.find(Some("good"), Algorithm::Rs256), Found::OtherAlgorithm));
        assert!(matches!(set.find(Some("bad"), Algorithm::EdDsa), Found::Nothing));
    }

    #[test]
    fn what_is_not_a_set_is_refused() {
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert!(KeySet::parse(text.as_bytes(), Timestamp::UNIX_EPOCH).is_err(), "{text}");
        }
    }
}
