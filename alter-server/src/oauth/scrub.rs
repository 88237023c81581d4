//! Takes our own secrets out of what a provider says: some quote the request in their error texts.

use std::{collections::HashSet, fmt};

use zeroize::Zeroizing;

/// So many bytes of a secret in a row are hidden; fewer tell nothing. A shorter secret is hidden as a whole.
const WINDOW: usize = 8;
/// Most characters of a text that are looked at. More than is ever shown.
const LONGEST: usize = 2_000;
/// What takes the place of a secret.
const MASK: &str = "[secret]";

/// Secrets that must not be shown, as they are and percent-encoded.
#[derive(Default)]
pub struct Scrub(Vec<Zeroizing<String>>);

impl fmt::Debug for Scrub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrub({})", self.0.len())
    }
}

impl Scrub {
    /// Hides `secrets`.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Vec::new();
        for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
            let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            if encoded != secret {
                all.push(Zeroizing::new(encoded));
            }
            all.push(Zeroizing::new(secret.to_owned()));
        }
        Self(all)
    }

    /// `text` without control characters and without any recognisable part of the secrets. Control characters go first, so
    /// that a secret with one inside does not come together again afterwards.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let text: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
        let bytes = text.as_bytes();
        let mut hidden = vec![false; bytes.len()];
        for secret in &self.0 {
            let window = secret.len().min(WINDOW);
            let parts: HashSet<&[u8]> = secret.as_bytes().windows(window).collect();
            for (start, part) in bytes.windows(window).enumerate() {
                if parts.contains(part) {
                    hidden[start..start + window].fill(true);
                }
            }
        }
        let mut clean = String::with_capacity(text.len());
        let mut masked = false;
        for (start, c) in text.char_indices() {
            let hide = hidden[start..start + c.len_utf8()].contains(&true);
            match (hide, masked) {
                (true, false) => clean.push_str(MASK),
                (true, true) => {}
                (false, _) => clean.push(c),
            }
            masked = hide;
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quoted_secret_is_hidden_whole_in_part_and_encoded() {
        let scrub = Scrub::new(["1//refresh+token/abcdef", "hush"]);
        for (text, clean) in [
            ("token 1//refresh+token/abcdef is dead", "token [secret] is dead"),
            ("token ...token/abcdef is dead", "token ...[secret] is dead"),
            ("token 1%2F%2Frefresh%2Btoken%2Fabcdef", "token [secret]"),
            ("1//refresh\u{7}+token\n/abcdef", "[secret]"),
            ("hush, é hush", "[secret], é [secret]"),
            ("nothing of it", "nothing of it"),
        ] {
            assert_eq!(scrub.clean(text), clean, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_survives(secret in "[!-~]{8,40}", before in "\\PC{0,20}", after in "\\PC{0,20}") {
            let said = Scrub::new([secret.as_str()]).clean(&format!("{before}{secret}{after}"));
            prop_assert!(!said.contains(&secret), "{}", said);
        }
    }
}
