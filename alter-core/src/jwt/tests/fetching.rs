//! When keys are fetched, and who waits for it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::issuer::{Endpoint, NOW, Published, Signer, jwks, settle, verifier};
use crate::jwt::JwtError;

fn any() -> Value {
    json!({})
}

/// A token that outlives the clock's jumps in these tests.
fn long() -> Value {
    json!({"exp": NOW + 10_000_000})
}

#[tokio::test]
async fn callers_at_once_share_one_fetch() {
    let signer = Signer::ed("k");
    let published = Published::new(jwks(&[&signer]));
    let (verifier, _) = verifier(&published);
    let tokens: Vec<_> = (0..50).map(|n| signer.token(&json!({"sub": format!("user-{n}")}))).collect();
    let users = join_all(tokens.iter().map(|token| verifier.verify(token))).await;
    assert!(users.iter().enumerate().all(|(n, user)| user.as_ref().unwrap().subject == format!("user-{n}")));
    assert_eq!(published.fetches(), 1);
}

/// Nobody may be refused for having looked a moment before another caller's fetch ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_many_threads_all_see_the_one_fetch() {
    for _ in 0..100 {
        let (old, new) = (Signer::ed("old"), Signer::ed("new"));
        let published = Published::new(jwks(&[&old]));
        let (verifier, _) = verifier(&published);
        for (signer, fetches) in [(&old, 1), (&new, 2)] {
            let set = if fetches == 1 { jwks(&[&old]) } else { jwks(&[&old, &new]) };
            published.set(Endpoint::Answers(set));
            let callers = (0..16).map(|n| {
                let (verifier, token) =
                    (verifier.clone(), signer.token(&json!({"sub": format!("user-{n}")})));
                tokio::spawn(async move { verifier.verify(&token).await })
            });
            for user in join_all(callers).await {
                assert_eq!(user.unwrap().map(|user| user.key_id.clone()), Ok(Some(signer.id().into())));
            }
            assert_eq!(published.fetches(), fetches);
        }
    }
}

#[tokio::test]
async fn an_unknown_key_is_looked_up_once_in_thirty_seconds_whoever_asks() {
    let (known, unknown) = (Signer::ed("known"), Signer::ed("unknown"));
    let published = Published::new(jwks(&[&known]));
    let (verifier, clock) = verifier(&published);
    verifier.verify(&known.token(&any())).await.unwrap();
    assert_eq!(published.fetches(), 1);
    for seconds in [0, 1, 28] {
        clock.advance(seconds);
        for n in 0..20 {
            let token = unknown.token(&json!({"sub": format!("user-{n}")}));
            assert_eq!(verifier.verify(&token).await.unwrap_err(), JwtError::UnknownKey);
        }
        assert_eq!(published.fetches(), 2);
    }
    clock.advance(1);
    assert_eq!(verifier.verify(&unknown.token(&any())).await.unwrap_err(), JwtError::UnknownKey);
    assert_eq!(published.fetches(), 3);
}

#[tokio::test]
async fn a_new_key_is_picked_up_by_the_first_token_that_names_it() {
    let (old, new) = (Signer::Rsa("old"), Signer::ec("new"));
    let published = Published::new(jwks(&[&old]));
    let (verifier, _) = verifier(&published);
    verifier.verify(&old.token(&any())).await.unwrap();
    published.set(Endpoint::Answers(jwks(&[&old, &new])));
    assert!(verifier.verify(&new.token(&any())).await.is_ok());
    assert!(verifier.verify(&old.token(&any())).await.is_ok());
    assert_eq!(published.fetches(), 2);
}

#[tokio::test]
async fn a_key_replaced_under_the_same_name_is_picked_up_without_a_restart() {
    let (old, new) = (Signer::ed("k"), Signer::ed("k"));
    let published = Published::new(jwks(&[&old]));
    let (verifier, _) = verifier(&published);
    verifier.verify(&old.token(&any())).await.unwrap();
    published.set(Endpoint::Answers(jwks(&[&new])));
    assert_eq!(verifier.verify(&new.token(&any())).await.unwrap_err(), JwtError::BadSignature);
    settle().await;
    assert!(verifier.verify(&new.token(&any())).await.is_ok());
    assert_eq!(verifier.verify(&old.token(&any())).await.unwrap_err(), JwtError::BadSignature);
}

