//! How lives, scopes and any bytes at all are read, without a connection.

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
        judge(200, "application/x-www-form-urlencoded", b"access_token=a&expires_in=60&scope=x%2Cy").unwrap();
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
