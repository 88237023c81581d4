//! The parts of a token, and its claims held against the rules. Signatures are not looked at here.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::Value;

use super::{
    error::JwtError,
    rules::{Algorithm, TokenRules},
};
use crate::MAX_TOKEN_LEN;

/// Longest user id, email, display name or group, in characters.
const MAX_TEXT_CHARS: usize = 255;
/// Most groups in one token.
const MAX_GROUPS: usize = 200;
/// Header members that would let the token say how or with whose key it is to be checked (RFC 7515 §4.1, RFC 7797,
/// RFC 8725 §3.10), or that only an encrypted token has.
const REFUSED_HEADERS: [&str; 8] = ["crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc"];
/// `typ` of signed JWTs that an identity provider issues or sees and that do not stand for a signed-in user
/// (RFC 8725 §3.11): back-channel logout, security events, proofs of possession.
const REFUSED_TYPES: [&str; 4] = ["logout+jwt", "secevent+jwt", "dpop+jwt", "kb+jwt"];

/// The user whom a verified token speaks of.
///
/// `Debug` shows issuer, subject and times; email, name and groups are personal and stay out of logs.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedUser {
    /// The token's `iss`, equal to the rules' issuer.
    pub issuer: String,
    /// The claim that the rules name as the user's id: not blank, at most 255 characters, no control characters.
    pub subject: String,
    /// The email address, unless the token's `email_verified` is there and is not `true`, or it is longer than 255 characters.
    pub email: Option<String>,
    /// The display name, unless it is longer than 255 characters.
    pub display_name: Option<String>,
    /// The groups, at most 200 of at most 255 characters each. A token with more is refused: half a list decides wrongly.
    pub groups: Vec<String>,
    /// The token's `exp`, UTC, without leeway.
    pub expires_at: Timestamp,
    /// The `kid` of the key that verified it, as published; `None` when the key has none.
    pub key_id: Option<String>,
}

