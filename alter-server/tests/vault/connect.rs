//! Connecting accounts, through the pages, with the sandbox as the provider and a browser by hand.

use alter_server::testkit::TestVault;
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    browser::{Browser, poll, session},
    support::{send, signed, trail},
};

#[tokio::test]
async fn an_app_without_a_user_connects_an_account_and_calls_with_it() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let made = session(&kit, &router, json!({})).await;
    assert_eq!((made["expires_in"].as_u64(), made["single_provider"].as_bool()), (Some(600), Some(true)));
    assert_eq!(poll(&kit.app_key(), &router, &made).await, json!({"status": "pending"}));

    let mut browser = Browser::new(&router);
    let consent = browser.open(made["connect_url"].as_str().unwrap()).await;
    assert_eq!(consent.h1(), "Connect Sandbox to dev");
    assert!(consent.html.contains("<code>read</code>"), "{}", consent.html);
    let done = browser.connect(&consent, "ann").await;
    assert_eq!((done.status, done.h1().as_str()), (StatusCode::OK, "Connected"), "{}", done.html);
    let told = &done.delivery()["message"];
    assert_eq!(told["type"], "alter_connect_success");

    let polled = poll(&kit.app_key(), &router, &made).await;
    assert_eq!(polled["status"], "completed");
    let grant = &polled["grants"][0];
    assert_eq!(grant["grant_id"], told["grants"][0]["grant_id"]);
    assert_eq!(grant["operation"], "creation");
    assert_eq!(poll(&kit.app_key(), &router, &made).await, polled, "an end is told again");

    let body = json!({
        "grant_id": grant["grant_id"], "reason": null,
        "request": {"method": "GET", "url": format!("{}/me", kit.api_url())},
    });
    let released = send(&router, &signed(&kit.app_key(), "/sdk/token", &body)).await;
    assert_eq!(released.status, 200, "{}", released.body);
    let rows = trail(&kit).await;
    for action in [
        "session.created",
        "session.opened",
        "connect.begun",
        "grant.connected",
        "session.polled",
        "token.released",
    ] {
        assert!(rows.iter().any(|row| row.action.as_str() == action), "no row {action}");
    }
    let secrets = [made["session_token"].as_str().unwrap(), browser.cookies["alter-connect"].as_str()];
    for row in &rows {
        let text = format!("{row:?}");
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
    }
    let _: Value = polled;
    kit.stop().await.unwrap();
}
