//! The wallet, as the browser of a person (or of an attacker) sees it.

mod sign_in;

use alter_core::{UserToken, clock::ManualClock};
use alter_server::{
    domain::{GrantStatus, PageSettings},
    testkit::TestVault,
};
use http::{Method, StatusCode};

use super::{
    support::trail,
    visitor::{FORM, ORIGIN, Shown, Visitor},
};

const REASON: &str = "Tells you what is next <script>alert(1)</script>";

/// A call as `sub`, with a reason.
async fn call(kit: &TestVault, sub: &str, reason: &str) -> Result<(), alter_core::Error> {
    let app = kit.vault().app_client(&kit.app_key()).build().unwrap();
    let user = app.for_user(UserToken::parse(kit.mint(sub)).unwrap());
    let url = format!("{}/me?secret=s3cret", kit.api_url());
    let request = user.request(Method::GET, url).provider("sandbox").reason(reason);
    let done = request.send().await.map(|_| ());
    app.close().await;
    done
}

async fn rows_of(kit: &TestVault, action: &str) -> Vec<alter_server::audit::AuditRow> {
    trail(kit).await.into_iter().filter(|row| row.action.as_str() == action).collect()
}

async fn signed_in(kit: &TestVault, sub: &str) -> Visitor {
    let mut browser = Visitor::new(kit);
    let back = browser.sign_in(sub).await;
    assert_eq!((back.status, back.location()), (StatusCode::SEE_OTHER, "/wallet"), "{}", back.text);
    browser
}

