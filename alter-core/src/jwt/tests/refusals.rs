//! Which tokens are refused, and how that is said.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::issuer::{ISSUER, NOW, Published, Signer, jwks, rules, settle, verifier};
use crate::{
    clock::ManualClock,
    jwt::{Algorithm, JwtError, JwtVerifier, StaticKeys},
};

async fn verdict(signer: &Signer, token: &str) -> Result<String, JwtError> {
    let (verifier, _) = verifier(&Published::new(jwks(&[signer])));
    verifier.verify(token).await.map(|user| user.subject.clone())
}

#[tokio::test]
async fn a_good_token_of_each_algorithm_is_taken() {
    for signer in [Signer::Rsa("rsa"), Signer::ec("ec"), Signer::ed("ed")] {
        let (verifier, _) = verifier(&Published::new(jwks(&[&signer])));
        let user = verifier.verify(&signer.token(&json!({"email": "ann@example.com"}))).await.unwrap();
        assert_eq!((user.issuer.as_str(), user.subject.as_str()), (ISSUER, "user-1"));
        assert_eq!(user.key_id.as_deref(), Some(signer.id()));
        assert_eq!(user.expires_at.as_second(), NOW + 600);
        assert!(!format!("{user:?} {verifier:?}").contains("ann@"));
    }
}

#[tokio::test]
async fn alg_none_is_refused() {
    let signer = Signer::ed("k");
    let signed = signer.token(&json!({}));
    let claims = signed.split('.').nth(1).unwrap();
    for alg in ["none", "None", "NONE", "nOnE"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "k"}).to_string());
        let expected = Err(JwtError::AlgorithmNotAllowed);
        assert_eq!(verdict(&signer, &format!("{header}.{claims}.")).await, expected);
        assert_eq!(verdict(&signer, &format!("{header}.{claims}.AAAA")).await, expected);
    }
}

#[tokio::test]
async fn hmac_with_the_public_key_as_secret_is_refused() {
    let signer = Signer::Rsa("k");
    let claims = signer.token(&json!({})).split('.').nth(1).unwrap().to_owned();
    let modulus = URL_SAFE_NO_PAD.decode(signer.jwk()["n"].as_str().unwrap()).unwrap();
    for secret in [modulus, signer.jwk().to_string().into_bytes()] {
        for alg in ["HS256", "RS256"] {
            let message =
                format!("{}.{claims}", URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "k"}).to_string()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
            let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
            let expected =
                if alg == "HS256" { JwtError::AlgorithmNotAllowed } else { JwtError::BadSignature };
            assert_eq!(verdict(&signer, &forged).await, Err(expected));
        }
    }
}

#[tokio::test]
async fn a_key_verifies_its_own_algorithm_only() {
    let (rsa, ed) = (Signer::Rsa("rsa"), Signer::ed("ed"));
    let (verifier, _) = verifier(&Published::new(jwks(&[&rsa, &ed])));
    let claims = json!({"iss": ISSUER, "sub": "user-1", "aud": "api", "exp": NOW + 600});
    let crossed = ed.sign(&json!({"alg": "EdDSA", "kid": "rsa"}), &claims);
    assert_eq!(verifier.verify(&crossed).await.unwrap_err(), JwtError::AlgorithmNotAllowed);
}

#[tokio::test]
async fn an_algorithm_that_the_rules_leave_out_is_refused() {
    let signer = Signer::ed("k");
    let rules = rules().with_algorithms([Algorithm::Rs256, Algorithm::Es256]).unwrap();
    let keys = StaticKeys::new(jwks(&[&signer]).to_string());
    let verifier = JwtVerifier::new(rules, std::sync::Arc::new(keys), ManualClock::at(NOW));
    assert_eq!(verifier.verify(&signer.token(&json!({}))).await.unwrap_err(), JwtError::AlgorithmNotAllowed);
}

