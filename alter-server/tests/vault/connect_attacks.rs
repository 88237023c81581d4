//! Attacks on connecting: each is refused, connects nothing, and leaves a row.

use alter_sandbox::{AuthorizeFault, Faults};
use http::{StatusCode, header};
use serde_json::json;

use crate::{
    browser::{Page, answer_of, session_of},
    connect_kit::{Kit, link, sign_in},
};

/// Checks that nothing came about, and that exactly one more row says why.
async fn refused(kit: &Kit, page: &Page, h1: &str, code: &str, rows: usize) {
    assert_eq!(page.h1(), h1, "{}", page.html);
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.html);
    assert_eq!(kit.refused(code).await.len(), rows, "{code}");
}

#[tokio::test]
async fn a_victim_who_opens_the_attackers_link_connects_nothing_for_the_attacker() {
    let kit = Kit::start().await;
    let made = kit.session_of("mallory", json!({})).await;
    let mut victim = kit.browser();
    let prove = victim.open(link(&made)).await;
    let wrong = sign_in(&mut victim, &prove, "ann").await;
    refused(&kit, &wrong, "This link is for somebody else", "wrong_user", 1).await;
    assert!(wrong.html.contains("ann"));
    // No way around it.
    let base = session_of(&prove.at);
    assert_eq!(victim.get(&format!("{base}/p/sandbox")).await.h1(), "Sign in to dev");
    for to in ["/p/sandbox/go", "/p/sandbox/use", "/p/sandbox/decline", "/finish"] {
        assert_eq!(victim.press(&prove, to, &[]).await.h1(), "Sign in to dev", "{to}");
    }
    assert_eq!(kit.status(&made).await, "pending", "the right person may still come");
    assert_eq!(kit.connected().await, 0);
}

#[tokio::test]
async fn an_attacker_who_has_the_victims_link_connects_nothing_for_the_victim() {
    let kit = Kit::start().await;
    let made = kit.session_of("ann", json!({})).await;
    let mut attacker = kit.browser();
    let prove = attacker.open(link(&made)).await;
    let wrong = sign_in(&mut attacker, &prove, "mallory").await;
    refused(&kit, &wrong, "This link is for somebody else", "wrong_user", 1).await;
    // The victim, who comes later with another browser, is told.
    let mut victim = kit.browser();
    let (status, told) = victim.open_only(link(&made)).await;
    assert_eq!(
        (status, told["title"].as_str()),
        (StatusCode::FORBIDDEN, Some("This link belongs to another browser"))
    );
    assert_eq!(told["deliver"], json!(null));
    assert_eq!(kit.refused("other_browser").await.len(), 1);
    assert_eq!(kit.connected().await, 0);
}

#[tokio::test]
async fn an_answer_for_a_state_counts_only_in_the_browser_that_began() {
    let kit = Kit::start().await;
    // The attacker is the right person, and sends the victim not the link but the provider's address.
    let made = kit.session_of("mallory", json!({})).await;
    let mut attacker = kit.browser();
    let prove = attacker.open(link(&made)).await;
    let consent = sign_in(&mut attacker, &prove, "mallory").await;
    let go = attacker.agree(&consent, &[]).await;
    let back = answer_of(go.provider_url(), "ann").await;
    let mut victim = kit.browser();
    refused(&kit, &victim.get(&back).await, "This link belongs to another browser", "other_browser", 1).await;
    // Neither does it with the cookie of a session of the victim's own.
    let own = kit.session(json!({})).await;
    victim.open(link(&own)).await;
    refused(&kit, &victim.get(&back).await, "This link belongs to another browser", "other_browser", 2).await;
    assert_eq!((kit.status(&made).await, kit.connected().await), ("pending".to_owned(), 0));
}

#[tokio::test]
async fn a_replayed_callback_is_refused() {
    let kit = Kit::start().await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    let go = browser.agree(&consent, &[]).await;
    let back = answer_of(go.provider_url(), "ann").await;
    assert_eq!(browser.get(&back).await.h1(), "Connected");
    let done = kit.poll(&made).await;
    refused(&kit, &browser.get(&back).await, "This answer was refused", "state_replayed", 1).await;
    assert_eq!((kit.connected().await, kit.poll(&made).await), (1, done));
}

