//! Getting in, and being out again.

use alter_core::clock::ManualClock;
use alter_sandbox::{AuthorizeFault, Faults, IdTokenFault};
use alter_server::{domain::UserTokenKind, testkit::TestVault};
use http::StatusCode;

use super::super::visitor::Visitor;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_fresh_at_sign_in_and_gone_at_sign_out() {
    let kit = TestVault::start().await.unwrap();
    let mut browser = Visitor::new(&kit);
    // Somebody has planted a session of their own.
    let planted = signed_in(&kit, "user-2").await.cookies["alter-wallet"].clone();
    browser.cookies.insert("alter-wallet".to_owned(), planted.clone());
    assert_eq!(browser.sign_in("user-1").await.location(), "/wallet");
    let session = browser.cookies["alter-wallet"].clone();
    assert_ne!(session, planted);
    assert!(!browser.cookies.contains_key("alter-sign-in"), "the pending sign-in is over");
    let all = browser.get("/wallet").await;
    assert!(all.text.contains("user-1@work") && !all.text.contains("user-2@"));
    let mut planter = Visitor::new(&kit);
    planter.cookies.insert("alter-wallet".to_owned(), planted);
    assert_eq!(planter.get("/wallet").await.location(), "/wallet/sign-in", "the planted session has ended");

    let out = browser.post("/wallet/sign-out", &[("csrf", all.csrf())]).await;
    assert_eq!(out.location(), "/wallet/signed-out");
    // The identity provider would sign the browser in again without a word: nothing of the wallet goes there by itself.
    assert_eq!(browser.cookies["alter-wallet"], "signed-out");
    assert_eq!(browser.get("/wallet").await.location(), "/wallet/signed-out");
    let page = browser.get("/wallet/signed-out").await;
    assert_dressed(&page);
    browser.cookies.insert("alter-wallet".to_owned(), session);
    assert_eq!(
        browser.get("/wallet").await.location(),
        "/wallet/sign-in",
        "the cookie is worth nothing any more"
    );
    assert_eq!(rows_of(&kit, "wallet.signed_out").await.len(), 2);
    assert_eq!(rows_of(&kit, "wallet.signed_in").await.len(), 2);
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_by_itself() {
    let start = jiff::Timestamp::now().as_second() + 60;
    let clock = ManualClock::at(start);
    let kit = TestVault::start_at(clock.clone()).await.unwrap();
    let mut browser = signed_in(&kit, "user-1").await;
    clock.advance(29 * 60);
    assert_eq!(browser.get("/wallet").await.status, 200);
    clock.advance(29 * 60);
    assert_eq!(browser.get("/wallet").await.status, 200, "it was used in between");
    clock.advance(31 * 60);
    assert_eq!(browser.get("/wallet").await.location(), "/wallet/sign-in", "half an hour without use");
    kit.stop().await.unwrap();

    let clock = ManualClock::at(start);
    let kit = TestVault::start_at(clock.clone()).await.unwrap();
    let mut browser = signed_in(&kit, "user-1").await;
    for _ in 0..26 {
        clock.advance(27 * 60);
        assert_eq!(browser.get("/wallet").await.status, 200);
    }
    clock.advance(19 * 60);
    assert_eq!(browser.get("/wallet").await.location(), "/wallet/sign-in", "twelve hours, used or not");
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_browser_that_left_may_come_back_and_once() {
    let kit = TestVault::start().await.unwrap();
    let mut attacker = Visitor::new(&kit);
    let back = attacker.come_back("attacker").await;
    // The victim follows the attacker's link: they must not end up in the attacker's wallet.
    let mut victim = Visitor::new(&kit);
    for prepared in [false, true] {
        if prepared {
            victim.go("/wallet/sign-in").await;
        }
        let answer = victim.get(&back).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_dressed(&answer);
        assert!(
            answer.text.contains("not begun in this browser") && !victim.cookies.contains_key("alter-wallet")
        );
    }
    let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap();
    for changed in [
        back.replace(state, ""),
        back.replace(state, &"A".repeat(state.len())),
        back.replace(&format!("state={state}"), ""),
        format!("{back}&state={state}"),
        format!("{back}&code=x"),
    ] {
        assert_eq!(attacker.get(&changed).await.status, StatusCode::FORBIDDEN, "{changed}");
    }
    assert_eq!(rows_of(&kit, "request.refused").await.len(), 7);
    assert_eq!(attacker.get(&back).await.location(), "/wallet");
    // A replay has neither the cookie nor a code that still counts.
    let cookie = attacker.cookies.clone();
    assert_eq!(attacker.get(&back).await.status, StatusCode::FORBIDDEN);
    attacker.cookies = cookie;
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_counts_once_even_with_the_right_cookie() {
    let kit = TestVault::start().await.unwrap();
    let mut browser = Visitor::new(&kit);
    let back = browser.come_back("user-1").await;
    let cookies = browser.cookies.clone();
    assert_eq!(browser.get(&back).await.location(), "/wallet");
    browser.cookies = cookies;
    let replayed = browser.get(&back).await;
    assert_eq!(replayed.status, StatusCode::FORBIDDEN);
    assert!(!browser.cookies.contains_key("alter-wallet"));
    let rows = rows_of(&kit, "wallet.signed_in").await;
    assert!(rows[1].detail.as_deref().unwrap().contains("invalid_grant"), "{rows:?}");
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_trusted_signs_nobody_in() {
    let kit = TestVault::start().await.unwrap();
    let mut expected = 0;
    let mut refused = async |faults: Faults, code: &str, words: &str| {
        kit.sandbox().set_faults(faults);
        let mut browser = Visitor::new(&kit);
        let answer = browser.sign_in("user-1").await;
        assert!(answer.status.is_client_error(), "{words}: {}", answer.status);
        assert_dressed(&answer);
        assert!(!browser.cookies.contains_key("alter-wallet"), "{words}");
        expected += 1;
        let rows = rows_of(&kit, "wallet.signed_in").await;
        assert_eq!(rows.len(), expected, "{words}");
        let row = rows.last().unwrap();
        assert_eq!(row.code.as_deref(), Some(code), "{row:?}");
        assert!(row.detail.as_deref().unwrap().contains(words), "{row:?}");
    };
    for (fault, words) in [
        (IdTokenFault::Missing, "no ID token"),
        (IdTokenFault::WrongNonce, "another sign-in"),
        (IdTokenFault::NoNonce, "no `nonce`"),
        (IdTokenFault::WrongAudience, "another audience"),
        (IdTokenFault::WrongIssuer, "issued by somebody else"),
        (IdTokenFault::Expired, "has expired"),
        (IdTokenFault::Forged, "ID token"),
        (IdTokenFault::Unsigned, "algorithm is not allowed"),
    ] {
        refused(Faults::default().id_token_fault(fault), "jwt_validation_error", words).await;
    }
    for (fault, code, words) in [
        (AuthorizeFault::WrongIssuer, "jwt_validation_error", "another issuer"),
        (AuthorizeFault::OtherIssuer, "jwt_validation_error", "another issuer"),
        (AuthorizeFault::NoIssuer, "jwt_validation_error", "does not name its issuer"),
        (AuthorizeFault::WrongCode, "jwt_validation_error", "invalid_grant"),
        (AuthorizeFault::NoCode, "jwt_validation_error", "no code"),
        (AuthorizeFault::AccessDenied, "sign_in_declined", "access_denied"),
    ] {
        refused(Faults::default().sign_in_fault(fault), code, words).await;
    }
    kit.sandbox().set_faults(Faults::default());
    assert_eq!(Visitor::new(&kit).sign_in("user-1").await.location(), "/wallet");
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_that_takes_too_long_is_begun_anew() {
    let clock = ManualClock::at(jiff::Timestamp::now().as_second() + 60);
    let kit = TestVault::start_at(clock.clone()).await.unwrap();
    let mut browser = Visitor::new(&kit);
    let back = browser.come_back("user-1").await;
    clock.advance(15 * 60 + 1);
    let late = browser.get(&back).await;
    assert_eq!(late.status, StatusCode::FORBIDDEN);
    assert!(late.text.contains("took too long") && !late.links("/wallet/sign-in").is_empty());
    assert_eq!(rows_of(&kit, "wallet.signed_in").await[0].code.as_deref(), Some("sign_in_expired"));
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_token_of_a_sign_in_may_be_the_users() {
    let kit = TestVault::start().await.unwrap();
    let config = kit.admin().app_config(kit.app_id()).await.unwrap();
    let mut settings = config.sign_in.unwrap();
    settings.user_token = UserTokenKind::IdToken;
    kit.admin().set_sign_in(kit.app_id(), settings.clone(), None).await.unwrap();
    assert!(signed_in(&kit, "user-1").await.get("/wallet").await.text.contains("user-1@work"));
    // An access token for somebody else's API is not what the app takes.
    settings.user_token = UserTokenKind::AccessToken;
    settings.authorize_params = [("audience".to_owned(), "https://elsewhere.example".to_owned())].into();
    kit.admin().set_sign_in(kit.app_id(), settings, None).await.unwrap();
    let answer = Visitor::new(&kit).sign_in("user-1").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text.contains("Tell the application"));
    let rows = rows_of(&kit, "wallet.signed_in").await;
    let row = rows.last().unwrap();
    assert_eq!(row.code.as_deref(), Some("sign_in_misconfigured"));
    assert!(row.detail.as_deref().unwrap().contains("another audience"));
    kit.admin().remove_sign_in(kit.app_id()).await.unwrap();
    let nobody = Visitor::new(&kit).get("/wallet/sign-in").await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    assert_dressed(&nobody);
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_is_suspended_is_out_at_once() {
    let kit = TestVault::start().await.unwrap();
    let mut browser = signed_in(&kit, "user-1").await;
    assert_eq!(browser.get("/wallet").await.status, 200);
    let user = alter_server::domain::UserRef::Subject {
        issuer: kit.ready().idp.issuer.clone(),
        subject: "user-1".to_owned(),
    };
    let suspended = alter_server::domain::UserStatus::Suspended;
    kit.admin().set_user_status(kit.app_id(), user, suspended, None).await.unwrap();
    assert_eq!(browser.get("/wallet").await.location(), "/wallet/sign-in");
    let again = browser.sign_in("user-1").await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert!(again.text.contains("suspended or deleted"));
    let rows = rows_of(&kit, "wallet.signed_in").await;
    assert_eq!(rows.last().unwrap().code.as_deref(), Some("user_not_active"));
    kit.stop().await.unwrap();
}
