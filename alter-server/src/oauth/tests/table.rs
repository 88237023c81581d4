//! The table of answers over a real loopback connection.

use super::*;

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
