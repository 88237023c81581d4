//! Connecting accounts, through the pages, with the sandbox as the provider and a browser by hand.

use alter_core::{clock::ManualClock, wire::sign::content_sha256};
use alter_sandbox::{AuthorizeFault, Faults, TokenFault};
use alter_server::testkit::TestVault;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;

use crate::{
    browser::{answer_of, asked, session_of},
    connect_kit::{Kit, link, sign_in},
    support::{send, signed, trail},
};

#[tokio::test]
async fn an_app_without_a_user_connects_an_account_and_calls_with_it() {
    let kit = Kit::start().await;
    let made = kit.session(json!({})).await;
    assert_eq!((made["expires_in"].as_u64(), made["single_provider"].as_bool()), (Some(600), Some(true)));
    assert_eq!(kit.poll(&made).await, json!({"status": "pending"}));

    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    assert_eq!(consent.h1(), "Connect Sandbox to dev");
    assert!(consent.html.contains(r#"<ul id="abilities">"#), "{}", consent.html);
    let done = browser.connect(&consent, "ann").await;
    assert_eq!((done.status, done.h1().as_str()), (StatusCode::OK, "Connected"), "{}", done.html);
    let delivery = done.delivery();
    let told = &delivery["message"];
    assert_eq!(told["type"], "alter_connect_success");
    assert_eq!(
        (&delivery["origin"], &delivery["return_url"]),
        (&json!(null), &json!(null)),
        "nowhere to tell it"
    );

    let polled = kit.poll(&made).await;
    assert_eq!(polled["status"], "completed");
    let grant = &polled["grants"][0];
    assert_eq!(grant["grant_id"], told["grants"][0]["grant_id"]);
    assert_eq!(grant["operation"], "creation");
    assert_eq!(kit.poll(&made).await, polled, "an end is told again");

    let body = json!({
        "grant_id": grant["grant_id"], "reason": null,
        "request": {"method": "GET", "url": format!("{}/me", kit.kit.api_url())},
    });
    let released = send(&kit.router, &signed(&kit.kit.app_key(), "/sdk/token", &body)).await;
    assert_eq!(released.status, 200, "{}", released.body);
    let rows = trail(&kit.kit).await;
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
}

#[tokio::test]
async fn a_user_proves_who_it_is_connects_and_connects_again_under_the_same_grant() {
    let kit = Kit::start().await;
    let shop =
        json!({"allowed_origin": "https://shop.example", "return_url": "https://shop.example/done?x=1"});
    let made = kit.session_of("ann", shop.clone()).await;
    let mut browser = kit.browser();
    let prove = browser.open(link(&made)).await;
    assert_eq!(prove.h1(), "Sign in to dev");
    let consent = sign_in(&mut browser, &prove, "ann").await;
    assert_eq!(consent.h1(), "Connect Sandbox to dev", "{}", consent.html);
    let done = browser.connect(&consent, "ann").await;
    let delivery = done.delivery();
    assert_eq!(delivery["origin"], "https://shop.example");
    let back = delivery["return_url"].as_str().unwrap();
    assert!(back.starts_with("https://shop.example/done?x=1&alter_connect_success=true&grant_id="), "{back}");
    let first = kit.poll(&made).await["grants"][0].clone();
    assert_ne!(delivery["message"]["grants"][0]["account_identifier"], "");

    // The account is there by now, and enough.
    let again = kit.session_of("ann", shop).await;
    let prove = browser.open(link(&again)).await;
    let consent = sign_in(&mut browser, &prove, "ann").await;
    assert!(consent.html.contains("Connected already"), "{}", consent.html);
    let grant = first["grant_id"].as_str().unwrap();
    let done = browser.press(&consent, "/p/sandbox/use", &[("grant", grant)]).await;
    assert_eq!(done.h1(), "Connected");
    let second = kit.poll(&again).await["grants"][0].clone();
    assert_eq!((&second["grant_id"], &second["operation"]), (&first["grant_id"], &json!("reauth")));

    // The same account once more, by the whole dance.
    let again = kit.session_of("ann", json!({"switch_account": true})).await;
    let prove = browser.open(link(&again)).await;
    let consent = sign_in(&mut browser, &prove, "ann").await;
    assert!(!consent.html.contains("Connected already"));
    browser.connect(&consent, "ann").await;
    let third = kit.poll(&again).await["grants"][0].clone();
    assert_eq!((&third["grant_id"], &third["operation"]), (&first["grant_id"], &json!("reauth")));
}

#[tokio::test]
async fn the_browser_that_the_application_knows_needs_no_signing_in() {
    let kit = Kit::start().await;
    let cookie = "what-only-the-application-and-its-users-browser-know";
    let digest = content_sha256(cookie.as_bytes());
    let made = kit.session_of("ann", json!({"browser_binding": digest})).await;
    let mut other = kit.browser();
    other.cookies.insert("alter-binding".to_owned(), "something-else".to_owned());
    assert_eq!(other.open(link(&made)).await.h1(), "Sign in to dev");

    let made = kit.session_of("ann", json!({"browser_binding": digest})).await;
    let mut browser = kit.browser();
    browser.cookies.insert("alter-binding".to_owned(), cookie.to_owned());
    let consent = browser.open(link(&made)).await;
    let done = browser.connect(&consent, "ann").await;
    assert_eq!(done.h1(), "Connected");

    // Without sign-in it is the only proof.
    kit.kit.admin().remove_sign_in(kit.kit.app_id()).await.unwrap();
    let made = kit.session_of("ann", json!({"browser_binding": digest})).await;
    let mut stranger = kit.browser();
    let refused = stranger.open(link(&made)).await;
    assert_eq!(
        (refused.status, refused.h1().as_str()),
        (StatusCode::FORBIDDEN, "This link works in one browser only")
    );
    assert_eq!(kit.refused("browser_binding_missing").await.len(), 1);
}

#[tokio::test]
async fn of_several_providers_one_can_be_declined_and_another_connected() {
    let kit = Kit::start().await;
    kit.provider("two", true, json!({})).await;
    let made = kit.session(json!({"allowed_providers": [" Two", "sandbox", "two"]})).await;
    assert_eq!(made["single_provider"].as_bool(), Some(false));
    let mut browser = kit.browser();
    let picker = browser.open(link(&made)).await;
    assert_eq!(picker.h1(), "Connect an account to dev");
    let base = session_of(&picker.at);
    let consent = browser.get(&format!("{base}/p/two")).await;
    let picker = browser.press(&consent, "/p/two/decline", &[]).await;
    assert!(picker.html.contains("not allowed"), "{}", picker.html);
    let polled = kit.poll(&made).await;
    assert_eq!(polled["status"], "pending");
    assert_eq!(polled["declined_providers"][0]["provider_id"], "two");
    assert_eq!(polled["declined_providers"][0]["error_code"], "connect_denied");

    let consent = browser.get(&format!("{base}/p/sandbox")).await;
    let picker = browser.connect(&consent, "ann").await;
    assert_eq!(picker.h1(), "Connect another account?");
    assert_eq!(kit.status(&made).await, "pending");
    let done = browser.press(&picker, "/finish", &[]).await;
    assert_eq!(done.h1(), "Connected");
    let polled = kit.poll(&made).await;
    assert_eq!(
        (polled["status"].as_str(), polled["grants"].as_array().unwrap().len()),
        (Some("completed"), 1)
    );
    // What is over stays over.
    let again = browser.get(&format!("{base}/p/two")).await;
    assert_eq!(again.h1(), "Connected");
}

#[tokio::test]
async fn whoever_says_no_ends_the_session_here_or_at_the_provider() {
    let kit = Kit::start().await;
    let made = kit.session(json!({"return_url": "https://shop.example/done"})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    let over = browser.press(&consent, "/p/sandbox/decline", &[]).await;
    assert_eq!(over.h1(), "Nothing was connected");
    assert_eq!(over.delivery()["message"]["error"], "connect_denied");
    let polled = kit.poll(&made).await;
    assert_eq!(
        (polled["status"].as_str(), polled["error"]["error_code"].as_str()),
        (Some("error"), Some("connect_denied"))
    );

    let made = kit.session(json!({})).await;
    let consent = browser.open(link(&made)).await;
    let go = browser.agree(&consent, &[]).await;
    kit.kit.sandbox().set_faults(Faults::default().authorize_fault(AuthorizeFault::AccessDenied));
    let over = browser.allow(&go, "ann").await;
    assert_eq!(over.h1(), "Nothing was connected");
    assert_eq!(kit.poll(&made).await["error"]["error_code"], "connect_denied");
}

#[tokio::test]
async fn a_provider_that_is_down_does_not_end_the_session() {
    let kit = Kit::start().await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let mut consent = browser.open(link(&made)).await;
    let faults = [
        Faults::default().authorize_fault(AuthorizeFault::ServerError),
        Faults::default().authorize_fault(AuthorizeFault::TemporarilyUnavailable),
        Faults::default().token_fault(TokenFault::ServerError),
        Faults::default().token_fault(TokenFault::Drop),
        Faults::default().token_fault(TokenFault::Html403),
        Faults::default().token_fault(TokenFault::InvalidGrant),
        Faults::default().authorize_fault(AuthorizeFault::WrongCode),
    ];
    for fault in faults {
        let shown = format!("{fault:?}");
        let go = browser.agree(&consent, &[]).await;
        kit.kit.sandbox().set_faults(fault);
        consent = browser.allow(&go, "ann").await;
        assert!(consent.html.contains("Nothing was connected. Try again."), "{shown}: {}", consent.html);
        assert_eq!(kit.status(&made).await, "pending", "{shown}");
    }
    kit.kit.sandbox().set_faults(Faults::default());
    let done = browser.connect(&consent, "ann").await;
    assert_eq!(done.h1(), "Connected", "{}", done.html);
    assert!(kit.poll(&made).await.get("failed_grants").is_none());
}

#[tokio::test]
async fn a_registration_that_does_not_work_is_the_operators_to_mend() {
    let kit = Kit::start().await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    let go = browser.agree(&consent, &[]).await;
    kit.kit.sandbox().set_faults(Faults::default().token_fault(TokenFault::InvalidClient));
    let over = browser.allow(&go, "ann").await;
    assert_eq!(over.h1(), "This did not work");
    assert_eq!(kit.poll(&made).await["error"]["error_code"], "invalid_client");

    let made = kit.session(json!({})).await;
    let consent = browser.open(link(&made)).await;
    let go = browser.agree(&consent, &[]).await;
    kit.kit.sandbox().set_faults(Faults::default().authorize_fault(AuthorizeFault::InvalidScope));
    browser.allow(&go, "ann").await;
    assert_eq!(kit.poll(&made).await["error"]["error_code"], "connect_config_error");
}

#[tokio::test]
async fn a_session_is_good_for_ten_minutes() {
    let clock = ManualClock::at(Timestamp::now().as_second());
    let kit = Kit::with(TestVault::start_at(clock.clone()).await.unwrap()).await;
    let asked = json!({"allowed_origin": "https://shop.example"});
    let (opened, unopened) = (kit.session(asked.clone()).await, kit.session(asked).await);
    let mut browser = kit.browser();
    let consent = browser.open(link(&opened)).await;
    let go = browser.agree(&consent, &[]).await;
    let back = answer_of(go.provider_url(), "ann").await;
    clock.advance(600);
    let over = browser.get(&back).await;
    assert_eq!(over.h1(), "This link has expired");
    assert_eq!(over.delivery()["message"]["error"], "session_expired");
    assert_eq!(kit.refused("session_expired").await.len(), 1);
    let (status, told) = browser.open_only(link(&unopened)).await;
    assert_eq!((status, told["title"].as_str()), (StatusCode::FORBIDDEN, Some("This link has expired")));
    assert_eq!(told["deliver"]["origin"], "https://shop.example");
    let (status, told) = browser.open_only("http://localhost/sdk/oauth/connect#session=cs_nonsense").await;
    assert_eq!((status, told["title"].as_str()), (StatusCode::FORBIDDEN, Some("This link does not work")));
    assert_eq!(kit.connected().await, 0);
}

#[tokio::test]
async fn back_reload_and_double_click_do_no_harm() {
    let kit = Kit::start().await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    assert_eq!(browser.open(link(&made)).await.at, consent.at, "opened again in the same browser");
    let (mut one, mut two) = (browser.clone(), browser.clone());
    let (first, second) = tokio::join!(one.agree(&consent, &[]), two.agree(&consent, &[]));
    // The newer one counts; the other one's page leads back.
    let live: Vec<_> =
        [first, second].into_iter().filter(|page| page.html.contains("provider-link")).collect();
    let mut usable = Vec::new();
    for page in &live {
        let again = browser.get(&page.at).await;
        if again.html.contains("provider-link") {
            assert_eq!(again.provider_url(), page.provider_url(), "the same request after a reload");
            usable.push(again);
        }
    }
    assert_eq!(usable.len(), 1);
    let back = answer_of(usable[0].provider_url(), "ann").await;
    let done = browser.get(&back).await;
    assert_eq!(done.h1(), "Connected");
    assert_eq!(browser.get(&done.at).await.h1(), "Connected", "reloaded");
    assert_eq!(browser.get(&consent.at).await.h1(), "Connected", "gone back");
    assert_eq!(browser.press(&consent, "/p/sandbox/go", &[]).await.h1(), "Connected", "and clicked again");
    assert_eq!(kit.connected().await, 1);
}

#[tokio::test]
async fn a_broken_grant_is_repaired_by_its_own_account_only() {
    let kit = Kit::start().await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    browser.connect(&consent, "ann").await;
    let grant = kit.poll(&made).await["grants"][0]["grant_id"].clone();

    let repair = kit.session(json!({"allowed_providers": ["sandbox"], "repair_grant_id": grant})).await;
    assert_eq!(repair["direct"], true);
    let consent = browser.open(link(&repair)).await;
    assert!(consent.html.contains("needs to be made again"), "{}", consent.html);
    let refused = browser.connect(&consent, "bob").await;
    assert!(refused.html.contains("another account"), "{}", refused.html);
    assert_eq!(kit.refused("account_mismatch").await.len(), 2, "the store's row and the page's");
    let done = browser.connect(&refused, "ann").await;
    assert_eq!(done.h1(), "Connected");
    let polled = kit.poll(&repair).await;
    assert_eq!(
        (&polled["grants"][0]["grant_id"], &polled["grants"][0]["operation"]),
        (&grant, &json!("reauth"))
    );
}

#[tokio::test]
async fn the_person_chooses_how_long_within_what_the_app_allows() {
    let kit = Kit::start().await;
    let policy = json!({"grant_policy": {"max_ttl_seconds": 86_400, "default_ttl_seconds": 3_600}});
    let made = kit.session(policy).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    assert!(consent.html.contains("for 1 day") && !consent.html.contains("until you take it back"));
    for ttl in ["", "86401", "31536000"] {
        let refused = browser.agree(&consent, &[("ttl", ttl)]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{ttl}");
    }
    let go = browser.agree(&consent, &[("ttl", "86400")]).await;
    browser.allow(&go, "ann").await;
    let policy = kit.poll(&made).await["grants"][0]["grant_policy"].clone();
    assert_eq!(policy["created_by"], "end_user");
    let end: Timestamp = policy["expires_at"].as_str().unwrap().parse().unwrap();
    let left = end.as_second() - Timestamp::now().as_second();
    assert!((86_300..=86_400).contains(&left), "{left}");
}

#[tokio::test]
async fn a_direct_session_asks_nothing_and_a_provider_with_a_window_of_its_own_is_opened_by_a_click() {
    let kit = Kit::start().await;
    let made = kit.session(json!({"allowed_providers": ["sandbox"], "direct": true})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    assert!(consent.html.contains("data-at-once") && !consent.html.contains("<select"), "{}", consent.html);

    kit.provider("sandbox", false, json!({"opener_isolated": true})).await;
    let go = browser.agree(&consent, &[]).await;
    assert!(go.attribute("leaving", "data-channel").is_some() && go.html.contains("data-own-window"));
    let back = browser.allow(&go, "ann").await;
    assert_eq!(back.h1(), "You can close this window");
    assert_eq!(back.attribute("back", "data-channel"), go.attribute("leaving", "data-channel"));
    let base = session_of(&go.at);
    let status = browser.get(&format!("{base}/status")).await;
    assert_ne!(status.html, format!(r#"{{"version":{}}}"#, go.attribute("leaving", "data-version").unwrap()));
    assert_eq!(browser.get(&base).await.h1(), "Connected");
}

#[tokio::test]
async fn a_program_signs_its_user_in() {
    let kit = Kit::start().await;
    let key = kit.kit.app_key();
    let made = send(&kit.router, &signed(&key, "/sdk/auth/session", &json!({}))).await;
    assert_eq!(made.status, 201);
    let token = made.body["session_token"].clone();
    let poll = async |wait: u64| {
        let body = json!({"session_token": token, "wait_ms": wait});
        send(&kit.router, &signed(&key, "/sdk/auth/poll", &body)).await.body
    };
    assert_eq!(poll(0).await, json!({"status": "pending"}));
    let began = std::time::Instant::now();
    assert_eq!(poll(300).await, json!({"status": "pending"}));
    assert!(began.elapsed().as_millis() >= 300);

    let mut browser = kit.browser();
    let confirm = browser.open(link(&made.body)).await;
    assert_eq!(confirm.h1(), "A program asks to act as you in dev");
    // Nobody gets to the identity provider without having said so.
    let base = session_of(&confirm.at);
    let forced = browser.get(&format!("{base}/sign-in?mark={}", confirm.csrf())).await;
    assert_eq!(forced.h1(), "A program asks to act as you in dev");
    let (polled, done) = tokio::join!(poll(20_000), async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        sign_in(&mut browser, &confirm, "ann").await
    });
    assert_eq!(done.h1(), "You are signed in", "{}", done.html);
    assert!(began.elapsed().as_secs() < 15, "the poll was answered when there was something to say");
    assert_eq!(
        (polled["status"].as_str(), polled["user_info"]["sub"].as_str()),
        (Some("completed"), Some("ann"))
    );
    let verify = json!({"token": polled["user_token"]});
    let verified = send(&kit.router, &signed(&key, "/sdk/auth/verify-token", &verify)).await;
    assert_eq!(verified.body["sub"], "ann", "{}", verified.body);

    let made = send(&kit.router, &signed(&key, "/sdk/auth/session", &json!({}))).await;
    let confirm = browser.open(link(&made.body)).await;
    let over = browser.press(&confirm, "/sign-in", &[("decline", "1")]).await;
    assert_eq!(over.h1(), "You are not signed in");
    let body = json!({"session_token": made.body["session_token"]});
    let polled = send(&kit.router, &signed(&key, "/sdk/auth/poll", &body)).await.body;
    assert_eq!(
        (polled["status"].as_str(), polled["error_code"].as_str()),
        (Some("error"), Some("connect_denied"))
    );
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_when_the_session_is_made() {
    let kit = Kit::start().await;
    let key = kit.kit.app_key();
    let refused = [
        (json!({"allowed_origin": "https://evil.example"}), 400, "invalid_origin"),
        (json!({"return_url": "https://evil.example/"}), 400, "invalid_return_url"),
        (json!({"agent": "helper"}), 400, "agent_requires_user_token"),
        (json!({"agent": "helper", "user_token": kit.kit.mint("ann")}), 400, "invalid_request"),
        (json!({"requested_grant": {"label": "x", "restrictions": {}}}), 400, "invalid_request"),
        (json!({"allowed_providers": ["nobody"]}), 400, "invalid_request"),
        (json!({"required_scopes": {"sandbox": ["admin"]}}), 400, "scope_not_allowed"),
        (json!({"user_token": "none"}), 401, "jwt_validation_error"),
        (
            json!({"allowed_providers": ["sandbox"], "repair_grant_id": "00000000-0000-4000-8000-000000000000"}),
            404,
            "grant_not_found",
        ),
        (json!({"metadata": {"referrer": "x"}}), 400, "invalid_request"),
    ];
    for (more, status, code) in refused {
        let answer = send(&kit.router, &signed(&key, "/sdk/oauth/connect/session", &asked(&more))).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{more}: {}", answer.body);
    }
    // A token that is none, or of another kind, is an expired one.
    let sign_in = send(&kit.router, &signed(&key, "/sdk/auth/session", &json!({}))).await.body;
    for token in ["", "cs_x", sign_in["session_token"].as_str().unwrap()] {
        let polled = kit.poll(&json!({"session_token": token})).await;
        assert_eq!(polled, json!({"status": "expired"}), "{token}");
    }
}
