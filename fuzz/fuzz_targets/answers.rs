//! Whatever a vault answers is read without panic; what is accepted keeps the contract.
#![no_main]

use alter_core::wire::{error::ErrorBody, key::is_valid_key, token::TokenResponse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = ErrorBody::parse(data);
    if let Ok(answer) = TokenResponse::parse(data) {
        assert!(answer.check().is_ok());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = is_valid_key(text);
    }
});
