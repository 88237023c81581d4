//! The table of answers over a real loopback connection, and what no answer may do.

use std::{sync::Arc, time::Duration};

use alter_core::clock::{ManualClock, SystemClock};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::domain::{ClientAuth, FailureCode, RefreshSettings, Refreshing};

const REFRESH_TOKEN: &str = "rt-canary-1//abc+def";
const CLIENT_SECRET: &str = "cs-canary/ü&x=y z";

/// What the other side does with one connection.
#[derive(Debug, Clone)]
enum Act {
    /// Answers with these bytes and closes.
    Say(Vec<u8>),
    /// Reads the request and closes without a word.
    Hang,
    /// Closes before it has read anything.
    Slam,
    /// Reads the request and says nothing.
    Silence,
    /// Sends the bytes one by one, for ever.
    Trickle(Vec<u8>),
}

/// A provider that serves one connection, and tells what it was sent.
async fn provider(act: Act) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        if matches!(act, Act::Slam) {
            return String::new();
        }
        let request = request(&mut socket).await;
        match act {
            Act::Say(bytes) => {
                let _ = socket.write_all(&bytes).await;
                let _ = socket.shutdown().await;
                // Reads on, so that the close is no reset that throws the answer away.
                let _ = socket.read(&mut [0; 64]).await;
            }
            Act::Hang | Act::Slam => {}
            Act::Silence => drop(socket.read(&mut [0; 64]).await),
            Act::Trickle(bytes) => {
                for byte in bytes.into_iter().chain(std::iter::repeat(b' ')) {
                    if socket.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
        request
    });
    (url, served)
}

/// The request with its whole body.
async fn request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = socket.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        if read == 0 || body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(2),
        whole: Duration::from_secs(3),
        idle: Duration::from_millis(300),
        ..Limits::default()
    }
}

fn refreshing<'a>(url: &'a str, auth: ClientAuth, settings: &'a RefreshSettings) -> Refreshing<'a> {
    Refreshing { token_url: url, client_id: "client/1 é", client_auth: auth, settings }
}

async fn ask(url: &str, auth: ClientAuth, limits: Limits) -> Result<TokenAnswer, TokenFailure> {
    ask_at(&TokenEndpoint::with_limits(SystemClock::shared(), limits), url, auth).await
}

async fn ask_at(endpoint: &TokenEndpoint, url: &str, auth: ClientAuth) -> Result<TokenAnswer, TokenFailure> {
    let settings = RefreshSettings::default();
    let (secret, token) = (SecretString::from(CLIENT_SECRET), SecretString::from(REFRESH_TOKEN));
    let call = RefreshCall {
        refreshing: refreshing(url, auth, &settings),
        client_secret: Some(&secret),
        refresh_token: &token,
    };
    endpoint.refresh(&call).await
}

fn http(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Say(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes())
}

fn json(status: &str, body: &str) -> Act {
    http(status, "content-type: application/json\r\n", body)
}

const GOOD: &str = r#"{"access_token":"at-1","refresh_token":"rt-2","expires_in":3600,"scope":"read write"}"#;

#[tokio::test]
async fn good_answers_are_read() {
    let (url, served) = provider(json("200 OK", GOOD)).await;
    let answer = ask(&url, ClientAuth::Post, limits()).await.unwrap();
    assert_eq!(answer.access_token.expose_secret(), "at-1");
    assert_eq!(answer.refresh_token.unwrap().expose_secret(), "rt-2");
    assert_eq!(answer.expires_in, Some(Duration::from_secs(3600)));
    assert_eq!(answer.scopes.unwrap(), ["read", "write"]);
    assert!(answer.sent_at <= answer.arrived);

    let request = served.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /token http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-www-form-urlencoded"), "{head}");
    assert!(head.contains("accept: application/json"), "{head}");
    assert!(!head.contains("authorization"), "{head}");
    assert_eq!(
        body,
        "grant_type=refresh_token&refresh_token=rt-canary-1%2F%2Fabc%2Bdef&client_id=client%2F1+%C3%A9&client_secret=cs-canary%2F%C3%BC%26x%3Dy+z"
    );
}

