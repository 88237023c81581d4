//! What the cache of verified tokens may and may not do.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::issuer::{Endpoint, NOW, Published, Signer, jwks, rules, settle, verifier};
use crate::{
    clock::ManualClock,
    jwt::{JwtError, JwtVerifier, StaticKeys},
};

#[tokio::test]
async fn the_second_time_the_same_answer_comes_from_memory() {
    let signer = Signer::ed("k");
    let (verifier, clock) = verifier(&Published::new(jwks(&[&signer])));
    let token = signer.token(&json!({}));
    let first = verifier.verify(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &verifier.verify(&token).await.unwrap()));
    assert!(Arc::ptr_eq(&first, &verifier.clone().verify(&token).await.unwrap()));
    clock.advance(300);
    assert!(!Arc::ptr_eq(&first, &verifier.verify(&token).await.unwrap()), "five minutes at most");
}

#[tokio::test]
async fn a_removed_key_takes_its_remembered_tokens_with_it() {
    let (old, new) = (Signer::ed("old"), Signer::ed("new"));
    let published = Published::new(jwks(&[&old]));
    let (verifier, _) = verifier(&published);
    let token = old.token(&json!({}));
    verifier.verify(&token).await.unwrap();
    published.set(Endpoint::Answers(jwks(&[&new])));
    verifier.verify(&new.token(&json!({}))).await.unwrap();
    assert_eq!(verifier.verify(&token).await.unwrap_err(), JwtError::UnknownKey);
}

#[tokio::test]
async fn other_key_material_under_the_same_name_does_so_too() {
    let (old, new) = (Signer::ed("k"), Signer::ed("k"));
    let published = Published::new(jwks(&[&old]));
    let (verifier, clock) = verifier(&published);
    let token = old.token(&json!({"exp": NOW + 10_000}));
    clock.advance(590);
    verifier.verify(&token).await.unwrap();
    published.set(Endpoint::Answers(jwks(&[&new])));
    clock.advance(601);
    verifier.verify(&token).await.unwrap();
    settle().await;
    assert_eq!(verifier.verify(&token).await.unwrap_err(), JwtError::BadSignature);
}

#[tokio::test]
async fn the_memory_is_bounded() {
    let signer = Signer::ed("k");
    let (verifier, _) = verifier(&Published::new(jwks(&[&signer])));
    let verifier = verifier.with_cache_capacity(20);
    for n in 0..200 {
        verifier.verify(&signer.token(&json!({"sub": format!("user-{n}")}))).await.unwrap();
    }
    assert!(verifier.cached() <= 20);
}

#[tokio::test]
async fn refused_tokens_are_not_remembered() {
    let signer = Signer::ed("k");
    let (verifier, _) = verifier(&Published::new(jwks(&[&signer])));
    for n in 0..20 {
        verifier.verify(&signer.token(&json!({"exp": NOW - 100 - n}))).await.unwrap_err();
    }
    assert_eq!(verifier.cached(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the clock does, forward or back, memory answers what a full verification would.
    #[test]
    fn a_remembered_verdict_never_differs_from_a_fresh_one(
        exp in -400_i64..1_200, nbf in proptest::option::of(-400_i64..800), iat in -400_i64..800,
        steps in proptest::collection::vec(prop_oneof![-700_i64..700, Just(0), Just(100_000), Just(-100_000)], 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let signer = Signer::ed("k");
            let mut claims = json!({"exp": NOW + exp, "iat": NOW + iat});
            if let Some(nbf) = nbf {
                claims["nbf"] = (NOW + nbf).into();
            }
            let token = signer.token(&claims);
            let clock = ManualClock::at(NOW);
            let keys = Arc::new(StaticKeys::new(jwks(&[&signer]).to_string()));
            let kept = JwtVerifier::new(rules(), keys.clone(), clock.clone());
            for step in steps {
                clock.advance(step);
                let fresh = JwtVerifier::new(rules(), keys.clone(), clock.clone());
                assert_eq!(kept.verify(&token).await, fresh.verify(&token).await);
            }
        });
    }
}
