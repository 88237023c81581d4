use super::*;

const KEY: &str = "alter_rk_abcdefghijklmnopqrstuv_iwpykn";
const TOKEN_BODY: &[u8] = br#"{"grant_id":"11111111-2222-3333-4444-555555555555","reason":null,"request":{"method":"GET","url":"https://api.example.com/v1/me"}}"#;

fn stamp() -> Stamp {
    Stamp { timestamp: 1_767_225_600, nonce: "000102030405060708090a0b0c0d0e0f".to_owned() }
}

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
        .collect()
}

fn signed(method: &Method, target: &str, body: &[u8], mut headers: HeaderMap) -> HeaderMap {
    sign(&SigningKey::derive(KEY), method, target, &stamp(), body, &mut headers).unwrap();
    headers
}

fn check(headers: &HeaderMap, method: &Method, target: &str, body: &[u8]) -> Result<(), SignatureError> {
    Signed::read(headers)?.verify(&SigningKey::derive(KEY), method, target, headers, body)
}

#[test]
fn the_signing_key_is_the_one_of_the_specification() {
    assert_eq!(
        hex::encode(SigningKey::derive(KEY).expose()),
        "d686d74251939c285fe8fa5ad18c0e2003f1ca17a5346e7838389386c1ac079f"
    );
}

#[test]
fn the_canonicalisation_table_holds() {
    for (raw, canonical) in [
        ("/sdk/x?", "/sdk/x"),
        ("/sdk/x?&", "/sdk/x?"),
        ("/sdk/x?=", "/sdk/x?="),
        ("/sdk/x?a", "/sdk/x?a="),
        ("/sdk/x?a=b=c", "/sdk/x?a=b%3Dc"),
        ("/sdk/x?a=1&b=2;c=3", "/sdk/x?a=1&b=2%3Bc%3D3"),
        ("/sdk/x?B=1&a=1&A=2&a=", "/sdk/x?A=2&B=1&a=&a=1"),
        ("/sdk/x?a=%FF", "/sdk/x?a=%EF%BF%BD"),
        ("/sdk/x?a=%zz", "/sdk/x?a=%25zz"),
        ("/sdk/a%2Bb?x=%2B+%20", "/sdk/a+b?x=%2B++"),
        ("/sdk/%zz", "/sdk/%zz"),
        ("/sdk/x?q=a%2Fb:c@d!$'()*,", "/sdk/x?q=a%2Fb%3Ac%40d%21%24%27%28%29%2A%2C"),
    ] {
        assert_eq!(canonical_target(raw), canonical, "{raw}");
    }
}

#[test]
fn vector_t1_has_one_signature() {
    let signed = signed(&Method::POST, "/sdk/token", TOKEN_BODY, HeaderMap::new());
    assert_eq!(
        signed[header::CONTENT_SHA256],
        "c74b90d1dca2850c24608415b9c58e419823ee1cf433c848f76e2b43de4ae7e0"
    );
    assert_eq!(signed[header::SIGNATURE], "e738f5dd1b09d9c59dd342c202f08bb6d60e4b3f4b4d6199ccf1eb1967a3fe4e");
    assert!(!signed.contains_key(header::SIGNATURE_V2));
    check(&signed, &Method::POST, "/sdk/token", TOKEN_BODY).unwrap();
}

