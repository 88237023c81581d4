//! The pages of the OAuth providers.

use std::time::{Duration, Instant};

use alter_sandbox::{AuthorizeFault, Client, Faults, OauthEndpoints, Sandbox};
use serde_json::{Value, json};

use super::{
    browser::{Browser, Page, REDIRECT},
    get, http, json as body,
    oauth::{VERIFIER, text},
    sandbox,
};

pub(super) async fn redeem(endpoints: &OauthEndpoints, client: &Client, code: &str) -> reqwest::Response {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    let call = http().post(&endpoints.token);
    call.basic_auth(&client.client_id, Some(&client.client_secret)).form(&form).send().await.unwrap()
}

async fn tokens(sandbox: &Sandbox, back: &Page) -> Value {
    let code = back.back("code").unwrap();
    body(redeem(&sandbox.oauth_endpoints(), &sandbox.client(), &code).await).await
}

/// Somebody connects an account at `sandbox` for the first time in this browser.
async fn connected(browser: &mut Browser, sandbox: &Sandbox, account: &str) -> Page {
    let page = browser.connect(sandbox, &[]).await;
    let page = browser.sign_in(&page, account).await;
    browser.allow(&page).await
}

#[tokio::test]
async fn a_person_signs_in_consents_and_the_client_gets_a_code_for_their_account() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let page = browser.connect(&sandbox, &[]).await;
    assert!(page.is_at("/oauth/signin"));
    assert_eq!((page.status, page.h1()), (200, "Sign in to Sandbox"));
    assert!(page.html.contains("<html lang=\"en\">") && page.html.contains("<label for=\"account\">"));
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));

    let page = browser.sign_in(&page, "alice").await;
    assert!(page.is_at("/oauth/consent"));
    assert!(page.html.contains("<strong id=\"signed-in\">alice</strong>"), "{}", page.html);
    let back = browser.allow(&page).await;
    assert_eq!((back.status, back.back("state").as_deref()), (303, Some("state-1")));
    assert_eq!(back.back("iss").unwrap(), sandbox.provider().endpoints().issuer);

    let tokens = tokens(&sandbox, &back).await;
    assert_eq!(tokens["scope"], "openid read write");
    let access = text(&tokens, "access_token");
    let user = body(get(&sandbox.oauth_endpoints().userinfo, &access).await).await;
    let sub = sandbox.provider().account_id("alice");
    let wanted = json!({"sub": sub, "account": "alice", "email": "alice@example.test", "name": "alice"});
    assert_eq!(user, wanted);
    let counts = sandbox.counts().browser;
    assert_eq!((counts.authorize_calls, counts.sign_ins, counts.approvals, counts.denials), (1, 1, 1, 0));
}

#[tokio::test]
async fn whoever_says_no_sends_the_client_an_error_and_no_code() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let page = browser.connect(&sandbox, &[]).await;
    let page = browser.sign_in(&page, "alice").await;
    let back = browser.submit(&page, &[("decision", "deny")]).await;
    assert_eq!((back.back("error").as_deref(), back.back("code")), (Some("access_denied"), None));
    assert_eq!(back.back("state").as_deref(), Some("state-1"));
    assert_eq!(back.back("iss").unwrap(), sandbox.oauth_endpoints().issuer);
    assert_eq!(sandbox.counts().browser.denials, 1);
}

#[tokio::test]
async fn less_may_be_granted_than_was_asked_and_the_token_response_says_so() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let page = browser.connect(&sandbox, &[]).await;
    let page = browser.sign_in(&page, "alice").await;
    let back = browser.submit(&page, &[("scope", "read"), ("decision", "allow")]).await;
    assert_eq!(tokens(&sandbox, &back).await["scope"], "read");

    let page = browser.connect(&sandbox, &[]).await;
    let back = browser.submit(&page, &[("scope", "admin"), ("decision", "allow")]).await;
    assert_eq!(back.back("error").as_deref(), Some("access_denied"), "what was not asked is not granted");

    sandbox.set_faults(Faults::default().granted_scope("write admin"));
    let page = browser.connect(&sandbox, &[]).await;
    let back = browser.allow(&page).await;
    assert_eq!(tokens(&sandbox, &back).await["scope"], "write");
}