#[tokio::test]
async fn a_client_proves_itself_as_its_provider_wants_it() {
    use base64::{Engine, engine::general_purpose::STANDARD};

    let (url, served) = provider(json("200 OK", GOOD)).await;
    ask(&url, ClientAuth::Basic, limits()).await.unwrap();
    let request = served.await.unwrap();
    let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:")).unwrap();
    let value = STANDARD.decode(line.split_once("Basic ").unwrap().1).unwrap();
    assert_eq!(String::from_utf8(value).unwrap(), "client%2F1+%C3%A9:cs-canary%2F%C3%BC%26x%3Dy+z");
    assert!(request.ends_with("\r\n\r\ngrant_type=refresh_token&refresh_token=rt-canary-1%2F%2Fabc%2Bdef"));

    let (url, served) = provider(json("200 OK", GOOD)).await;
    ask(&url, ClientAuth::None, limits()).await.unwrap();
    let request = served.await.unwrap();
    assert!(request.ends_with("&client_id=client%2F1+%C3%A9"), "{request}");
    assert!(!request.to_ascii_lowercase().contains("authorization:"));
}

#[tokio::test]
async fn further_members_never_replace_ours() {
    let (url, served) = provider(json("200 OK", GOOD)).await;
    let extra = [("audience", "api"), ("grant_type", "password"), ("scope", "all")];
    let settings = RefreshSettings {
        extra: extra.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..RefreshSettings::default()
    };
    let endpoint = TokenEndpoint::new(SystemClock::shared());
    let token = SecretString::from("rt");
    let call = RefreshCall {
        refreshing: refreshing(&url, ClientAuth::None, &settings),
        client_secret: None,
        refresh_token: &token,
    };
    endpoint.refresh(&call).await.unwrap();
    let request = served.await.unwrap();
    assert!(request.ends_with(
        "\r\n\r\ngrant_type=refresh_token&refresh_token=rt&client_id=client%2F1+%C3%A9&audience=api"
    ));
}

/// Who is asked nothing because something lacks.
#[tokio::test]
async fn what_cannot_be_asked_is_said_before_anything_is_sent() {
    let settings = RefreshSettings::default();
    let endpoint = TokenEndpoint::new(SystemClock::shared());
    let (token, empty) = (SecretString::from("rt"), SecretString::from(""));
    for (url, auth, token) in [
        ("https://id.example.test/token", ClientAuth::Post, &token),
        ("https://id.example.test/token", ClientAuth::Basic, &token),
        ("https://id.example.test/token", ClientAuth::None, &empty),
        ("http://id.example.test/token", ClientAuth::None, &token),
        ("https://user@id.example.test/token", ClientAuth::None, &token),
        ("https://id.example.test/token#here", ClientAuth::None, &token),
        ("token", ClientAuth::None, &token),
    ] {
        let call = RefreshCall {
            refreshing: refreshing(url, auth, &settings),
            client_secret: None,
            refresh_token: token,
        };
        let failure = endpoint.refresh(&call).await.unwrap_err();
        assert_eq!((failure.failure.code, failure.spent), (FailureCode::NotRefreshable, Spent::No), "{url}");
    }
}