#[test]
fn vector_t2_has_actor_lines_and_both_signatures() {
    let actor = headers(&[
        (header::CALLER, "email-assistant"),
        (header::CALLER_TYPE, "service"),
        (header::ACTOR_ID, "99999999-8888-4777-8666-555555555555"),
        (header::CONTEXT, r#"{"run_id":"r-1","tool":"caf\u00e9"}"#),
    ]);
    let signed = signed(&Method::POST, "/sdk/token", TOKEN_BODY, actor);
    let expected = "f6c9bd76e47fdf0cca7ff178caf0dbd0bf77e9bfbffd1ee33b84f77fba2a7bc9";
    assert_eq!(signed[header::SIGNATURE], expected);
    assert_eq!(signed[header::SIGNATURE_V2], expected);
    check(&signed, &Method::POST, "/sdk/token", TOKEN_BODY).unwrap();
}

#[test]
fn vector_t3_canonicalises_and_carries_constraints() {
    let rule = "eyJydWxlX3R5cGUiOiJqc29uX21hdGNoIiwicnVsZV9ib2R5Ijp7IndoZW4iOnsibWV0aG9kIjoiUE9TVCJ9LCJlZmZlY3QiOiJkZW55In19";
    let target = "/sdk/agents/a%2Fb%20c%C3%A9?zeta=1&name=John+O%27Neil%20%26%20co&b&=x&a=2&a=1&&tilde=~_.-*";
    assert_eq!(
        canonical_target(target),
        "/sdk/agents/a/b cé?=x&a=1&a=2&b=&name=John+O%27Neil+%26+co&tilde=~_.-%2A&zeta=1"
    );
    let narrowed =
        headers(&[(header::SCOPE_CONSTRAINTS, "grants:read,audit:emit"), (header::REQUEST_RULE, rule)]);
    let signed = signed(&Method::GET, target, b"", narrowed);
    assert_eq!(signed[header::SIGNATURE], "87da41e5ebbb544a1b86a91ffcc4f55025d07dbfb7544a3d326a05c5c0d5b68b");
    assert!(!signed.contains_key(header::SIGNATURE_V2));
}

#[test]
fn vector_t4_orders_rule_before_actor() {
    let headers = headers(&[
        (header::CALLER, "c1"),
        (header::CALLER_TYPE, "agent"),
        (header::SCOPE_CONSTRAINTS, "grants:read"),
        (header::REQUEST_RULE, "eyJydWxlX3R5cGUiOiJqc29uX21hdGNoIiwicnVsZV9ib2R5Ijp7ImsiOiLDqSJ9fQ"),
    ]);
    let signed = signed(&Method::DELETE, "/sdk/grants/x/delegations/me", b"", headers);
    let expected = "517bca6b538d1c2d52b092f4aeeeec55c11f9d73d45906ea40c192fee690f530";
    assert_eq!(signed[header::SIGNATURE], expected);
    assert_eq!(signed[header::SIGNATURE_V2], expected);
}

#[test]
fn whatever_is_changed_on_the_way_is_noticed() {
    let actor = headers(&[(header::CALLER, "c1"), (header::CALLER_TYPE, "service")]);
    let good = signed(&Method::POST, "/sdk/token?a=1", b"{}", actor);
    check(&good, &Method::POST, "/sdk/token?a=1", b"{}").unwrap();

    assert_eq!(check(&good, &Method::POST, "/sdk/token?a=1", b"{ }"), Err(SignatureError::BodyMismatch));
    assert_eq!(check(&good, &Method::POST, "/sdk/token?a=2", b"{}"), Err(SignatureError::Mismatch));
    assert_eq!(check(&good, &Method::PUT, "/sdk/token?a=1", b"{}"), Err(SignatureError::Mismatch));

    let mut stripped = good.clone();
    for name in [header::CALLER, header::CALLER_TYPE, header::SIGNATURE_V2] {
        stripped.remove(name);
    }
    assert_eq!(check(&stripped, &Method::POST, "/sdk/token?a=1", b"{}"), Err(SignatureError::Mismatch));

    let mut without_second = good.clone();
    without_second.remove(header::SIGNATURE_V2);
    assert_eq!(
        check(&without_second, &Method::POST, "/sdk/token?a=1", b"{}"),
        Err(SignatureError::ActorMismatch)
    );

    let mut twice = good.clone();
    twice.append(header::CALLER, HeaderValue::from_static("c2"));
    assert_eq!(
        check(&twice, &Method::POST, "/sdk/token?a=1", b"{}"),
        Err(SignatureError::Repeated(header::CALLER))
    );

    let mut unsigned = good;
    unsigned.remove(header::NONCE);
    assert_eq!(
        check(&unsigned, &Method::POST, "/sdk/token?a=1", b"{}"),
        Err(SignatureError::Missing(header::NONCE))
    );
}

#[test]
fn an_empty_covered_header_cannot_be_slipped_in() {
    let actor = headers(&[(header::CALLER, "c1"), (header::CALLER_TYPE, "service")]);
    for good in [HeaderMap::new(), actor] {
        let good = signed(&Method::POST, "/sdk/token", b"{}", good);
        for name in [
            header::SCOPE_CONSTRAINTS,
            header::REQUEST_RULE,
            header::CALLER,
            header::CALLER_TYPE,
            header::ACTOR_ID,
            header::CONTEXT,
        ] {
            if !good.contains_key(&name) {
                let mut more = good.clone();
                more.insert(name.clone(), HeaderValue::from_static(""));
                let refused = Err(SignatureError::Malformed(name));
                assert_eq!(check(&more, &Method::POST, "/sdk/token", b"{}"), refused);
            }
        }
    }
}

#[test]
fn signature_headers_of_another_form_are_refused() {
    let good = signed(&Method::GET, "/sdk/scopes", b"", HeaderMap::new());
    for (name, value) in [
        (header::TIMESTAMP, "+1767225600"),
        (header::TIMESTAMP, "1767225600.0"),
        (header::TIMESTAMP, "9999999999999"),
        (header::TIMESTAMP, "01767225600"),
        (header::TIMESTAMP, ""),
        (header::NONCE, "000102030405060708090A0B0C0D0E0F"),
        (header::NONCE, "00"),
        (header::SIGNATURE, "zz"),
    ] {
        let mut bad = good.clone();
        bad.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        assert_eq!(Signed::read(&bad).unwrap_err(), SignatureError::Malformed(name), "{value}");
    }
}

proptest::proptest! {
    #[test]
    fn what_is_signed_verifies_and_order_in_the_query_does_not_matter(
        mut pairs in proptest::collection::vec(("[a-z%+ é&=]{0,6}", "[a-zA-Z0-9%+ é]{0,6}"), 1..6),
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
    ) {
        let spell = |pairs: &[(String, String)]| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(pairs);
            format!("/sdk/x?{}", query.finish())
        };
        let sent = spell(&pairs);
        let signed = signed(&Method::POST, &sent, &body, HeaderMap::new());
        pairs.reverse();
        proptest::prop_assert!(check(&signed, &Method::POST, &spell(&pairs), &body).is_ok());
    }

    #[test]
    fn no_target_and_no_header_panics(target in ".*", value in "[ -~]{0,70}") {
        let _ = canonical_target(&target);
        let value = HeaderValue::from_str(&value).unwrap();
        let _ = Signed::read(&[(header::TIMESTAMP, value)].into_iter().collect());
    }

    #[test]
    fn the_canonical_path_is_stable_once_decoded(path in "/[a-z0-9/]{0,20}") {
        proptest::prop_assert_eq!(canonical_target(&path), path);
    }
}