#[tokio::test]
async fn claims_that_do_not_fit_the_rules_are_refused_by_name() {
    let signer = Signer::ed("k");
    let missing = |name: &str| JwtError::MissingClaim(name.into());
    let cases: [(Value, JwtError); 19] = [
        (json!({"iss": "https://id.example.com/"}), JwtError::WrongIssuer),
        (json!({"iss": "https://ID.example.com"}), JwtError::WrongIssuer),
        (json!({"iss": [ISSUER]}), JwtError::WrongIssuer),
        (json!({"iss": null}), missing("iss")),
        (json!({"aud": "other"}), JwtError::WrongAudience),
        (json!({"aud": ["other", 7]}), JwtError::WrongAudience),
        (json!({"aud": []}), JwtError::WrongAudience),
        (json!({"aud": {"api": "api"}}), JwtError::WrongAudience),
        (json!({"aud": null}), missing("aud")),
        (json!({"exp": NOW - 30}), JwtError::Expired),
        (json!({"exp": -1}), JwtError::Expired),
        (json!({"exp": (NOW + 600).to_string()}), JwtError::Malformed),
        (json!({"exp": null}), JwtError::Malformed),
        (json!({"nbf": NOW + 31}), JwtError::NotYetValid),
        (json!({"nbf": "0"}), JwtError::Malformed),
        (json!({"iat": NOW + 31}), JwtError::NotYetValid),
        (json!({"sub": null}), missing("sub")),
        (json!({"sub": " "}), JwtError::InvalidClaim("sub".into())),
        (json!({"sub": 7}), JwtError::InvalidClaim("sub".into())),
    ];
    for (changes, error) in cases {
        assert_eq!(verdict(&signer, &signer.token(&changes)).await, Err(error), "{changes}");
    }
    for changes in
        [json!({"aud": ["x", "api"]}), json!({"exp": NOW - 29}), json!({"nbf": NOW + 30, "iat": NOW + 30})]
    {
        assert_eq!(verdict(&signer, &signer.token(&changes)).await.as_deref(), Ok("user-1"), "{changes}");
    }
}

#[tokio::test]
async fn a_changed_or_borrowed_signature_is_refused() {
    for signer in [Signer::Rsa("k"), Signer::ec("k"), Signer::ed("k")] {
        let mine = signer.token(&json!({}));
        let other = signer.token(&json!({"sub": "user-2"}));
        let (message, _) = mine.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        let expected = Err(JwtError::BadSignature);
        assert_eq!(verdict(&signer, &format!("{message}.{signature}")).await, expected);
        assert_eq!(verdict(&signer, &format!("{message}.")).await, expected, "empty");
        assert_eq!(verdict(&signer, &format!("{mine}AAAA")).await, expected, "longer");
        let zeroes = URL_SAFE_NO_PAD.encode([0; 64]);
        assert_eq!(verdict(&signer, &format!("{message}.{zeroes}")).await, expected, "all zero");
    }
}

#[tokio::test]
async fn a_key_inside_the_token_is_never_used() {
    let (ours, theirs) = (Signer::ed("ours"), Signer::ed("theirs"));
    let claims = json!({"iss": ISSUER, "sub": "user-1", "aud": "api", "exp": NOW + 600});
    for (name, value) in
        [("jwk", theirs.jwk()), ("jku", json!("https://evil.example/jwks")), ("crit", json!(["exp"]))]
    {
        let mut header = json!({"alg": "EdDSA", "kid": "ours"});
        header[name] = value;
        assert_eq!(
            verdict(&ours, &theirs.sign(&header, &claims)).await,
            Err(JwtError::UnsupportedHeader(name))
        );
    }
}

#[tokio::test]
async fn an_oversized_token_is_refused_before_anything_is_decoded_or_fetched() {
    let signer = Signer::ed("k");
    let published = Published::new(jwks(&[&signer]));
    let (verifier, _) = verifier(&published);
    let large = signer.token(&json!({"more": "x".repeat(8_192)}));
    assert_eq!(verifier.verify(&large).await.unwrap_err(), JwtError::TooLarge);
    assert_eq!(verifier.verify(&"\u{0}".repeat(10_000_000)).await.unwrap_err(), JwtError::TooLarge);
    settle().await;
    assert_eq!(published.fetches(), 0);
}

#[tokio::test]
async fn a_token_without_kid_needs_exactly_one_key_of_its_algorithm() {
    let (one, two, rsa) = (Signer::ed("one"), Signer::ed("two"), Signer::Rsa("rsa"));
    let claims = json!({"iss": ISSUER, "sub": "user-1", "aud": "api", "exp": NOW + 600});
    let token = one.sign(&json!({"alg": "EdDSA"}), &claims);
    let (alone, _) = verifier(&Published::new(jwks(&[&rsa, &one])));
    assert!(alone.verify(&token).await.is_ok());
    let (among_two, _) = verifier(&Published::new(jwks(&[&one, &two])));
    assert_eq!(among_two.verify(&token).await.unwrap_err(), JwtError::UnknownKey);
}

#[tokio::test]
async fn refusals_repeat_nothing_of_the_token() {
    let signer = Signer::ed("k");
    for changes in
        [json!({"iss": "https://canary.example"}), json!({"sub": ["canary"]}), json!({"aud": "canary"})]
    {
        let error = verdict(&signer, &signer.token(&changes)).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
        assert!(!error.is_transient());
    }
}