/// Must-show 6 of the refresh: each kind of answer, what it is taken for, and whether the refresh token may be spent.
#[tokio::test]
async fn each_answer_is_what_the_table_says() {
    use FailureCode::{
        InvalidClient, InvalidGrant, Misconfigured, NoAnswer, ProviderUnavailable, RateLimited, Unreadable,
    };
    use Spent::{Maybe, No};

    let page = "<html><h1>Request blocked</h1></html>";
    let large = "x".repeat(10 * 1024 * 1024);
    let cut = |text: &str| Act::Say(text.as_bytes().to_vec());
    let error = |status: &str, code: &str| {
        json(status, &format!(r#"{{"error":"{code}","error_description":"why"}}"#))
    };
    let table: Vec<(&str, Act, FailureCode, Spent)> = vec![
        // The standard.
        ("invalid_grant", error("400 Bad Request", "invalid_grant"), InvalidGrant, No),
        ("invalid_grant with 401", error("401 Unauthorized", "invalid_grant"), InvalidGrant, No),
        ("invalid_client", error("401 Unauthorized", "invalid_client"), InvalidClient, No),
        ("unauthorized_client", error("400 Bad Request", "unauthorized_client"), Misconfigured, No),
        ("invalid_request", error("400 Bad Request", "invalid_request"), Misconfigured, No),
        ("invalid_scope", error("400 Bad Request", "invalid_scope"), Misconfigured, No),
        ("an error nobody knows", error("400 Bad Request", "grant_is_tired"), Misconfigured, No),
        (
            "temporarily_unavailable",
            error("400 Bad Request", "temporarily_unavailable"),
            ProviderUnavailable,
            No,
        ),
        ("server_error", error("400 Bad Request", "server_error"), ProviderUnavailable, No),
        // Statuses that speak for themselves.
        ("503", error("503 Service Unavailable", "temporarily_unavailable"), ProviderUnavailable, No),
        (
            "500 with invalid_grant",
            error("500 Internal Server Error", "invalid_grant"),
            ProviderUnavailable,
            No,
        ),
        ("502 of a gateway", http("502 Bad Gateway", "", page), ProviderUnavailable, No),
        ("504 of a gateway", http("504 Gateway Timeout", "", page), ProviderUnavailable, No),
        ("408", http("408 Request Timeout", "", ""), ProviderUnavailable, No),
        ("429", http("429 Too Many Requests", "", ""), RateLimited, No),
        ("429 with invalid_grant", error("429 Too Many Requests", "invalid_grant"), RateLimited, No),
        // What is no answer of a token endpoint.
        ("HTML 403", http("403 Forbidden", "content-type: text/html\r\n", page), Unreadable, No),
        ("HTML 400", http("400 Bad Request", "content-type: text/html\r\n", page), Unreadable, No),
        ("HTML 401", http("401 Unauthorized", "content-type: text/html\r\n", page), Unreadable, No),
        ("a JSON 403 of a firewall", json("403 Forbidden", r#"{"blocked":true,"ray":"8a"}"#), Unreadable, No),
        ("404", http("404 Not Found", "", "invalid_grant"), Unreadable, No),
        ("a redirection", http("302 Found", "location: https://login.example.test/\r\n", ""), Unreadable, No),
        ("HTML 200", http("200 OK", "content-type: text/html\r\n", page), Unreadable, Maybe),
        ("garbage", json("200 OK", "\u{0}\u{1}{{{"), Unreadable, Maybe),
        ("nothing", json("200 OK", ""), Unreadable, Maybe),
        ("204", cut("HTTP/1.1 204 No Content\r\n\r\n"), Unreadable, Maybe),
        ("an empty object", json("200 OK", "{}"), Unreadable, Maybe),
        ("a list", json("200 OK", r#"["invalid_grant"]"#), Unreadable, Maybe),
        ("a word", json("200 OK", r#""invalid_grant""#), Unreadable, Maybe),
        ("half of an object", json("200 OK", r#"{"access_token":"at-1","#), Unreadable, Maybe),
        ("a token with a line break", json("200 OK", r#"{"access_token":"a\nb"}"#), Unreadable, Maybe),
        ("an empty token", json("200 OK", r#"{"access_token":""}"#), Unreadable, Maybe),
        ("a number for a token", json("200 OK", r#"{"access_token":7}"#), Unreadable, Maybe),
        ("10 MB", json("200 OK", &large), Unreadable, Maybe),
        ("10 MB with 403", json("403 Forbidden", &large), Unreadable, No),
        ("not HTTP", cut("SSH-2.0-OpenSSH_9.6\r\n"), Unreadable, Maybe),
        // The wire.
        ("cut before the head", Act::Hang, NoAnswer, Maybe),
        ("closed at once", Act::Slam, NoAnswer, Maybe),
        ("cut in the head", cut("HTTP/1.1 200 OK\r\ncontent-le"), NoAnswer, Maybe),
        ("cut after the head", cut("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n"), NoAnswer, Maybe),
        (
            "cut in the body",
            cut("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"access_token\":"),
            NoAnswer,
            Maybe,
        ),
        (
            "cut in a chunk",
            cut("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{\"a"),
            NoAnswer,
            Maybe,
        ),
        (
            "cut in an error",
            cut("HTTP/1.1 400 Bad Request\r\ncontent-length: 90\r\n\r\n{\"err"),
            NoAnswer,
            No,
        ),
        ("cut in a 500", cut("HTTP/1.1 500 Oh\r\ncontent-length: 90\r\n\r\n<ht"), ProviderUnavailable, No),
        ("silence", Act::Silence, NoAnswer, Maybe),
        (
            "slow trickle",
            Act::Trickle(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n".to_vec()),
            NoAnswer,
            Maybe,
        ),
        // Providers.
        ("Slack: dead", json("200 OK", r#"{"ok":false,"error":"invalid_refresh_token"}"#), InvalidGrant, No),
        ("Slack: user gone", json("200 OK", r#"{"ok":false,"error":"account_inactive"}"#), InvalidGrant, No),
        ("Slack: standard", json("200 OK", r#"{"ok":false,"error":"invalid_grant"}"#), InvalidGrant, No),
        ("Slack: the app", json("200 OK", r#"{"ok":false,"error":"bad_client_secret"}"#), InvalidClient, No),
        ("Slack: throttled", json("200 OK", r#"{"ok":false,"error":"ratelimited"}"#), RateLimited, No),
        (
            "Slack: broken",
            json("200 OK", r#"{"ok":false,"error":"internal_error"}"#),
            ProviderUnavailable,
            No,
        ),
        ("Slack: unknown", json("200 OK", r#"{"ok":false,"error":"no_idea"}"#), Misconfigured, No),
        (
            "Slack: with a token all the same",
            json("200 OK", r#"{"ok":false,"error":"token_revoked","access_token":"a"}"#),
            InvalidGrant,
            No,
        ),
        ("Slack: no word", json("200 OK", r#"{"ok":false}"#), Unreadable, No),
        (
            "Slack's word of another",
            json("400 Bad Request", r#"{"error":"account_inactive"}"#),
            Misconfigured,
            No,
        ),
        (
            "GitHub",
            json(
                "200 OK",
                r#"{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}"#,
            ),
            InvalidGrant,
            No,
        ),
        (
            "GitHub, as a form",
            http(
                "200 OK",
                "content-type: application/x-www-form-urlencoded; charset=utf-8\r\n",
                "error=bad_refresh_token&error_description=x",
            ),
            InvalidGrant,
            No,
        ),
        ("GitHub: the app", error("200 OK", "incorrect_client_credentials"), InvalidClient, No),
        (
            "Microsoft",
            json(
                "400 Bad Request",
                r#"{"error":"invalid_grant","error_description":"AADSTS700082: expired","error_codes":[700082],"suberror":"bad_token"}"#,
            ),
            InvalidGrant,
            No,
        ),
        (
            "Microsoft: too fast",
            json(
                "400 Bad Request",
                r#"{"error":"invalid_grant","error_description":"AADSTS50196: The server terminated an operation"}"#,
            ),
            RateLimited,
            No,
        ),
        ("Microsoft: the user", error("400 Bad Request", "interaction_required"), InvalidGrant, No),
        (
            "Google",
            json(
                "400 Bad Request",
                r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
            ),
            InvalidGrant,
            No,
        ),
        (
            "Google's APIs",
            json("403 Forbidden", r#"{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}"#),
            Misconfigured,
            No,
        ),
        (
            "Meta",
            json("400 Bad Request", r#"{"error":{"message":"expired","type":"OAuthException","code":190}}"#),
            Misconfigured,
            No,
        ),
        (
            "Salesforce",
            json(
                "400 Bad Request",
                r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#,
            ),
            InvalidGrant,
            No,
        ),
        (
            "Salesforce: later",
            json("400 Bad Request", r#"{"error":"unknown_error","error_description":"retry your request"}"#),
            ProviderUnavailable,
            No,
        ),
        (
            "HubSpot",
            json(
                "400 Bad Request",
                r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}"#,
            ),
            InvalidGrant,
            No,
        ),
        (
            "HubSpot: other",
            json("400 Bad Request", r#"{"status":"error","message":"This app has been uninstalled"}"#),
            Misconfigured,
            No,
        ),
        (
            "Strava",
            json(
                "400 Bad Request",
                r#"{"message":"Bad Request","errors":[{"resource":"RefreshToken","field":"refresh_token","code":"invalid"}]}"#,
            ),
            InvalidGrant,
            No,
        ),
        (
            "Fitbit",
            json(
                "400 Bad Request",
                r#"{"errors":[{"errorType":"invalid_grant","message":"Refresh token invalid"}],"success":false}"#,
            ),
            InvalidGrant,
            No,
        ),
        (
            "Twitch",
            json(
                "400 Bad Request",
                r#"{"error":"Bad Request","status":400,"message":"Invalid refresh token"}"#,
            ),
            InvalidGrant,
            No,
        ),
        (
            "Twitch: other",
            json("400 Bad Request", r#"{"status":400,"message":"missing client id"}"#),
            Misconfigured,
            No,
        ),
        (
            "Atlassian",
            json(
                "403 Forbidden",
                r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#,
            ),
            InvalidGrant,
            No,
        ),
        (
            "X",
            json(
                "400 Bad Request",
                r#"{"error":"invalid_request","error_description":"Value passed for the token was invalid."}"#,
            ),
            InvalidGrant,
            No,
        ),
    ];
    let endpoint = &TokenEndpoint::with_limits(SystemClock::shared(), limits());
    let rows = table.into_iter().map(|(name, act, code, spent)| async move {
        let (url, served) = provider(act).await;
        let failure = ask_at(endpoint, &url, ClientAuth::Post).await.expect_err(name);
        served.abort();
        let wrong = (failure.failure.code, failure.spent) != (code, spent);
        let said = format!("{failure:?} {failure}");
        assert!(!said.contains("canary"), "{said}");
        wrong.then(|| format!("{name}: {failure} {:?}", failure.spent))
    });
    let wrong: Vec<_> = futures_util::future::join_all(rows).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn whoever_is_not_there_was_sent_nothing() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", gone.local_addr().unwrap());
    drop(gone);
    let failure = ask(&url, ClientAuth::Post, limits()).await.unwrap_err();
    assert_eq!((failure.failure.code, failure.spent), (FailureCode::Unreachable, Spent::No));

    // Somebody who is there and does not speak TLS.
    let (url, served) = provider(Act::Hang).await;
    let failure = ask(&url.replace("http:", "https:"), ClientAuth::Post, limits()).await.unwrap_err();
    assert_eq!((failure.failure.code, failure.spent), (FailureCode::Unreachable, Spent::No));
    served.abort();
}

#[tokio::test]
async fn retry_after_is_read_in_both_forms() {
    let date = "date: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    for (headers, wait) in [
        (String::new(), None),
        ("retry-after: 7\r\n".to_owned(), Some(7)),
        ("retry-after: 99999999999999999999999\r\n".to_owned(), Some(3_600)),
        ("retry-after: soon\r\n".to_owned(), None),
        ("retry-after: -3\r\n".to_owned(), None),
        // By the provider's clock, which is years behind ours.
        (format!("{date}retry-after: Wed, 21 Oct 2015 07:28:30 GMT\r\n"), Some(30)),
        (format!("{date}retry-after: Wed, 21 Oct 2015 07:27:30 GMT\r\n"), Some(0)),
        (format!("{date}retry-after: Fri, 23 Oct 2015 07:28:00 GMT\r\n"), Some(3_600)),
    ] {
        let (url, _) = provider(http("429 Too Many Requests", &headers, "")).await;
        let failure = ask(&url, ClientAuth::Post, limits()).await.unwrap_err();
        assert_eq!(failure.retry_after, wait.map(Duration::from_secs), "{headers}");
    }
    let (url, _) =
        provider(http("200 OK", "retry-after: 9\r\n", r#"{"ok":false,"error":"ratelimited"}"#)).await;
    assert_eq!(
        ask(&url, ClientAuth::Post, limits()).await.unwrap_err().retry_after,
        Some(Duration::from_secs(9))
    );
}

#[tokio::test]
async fn a_provider_that_quotes_the_request_gives_nothing_away() {
    let encoded: String = form_urlencoded::byte_serialize(CLIENT_SECRET.as_bytes()).collect();
    let body = serde_json::json!({
        "error": format!("bad {REFRESH_TOKEN}"),
        "error_description": format!("{REFRESH_TOKEN} {CLIENT_SECRET} {encoded} \u{1b}[31m\r\nrt-canary-1\u{0}//abc+def {}", "x".repeat(1_000)),
    });
    let (url, _) = provider(json("400 Bad Request", &body.to_string())).await;
    let failure = ask(&url, ClientAuth::Basic, limits()).await.unwrap_err();
    let detail = failure.failure.detail;
    assert!(!detail.contains("canary") && !detail.contains("abc+def"), "{detail}");
    assert!(!detail.contains(char::is_control) && detail.chars().count() <= 300, "{detail}");
    assert!(detail.starts_with("bad [secret]: [secret] [secret] [secret] [31m[secret]"), "{detail}");
}

#[tokio::test]
async fn a_failures_code_is_not_said_twice() {
    for (body, shown) in [
        (r#"{"error":"invalid_grant","error_description":"ended"}"#, "invalid_grant: ended (HTTP 400)"),
        (r#"{"error":"invalid_grant"}"#, "invalid_grant: the provider says nothing more (HTTP 400)"),
        (r#"{"error":"expired","error_description":"ended"}"#, "expired: ended (HTTP 400)"),
    ] {
        let (url, _) = provider(json("400 Bad Request", body)).await;
        let failure = ask(&url, ClientAuth::Post, limits()).await.unwrap_err().failure.to_string();
        assert!(failure.ends_with(shown), "{failure}");
        assert_eq!(failure.matches("invalid_grant").count(), usize::from(body.contains("invalid_grant")));
    }
}

#[tokio::test]
async fn a_clock_that_is_off_changes_no_expiry() {
    let clock = ManualClock::at(1_767_225_600);
    let endpoint = TokenEndpoint::with_limits(Arc::clone(&clock) as _, limits());
    let settings = RefreshSettings::default();
    let token = SecretString::from("rt");
    // The provider is ten minutes ahead, and says until when instead of how long.
    for body in [
        r#"{"access_token":"a","expires_at":1767229800}"#,
        r#"{"access_token":"a","expires_at":"2026-01-01T01:10:00Z"}"#,
        r#"{"access_token":"a","expires_on":"1767229800"}"#,
    ] {
        let (url, _) = provider(http("200 OK", "date: Thu, 01 Jan 2026 00:10:00 GMT\r\n", body)).await;
        let call = RefreshCall {
            refreshing: refreshing(&url, ClientAuth::None, &settings),
            client_secret: None,
            refresh_token: &token,
        };
        let answer = endpoint.refresh(&call).await.unwrap();
        assert_eq!(answer.expires_in, Some(Duration::from_secs(3_600)), "{body}");
        assert_eq!(answer.date.unwrap().as_second(), 1_767_226_200);
    }
    assert_eq!(endpoint.offsets().offset("127.0.0.1").as_secs(), 600);
}

mod pure {
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn judge(status: u16, kind: &str, body: &[u8]) -> Result<Tokens, TokenFailure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        classify(&Answer { status, headers: &headers, body }, now, &Scrub::default())
    }

    fn tokens(body: &str) -> Tokens {
        judge(200, "application/json", body.as_bytes()).unwrap()
    }

    #[test]
    fn lives_are_read_as_they_are_written_and_absurd_ones_are_not_believed() {
        for (member, life) in [
            (r#""expires_in":3600"#, Some(3_600)),
            (r#""expires_in":"3600""#, Some(3_600)),
            (r#""expires_in":" 3600.0 ""#, Some(3_600)),
            (r#""expires_in":1e300"#, Some(315_360_000)),
            (r#""expires_in":0"#, None),
            (r#""expires_in":-5"#, None),
            (r#""expires_in":"NaN""#, None),
            (r#""expires_in":"soon""#, None),
            (r#""expires_in":null"#, None),
            (r#""expires_in":[1]"#, None),
            (r#""expires_at":1767225700"#, Some(100)),
            (r#""expires_at":1767225700000"#, Some(100)),
            (r#""expires_at":1"#, None),
            (r#""expires_in":60,"expires_at":1767225700"#, Some(60)),
            (r#""x":1"#, None),
        ] {
            let read = tokens(&format!(r#"{{"access_token":"a",{member}}}"#)).expires_in;
            assert_eq!(read, life.map(Duration::from_secs), "{member}");
        }
    }

    #[test]
    fn scopes_are_read_in_every_way_they_are_written() {
        for (member, scopes) in [
            (r#""scope":"read write""#, Some(vec!["read", "write"])),
            (r#""scope":"chat:write,users:read""#, Some(vec!["chat:write", "users:read"])),
            (r#""scope":["a","b c"]"#, Some(vec!["a", "b", "c"])),
            (r#""scope":"""#, None),
            (r#""scope":null"#, None),
            (r#""scope":7"#, None),
            (r#""x":1"#, None),
        ] {
            let read = tokens(&format!(r#"{{"access_token":"a",{member}}}"#)).scopes;
            let expected = scopes.map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(read, expected, "{member}");
        }
    }

    #[test]
    fn an_absent_an_empty_and_a_null_refresh_token_keep_the_present_one() {
        for member in [r#""x":1"#, r#""refresh_token":"""#, r#""refresh_token":null"#] {
            assert!(tokens(&format!(r#"{{"access_token":"a",{member}}}"#)).refresh_token.is_none());
        }
        // Neither a byte order mark nor a wrong type nor empty errors stand in the way.
        let body = "\u{feff}{\"access_token\":\"a\",\"error\":\"\",\"error_description\":null}";
        assert!(judge(200, "text/plain", body.as_bytes()).is_ok());
        let form =
            judge(200, "application/x-www-form-urlencoded", b"access_token=a&expires_in=60&scope=x%2Cy")
                .unwrap();
        assert_eq!(form.expires_in, Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_final_word_counts_only_with_a_status_that_can_bear_it() {
        let body = br#"{"error":"invalid_grant"}"#;
        for status in 100..1000 {
            let code = judge(status, "application/json", body).unwrap_err().failure.code;
            let may = (200..300).contains(&status)
                || ((400..500).contains(&status) && ![408, 425, 429].contains(&status));
            assert_eq!(code.is_final(), may, "{status}");
        }
    }

    fn object() -> impl Strategy<Value = String> {
        let member = (
            "(error|ok|status|message|errors|access_token|error_description|x)",
            "(\"[a-z_ ]{0,12}\"|false|true|400|null|\\[\\]|\\{\\})",
        );
        prop::collection::vec(member, 0..5).prop_map(|members| {
            let members: Vec<_> =
                members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        })
    }

    proptest! {
        #[test]
        fn no_bytes_end_a_grant_unless_they_are_an_object_or_a_form(
            status in 100_u16..1000, body in prop::collection::vec(any::<u8>(), 0..200), form: bool,
        ) {
            let kind = if form { "application/x-www-form-urlencoded" } else { "text/html" };
            if let Err(failure) = judge(status, kind, &body) && failure.failure.code.is_final() {
                let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body).is_ok();
                prop_assert!(object || form);
            }
        }

        #[test]
        fn no_error_ends_a_grant_by_guess(status in 100_u16..1000, body in object()) {
            match judge(status, "application/json", body.as_bytes()) {
                Ok(tokens) => prop_assert!(!tokens.access_token.expose_secret().is_empty()),
                // None of the words above is in the table.
                Err(failure) => prop_assert!(!failure.failure.code.is_final(), "{} {}", body, failure),
            }
        }
    }
}

/// The provider that our other tests are run against, with every one of its faults.
#[cfg(feature = "dev")]
mod sandbox {
    use alter_sandbox::{Faults, Sandbox, TokenFault};

    use super::*;

    #[tokio::test]
    async fn no_fault_of_the_sandbox_makes_a_spent_token_look_unspent() {
        let sandbox = Sandbox::builder().start().await.unwrap();
        let url = sandbox.oauth_endpoints().token;
        let client = sandbox.client();
        let secret = SecretString::from(client.client_secret);
        let short =
            Limits { whole: Duration::from_millis(700), connect: Duration::from_millis(500), ..limits() };
        let endpoint = TokenEndpoint::with_limits(SystemClock::shared(), short);
        let settings = RefreshSettings::default();
        for fault in TokenFault::ALL {
            for auth in [ClientAuth::Post, ClientAuth::Basic] {
                sandbox.set_faults(Faults::default());
                let account = format!("{}-{auth:?}", fault.as_str());
                let token = SecretString::from(sandbox.connect("user", &account).refresh_token);
                let faults = Faults::default().rotate(true).token_fault(fault).retry_after(11);
                sandbox.set_faults(faults.retry_after_as_date(auth == ClientAuth::Basic).date_skew(-86_000));
                let refreshing = Refreshing {
                    token_url: &url,
                    client_id: &client.client_id,
                    client_auth: auth,
                    settings: &settings,
                };
                let call = RefreshCall { refreshing, client_secret: Some(&secret), refresh_token: &token };
                let failure = match endpoint.refresh(&call).await {
                    Ok(answer) => {
                        assert!(fault.carries_out(), "{fault:?}");
                        assert_eq!(answer.expires_in.is_some(), fault != TokenFault::NoExpiry);
                        let none =
                            matches!(fault, TokenFault::NoRefreshToken | TokenFault::EmptyRefreshToken);
                        assert_eq!(answer.refresh_token.is_none(), none, "{fault:?}");
                        continue;
                    }
                    Err(failure) => failure,
                };
                if fault.carries_out() {
                    assert_eq!(failure.spent, Spent::Maybe, "{fault:?} {failure}");
                }
                let code = failure.failure.code;
                let says_so = matches!(fault, TokenFault::InvalidGrant | TokenFault::OkWithError);
                assert_eq!(code.is_final(), says_so, "{fault:?} {failure}");
                assert_eq!(code.blames_the_app(), fault == TokenFault::InvalidClient, "{fault:?} {failure}");
                if matches!(fault, TokenFault::TooManyRequests | TokenFault::TemporarilyUnavailable) {
                    assert_eq!(failure.retry_after, Some(Duration::from_secs(11)), "{fault:?}");
                }
            }
        }
        sandbox.stop().await;
    }
}
