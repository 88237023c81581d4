//! Attacks of one person on another one's accounts: each is refused, connects nothing, and leaves a row.

use alter_core::wire::sign::content_sha256;
use alter_sandbox::Faults;
use alter_server::domain::{GrantFilter, UserRef, UserStatus};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    browser::{Browser, Page, answer_of},
    connect_kit::{Kit, link, sign_in},
    support::{send, signed},
};

/// Connects `account` in a session of the app's own, in a browser of its own; answers the grant's id.
async fn connected_by(kit: &Kit, account: &str) -> String {
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    assert_eq!(browser.connect(&consent, account).await.h1(), "Connected");
    kit.poll(&made).await["grants"][0]["grant_id"].as_str().unwrap().to_owned()
}

/// A user's browser on the consent page, after signing in.
async fn consent_of(kit: &Kit, sub: &str, more: Value) -> (Value, Browser, Page) {
    let made = kit.session_of(sub, more).await;
    let mut browser = kit.browser();
    let prove = browser.open(link(&made)).await;
    let consent = sign_in(&mut browser, &prove, sub).await;
    (made, browser, consent)
}

#[tokio::test]
async fn whoever_has_a_link_of_the_app_sees_and_takes_nobody_elses_account() {
    let kit = Kit::start().await;
    kit.provider("two", true, json!({})).await;
    let only = json!({"allowed_providers": ["sandbox"]});
    let made = kit.session(only.clone()).await;
    let mut ann = kit.browser();
    let consent = ann.open(link(&made)).await;
    ann.connect(&consent, "ann").await;
    let grant = kit.poll(&made).await["grants"][0]["grant_id"].as_str().unwrap().to_owned();

    // An app that knows its users by itself asks for another one.
    let (both, one) = (kit.session(json!({})).await, kit.session(only).await);
    let mut mallory = kit.browser();
    for made in [&both, &one] {
        let page = mallory.open(link(made)).await;
        assert!(!page.html.contains("ann") && !page.html.contains(&grant), "{}", page.html);
    }
    let consent = mallory.open(link(&one)).await;
    let refused = mallory.press(&consent, "/p/sandbox/use", &[("grant", &grant)]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.html);
    assert_eq!(kit.refused("grant_not_found").await.len(), 1);
    assert_eq!((kit.status(&one).await, kit.connected().await), ("pending".to_owned(), 1));
}

#[tokio::test]
async fn a_user_is_offered_and_can_take_only_accounts_of_that_user() {
    let kit = Kit::start().await;
    let (made, mut ann, consent) = consent_of(&kit, "ann", json!({})).await;
    ann.connect(&consent, "anns-account").await;
    let grant = kit.poll(&made).await["grants"][0]["grant_id"].as_str().unwrap().to_owned();

    let (made, mut mallory, consent) = consent_of(&kit, "mallory", json!({})).await;
    assert!(!consent.html.contains("anns-account"), "{}", consent.html);
    let refused = mallory.press(&consent, "/p/sandbox/use", &[("grant", &grant)]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.html);
    assert_eq!(kit.refused("grant_not_found").await.len(), 1);
    // Nor can a session be made that repairs it.
    let body = crate::browser::asked(&json!({
        "repair_grant_id": grant, "allowed_providers": ["sandbox"], "user_token": kit.kit.mint("mallory"),
    }));
    let answer = send(&kit.router, &signed(&kit.kit.app_key(), "/sdk/oauth/connect/session", &body)).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "grant_not_found"));
    assert_eq!(kit.refused("grant_not_found").await.len(), 2);
    assert_eq!((kit.status(&made).await, kit.connected().await), ("pending".to_owned(), 1));
}

#[tokio::test]
async fn an_account_that_the_browser_names_leads_to_nobody_elses_grant() {
    let kit = Kit::start().await;
    // As a provider that tells the account in the callback's address, and nowhere else.
    kit.provider(
        "sandbox",
        false,
        json!({"account": {"id": ["/callback/realm"], "identifier": [], "name": []}}),
    )
    .await;
    let connect = async |realm: &str, account: &str| {
        let made = kit.session(json!({})).await;
        let mut browser = kit.browser();
        let consent = browser.open(link(&made)).await;
        let go = browser.agree(&consent, &[]).await;
        let back = answer_of(go.provider_url(), account).await;
        assert_eq!(browser.get(&format!("{back}&realm={realm}")).await.h1(), "Connected");
        kit.poll(&made).await["grants"][0]["grant_id"].clone()
    };
    let ann = connect("7", "ann").await;
    assert_ne!(connect("7", "mallory").await, ann, "the attacker wrote the victim's number into the address");
    // An account that nothing is known of is not the same as another one.
    kit.provider("sandbox", false, json!({"account": {"id": [], "identifier": [], "name": []}})).await;
    assert_ne!(connected_by(&kit, "bob").await, connected_by(&kit, "eve").await);
}