fn assert_dressed(shown: &Shown) {
    let policy = shown.headers["content-security-policy"].to_str().unwrap();
    for part in [
        "default-src 'none'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "style-src 'nonce-",
        "script-src 'nonce-",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"));
    assert_eq!(shown.headers["cache-control"], "no-store");
    assert_eq!(shown.headers["x-frame-options"], "DENY");
    assert_eq!(shown.headers["x-content-type-options"], "nosniff");
    assert_eq!(shown.headers["referrer-policy"], "same-origin");
    assert!(shown.headers.contains_key("permissions-policy") && shown.headers.contains_key("x-request-id"));
    assert!(!shown.headers.contains_key("cross-origin-opener-policy"), "popups must keep their opener");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sees_what_is_connected_what_was_done_and_takes_it_back() {
    let kit = TestVault::start().await.unwrap();
    call(&kit, "user-1", "Shows your name").await.unwrap();
    let mut browser = signed_in(&kit, "user-1").await;
    let all = browser.get("/wallet").await;
    assert_eq!(all.status, 200);
    assert_dressed(&all);
    assert!(all.text.contains("user-1@work") && all.text.contains("Active") && !all.text.contains("user-2"));
    let grant = kit.grants("user-1")[0].grant_id;
    assert!(!all.text.contains(&grant.to_string()), "no grant id is needed, none is shown");

    let activity = browser.get("/wallet/activity").await;
    assert_dressed(&activity);
    assert!(
        activity.text.contains("Shows your name") && activity.text.contains("Call made"),
        "{}",
        activity.text
    );
    assert!(!activity.text.contains("s3cret"), "a query may be personal");
    assert_eq!(rows_of(&kit, "wallet.viewed").await.len(), 1);

    let confirm = all.links("/wallet/grants/").into_iter().find(|link| link.ends_with("/revoke")).unwrap();
    let page = browser.get(&confirm).await;
    assert_eq!(page.status, 200);
    assert_eq!(rows_of(&kit, "grant.revoked").await.len(), 0, "looking changes nothing");
    let done = browser.post(&confirm, &[("csrf", page.csrf())]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    let after = browser.go(done.location()).await;
    assert!(after.text.contains("Access was taken back") && after.text.contains("by you"), "{}", after.text);
    let rows = rows_of(&kit, "grant.revoked").await;
    assert_eq!(rows.len(), 1);
    assert!(rows[0].app_user_id.is_some() && rows[0].grant_id == Some(grant) && rows[0].key_id.is_none());
    assert_eq!(kit.admin().grant(kit.app_id(), grant).await.unwrap().facts.status, GrantStatus::Revoked);
    call(&kit, "user-1", "again").await.unwrap_err();

    // A double click, and the way back.
    assert_eq!(browser.post(&confirm, &[("csrf", page.csrf())]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(rows_of(&kit, "grant.revoked").await.len(), 1);
    assert_eq!(browser.get(&confirm).await.status, StatusCode::SEE_OTHER);
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_form_counts_that_this_browser_did_not_send_from_a_page_of_ours() {
    let clock = ManualClock::at(jiff::Timestamp::now().as_second() + 60);
    let kit = TestVault::start_at(clock.clone()).await.unwrap();
    let mut browser = signed_in(&kit, "user-1").await;
    let all = browser.get("/wallet").await;
    let revoke = all.links("/wallet/grants/").into_iter().find(|link| link.ends_with("/revoke")).unwrap();
    let csrf = all.csrf().to_owned();
    let mut other = signed_in(&kit, "user-1").await;
    let theirs = other.get("/wallet").await.csrf().to_owned();
    assert_ne!(csrf, theirs);
    let before = trail(&kit).await.len();
    for target in [revoke.as_str(), "/wallet/sign-out"] {
        // Strangers cause 20 rows a second.
        clock.advance(1);
        for given in ["", "x", theirs.as_str()] {
            let answer = browser.post(target, &[("csrf", given)]).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
            assert_dressed(&answer);
            assert!(
                answer.text.contains("out of date")
                    && answer.text.contains(answer.headers["x-request-id"].to_str().unwrap())
            );
        }
        let body = format!("csrf={csrf}");
        for headers in [
            vec![FORM],
            vec![FORM, ("origin", "https://evil.example")],
            vec![FORM, ("origin", "null")],
            vec![FORM, ("origin", "http://localhost:8721")],
            vec![FORM, ("origin", ORIGIN), ("origin", ORIGIN)],
            vec![FORM, ("origin", ORIGIN), ("sec-fetch-site", "cross-site")],
            vec![FORM, ("origin", ORIGIN), ("sec-fetch-site", "same-site")],
        ] {
            let answer = browser.send(Method::POST, target, &headers, &body).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
            assert_dressed(&answer);
        }
        let ours = ("origin", ORIGIN);
        for (headers, body) in [
            (vec![ours], body.clone()),
            (vec![ours, ("content-type", "text/plain")], body.clone()),
            (vec![ours, FORM], "nothing=1".to_owned()),
            (vec![ours, FORM], format!("{body}&x={}", "x".repeat(70_000))),
        ] {
            let answer = browser.send(Method::POST, target, &headers, &body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        }
        let out = Visitor::new(&kit).post(target, &[("csrf", csrf.as_str())]).await;
        assert_eq!(out.status, StatusCode::UNAUTHORIZED);
        assert!(out.text.contains("signed out"));
    }
    let rows = trail(&kit).await.split_off(before);
    assert_eq!(rows.len(), 2 * (3 + 7 + 4 + 1), "each refusal has its row");
    assert!(rows.iter().all(|row| row.outcome == alter_server::audit::Outcome::Refused));
    assert_eq!(browser.get("/wallet").await.status, 200, "and nothing happened");
    assert_eq!(
        browser.send(Method::GET, "/wallet/sign-out", &[], "").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_a_connection_is_worth_nothing_to_others() {
    let kit = TestVault::start().await.unwrap();
    let mut mine = signed_in(&kit, "user-1").await;
    let name = mine.get("/wallet").await.links("/wallet/grants/")[0].clone();
    assert_eq!(mine.get(&name).await.status, 200);
    let mut again = signed_in(&kit, "user-1").await;
    let mut theirs = signed_in(&kit, "user-2").await;
    for browser in [&mut again, &mut theirs] {
        let csrf = browser.get("/wallet").await.csrf().to_owned();
        let shown = browser.get(&name).await;
        assert_eq!(shown.status, StatusCode::NOT_FOUND);
        assert_dressed(&shown);
        assert_eq!(
            browser.post(&format!("{name}/revoke"), &[("csrf", &csrf)]).await.status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(browser.get(&format!("{name}/revoke")).await.status, StatusCode::NOT_FOUND);
        let connection = name.rsplit('/').next().unwrap();
        let activity = browser.get(&format!("/wallet/activity?connection={connection}")).await;
        assert!(activity.text.contains("Nothing was found") && !activity.text.contains("user-1@work"));
    }
    assert_eq!(rows_of(&kit, "grant.revoked").await.len(), 0);
    let refused = rows_of(&kit, "request.refused").await;
    assert_eq!(refused.iter().filter(|row| row.code.as_deref() == Some("not_found")).count(), 6);
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_of_others_becomes_markup_or_a_formula() {
    const SCRIPT: &str = "<script>alert(1)</script>";
    let kit = TestVault::start().await.unwrap();
    let (admin, app) = (kit.admin(), kit.app_id());
    let page = PageSettings { display_name: Some(format!("Shop {SCRIPT}")), ..PageSettings::default() };
    admin.set_page(app, page).await.unwrap();
    let id = "sandbox".parse().unwrap();
    let mut provider = admin.provider(app, &id).await.unwrap();
    provider.name = format!("P {SCRIPT}");
    let texts = [("read".to_owned(), format!("Read {SCRIPT}"))].into();
    provider.oauth.as_mut().unwrap().scope_texts = texts;
    admin.put_provider(app, provider, None).await.unwrap();
    let account = format!("=1+1 {SCRIPT}");
    let credential = kit.sandbox().connect("user-3", &account);
    let import = alter_server::domain::ImportGrant {
        app_id: app,
        provider: id,
        owner: alter_server::domain::ImportOwner::Identity(alter_server::domain::Identity {
            issuer: kit.ready().idp.issuer.clone(),
            subject: "user-3".to_owned(),
            email: None,
            name: None,
            groups: Vec::new(),
        }),
        account_identifier: Some(account),
        account_display_name: None,
        label: None,
        access_token: credential.access_token.into(),
        refresh_token: None,
        token_expires_at: None,
        scopes: vec!["read".to_owned(), format!("other{SCRIPT}")],
        grant_expires_at: None,
    };
    admin.import_grant(import).await.unwrap();
    call(&kit, "user-3", REASON).await.unwrap();
    let mut browser = signed_in(&kit, "user-3").await;
    let all = browser.get("/wallet").await;
    let one = all.links("/wallet/grants/")[0].clone();
    let mut pages = vec![all];
    for target in [
        one.clone(),
        format!("{one}/revoke"),
        "/wallet/activity".to_owned(),
        "/wallet/activity?agent=%3Cscript%3E%22&from=%3Cscript%3E&provider=%22%3E%3Cscript%3E&after=x"
            .to_owned(),
        "/wallet/activity?app=1&app=2".to_owned(),
        "/wallet/grants/%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned(),
        "/wallet/sign-in?app=%3Cscript%3E".to_owned(),
        "/sdk/auth/callback?state=%3Cscript%3E&error=%3Cscript%3E".to_owned(),
    ] {
        pages.push(browser.get(&target).await);
    }
    for shown in &pages {
        assert_dressed(shown);
        assert!(!shown.text.to_lowercase().contains("<script"), "{}", shown.text);
    }
    assert!(pages[0].text.contains("P &#60;script&#62;"), "{}", pages[0].text);
    assert!(pages[0].text.contains("Read &#60;script&#62;"));
    assert!(pages[3].text.contains("Tells you what is next &#60;script&#62;"));
    let csv = browser.get("/wallet/activity.csv").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert_dressed(&csv);
    assert!(csv.text.contains("\"'=1+1 <script>"), "{}", csv.text);
    assert!(csv.text.lines().all(|line| line.starts_with('"')) && csv.text.contains(REASON));
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn activity_is_found_by_what_it_was() {
    let kit = TestVault::start().await.unwrap();
    for n in 0..40 {
        call(&kit, "user-2", &format!("work {n}")).await.unwrap_err();
        let grant = kit.grants("user-2")[n % 2].grant_id;
        let app = kit.vault().app_client(&kit.app_key()).build().unwrap();
        let url = format!("{}/me", kit.api_url());
        let caller = app.for_user(UserToken::parse(kit.mint("user-2")).unwrap());
        caller
            .request(Method::GET, url)
            .grant(grant.to_string())
            .reason(format!("job {n}."))
            .send()
            .await
            .unwrap();
        app.close().await;
    }
    let mut browser = signed_in(&kit, "user-2").await;
    let first = browser.get("/wallet/activity").await;
    assert!(first.text.contains("job 39.") && !first.text.contains("job 1."));
    let older = first.links("/wallet/activity?").into_iter().find(|link| link.contains("after=")).unwrap();
    let second = browser.get(&older.replace("&#38;", "&")).await;
    assert!(second.text.contains("job 1."), "{}", second.text);
    let work = kit.grants("user-2").iter().position(|grant| grant.account == "user-2@work").unwrap();
    let all = browser.get("/wallet").await;
    let at = all.text.find("user-2@work").unwrap();
    let name = all.text[at..].split("/wallet/grants/").nth(1).unwrap().split('"').next().unwrap();
    let one = browser.get(&format!("/wallet/activity?connection={name}")).await;
    assert!(
        one.text.contains(&format!("job {}.", 38 + work))
            && !one.text.contains(&format!("job {}.", 39 - work))
    );
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let today = browser.get(&format!("/wallet/activity?from={day}&to={day}")).await;
    assert!(today.text.contains("job 39."));
    for nothing in ["from=2099-01-01", "to=2020-01-01", "agent=nobody", "provider=other", "app=x"] {
        let page = browser.get(&format!("/wallet/activity?{nothing}")).await;
        assert!(page.text.contains("Nothing was found"), "{nothing}");
    }
    let odd = browser.get("/wallet/activity?from=yesterday").await;
    assert!(odd.text.contains("could not be read"));
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_prefix_links_cookies_and_the_way_back_fit() {
    let kit =
        TestVault::start_with(|config| config.public_url("https://shop.example/vault".parse().unwrap()))
            .await
            .unwrap();
    let mut browser = Visitor::new(&kit);
    let first = browser.get("/wallet").await;
    assert_eq!(first.location(), "/vault/wallet/sign-in");
    let leave = browser.get("/wallet/sign-in").await;
    assert!(
        leave.location().contains("redirect_uri=https%3A%2F%2Fshop.example%2Fvault%2Fsdk%2Fauth%2Fcallback")
    );
    let cookie = leave.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-alter-sign-in=") && cookie.contains("; Secure"), "{cookie}");
    kit.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_without_end_is_told_to_wait() {
    use axum::{body::Body, extract::ConnectInfo};
    use tower::ServiceExt;

    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let from = |peer: &str| {
        let mut request = http::Request::get("/wallet/signed-out").body(Body::empty()).unwrap();
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    };
    let mut refused = None;
    for _ in 0..2_000 {
        let answer = from("203.0.113.7:1000").await.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(from("203.0.113.8:1000").await.unwrap().status(), StatusCode::OK);
    let row = rows_of(&kit, "request.refused").await.pop().unwrap();
    assert_eq!(row.code.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(row.remote.as_deref(), Some("203.0.113.7"));
    kit.stop().await.unwrap();
}
