//! Signing a user in without web pages, and what a person at a terminal sees (spec/03 §2).

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use alter_core::{
    Error, Kind, SignedIn, Terminal,
    error::{Auth, Conflict, Connect, ConnectTimeout, InvalidInput},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fixture::{GRANT, KEY, Stub, app, json_response, verify};

const SESSION: &str = "/sdk/auth/session";
const POLL: &str = "/sdk/auth/poll";
const URL: &str = "https://idp.example/authorize?state=canary-state-4711";

/// A vault that answers polls in turn, the last answer again and again, after holding each `pending` as long as it may.
fn vault(created: u16, polls: Vec<(u16, Value)>) -> Stub {
    let turn = Arc::new(Mutex::new(0));
    Stub::new(move |seen| {
        verify(&seen, KEY);
        let answer = if seen.target == POLL {
            let mut turn = turn.lock().unwrap();
            let at = (*turn).min(polls.len() - 1);
            *turn += 1;
            polls[at].clone()
        } else {
            assert_eq!((seen.target.as_str(), seen.body.as_ref()), (SESSION, b"{}".as_slice()));
            let made = json!({
                "session_token": "canary-state-4711", "auth_url": URL, "expires_in": 600, "expires_at": "t",
            });
            (created, made)
        };
        async move {
            if answer.1["status"] == "pending" {
                let held = seen.json()["wait_ms"].as_u64().unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(held)).await;
            }
            json_response(answer.0, &answer.1)
        }
    })
}

fn pending() -> (u16, Value) {
    (200, json!({"status": "pending"}))
}

fn done() -> (u16, Value) {
    (200, json!({"status": "completed", "user_token": "canary.jwt.4711", "user_info": {"name": "Ann"}}))
}

async fn signed_in(polls: Vec<(u16, Value)>) -> (Result<SignedIn, Error>, Vec<Value>, Duration) {
    let vault = vault(201, polls);
    let began = Instant::now();
    let outcome = app(&vault).authenticate_with(|url| assert_eq!(url, URL)).await;
    (outcome, vault.got(POLL), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_gives_a_client_that_is_bound_to_the_user() {
    let (outcome, polls, took) = signed_in(vec![pending(), done()]).await;
    let user = outcome.unwrap();
    assert_eq!(user.user_token().expose(), "canary.jwt.4711");
    assert_eq!(user.user_info()["name"], "Ann");
    assert_eq!(user.client().user_token().expose(), "canary.jwt.4711");
    let text = format!("{user:?}");
    assert!(!text.contains("canary") && !text.contains("Ann"), "{text}");
    let asked = json!({"session_token": "canary-state-4711", "wait_ms": 25_000});
    assert_eq!(polls, [asked.clone(), asked]);
    assert_eq!(took.as_secs(), 25, "a poll that was held is followed by the next at once");
}

#[tokio::test(start_paused = true)]
async fn the_hold_shrinks_to_the_deadline_and_the_last_poll_has_none() {
    let vault = vault(201, vec![pending()]);
    let waiting = app(&vault).authenticate_with(|_| ()).timeout(Duration::from_millis(30_500));
    let error = waiting.await.unwrap_err();
    let holds: Vec<_> = vault.got(POLL).iter().map(|poll| poll["wait_ms"].as_u64()).collect();
    assert_eq!(holds, [Some(25_000), Some(5_500), None]);
    let Kind::Connect(Connect::TimedOut { reason, .. }) = error.kind() else { panic!("{error:?}") };
    assert_eq!(*reason, ConnectTimeout::Deadline);
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_does_not_hold_is_not_asked_more_than_every_two_seconds() {
    let quick = Stub::new(|seen| async move {
        if seen.target == SESSION {
            let made = json!({"session_token": "s", "auth_url": URL, "expires_in": 600, "expires_at": "t"});
            return json_response(201, &made);
        }
        json_response(200, &json!({"status": "pending"}))
    });
    let waiting = app(&quick).authenticate_with(|_| ()).timeout(Duration::from_secs(10));
    waiting.await.unwrap_err();
    assert_eq!(quick.got(POLL).len(), 6);
}

#[tokio::test]
async fn a_session_must_be_created_with_201() {
    let refused = app(&vault(200, vec![done()])).sign_in_session().await.unwrap_err();
    assert_eq!(refused.kind(), &Kind::Malformed);
    let unset = Stub::new(|_| async { json_response(409, &json!({"error": "idp_signin_not_configured"})) });
    let refused = app(&unset).sign_in_session().await.unwrap_err();
    assert_eq!(refused.kind(), &Kind::Connect(Connect::Configuration));
    let session = app(&vault(201, vec![done()])).sign_in_session().await.unwrap();
    assert_eq!((session.url(), session.expires_at()), (URL, "t"));
    assert!(!format!("{session:?}").contains("canary"));
}

#[tokio::test(start_paused = true)]
async fn five_statuses_are_final_and_all_others_may_pass() {
    for (status, code, kind) in [
        (400, "invalid_request", Kind::Backend),
        (401, "invalid_key", Kind::Auth(Auth::Key)),
        (403, "whatever", Kind::Policy(alter_core::error::Policy::Denied)),
        (404, "whatever", Kind::Grant(alter_core::error::Grant::NotFound)),
        (422, "whatever", Kind::Backend),
    ] {
        let (outcome, polls, _) = signed_in(vec![(status, json!({"error": code})), done()]).await;
        assert_eq!((outcome.unwrap_err().kind(), polls.len()), (&kind, 1), "{status}");
    }
    for status in [202, 302, 409, 410, 429, 500, 503] {
        let (outcome, polls, took) = signed_in(vec![(status, json!({"error": "x"})), done()]).await;
        assert!(outcome.is_ok(), "{status}");
        assert_eq!((polls.len(), took.as_secs()), (2, 2), "{status}");
    }
    let (outcome, _, took) = signed_in(vec![(503, json!({}))]).await;
    let error = outcome.unwrap_err();
    assert!(std::error::Error::source(&error).is_some(), "{error:?}");
    assert_eq!(took.as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn each_end_of_a_sign_in_has_its_kind() {
    let flow = || Kind::Connect(Connect::Flow { failed: vec![] });
    for (answer, kind) in [
        (
            json!({"status": "error", "error_code": "service_unavailable", "error_message": "m"}),
            Kind::Backend,
        ),
        (
            json!({"status": "error", "error_code": "identity_provider_inactive"}),
            Kind::Conflict(Conflict::Other),
        ),
        (json!({"status": "error", "error_code": "connect_denied"}), Kind::Connect(Connect::Denied)),
        (json!({"status": "error", "error_code": "other", "error_message": "m"}), flow()),
        (json!({"status": "error", "error": {"error_code": "connect_denied"}}), flow()),
        (json!({"status": "expired"}), flow()),
        (json!({"status": "odd"}), flow()),
        (json!({"status": "completed"}), Kind::Malformed),
        (json!({"status": "completed", "user_token": "two words"}), Kind::Malformed),
        (json!([]), Kind::Malformed),
    ] {
        let (outcome, polls, _) = signed_in(vec![(200, answer.clone()), done()]).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), polls.len()), (&kind, 1), "{answer}");
        assert!(!error.to_string().is_empty());
    }
    let (outcome, ..) = signed_in(vec![pending(), (200, json!({"status": "expired"}))]).await;
    let error = outcome.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            Kind::Connect(Connect::TimedOut { reason: ConnectTimeout::SessionExpired, .. })
        ),
        "{error:?}"
    );
    let none = app(&vault(201, vec![done()])).authenticate_with(|_| ()).timeout(Duration::ZERO).await;
    assert_eq!(none.unwrap_err().kind(), &Kind::InvalidInput(InvalidInput::Session));
}

