//! Attacks on what comes back from providers and on where results go, and where the secrets of a connect are not.

use http::{StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{
    browser::{answer_of, asked},
    connect_kit::{Kit, link},
    support::{send, signed, trail},
};

/// A callback with some of its parameters left out, and others in their place.
fn forged(answer: &str, without: &[&str], more: &[(&str, &str)]) -> String {
    let (path, query) = answer.split_once('?').unwrap();
    let pairs = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| !without.contains(&&**name));
    let query =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).extend_pairs(more).finish();
    format!("{path}?{query}")
}

#[tokio::test]
async fn an_issuer_that_is_another_providers_is_refused_where_none_was_written_down() {
    let kit = Kit::start().await;
    kit.provider("sandbox", false, json!({})).await;
    kit.provider("two", true, json!({"issuer": "https://honest.example"})).await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    let go = browser.agree(&consent, &[]).await;
    // The sandbox, as a provider that sends people on to the honest one.
    let back = answer_of(go.provider_url(), "ann").await;
    let mixed = forged(&back, &["iss"], &[("iss", "https://honest.example")]);
    let refused = browser.get(&mixed).await;
    assert_eq!((refused.status, refused.h1().as_str()), (StatusCode::FORBIDDEN, "This answer was refused"));
    assert_eq!(kit.refused("issuer_mismatch").await.len(), 1);
    assert_eq!(kit.connected().await, 0);
}

#[tokio::test]
async fn of_a_code_and_an_error_for_one_state_one_counts() {
    let kit = Kit::start().await;
    for error in ["access_denied", "server_error", "invalid_scope"] {
        let before = kit.refused("state_replayed").await.len();
        let made = kit.session(json!({})).await;
        let mut browser = kit.browser();
        let consent = browser.open(link(&made)).await;
        let go = browser.agree(&consent, &[]).await;
        let good = answer_of(go.provider_url(), "ann").await;
        let bad = forged(&good, &["code"], &[("error", error)]);
        let (mut one, mut two) = (browser.clone(), browser.clone());
        let (first, second) = tokio::join!(one.get(&good), two.get(&bad));
        let lost = [&first, &second].iter().filter(|page| page.h1() == "This answer was refused").count();
        assert_eq!(lost, 1, "{error}: {} {}", first.h1(), second.h1());
        assert_eq!(kit.refused("state_replayed").await.len(), before + 1);
    }
}

#[tokio::test]
async fn no_result_goes_where_the_operator_has_not_said() {
    let kit = Kit::start().await;
    let evil = [
        "https://evil.example/",
        "https://shop.example.evil.example/",
        "https://shop.example@evil.example/",
        "https://shop.example:443@evil.example/",
        "https://shop.example\\.evil.example/",
        "https://shop.example%2eevil.example/",
        "https://shop.example./",
        "https://shop.example:444/",
        "http://shop.example/",
        "http://localhost.evil.example:3000/",
        "http://127.0.0.1:3000/",
        "http://[::1]:3000/",
        "//shop.example/",
        "https:shop.example/",
        "https:///shop.example/",
        "https://sh\u{43e}p.example/",
        "javascript:alert(1)//https://shop.example",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        " https://shop.example/",
        "https://shop.example/\n",
    ];
    for (member, code) in [("return_url", "invalid_return_url"), ("allowed_origin", "invalid_origin")] {
        for url in evil {
            let body = asked(&json!({ member: url }));
            let path = "/sdk/oauth/connect/session";
            let answer = send(&kit.router, &signed(&kit.kit.app_key(), path, &body)).await;
            assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, code), "{member} {url}");
        }
        let rows = kit.refused(code).await;
        assert_eq!(rows.len(), evil.len());
        assert!(rows.iter().all(|row| row.action.as_str() == "session.created"));
    }
    // As browsers spell it, it is the same.
    let made = kit.session(json!({"return_url": "HTTPS://Shop.Example:443/done"})).await;
    assert!(made["connect_url"].is_string());
}

