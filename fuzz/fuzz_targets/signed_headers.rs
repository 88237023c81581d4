//! Whatever arrives as a signed request is read without panic, and a signature of ours always verifies.
#![no_main]

use alter_core::{
    bearer,
    wire::sign::{Signed, SigningKey, Stamp, canonical_target, sign},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (String, Vec<(String, Vec<u8>)>, Vec<u8>)| {
    let (target, pairs, body) = data;
    let mut headers: HeaderMap = pairs
        .iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::from_bytes(value).ok()?))
        })
        .collect();
    let _ = canonical_target(&target);
    let _ = bearer::token(&headers);
    let _ = Signed::read(&headers);

    let key = SigningKey::derive("alter_rk_abcdefghijklmnopqrstuv_iwpykn");
    let Ok(stamp) = Stamp::fresh(1_767_225_600) else { return };
    if sign(&key, &Method::POST, &target, &stamp, &body, &mut headers).is_ok() {
        if let Ok(signed) = Signed::read(&headers) {
            let _ = signed.verify(&key, &Method::POST, &target, &headers, &body);
        }
    }
});
