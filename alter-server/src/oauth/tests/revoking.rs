//! Telling a provider that a token is to die, over real connections.

use super::*;
use crate::domain::{
    HostPattern, Injection, OAuthSettings, Provider, ProviderKind, Revocation, RevocationForm, RevokedToken,
};

fn provider_at(url: &str, revocation: Revocation) -> Provider {
    Provider {
        id: "example".parse().unwrap(),
        kind: ProviderKind::OAuth,
        name: "Example".to_owned(),
        hosts: vec!["api.example.com".parse::<HostPattern>().unwrap()],
        injection: Injection::default(),
        additional: Vec::new(),
        oauth: Some(OAuthSettings {
            revoke_url: Some(url.to_owned()),
            client_id: Some("client/1".to_owned()),
            client_auth: ClientAuth::Basic,
            revocation,
            ..OAuthSettings::default()
        }),
    }
}

async fn revoke(url: &str, how: Revocation) -> Result<RevokedAnswer, RevokeFailure> {
    let provider = provider_at(url, how);
    let (secret, token) = (SecretString::from(CLIENT_SECRET), SecretString::from(REFRESH_TOKEN));
    let call = RevokeCall {
        provider: &provider,
        client_secret: Some(&secret),
        token: &token,
        kind: RevokedToken::Refresh,
    };
    TokenEndpoint::with_limits(SystemClock::shared(), limits()).revoke(&call).await
}

#[tokio::test]
async fn the_standards_form_carries_token_hint_and_the_apps_proof() {
    let (url, served) = provider(http("200 OK", "", "")).await;
    let answer = revoke(&url, Revocation::default()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.already), (200, false));
    let sent = served.await.unwrap();
    assert!(sent.starts_with("POST /token HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains("authorization: Basic "), "{sent}");
    let body = sent.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(body, "token=rt-canary-1%2F%2Fabc%2Bdef&token_type_hint=refresh_token");
}

#[tokio::test]
async fn other_forms_are_what_the_providers_definition_says() {
    let (url, served) = provider(http("204 No Content", "", "")).await;
    let json = Revocation {
        form: RevocationForm::Json,
        delete: true,
        member: "access_token".to_owned(),
        hint: false,
        params: [("reason".to_owned(), "a \"quoted\" one".to_owned())].into(),
        ..Revocation::default()
    };
    revoke(&url, json).await.unwrap();
    let sent = served.await.unwrap();
    assert!(
        sent.starts_with("DELETE /token HTTP/1.1\r\n") && sent.contains("content-type: application/json")
    );
    let body: serde_json::Value = serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body, serde_json::json!({"access_token": REFRESH_TOKEN, "reason": "a \"quoted\" one"}));

    let (url, served) = provider(http("200 OK", "", r#"{"ok":true}"#)).await;
    let bearer = Revocation { form: RevocationForm::Bearer, ..Revocation::default() };
    revoke(&url, bearer).await.unwrap();
    let sent = served.await.unwrap();
    assert!(sent.contains(&format!("authorization: Bearer {REFRESH_TOKEN}\r\n")), "{sent}");
    assert!(sent.ends_with("\r\n\r\n") && !sent.contains("client"), "{sent}");
}

#[tokio::test]
async fn a_provider_that_hangs_breaks_off_or_quotes_the_token_is_asked_again_and_not_quoted() {
    let quoting =
        format!(r#"{{"error":"invalid_request","error_description":"no {REFRESH_TOKEN} {CLIENT_SECRET}"}}"#);
    for act in [Act::Silence, Act::Hang, Act::Slam, http("503 Busy", "retry-after: 9\r\n", &quoting)] {
        let (url, _served) = provider(act.clone()).await;
        let failure = revoke(&url, Revocation::default()).await.unwrap_err();
        assert!(matches!(failure, RevokeFailure::Passing { .. }), "{act:?}: {failure:?}");
        assert!(!failure.to_string().contains("canary"), "{failure}");
    }
    let (url, _served) = provider(http("400 Bad", "", &quoting)).await;
    let failure = revoke(&url, Revocation::default()).await.unwrap_err();
    assert!(
        matches!(failure, RevokeFailure::Refused(_)) && !failure.to_string().contains("canary"),
        "{failure}"
    );
}