#[tokio::test]
async fn a_browser_remembers_who_is_signed_in_and_lets_choose_among_several() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    connected(&mut browser, &sandbox, "alice").await;
    let page = browser.connect(&sandbox, &[]).await;
    assert!(page.is_at("/oauth/consent") && page.html.contains(">alice<"), "one account needs no choice");
    let page = browser.connect(&sandbox, &[("prompt", "select_account")]).await;
    assert!(page.is_at("/oauth/accounts"));
    assert!(page.html.contains("id=\"other-account\" href=\"/oauth/signin?request="));

    let page = browser.connect(&sandbox, &[("prompt", "login")]).await;
    assert!(page.is_at("/oauth/signin"));
    browser.sign_in(&page, "bob").await;
    let page = browser.connect(&sandbox, &[]).await;
    assert!(page.is_at("/oauth/accounts"));
    let page = browser.submit(&page, &[("account", "mallory")]).await;
    assert!(page.is_at("/oauth/signin"), "nobody is signed in under this name");
    let page = browser.connect(&sandbox, &[]).await;
    let page = browser.submit(&page, &[("account", "alice")]).await;
    let back = browser.allow(&page).await;
    let access = text(&tokens(&sandbox, &back).await, "access_token");
    assert_eq!(body(get(&sandbox.oauth_endpoints().userinfo, &access).await).await["account"], "alice");

    let page = browser.get(sandbox.oauth_endpoints().sign_out.parse().unwrap()).await;
    assert_eq!(page.h1(), "Signed out of Sandbox");
    assert!(browser.connect(&sandbox, &[]).await.is_at("/oauth/signin"));
}

#[tokio::test]
async fn consent_is_remembered_where_that_is_asked_for_until_it_is_taken_back() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    sandbox.set_faults(Faults::default().remember_consent(true));
    let back = connected(&mut browser, &sandbox, "alice").await;
    tokens(&sandbox, &back).await;
    assert!(browser.connect(&sandbox, &[]).await.back("code").is_some());
    assert!(browser.connect(&sandbox, &[("prompt", "none")]).await.back("code").is_some());
    assert!(browser.connect(&sandbox, &[("prompt", "consent")]).await.is_at("/oauth/consent"));
    assert!(browser.connect(&sandbox, &[("scope", "read admin")]).await.is_at("/oauth/consent"));
    let sub = sandbox.provider().account_id("alice");
    assert_eq!(sandbox.disconnect(&sub, "alice"), 1);
    assert!(browser.connect(&sandbox, &[]).await.is_at("/oauth/consent"));
}

#[tokio::test]
async fn a_client_that_wants_nobody_asked_hears_what_would_have_to_be_asked() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let none = [("prompt", "none")];
    let back = browser.connect(&sandbox, &none).await;
    assert_eq!(back.back("error").as_deref(), Some("login_required"));
    connected(&mut browser, &sandbox, "alice").await;
    let back = browser.connect(&sandbox, &none).await;
    assert_eq!(back.back("error").as_deref(), Some("consent_required"));
    let page = browser.connect(&sandbox, &[("prompt", "login")]).await;
    browser.sign_in(&page, "bob").await;
    let back = browser.connect(&sandbox, &none).await;
    assert_eq!(back.back("error").as_deref(), Some("account_selection_required"));
}

#[tokio::test]
async fn a_hint_is_only_a_hint_where_the_user_is_to_be_asked() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let at_once = browser.connect(&sandbox, &[("login_hint", "alice")]).await;
    assert!(at_once.back("code").is_some());
    let page = browser.connect(&sandbox, &[("login_hint", "alice"), ("prompt", "consent")]).await;
    assert!(page.is_at("/oauth/signin") && page.html.contains("value=\"alice\""));
}

#[tokio::test]
async fn a_second_click_and_the_back_button_lead_to_the_first_answer() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let page = browser.connect(&sandbox, &[]).await;
    let page = browser.sign_in(&page, "alice").await;
    let first = browser.allow(&page).await;
    let second = browser.submit(&page, &[("decision", "deny")]).await;
    assert_eq!(first.url, second.url);
    assert_eq!(browser.get(page.url).await.url, first.url);
}