#[tokio::test]
async fn an_error_of_a_provider_is_told_to_nobody_as_it_came() {
    let kit = Kit::start().await;
    let made = kit.session(json!({"return_url": "https://shop.example/done"})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    let go = browser.agree(&consent, &[]).await;
    let good = answer_of(go.provider_url(), "ann").await;
    let evil = "<script>alert(1)</script>\r\n\u{202e}evil ".repeat(50);
    let more = [("error", "<img src=x onerror=alert(2)>"), ("error_description", evil.as_str())];
    let page = browser.get(&forged(&good, &["code"], &more)).await;
    for raw in ["alert(", "onerror", "evil "] {
        assert!(!page.html.contains(raw), "{raw}: {}", page.html);
    }
    assert!(!kit.poll(&made).await.to_string().contains("alert"));
    let rows = kit.refused("connect_config_error").await;
    let detail = rows[0].detail.as_deref().unwrap();
    assert!(detail.chars().count() < 400 && !detail.contains(['\r', '\n', '\u{202e}']), "{detail}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_nothing_happens() {
    let kit = Kit::start().await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&kit.session(json!({})).await)).await;
    let large = "x".repeat(65 * 1024);
    let base = crate::browser::session_of(&consent.at);
    for path in [format!("{base}/finish"), "/sdk/oauth/connect/open".to_owned()] {
        let page = browser.post_only(&path, &[("csrf", &consent.csrf()), ("session", &large)]).await;
        assert_eq!(
            (page.status, page.h1().as_str()),
            (StatusCode::BAD_REQUEST, "This request cannot be read")
        );
        assert!(page.headers.contains_key(header::CONTENT_SECURITY_POLICY));
    }
    assert_eq!(kit.refused("body_too_large").await.len(), 2);
    let long = format!("/sdk/oauth/callback?state=x&code={}", &large[..20_000]);
    assert_eq!(browser.get(&long).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(kit.refused("invalid_request").await.len(), 1);
}

#[tokio::test]
async fn no_secret_of_a_connect_is_in_a_row_a_page_or_a_file() {
    let kit = Kit::start().await;
    let made = kit.session(json!({})).await;
    let mut browser = kit.browser();
    let consent = browser.open(link(&made)).await;
    let go = browser.agree(&consent, &[]).await;
    let back = answer_of(go.provider_url(), "ann").await;
    let done = browser.get(&back).await;
    assert_eq!(done.h1(), "Connected");
    let polled = kit.poll(&made).await;
    let body = json!({
        "grant_id": polled["grants"][0]["grant_id"], "reason": null,
        "request": {"method": "GET", "url": format!("{}/me", kit.kit.api_url())},
    });
    let released = send(&kit.router, &signed(&kit.kit.app_key(), "/sdk/token", &body)).await;
    let param = |name: &str| {
        let query = back.split_once('?').unwrap().1;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(found, _)| found == name).unwrap().1.into_owned()
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let secrets = [
        ("code", param("code")),
        ("state", param("state")),
        ("session token", text(&made["session_token"])),
        // Its secret half alone as well.
        ("session secret", text(&made["session_token"])[3 + 44..].to_owned()),
        ("cookie", browser.cookies["alter-connect"].clone()),
        ("access token", text(&released.body["access_token"])),
        ("client secret", kit.kit.sandbox().client().client_secret),
    ]
    .map(|(name, secret)| (name, SecretString::from(secret)));
    let told: Vec<String> = trail(&kit.kit).await.iter().map(|row| format!("{row:?}")).collect();
    let pages = [&consent.html, &done.html];
    for (name, secret) in &secrets {
        let secret = secret.expose_secret();
        assert!(secret.len() >= 16, "{name}");
        assert!(told.iter().all(|row| !row.contains(secret)), "{name} in a row");
        assert!(pages.iter().all(|page| !page.contains(secret)), "{name} in a page");
    }
    let mut files = 0;
    for entry in std::fs::read_dir(kit.kit.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        files += 1;
        let bytes = std::fs::read(&path).unwrap();
        for (name, secret) in &secrets {
            let needle = secret.expose_secret().as_bytes();
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{name} in {}", path.display());
        }
    }
    assert!(files > 0);
}