impl fmt::Debug for VerifiedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedUser")
            .field("issuer", &self.issuer)
            .field("subject", &self.subject)
            .field("expires_at", &self.expires_at)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// A token taken apart.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    /// What was signed: header and claims, as they came.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
    claims: Members,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    ///
    /// [`JwtError`]: too large, malformed, an algorithm that is never taken, a header member that is not supported.
    pub(super) fn parse(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(JwtError::TooLarge);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(JwtError::Malformed)?;
        let mut header = Members::decode(header)?;
        for name in REFUSED_HEADERS {
            if header.0.contains_key(name) {
                return Err(JwtError::UnsupportedHeader(name));
            }
        }
        if let Some(kind) = header.0.get("typ") {
            let kind = kind.as_str().ok_or(JwtError::Malformed)?.to_ascii_lowercase();
            if REFUSED_TYPES.contains(&kind.trim_start_matches("application/")) {
                return Err(JwtError::UnsupportedHeader("typ"));
            }
        }
        let algorithm = match header.0.get("alg") {
            Some(Value::String(name)) => Algorithm::from_name(name).ok_or(JwtError::AlgorithmNotAllowed)?,
            _ => return Err(JwtError::Malformed),
        };
        let key_id = match header.0.remove("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(JwtError::Malformed),
        };
        let claims = Members::decode(claims)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtError::Malformed)?;
        Ok(Self { algorithm, key_id, message: message.as_bytes(), signature, claims })
    }

    /// The user, if the claims satisfy `rules` at `now`. The signature has still to be checked.
    ///
    /// # Errors
    ///
    /// [`JwtError`]: issuer, audience, times, or a claim that is missing or unusable.
    pub(super) fn user(&self, rules: &TokenRules, now: Timestamp) -> Result<VerifiedUser, JwtError> {
        let claims = &self.claims;
        match claims.0.get("iss") {
            None | Some(Value::Null) => return Err(missing("iss")),
            Some(Value::String(issuer)) if issuer == rules.issuer() => {}
            Some(_) => return Err(JwtError::WrongIssuer),
        }
        if !rules.audiences().is_empty() {
            let ours = |audience: &Value| {
                audience.as_str().is_some_and(|one| rules.audiences().iter().any(|a| a == one))
            };
            let meant_for_us = match claims.0.get("aud") {
                None | Some(Value::Null) => return Err(missing("aud")),
                Some(Value::Array(audiences)) => audiences.iter().any(ours),
                Some(audience) => ours(audience),
            };
            if !meant_for_us {
                return Err(JwtError::WrongAudience);
            }
        }
        let expires = claims.time("exp", f64::floor)?.ok_or_else(|| missing("exp"))?;
        let (now, leeway) = (now.as_second(), i64::from(rules.leeway_seconds()));
        if now >= expires.as_second().saturating_add(leeway) {
            return Err(JwtError::Expired);
        }
        for name in ["nbf", "iat"] {
            if claims.time(name, f64::ceil)?.is_some_and(|from| now.saturating_add(leeway) < from.as_second())
            {
                return Err(JwtError::NotYetValid);
            }
        }
        let names = rules.claims();
        let subject = match claims.0.get(&names.user_id) {
            None | Some(Value::Null) => return Err(missing(&names.user_id)),
            Some(Value::String(id)) if is_text(id) && !id.chars().any(char::is_control) => id.clone(),
            Some(_) => return Err(unusable(&names.user_id)),
        };
        // A security event or a logout notice (RFC 8417 §2.2, OpenID Connect Back-Channel Logout §2.4) is signed with the
        // same key, may name the same `sub` and `aud`, and need not say so in `typ`.
        if matches!(claims.0.get("events"), Some(Value::Object(_))) {
            return Err(unusable("events"));
        }
        // Some providers write the flag as a text.
        let unverified_email = match claims.0.get("email_verified") {
            None | Some(Value::Null | Value::Bool(true)) => false,
            Some(Value::String(flag)) => flag != "true",
            Some(_) => true,
        };
        Ok(VerifiedUser {
            issuer: rules.issuer().to_owned(),
            subject,
            email: if unverified_email { None } else { claims.profile(&names.email) },
            display_name: claims.profile(&names.display_name),
            groups: claims.groups(&names.groups)?,
            expires_at: expires,
            key_id: None,
        })
    }
}

fn missing(name: &str) -> JwtError {
    JwtError::MissingClaim(name.to_owned())
}

fn unusable(name: &str) -> JwtError {
    JwtError::InvalidClaim(name.to_owned())
}

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().nth(MAX_TEXT_CHARS).is_none()
}

/// A JSON object in which no member comes twice: two readers of the same token must not see two users (RFC 8725 §2.4).
struct Members(BTreeMap<String, Value>);