#[tokio::test]
async fn a_slow_endpoint_does_not_stall_a_known_key() {
    let (known, unknown) = (Signer::ed("known"), Signer::ed("unknown"));
    let published = Published::new(jwks(&[&known]));
    let (verifier, clock) = verifier(&published);
    verifier.verify(&known.token(&any())).await.unwrap();
    published.set(Endpoint::Hangs);
    let other = verifier.clone();
    let token = unknown.token(&any());
    let waiting = tokio::spawn(async move { other.verify(&token).await });
    settle().await;
    assert_eq!(published.fetches(), 2, "the fetch hangs");
    for n in 0..20 {
        clock.advance(40); // also past the age at which the set is renewed
        let token = known.token(&json!({"sub": format!("user-{n}"), "exp": NOW + 10_000}));
        let user = timeout(Duration::from_millis(500), verifier.verify(&token)).await.expect("waited");
        assert!(user.is_ok());
    }
    assert_eq!(published.fetches(), 2, "one at a time");
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_fetch_is_given_up_after_five_seconds() {
    let signer = Signer::ed("k");
    let published = Published::new(jwks(&[&signer]));
    published.set(Endpoint::Hangs);
    let (verifier, clock) = verifier(&published);
    let start = tokio::time::Instant::now();
    let error = verifier.verify(&signer.token(&any())).await.unwrap_err();
    assert_eq!((error.clone(), error.is_transient()), (JwtError::KeysUnavailable, true));
    assert_eq!(start.elapsed().as_secs(), 5);
    published.set(Endpoint::Answers(jwks(&[&signer])));
    clock.advance(5);
    assert!(verifier.verify(&signer.token(&any())).await.is_ok());
}

#[tokio::test]
async fn a_dropped_caller_or_a_panicking_source_wedges_nothing() {
    let signer = Signer::ed("k");
    let published = Published::new(jwks(&[&signer]));
    let (verifier, clock) = verifier(&published);
    published.set(Endpoint::Panics);
    assert_eq!(verifier.verify(&signer.token(&any())).await.unwrap_err(), JwtError::KeysUnavailable);
    clock.advance(2);
    published.set(Endpoint::Answers(jwks(&[&signer])));
    let token = signer.token(&any());
    {
        let mut dropped = Box::pin(verifier.verify(&token));
        assert!(futures_util::poll!(&mut dropped).is_pending());
    }
    settle().await;
    assert_eq!(published.fetches(), 2);
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!(published.fetches(), 2, "the dropped caller's fetch was not lost");
}

#[tokio::test]
async fn the_last_good_set_serves_while_the_endpoint_is_down_for_a_day() {
    let signer = Signer::ed("k");
    for broken in
        [Endpoint::Fails, Endpoint::AnswersText("<html>maintenance</html>"), Endpoint::AnswersText("{}")]
    {
        let published = Published::new(jwks(&[&signer]));
        let (verifier, clock) = verifier(&published);
        verifier.verify(&signer.token(&long())).await.unwrap();
        published.set(broken);
        clock.advance(24 * 3600 - 1);
        assert!(verifier.verify(&signer.token(&long())).await.is_ok());
        settle().await;
        assert_eq!(published.fetches(), 2, "it was tried in the background");
        clock.advance(1);
        for _ in 0..5 {
            assert_eq!(verifier.verify(&signer.token(&long())).await.unwrap_err(), JwtError::KeysUnavailable);
        }
        assert!(published.fetches() <= 3, "not once for each caller");
        clock.advance(2);
        published.set(Endpoint::Answers(jwks(&[&signer])));
        assert!(verifier.verify(&signer.token(&long())).await.is_ok());
    }
}

#[tokio::test]
async fn a_set_is_renewed_in_the_background_after_ten_minutes() {
    let signer = Signer::ed("k");
    let published = Published::new(jwks(&[&signer]));
    let (verifier, clock) = verifier(&published);
    let token = signer.token(&long());
    verifier.verify(&token).await.unwrap();
    clock.advance(599);
    verifier.verify(&token).await.unwrap();
    settle().await;
    assert_eq!(published.fetches(), 1);
    clock.advance(1);
    published.set(Endpoint::Fails);
    for (after, fetches) in [(0, 2), (29, 2), (1, 3)] {
        clock.advance(after);
        verifier.verify(&token).await.unwrap();
        settle().await;
        assert_eq!(published.fetches(), fetches);
    }
}

#[tokio::test]
async fn a_set_with_garbage_in_it_still_serves() {
    let signer = Signer::Rsa("k");
    let mut set = jwks(&[&signer]);
    let keys = set["keys"].as_array_mut().unwrap();
    keys.insert(0, json!({"kty": "RSA", "kid": "k", "n": "!!", "e": "AQAB"}));
    keys.insert(0, json!({"kty": "AKP", "alg": "ML-DSA-65", "kid": "post-quantum"}));
    keys.insert(0, json!(null));
    keys.push(json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256"}));
    let (verifier, _) = verifier(&Published::new(set));
    assert!(verifier.verify(&signer.token(&any())).await.is_ok());
}

#[tokio::test]
async fn keys_that_share_a_name_are_both_tried() {
    let (one, two) = (Signer::ed("k"), Signer::ed("k"));
    let (verifier, _) = verifier(&Published::new(jwks(&[&one, &two])));
    assert!(verifier.verify(&one.token(&any())).await.is_ok());
    assert!(verifier.verify(&two.token(&any())).await.is_ok());
}

#[tokio::test]
async fn a_token_of_another_issuer_or_of_yesterday_causes_no_fetch() {
    let signer = Signer::ed("k");
    let published = Published::new(jwks(&[&signer]));
    let (verifier, _) = verifier(&published);
    for changes in [json!({"iss": "https://other.example"}), json!({"exp": NOW - 86_400})] {
        assert!(verifier.verify(&signer.token(&changes)).await.is_err());
    }
    settle().await;
    assert_eq!(published.fetches(), 0);
    assert_eq!(Arc::strong_count(&published), 2);
}
