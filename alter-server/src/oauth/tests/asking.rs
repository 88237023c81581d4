//! What is sent, what is read of a good answer, and what no failure may give away.

use super::*;

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
