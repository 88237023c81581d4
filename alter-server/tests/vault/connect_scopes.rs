//! What a connection may do, and which grant it goes to.

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Page, answer_of},
    connect_kit::{Kit, link, sign_in},
};

/// Ann's session as far as the consent. Without a user nothing is said of accounts that are connected already.
async fn proved(browser: &mut Browser, made: &Value) -> Page {
    let prove = browser.open(link(made)).await;
    sign_in(browser, &prove, "ann").await
}

/// The provider's address with fewer scopes: the person has unticked some there.
fn narrowed(mut url: url::Url, scope: &str) -> url::Url {
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let pairs = pairs.iter().map(|(name, value)| (name, if name == "scope" { scope } else { value }));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    url.set_query(Some(&query));
    url
}

#[tokio::test]
async fn what_the_person_did_not_allow_is_missing_only_if_the_app_needs_it() {
    let kit = Kit::start().await;
    kit.provider("sandbox", false, json!({"scope_texts": {"write": "Change your things"}})).await;
    let made = kit.session_of("ann", json!({})).await;
    let mut browser = kit.browser();
    let consent = proved(&mut browser, &made).await;
    let go = browser.agree(&consent, &[]).await;
    let back = answer_of(narrowed(go.provider_url(), "read"), "ann").await;
    assert_eq!(browser.get(&back).await.h1(), "Connected");
    assert_eq!(kit.poll(&made).await["grants"][0]["scopes"], json!(["read"]));

    let made = kit.session_of("ann", json!({"required_scopes": {"sandbox": ["read", "write"]}})).await;
    let consent = proved(&mut browser, &made).await;
    let account = consent.html.contains("Not allowed yet: Change your things");
    assert!(account, "{}", consent.html);
    let grant = consent.attribute("go", "value");
    assert_eq!(grant.as_deref(), Some("1"), "the other button is for another account");
    let go = browser.agree(&consent, &[]).await;
    let back = answer_of(narrowed(go.provider_url(), "read"), "ann").await;
    let refused = browser.get(&back).await;
    assert!(refused.html.contains("You did not allow everything that dev needs"), "{}", refused.html);
    assert_eq!(kit.status(&made).await, "pending");
    let over = browser.press(&refused, "/p/sandbox/decline", &[]).await;
    assert_eq!(over.h1(), "This did not work");
    assert_eq!(kit.poll(&made).await["error"]["error_code"], "grant_activation_failed");

    let made = kit.session_of("ann", json!({"required_scopes": {"sandbox": ["read", "write"]}})).await;
    let consent = proved(&mut browser, &made).await;
    assert_eq!(browser.connect(&consent, "ann").await.h1(), "Connected");
    let polled = kit.poll(&made).await;
    assert_eq!(polled["grants"][0]["scopes"], json!(["read", "write"]));
    assert_eq!(polled["grants"][0]["operation"], "reauth", "the account has one grant");
}

#[tokio::test]
async fn a_provider_that_adds_to_what_it_granted_is_asked_for_the_difference_only() {
    let kit = Kit::start().await;
    let adds = json!({"incremental": {"include_granted_scopes": "true"}, "select_account_params": {"prompt": "select_account"}});
    kit.provider("sandbox", false, adds).await;
    let made = kit.session_of("ann", json!({"required_scopes": {"sandbox": ["read"]}})).await;
    let mut browser = kit.browser();
    let consent = proved(&mut browser, &made).await;
    browser.connect(&consent, "ann").await;
    let grant = kit.poll(&made).await["grants"][0]["grant_id"].as_str().unwrap().to_owned();

    let made = kit.session_of("ann", json!({"required_scopes": {"sandbox": ["read", "write"]}})).await;
    let consent = proved(&mut browser, &made).await;
    let param = |url: &url::Url, name: &str| {
        url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    };
    let more = browser.agree(&consent, &[("grant", &grant)]).await.provider_url();
    assert_eq!(param(&more, "scope").as_deref(), Some("write"));
    assert_eq!(param(&more, "include_granted_scopes").as_deref(), Some("true"));
    let other = browser.agree(&consent, &[("another", "1")]).await.provider_url();
    assert_eq!(param(&other, "scope").as_deref(), Some("read write"));
    assert_eq!(param(&other, "prompt").as_deref(), Some("select_account"));
}

#[tokio::test]
async fn a_label_asks_for_a_grant_of_its_own_on_the_same_account() {
    let kit = Kit::start().await;
    let mut browser = kit.browser();
    let mut ids = Vec::new();
    for more in [
        json!({}),
        json!({"requested_grant": {"label": "work"}}),
        json!({"requested_grant": {"label": "work"}}),
    ] {
        let made = kit.session(more).await;
        let consent = browser.open(link(&made)).await;
        browser.connect(&consent, "ann").await;
        ids.push(kit.poll(&made).await["grants"][0].clone());
    }
    assert_eq!((&ids[0]["operation"], &ids[1]["operation"]), (&json!("creation"), &json!("creation")));
    assert_ne!(ids[0]["grant_id"], ids[1]["grant_id"]);
    assert_eq!((&ids[2]["grant_id"], &ids[2]["operation"]), (&ids[1]["grant_id"], &json!("reauth")));
}
