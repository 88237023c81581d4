//! Takes released credentials out of text that leaves this process.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::wire::{secret::SecretText, token::TokenResponse};

const MARK: &str = "[redacted]";

/// The spellings of one call's credentials.
pub(crate) struct Redactor(Vec<SecretString>);

impl Redactor {
    /// The credentials of a token answer, as they are, as they stand in a URL, and as they stand in JSON text.
    pub(crate) fn new(token: &TokenResponse, user_token: Option<&str>) -> Self {
        let further = token.additional_credentials.iter().flat_map(|all| all.values());
        let plain = std::iter::once(&token.access_token).chain(further).map(SecretText::expose);
        let mut spellings: Vec<String> = Vec::new();
        for secret in plain.chain(user_token) {
            let quoted = Value::from(secret).to_string();
            let quoted = quoted.trim_start_matches('"').trim_end_matches('"');
            let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
            let component =
                encoded.replace("%2D", "-").replace("%2E", ".").replace("%5F", "_").replace("%7E", "~");
            let form = component.replace("%20", "+");
            spellings.extend([secret.to_owned(), quoted.to_owned(), encoded, component, form]);
        }
        // Longest first, so that no part of a longer one is left behind.
        spellings.sort_by_key(|text| std::cmp::Reverse(text.len()));
        spellings.dedup();
        Self(spellings.into_iter().filter(|text| !text.is_empty()).map(SecretString::from).collect())
    }

    pub(crate) fn text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.0 {
            if clean.contains(secret.expose_secret()) {
                clean = clean.replace(secret.expose_secret(), MARK);
            }
        }
        clean
    }

    /// Every string and member name of a JSON value.
    pub(crate) fn json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.json(item)).collect(),
            Value::Object(members) => {
                members.into_iter().map(|(name, value)| (self.text(&name), self.json(value))).collect()
            }
            // A credential of digits may be sent as a number.
            Value::Number(number)
                if self.0.iter().any(|secret| secret.expose_secret() == number.to_string()) =>
            {
                Value::String(MARK.to_owned())
            }
            other => other,
        }
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_credential_is_found_in_every_spelling() {
        let token = TokenResponse::parse(
            json!({
                "access_token": "tok/\"1\" x-y", "grant_id": "11111111-2222-3333-4444-555555555555",
                "additional_credentials": {"pin": "424242"},
            })
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        let redactor = Redactor::new(&token, Some("jwt.of.user"));
        for text in [
            "a tok/\"1\" x-y b",
            r#"{"k":"tok/\"1\" x-y"}"#,
            "?k=tok%2F%221%22%20x-y",
            "?k=tok%2F%221%22+x-y",
            "?k=tok%2F%221%22%20x%2Dy",
            "jwt.of.user",
            "424242",
        ] {
            let clean = redactor.text(text);
            assert!(clean.contains(MARK) && !clean.contains("x-y") && !clean.contains("4242"), "{clean}");
        }
        let value = redactor.json(json!({"424242": [424_242, "x jwt.of.user", 7, null]}));
        assert_eq!(value, json!({"[redacted]": ["[redacted]", "x [redacted]", 7, null]}));
    }
}
