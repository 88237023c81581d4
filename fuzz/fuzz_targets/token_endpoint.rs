//! Whatever a token endpoint answers is judged without panic; what counts as tokens can be handed out; what ends a grant is an
//! object or a form with a known word in it; and nothing that we sent is shown.
#![no_main]

use alter_server::oauth::{Answer, Scrub, classify};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "rt-fuzz+canary/0123456789";

fuzz_target!(|data: (u16, &[u8], &[u8], &[u8])| {
    let (status, kind, date, body) = data;
    let Ok(status) = StatusCode::from_u16(status) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in [(header::CONTENT_TYPE, kind), (header::DATE, date), (header::RETRY_AFTER, date)] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    let answer = Answer { status, headers: &headers, body };
    match classify(&answer, Timestamp::UNIX_EPOCH, &Scrub::new([SECRET])) {
        Ok(tokens) => {
            use secrecy::ExposeSecret;

            let token = tokens.access_token.expose_secret();
            assert!(status.is_success());
            assert!((1..=8192).contains(&token.len()) && token.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        }
        Err(failure) => {
            let shown = failure.to_string();
            assert!(!shown.contains(SECRET) && !shown.contains(char::is_control));
            if failure.failure.code.is_final() {
                assert!(status.is_success() || status.is_client_error());
                assert!(body.iter().any(|byte| *byte == b'{' || *byte == b'='));
            }
        }
    }
});