/// What was written on a terminal.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connecting(page: &'static str, polls: Vec<Value>) -> Stub {
    let turn = Arc::new(Mutex::new(polls.into_iter()));
    Stub::new(move |seen| {
        let answer = if seen.target.ends_with("/poll") {
            turn.lock().unwrap().next().unwrap_or(json!({"status": "pending"}))
        } else {
            json!({"session_token": "s", "connect_url": page, "expires_in": 600, "expires_at": "t"})
        };
        async move { json_response(200, &answer) }
    })
}

const PAGE: &str = "https://vault.example/sdk/oauth/connect#session=s";

#[tokio::test(start_paused = true)]
async fn a_person_at_a_terminal_sees_the_page_and_what_happens() {
    let vault = connecting(
        PAGE,
        vec![
            json!({"status": "pending", "declined_providers": [{"provider_id": "slack", "error_code": "connect_denied"}]}),
            json!({"status": "completed",
                "grants": [{"grant_id": GRANT, "provider_id": "google", "account_identifier": "ann\u{1b}[2J@example.com"}],
                "failed_grants": [{"provider_id": "slack", "reason": "not_selected", "message": "m"}]}),
        ],
    );
    let (screen, opened) = (Screen::default(), Arc::new(Mutex::new(String::new())));
    let keep = Arc::clone(&opened);
    let terminal = Terminal::new().output(screen.clone()).open_with(move |url| {
        keep.lock().unwrap().push_str(url);
        true
    });
    app(&vault).connect_session().as_app().connect_on(terminal).await.unwrap();
    assert_eq!(*opened.lock().unwrap(), PAGE, "the fragment is part of it");
    let text = screen.text();
    for part in [
        PAGE,
        "A browser was opened",
        "slack said no",
        "Connected: google (ann[2J@example.com)",
        "Not connected: slack",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no code of its own, none of the vault's: {text:?}");
}

#[tokio::test(start_paused = true)]
async fn where_no_browser_opens_there_are_the_url_and_a_code() {
    for terminal in [
        Terminal::new().open_browser(false),
        Terminal::new().open_with(|_| false),
        Terminal::new().open_with(|_| panic!("an opener that fails in its own way")),
    ] {
        let screen = Screen::default();
        let vault = connecting(
            PAGE,
            vec![json!({"status": "error", "error": {
            "error_code": "connect_denied", "error_message": "no"}})],
        );
        let terminal = terminal.output(screen.clone()).qr_code(true);
        let error = app(&vault).connect_session().as_app().connect_on(terminal).await.unwrap_err();
        assert_eq!(error.kind(), &Kind::Connect(Connect::Denied));
        let text = screen.text();
        assert!(text.contains(&format!("\n  {PAGE}\n")) && text.contains('▀'), "{text}");
        assert!(text.lines().all(|line| !line.contains('\u{1b}') || line.ends_with("\u{1b}[0m")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_on_this_machine_has_no_code_for_a_phone() {
    let screen = Screen::default();
    let vault = connecting("http://localhost:8080/sdk/oauth/connect#session=s", vec![]);
    let terminal = Terminal::new().open_browser(false).output(screen.clone()).qr_code(true);
    let connecting = app(&vault).connect_session().as_app().connect_on(terminal);
    connecting.timeout(Duration::from_secs(3)).await.unwrap_err();
    assert!(screen.text().contains("http://localhost:8080/") && !screen.text().contains('▀'));
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_at_a_terminal_says_that_it_is_done() {
    let screen = Screen::default();
    let terminal = Terminal::new().output(screen.clone()).open_with(|_| true);
    app(&vault(201, vec![done()])).authenticate_on(terminal).await.unwrap();
    assert!(screen.text().contains(URL) && screen.text().ends_with("Signed in.\n"), "{}", screen.text());
}
