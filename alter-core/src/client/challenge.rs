//! The challenge of a provider: `WWW-Authenticate: Bearer …` (RFC 6750 §3; spec/01 §6.8).

use std::collections::BTreeMap;

use http::{HeaderMap, header::WWW_AUTHENTICATE};

use super::redact::Redactor;

/// What a provider's first challenge says, if it is for Bearer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    parameters: BTreeMap<String, String>,
    /// The header as it came.
    pub(crate) raw: String,
}

impl Challenge {
    /// Reads the headers of an answer; repeats count as one list.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let raw: Vec<_> =
            headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
        let raw = raw.join(", ");
        Self { parameters: parse(&raw), raw }
    }

    /// Without the credential, which a provider may have put into its challenge: the scopes are shown and reported.
    pub(crate) fn redacted(mut self, redactor: &Redactor) -> Self {
        for value in self.parameters.values_mut() {
            *value = redactor.text(value);
        }
        self.raw = redactor.text(&self.raw);
        self
    }

    pub(crate) fn is_insufficient_scope(&self) -> bool {
        self.parameters.get("error").is_some_and(|error| error == "insufficient_scope")
    }

    /// The scopes that the provider wants; `None` when it does not say.
    pub(crate) fn scopes(&self) -> Option<Vec<String>> {
        let scopes: Vec<_> = self.parameters.get("scope")?.split_whitespace().map(str::to_owned).collect();
        Some(scopes).filter(|scopes| !scopes.is_empty())
    }
}

/// Left to right until the first thing that does not fit; of a repeated name the last counts.
fn parse(header: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    let header = header.trim_start();
    let (scheme, mut rest) = header.split_at(header.find(char::is_whitespace).unwrap_or(header.len()));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return parameters;
    }
    while let Some((name, value, after)) = parameter(rest.trim_start()) {
        parameters.insert(name.to_ascii_lowercase(), value);
        let Some(next) = after.trim_start().strip_prefix(',') else { break };
        rest = next;
    }
    parameters
}

/// One `name=value` or `name="value"` and what follows it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let end = text.find(|c: char| !is_token(c))?;
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    if name.is_empty() {
        return None;
    }
    match rest.strip_prefix('"') {
        Some(quoted) => {
            let mut value = String::new();
            let mut characters = quoted.char_indices();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => return Some((name, value, &quoted[at + 1..])),
                    '\\' => value.push(characters.next()?.1),
                    other => value.push(other),
                }
            }
            None
        }
        None => {
            let end = rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len());
            let (value, after) = rest.split_at(end);
            (!value.is_empty()).then(|| (name, value.to_owned(), after))
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_measured() {
        let both = [("error", "insufficient_scope"), ("scope", "a b")];
        let cases: [(&str, &[(&str, &str)]); 13] = [
            (r#"Bearer error="insufficient_scope", scope="a b""#, &both),
            ("BEARER Error=insufficient_scope", &both[..1]),
            (
                r#"Bearer realm="a\"b", error="insufficient_scope""#,
                &[("error", "insufficient_scope"), ("realm", "a\"b")],
            ),
            (r#"Bearer error="insufficient_scope" scope="x""#, &both[..1]),
            (r#"Bearer error="x", %%%"#, &[("error", "x")]),
            (r#"Bearer realm="x",,error="insufficient_scope""#, &[("realm", "x")]),
            (
                r#"Bearer error="invalid_token", Basic realm="x", error="insufficient_scope""#,
                &[("error", "invalid_token")],
            ),
            (r#"Basic realm="x", Bearer error="insufficient_scope""#, &[]),
            (r#"Bearer error="insufficient_scope", error="other""#, &[("error", "other")]),
            ("Bearer", &[]),
            ("", &[]),
            (r#"Bearer error="unclosed"#, &[]),
            (r#"Bearererror="insufficient_scope""#, &[]),
        ];
        for (header, expected) in cases {
            let read: Vec<_> = parse(header).into_iter().collect();
            let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(read, expected, "{header}");
        }
    }

    #[test]
    fn a_challenge_that_repeats_the_credential_does_not_show_it() {
        let token = r#"{"access_token": "s3 cr\"et", "grant_id": "11111111-2222-3333-4444-555555555555"}"#;
        let redactor =
            Redactor::new(&crate::wire::token::TokenResponse::parse(token.as_bytes()).unwrap(), None);
        let mut headers = HeaderMap::new();
        let value = r#"Bearer error="insufficient_scope", scope="mail s3 cr\"et""#;
        headers.insert(WWW_AUTHENTICATE, value.parse().unwrap());
        let challenge = Challenge::read(&headers).redacted(&redactor);
        assert_eq!(challenge.scopes().unwrap(), ["mail", "[redacted]"]);
        assert!(!challenge.raw.contains("s3") && !challenge.raw.contains("et\""), "{}", challenge.raw);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = parse(&format!("Bearer {text}"));
        }
    }
}