#[tokio::test]
async fn a_user_who_is_suspended_in_the_middle_connects_nothing() {
    let kit = Kit::start().await;
    let (made, mut ann, consent) = consent_of(&kit, "ann", json!({})).await;
    let go = ann.agree(&consent, &[]).await;
    let (admin, app_id) = (kit.kit.admin(), kit.kit.app_id());
    let who = UserRef::Subject { issuer: kit.kit.sandbox().issuer(), subject: "ann".to_owned() };
    admin.set_user_status(app_id, who, UserStatus::Suspended, None).await.unwrap();
    let refused = ann.allow(&go, "ann").await;
    assert_eq!(refused.h1(), "This did not work", "{}", refused.html);
    assert_eq!(kit.poll(&made).await["status"], "error");
    assert!(!kit.refused("jwt_validation_error").await.is_empty());
    assert_eq!(kit.connected().await, 0);
    let filter = GrantFilter { provider: Some("sandbox".to_owned()), ..GrantFilter::default() };
    let grants = admin.grants(app_id, filter, 100, 0).await.unwrap().grants;
    assert!(grants.iter().all(|grant| grant.facts.account_identifier.as_deref() != Some("ann")));
}

#[tokio::test]
async fn tokens_are_not_kept_for_hosts_that_the_provider_was_given_meanwhile() {
    let kit = Kit::start().await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    let go = browser.agree(&consent, &[]).await;
    let back = answer_of(go.provider_url(), "ann").await;
    // While the code is redeemed, the operator gives the definition another meaning.
    kit.kit.sandbox().set_faults(Faults::default().delay_ms(700));
    let changes = async {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        kit.provider("sandbox", false, json!({"client_id": "another-client"})).await;
    };
    let (page, ()) = tokio::join!(browser.get(&back), changes);
    assert!(page.html.contains("was changed just now"), "{}", page.html);
    assert_eq!(kit.refused("provider_configuration_unavailable").await.len(), 1);
    assert_eq!((kit.status(&made).await, kit.connected().await), ("pending".to_owned(), 0));
    // A change that does not concern it is none.
    kit.kit.sandbox().set_faults(Faults::default());
    kit.provider("sandbox", false, json!({})).await;
    let consent = browser.get(&consent.at).await;
    let go = browser.agree(&consent, &[]).await;
    let back = answer_of(go.provider_url(), "ann").await;
    kit.kit.sandbox().set_faults(Faults::default().delay_ms(700));
    let changes = async {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        kit.provider("two", true, json!({})).await;
    };
    let (page, ()) = tokio::join!(browser.get(&back), changes);
    assert_ne!(page.h1(), "This did not work", "{}", page.html);
    assert_eq!(kit.connected().await, 1);
}

#[tokio::test]
async fn a_link_without_a_user_can_be_bound_to_the_browser_that_asked_for_it() {
    let kit = Kit::start().await;
    let cookie = "what-only-the-application-and-its-users-browser-know";
    let bound = json!({"browser_binding": content_sha256(cookie.as_bytes())});
    let made = kit.session(bound.clone()).await;
    let mut victim = kit.browser();
    let refused = victim.open(link(&made)).await;
    assert_eq!(
        (refused.status, refused.h1().as_str()),
        (StatusCode::FORBIDDEN, "This link works in one browser only")
    );
    assert_eq!(kit.refused("browser_binding_missing").await.len(), 1);
    // Two cookies of that name: one of them is somebody else's.
    let made = kit.session(bound.clone()).await;
    let mut tossed = kit.browser();
    tossed.cookies.insert("alter-binding".to_owned(), format!("{cookie}; alter-binding=x"));
    assert_eq!(tossed.open(link(&made)).await.h1(), "This link works in one browser only");
    assert_eq!(kit.connected().await, 0);

    let made = kit.session(bound).await;
    let mut own = kit.browser();
    own.cookies.insert("alter-binding".to_owned(), cookie.to_owned());
    let consent = own.open(link(&made)).await;
    assert_eq!(own.connect(&consent, "ann").await.h1(), "Connected");
}