#[tokio::test]
async fn of_two_callbacks_that_race_for_one_state_one_counts() {
    let kit = Kit::start().await;
    for round in 1..=5 {
        let made = kit.session(json!({})).await;
        let mut browser = kit.browser();
        let consent = browser.open(link(&made)).await;
        let go = browser.agree(&consent, &[]).await;
        // Two codes for one state: the person has clicked twice at the provider.
        let first = answer_of(go.provider_url(), "ann").await;
        let second = answer_of(go.provider_url(), "bob").await;
        let (mut one, mut two) = (browser.clone(), browser.clone());
        let (first, second) = tokio::join!(one.get(&first), two.get(&second));
        let won = [&first, &second].iter().filter(|page| page.h1() == "Connected").count();
        let lost = [&first, &second].iter().filter(|page| page.h1() == "This answer was refused").count();
        assert_eq!((won, lost), (1, 1), "{} {}", first.h1(), second.h1());
        assert_eq!(kit.poll(&made).await["grants"].as_array().unwrap().len(), 1);
        assert_eq!((kit.connected().await, kit.refused("state_replayed").await.len()), (round, round));
    }
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_refused_and_uses_the_state_up() {
    let kit = Kit::start().await;
    kit.provider("sandbox", false, json!({"issuer": kit.issuer(), "iss_required": true})).await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let mut consent = browser.open(link(&made)).await;
    let faults = [AuthorizeFault::WrongIssuer, AuthorizeFault::OtherIssuer, AuthorizeFault::NoIssuer];
    for (index, fault) in faults.into_iter().enumerate() {
        let go = browser.agree(&consent, &[]).await;
        kit.kit.sandbox().set_faults(Faults::default().authorize_fault(fault));
        let back = answer_of(go.provider_url(), "ann").await;
        kit.kit.sandbox().set_faults(Faults::default());
        refused(&kit, &browser.get(&back).await, "This answer was refused", "issuer_mismatch", index + 1)
            .await;
        // The right one comes too late now.
        let right = answer_of(go.provider_url(), "ann").await;
        refused(&kit, &browser.get(&right).await, "This answer was refused", "state_replayed", index + 1)
            .await;
        consent = browser.get(&consent.at).await;
    }
    assert_eq!(kit.connected().await, 0);
    assert_eq!(browser.connect(&consent, "ann").await.h1(), "Connected");
}

#[tokio::test]
async fn a_code_of_another_session_provider_or_person_is_worth_nothing() {
    let kit = Kit::start().await;
    kit.provider("two", true, json!({})).await;
    let mut browser = kit.browser();
    let one = kit.session(json!({"allowed_providers": ["sandbox"]})).await;
    let consent = browser.open(link(&one)).await;
    let go_one = browser.agree(&consent, &[]).await;
    let other = kit.session(json!({"allowed_providers": ["two"]})).await;
    let consent = browser.open(link(&other)).await;
    let go_other = browser.agree(&consent, &[]).await;
    let mut stranger = kit.browser();
    let strangers = kit.session(json!({"allowed_providers": ["sandbox"]})).await;
    let consent = stranger.open(link(&strangers)).await;
    let go_stranger = stranger.agree(&consent, &[]).await;

    let param = |answer: &str, name: &str| {
        let query = answer.split_once('?').unwrap().1;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(found, _)| found == name).unwrap().1.into_owned()
    };
    let good = answer_of(go_one.provider_url(), "ann").await;
    let state = param(&good, "state");
    // Another provider's code, then the code that a stranger got at the same one.
    for go in [&go_other, &go_stranger] {
        let code = param(&answer_of(go.provider_url(), "eve").await, "code");
        let page = browser.get(&good.replace(&param(&good, "code"), &code)).await;
        assert_ne!(page.h1(), "Connected", "{}", page.html);
    }
    assert!(!kit.refused("invalid_grant").await.is_empty());
    assert_eq!(kit.refused("state_replayed").await.len(), 1, "the state was used up by the first");
    assert_eq!(kit.connected().await, 0);
    for made in [&one, &other, &strangers] {
        assert_eq!(kit.status(made).await, "pending");
    }
    // What nobody asked for.
    let mut pages = Vec::new();
    for query in [
        "",
        "code=x",
        "state=x&code=y",
        &format!("state={state}&state={state}&code=x"),
        "error=access_denied",
    ] {
        pages.push(browser.get(&format!("/sdk/oauth/callback?{query}")).await);
    }
    let rows = kit.refused("invalid_request").await.len() + kit.refused("state_mismatch").await.len();
    assert!(pages.iter().all(|page| page.status == StatusCode::BAD_REQUEST));
    assert_eq!(rows, pages.len());
}