#[tokio::test]
async fn a_page_belongs_to_the_browser_that_began_and_its_forms_to_itself() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let page = browser.connect(&sandbox, &[]).await;
    let consent = browser.sign_in(&page, "alice").await;
    let mut other = Browser::default();
    other.connect(&sandbox, &[]).await;
    assert_eq!(other.get(consent.url.clone()).await.status, 403);
    assert_eq!(other.allow(&consent).await.status, 403);
    for csrf in ["<none>", "guess"] {
        let refused = browser.submit(&consent, &[("decision", "allow"), ("csrf", csrf)]).await;
        assert_eq!((refused.status, refused.h1()), (403, "Not here"));
        assert_eq!(browser.submit(&page, &[("account", "mallory"), ("csrf", csrf)]).await.status, 403);
    }
    assert_eq!(browser.submit(&consent, &[("request", "unknown")]).await.status, 404);
    assert_eq!(sandbox.counts().browser.approvals, 0);
    assert!(browser.allow(&consent).await.back("code").is_some());
}

#[tokio::test]
async fn nothing_that_was_typed_or_asked_for_becomes_html() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let script = "\"><script>alert('1')</script>&";
    let more = [("login_hint", script), ("prompt", "consent"), ("scope", script), ("state", script)];
    let page = browser.connect(&sandbox, &more).await;
    let consent = browser.sign_in(&page, script).await;
    let wrong = browser.sign_in(&page, " ").await;
    assert_eq!(wrong.status, 422);
    let accounts = browser.connect(&sandbox, &[("prompt", "select_account")]).await;
    let bad = browser.connect(&sandbox, &[(script, "1"), ("client_id", script)]).await;
    for page in [page, consent, wrong, accounts, bad] {
        assert!(!page.html.contains("<script") && !page.html.contains("alert('"), "{}", page.html);
    }
}

#[tokio::test]
async fn an_empty_or_endless_name_is_asked_for_again() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let page = browser.connect(&sandbox, &[]).await;
    for name in ["   ", &"x".repeat(201), "a\u{7}b"] {
        let again = browser.sign_in(&page, name).await;
        assert_eq!((again.status, again.h1()), (422, "Sign in to Sandbox"));
        assert!(again.html.contains("role=\"alert\""));
    }
    assert!(browser.sign_in(&page, " alice ").await.html.contains(">alice<"));
}

#[tokio::test]
async fn each_lie_in_the_answer_is_told_as_often_as_asked() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let at_once = [("sandbox_sub", "user-1")];
    let (own, other) = (sandbox.provider(), sandbox.second_provider());
    for (fault, name, value) in [
        (AuthorizeFault::WrongIssuer, "iss", Some("https://attacker.example".to_owned())),
        (AuthorizeFault::OtherIssuer, "iss", Some(other.endpoints().issuer)),
        (AuthorizeFault::NoIssuer, "iss", None),
        (AuthorizeFault::WrongState, "state", Some("a-state-that-nobody-asked-for".to_owned())),
        (AuthorizeFault::NoState, "state", None),
        (AuthorizeFault::WrongCode, "code", Some("sbx_ac_never-issued".to_owned())),
        (AuthorizeFault::NoCode, "code", None),
        (AuthorizeFault::ServerError, "error", Some("server_error".to_owned())),
        (AuthorizeFault::TemporarilyUnavailable, "error", Some("temporarily_unavailable".to_owned())),
        (AuthorizeFault::AccessDenied, "error", Some("access_denied".to_owned())),
        (AuthorizeFault::InvalidScope, "error", Some("invalid_scope".to_owned())),
    ] {
        sandbox.set_faults(Faults::default().authorize_fault(fault).authorize_fault_times(1));
        assert_eq!(browser.connect(&sandbox, &at_once).await.back(name), value, "{fault:?}");
        let honest = browser.connect(&sandbox, &at_once).await;
        assert_eq!(honest.back("iss").unwrap(), own.endpoints().issuer);
        assert_eq!((honest.back("state").as_deref(), honest.back("error")), (Some("state-1"), None));
        assert!(honest.back("code").unwrap().len() > 20);
    }
    sandbox.set_faults(Faults::default().authorize_fault(AuthorizeFault::Page));
    assert_eq!(browser.connect(&sandbox, &at_once).await.status, 503);
    let idp = browser.sign_in_at_idp(&sandbox, &at_once).await;
    assert!(idp.back("code").is_some(), "the identity provider has faults of its own");
}