impl Members {
    fn decode(part: &str) -> Result<Self, JwtError> {
        let text = URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed)?;
        serde_json::from_slice(&text).map_err(|_| JwtError::Malformed)
    }

    /// A `NumericDate` (RFC 7519 §2): a JSON number, never a text; a fraction is rounded to the stricter side.
    fn time(&self, name: &str, round: fn(f64) -> f64) -> Result<Option<Timestamp>, JwtError> {
        let seconds = match self.0.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => whole,
                // `as` saturates; jiff refuses what is then out of its range.
                (None, Some(fraction)) => round(fraction) as i64,
                (None, None) => return Err(JwtError::Malformed),
            },
            Some(_) => return Err(JwtError::Malformed),
        };
        Timestamp::from_second(seconds).map(Some).map_err(|_| JwtError::Malformed)
    }

    /// A text for display: without control characters, `None` when there is nothing to show or too much.
    fn profile(&self, name: &str) -> Option<String> {
        let text: String = self.0.get(name)?.as_str()?.chars().filter(|c| !c.is_control()).collect();
        is_text(&text).then(|| text.trim().to_owned())
    }

    fn groups(&self, name: &str) -> Result<Vec<String>, JwtError> {
        let group = |value: &Value| match value.as_str() {
            Some(text) if is_text(text) => Ok(text.to_owned()),
            _ => Err(unusable(name)),
        };
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(groups)) if groups.len() <= MAX_GROUPS => groups.iter().map(group).collect(),
            Some(one @ Value::String(_)) => Ok(vec![group(one)?]),
            Some(_) => Err(unusable(name)),
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(de::Error::custom("a member comes twice"));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn judge(claims: &str) -> Result<VerifiedUser, JwtError> {
        let rules = TokenRules::new("https://id.example.com").unwrap();
        let token = token(r#"{"alg":"EdDSA"}"#, claims);
        Token::parse(&token)?.user(&rules, Timestamp::from_second(NOW).unwrap())
    }

    fn with(more: &str) -> Result<VerifiedUser, JwtError> {
        judge(&format!(r#"{{"iss":"https://id.example.com","sub":"user-1","exp":{}{more}}}"#, NOW + 60))
    }

    #[test]
    fn times_are_numbers_and_are_read_strictly() {
        let exp = |exp: &str| judge(&format!(r#"{{"iss":"https://id.example.com","sub":"u","exp":{exp}}}"#));
        assert!(exp("1800000060").is_ok());
        assert!(exp("1800000060.5").is_ok());
        assert!(exp("1799999971").is_ok(), "one second inside the leeway");
        assert_eq!(exp("1799999970"), Err(JwtError::Expired));
        assert_eq!(exp("1799999970.9"), Err(JwtError::Expired));
        assert_eq!(exp("\"1800000060\""), Err(JwtError::Malformed));
        assert_eq!(exp("1e300"), Err(JwtError::Malformed));
        assert_eq!(exp("18446744073709551615"), Err(JwtError::Malformed));
        assert_eq!(exp("true"), Err(JwtError::Malformed));
        assert_eq!(judge(r#"{"iss":"https://id.example.com","sub":"u"}"#), Err(missing("exp")));
        for name in ["nbf", "iat"] {
            assert!(with(&format!(r#","{name}":1800000030"#)).is_ok());
            assert_eq!(with(&format!(r#","{name}":1800000030.1"#)), Err(JwtError::NotYetValid));
            assert_eq!(with(&format!(r#","{name}":"1""#)), Err(JwtError::Malformed));
            assert_eq!(with(&format!(r#","{name}":null"#)), Err(JwtError::Malformed));
        }
    }

    #[test]
    fn a_member_that_comes_twice_is_refused_however_it_is_spelt() {
        assert_eq!(with(r#","sub":"user-2""#), Err(JwtError::Malformed));
        assert_eq!(with(r#","s\u0075b":"user-2""#), Err(JwtError::Malformed));
        assert_eq!(with(r#","x":1,"x":1"#), Err(JwtError::Malformed));
        let twice = token(r#"{"alg":"EdDSA","alg":"none"}"#, "{}");
        assert_eq!(Token::parse(&twice).err(), Some(JwtError::Malformed));
    }

    #[test]
    fn the_user_id_is_a_text_of_a_bounded_size() {
        let sub =
            |sub: &str| judge(&format!(r#"{{"iss":"https://id.example.com","exp":1800000060,"sub":{sub}}}"#));
        assert_eq!(sub(r#""user-1""#).unwrap().subject, "user-1");
        assert_eq!(sub(&format!("\"{}\"", "ü".repeat(255))).unwrap().subject.chars().count(), 255);
        for bad in ["\" \"", "\"\"", "7", r#""a\nb""#, "[\"user-1\"]", &format!("\"{}\"", "x".repeat(256))] {
            assert_eq!(sub(bad), Err(unusable("sub")), "{bad}");
        }
        assert_eq!(sub("null"), Err(missing("sub")));
    }

    #[test]
    fn profile_claims_never_refuse_a_token_but_groups_may() {
        let user = with(r#","email":"a@example.com","name":"Ann\u0007 A","groups":["a","b"]"#).unwrap();
        assert_eq!(user.email.as_deref(), Some("a@example.com"));
        assert_eq!(user.display_name.as_deref(), Some("Ann A"));
        assert_eq!(user.groups, ["a", "b"]);
        assert!(
            !format!("{user:?}").contains("example.com\", display") && !format!("{user:?}").contains("Ann")
        );
        assert_eq!(with(r#","email":"a@example.com","email_verified":false"#).unwrap().email, None);
        for (flag, email) in [
            ("true", Some("a@example.com")),
            ("\"true\"", Some("a@example.com")),
            ("null", Some("a@example.com")),
            ("\"false\"", None),
            ("0", None),
        ] {
            let user = with(&format!(r#","email":"a@example.com","email_verified":{flag}"#)).unwrap();
            assert_eq!(user.email.as_deref(), email, "{flag}");
        }
        assert_eq!(with(r#","email":7,"name":{}"#).unwrap().display_name, None);
        assert_eq!(with(r#","groups":"one""#).unwrap().groups, ["one"]);
        assert_eq!(with(r#","groups":null"#).unwrap().groups, [""; 0]);
        assert_eq!(with(r#","groups":[7]"#), Err(unusable("groups")));
        assert_eq!(with(&format!(r#","groups":{:?}"#, vec!["g"; 201])), Err(unusable("groups")));
    }

    #[test]
    fn a_logout_notice_is_no_sign_in_even_without_a_type() {
        let notice = r#","events":{"http://schemas.openid.net/event/backchannel-logout":{}}"#;
        assert_eq!(with(notice), Err(unusable("events")));
        assert!(with(r#","events":["a claim of the operator's own"]"#).is_ok());
    }

    #[test]
    fn a_header_that_steers_the_check_is_refused() {
        for name in REFUSED_HEADERS {
            let steered = token(&format!(r#"{{"alg":"EdDSA","{name}":["x"]}}"#), "{}");
            assert_eq!(Token::parse(&steered).err(), Some(JwtError::UnsupportedHeader(name)));
        }
        for kind in ["logout+jwt", "application/secevent+JWT", "dpop+jwt"] {
            let other = token(&format!(r#"{{"alg":"EdDSA","typ":"{kind}"}}"#), "{}");
            assert_eq!(Token::parse(&other).err(), Some(JwtError::UnsupportedHeader("typ")));
        }
        for kind in ["JWT", "at+jwt", "application/okta-internal-at+jwt"] {
            assert!(Token::parse(&token(&format!(r#"{{"alg":"EdDSA","typ":"{kind}"}}"#), "{}")).is_ok());
        }
        for alg in ["none", "None", "HS256", "HS512", "RS384", "PS256", "ES384", "eddsa", ""] {
            let other = token(&format!(r#"{{"alg":"{alg}"}}"#), "{}");
            assert_eq!(Token::parse(&other).err(), Some(JwtError::AlgorithmNotAllowed), "{alg}");
        }
    }

    #[test]
    fn what_has_not_the_form_of_a_token_is_malformed() {
        let good = token(r#"{"alg":"EdDSA"}"#, "{}");
        for bad in [
            "",
            ".",
            "..",
            "a.b",
            &format!("{good}.AAAA"),
            &format!("{good}="),
            &good.replace('.', " ."),
            "ü.ü.ü",
        ] {
            assert_eq!(Token::parse(bad).err(), Some(JwtError::Malformed), "{bad}");
        }
        for header in [r#"{"alg":7}"#, "{}", "[]", r#"{"alg":"EdDSA","kid":7}"#, "7"] {
            assert_eq!(Token::parse(&token(header, "{}")).err(), Some(JwtError::Malformed), "{header}");
        }
        assert_eq!(Token::parse(&"x".repeat(MAX_TOKEN_LEN + 1)).err(), Some(JwtError::TooLarge));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}", claims in ".{0,100}") {
            let _ = Token::parse(&text);
            let _ = judge(&claims);
            let _ = with(&claims);
        }
    }
}