#[tokio::test]
async fn no_form_counts_without_the_mark_of_its_browser_and_session() {
    let kit = Kit::start().await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    let base = session_of(&consent.at);
    let mut other = kit.browser();
    let foreign = other.open(link(&kit.session(json!({})).await)).await.csrf();
    let second = browser.open(link(&kit.session(json!({})).await)).await.csrf();

    let posts = ["/p/sandbox/go", "/p/sandbox/use", "/p/sandbox/decline", "/finish", "/sign-in"];
    for to in posts {
        for csrf in ["", "x", &foreign, &second] {
            let page = browser.post(&format!("{base}{to}"), &[("csrf", csrf)]).await;
            assert_eq!(
                (page.status, page.h1().as_str()),
                (StatusCode::FORBIDDEN, "This page is out of date"),
                "{to}"
            );
        }
        let good = consent.csrf();
        for origin in [None, Some("https://evil.example"), Some("null"), Some("http://localhost:8721")] {
            let mut forged = browser.clone();
            forged.origin = origin.map(str::to_owned);
            let page = forged.post(&format!("{base}{to}"), &[("csrf", &good)]).await;
            assert_eq!(
                (page.status, page.h1().as_str()),
                (StatusCode::FORBIDDEN, "This request was refused"),
                "{to}"
            );
        }
    }
    let mut forged = browser.clone();
    forged.origin = Some("https://evil.example".to_owned());
    let token = made["session_token"].as_str().unwrap();
    assert_eq!(
        forged.post("/sdk/oauth/connect/open", &[("session", token)]).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(kit.refused("csrf_mismatch").await.len(), posts.len() * 4);
    assert!(!kit.refused("cross_site_request").await.is_empty());
    assert_eq!((kit.status(&made).await, kit.connected().await), ("pending".to_owned(), 0));
}

#[tokio::test]
async fn script_in_names_is_text_on_every_page() {
    let kit = Kit::start().await;
    const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    kit.provider(
        "sandbox",
        false,
        json!({
            "name": format!("Evil {EVIL}"),
            "scope_texts": {"read": format!("See {EVIL}")},
            "scopes": ["read", "\"><script>alert(3)</script>"],
        }),
    )
    .await;
    let page = alter_server::domain::PageSettings {
        display_name: Some(EVIL.to_owned()),
        origins: vec!["https://shop.example".to_owned()],
        ..alter_server::domain::PageSettings::default()
    };
    kit.kit.admin().set_page(kit.kit.app_id(), page).await.unwrap();
    let made = kit.session(json!({"allowed_origin": "https://shop.example"})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    let go = browser.agree(&consent, &[]).await;
    let done = browser.allow(&go, EVIL).await;
    let told = kit.session(json!({})).await;
    let again = browser.open(link(&told)).await;
    assert_eq!((done.status, again.status), (StatusCode::OK, StatusCode::OK));
    for page in [&consent, &go, &done, &again] {
        for raw in ["<script>alert", "<img src=x", "\"'>"] {
            assert!(!page.html.contains(raw), "{raw} on {}: {}", page.at, page.html);
        }
    }
    assert!(done.delivery()["message"]["grants"][0].is_object(), "{}", done.html);
}

#[tokio::test]
async fn every_page_forbids_frames_foreign_script_and_caches_and_keeps_its_opener() {
    let kit = Kit::start().await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let shell = browser.get("/sdk/oauth/connect").await;
    let doubled = browser.get("//sdk/oauth/connect").await;
    assert_eq!(doubled.status, StatusCode::OK, "a base URL with a slash at its end");
    let consent = browser.open(link(&made)).await;
    let go = browser.agree(&consent, &[]).await;
    let done = browser.allow(&go, "ann").await;
    let lost = browser.get("/sdk/oauth/connect/s/nothing").await;
    for page in [&shell, &doubled, &consent, &go, &done, &lost] {
        let header = |name: header::HeaderName| page.headers[name].to_str().unwrap().to_owned();
        let policy = header(header::CONTENT_SECURITY_POLICY);
        for part in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe-"), "{policy}");
        assert_eq!(header(header::X_FRAME_OPTIONS), "DENY");
        assert_eq!(header(header::CACHE_CONTROL), "no-store");
        assert!(!page.headers.contains_key("cross-origin-opener-policy"));
        assert!(page.html.contains("<h1>"), "{}", page.at);
        // The token is nowhere but in the link.
        assert!(!page.html.contains(made["session_token"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn a_session_of_another_app_is_nobodys() {
    let kit = Kit::start().await;
    let other = kit.kit.admin().create_app("other").await.unwrap();
    let request = alter_server::admin::KeyRequest::named("other");
    let key = kit.kit.admin().create_key(other.id, request).await.unwrap().key;
    let made = kit.session(json!({})).await;
    let polled = crate::browser::poll(&key, &kit.router, &made).await;
    assert_eq!(polled, json!({"status": "expired"}), "another app's token is none");
    // A name that is made of the one app and a session of the other.
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    let mut name = session_of(&consent.at);
    name.replace_range(name.len() - 43..name.len() - 22, &"A".repeat(21));
    let lost = browser.get(&name).await;
    assert_eq!(lost.status, StatusCode::NOT_FOUND, "{}", lost.html);
    assert_eq!(kit.refused("unknown_session").await.len(), 1);
}