#[tokio::test]
async fn a_lie_about_the_answer_waits_for_the_answer() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    sandbox.set_faults(Faults::default().authorize_fault(AuthorizeFault::NoIssuer).authorize_fault_times(1));
    let back = connected(&mut browser, &sandbox, "alice").await;
    assert_eq!((back.back("iss"), back.back("code").is_some()), (None, true));
}

#[tokio::test]
async fn a_provider_that_cuts_its_opener_off_does_so_on_every_page_and_redirect() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let coop = |page: &Page| page.headers.contains_key("cross-origin-opener-policy");
    sandbox.set_faults(Faults::default().coop(true));
    let page = browser.connect(&sandbox, &[]).await;
    assert_eq!(page.headers["cross-origin-opener-policy"], "same-origin");
    let page = browser.sign_in(&page, "alice").await;
    assert!(coop(&page) && coop(&browser.allow(&page).await));
    assert!(!coop(&browser.sign_in_at_idp(&sandbox, &[]).await));
    sandbox.set_faults(Faults::default().sign_in_coop(true));
    assert!(coop(&browser.sign_in_at_idp(&sandbox, &[]).await));
    assert!(!coop(&browser.connect(&sandbox, &[]).await));
}

#[tokio::test]
async fn a_slow_authorization_endpoint_is_slow() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    sandbox.set_faults(Faults::default().authorize_delay_ms(150));
    let began = Instant::now();
    browser.connect(&sandbox, &[]).await;
    assert!(began.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn the_second_provider_is_another_one() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let (first, second) = (sandbox.provider(), sandbox.second_provider());
    connected(&mut browser, &sandbox, "alice").await;
    let page = browser.authorize(&second.endpoints(), &second.client(), &[]).await;
    assert_eq!(page.h1(), "Sign in to Sandbox Two", "who is signed in at one is not at the other");
    let page = browser.sign_in(&page, "alice").await;
    let back = browser.allow(&page).await;
    assert_eq!(back.back("iss").unwrap(), second.endpoints().issuer);
    let code = back.back("code").unwrap();
    assert_eq!(redeem(&first.endpoints(), &first.client(), &code).await.status(), 400);
    assert_eq!(redeem(&first.endpoints(), &second.client(), &code).await.status(), 401);
    let tokens = body(redeem(&second.endpoints(), &second.client(), &code).await).await;
    let access = text(&tokens, "access_token");
    assert_eq!(get(&first.endpoints().userinfo, &access).await.status(), 401);
    let user = body(get(&second.endpoints().userinfo, &access).await).await;
    assert_eq!(user["sub"], second.account_id("alice"));
    assert_ne!(second.account_id("alice"), first.account_id("alice"));
    assert_eq!(get(&format!("{}/me", sandbox.api_url()), &access).await.status(), 200);
    let wrong = browser.authorize(&second.endpoints(), &first.client(), &[]).await;
    assert_eq!(wrong.status, 400, "one's client is not the other's");
}

#[tokio::test]
async fn each_provider_publishes_what_it_is() {
    let sandbox = sandbox().await;
    for provider in [sandbox.provider(), sandbox.second_provider()] {
        let endpoints = provider.endpoints();
        let root = endpoints.issuer.replace("/oauth", "/.well-known/oauth-authorization-server/oauth");
        for url in [
            root,
            format!("{}/.well-known/oauth-authorization-server", endpoints.issuer),
            format!("{}/.well-known/openid-configuration", endpoints.issuer),
        ] {
            let document = body(http().get(url).send().await.unwrap()).await;
            assert_eq!(document["issuer"], endpoints.issuer);
            assert_eq!(document["authorization_endpoint"], endpoints.authorize);
            assert_eq!(document["revocation_endpoint"], endpoints.revoke);
            assert_eq!(document["authorization_response_iss_parameter_supported"], true);
        }
    }
}
