//! A JSON value read leniently. Texts are secrets from the first moment, since any of them may be a token.

use std::{collections::BTreeMap, fmt};

use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use zeroize::Zeroizing;

/// One value. The last of several members of the same name counts.
#[derive(Debug)]
pub(super) enum Loose {
    Null,
    Flag(bool),
    Number(f64),
    Text(SecretString),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl Loose {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.expose_secret()),
            _ => None,
        }
    }

    pub(super) fn object(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// A number, or a text that is one: several providers put numbers in quotes.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.expose_secret().trim().parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

/// JSON that only breaks because of a number that no machine holds, or of a name in another encoding: with the number as null, and
/// U+FFFD for what is no UTF-8. An answer holds tokens that are good for one use; they are not lost over a member that nobody asked for.
pub(super) fn mended(body: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(String::from_utf8_lossy(body).into_owned());
    // What is put in is never longer than what it replaces, so nothing is moved and left behind.
    let mut mended = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let (part, after) = match first {
            '"' => rest.split_at(string_end(rest)),
            '-' | '0'..='9' => {
                let end = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
                rest.split_at(end.unwrap_or(rest.len()))
            }
            other => rest.split_at(other.len_utf8()),
        };
        let endless = first != '"' && part.parse().is_ok_and(|number: f64| !number.is_finite());
        mended.push_str(if endless { "null" } else { part });
        rest = after;
    }
    mended
}

/// Where the string that `text` begins with ends, in bytes.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Loose, E> {
        Ok(Loose::Flag(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds and instants are far below 2^53")]
    fn visit_u64<E>(self, value: u64) -> Result<Loose, E> {
        Ok(Loose::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds and instants are far below 2^53")]
    fn visit_i64<E>(self, value: i64) -> Result<Loose, E> {
        Ok(Loose::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Loose, E> {
        Ok(Loose::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Loose, E> {
        Ok(Loose::Text(SecretString::from(value)))
    }

    fn visit_string<E>(self, value: String) -> Result<Loose, E> {
        Ok(Loose::Text(SecretString::from(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Loose::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            members.insert(name, value);
        }
        Ok(Loose::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_that_no_machine_holds_and_a_name_in_another_encoding_spoil_nothing_else() {
        let body = b"{\"a\\\"1e999\":\"-1e999\",\"n\":[1e400,-9e308,1.5],\"name\":\"Ren\xe9\"}";
        assert!(serde_json::from_slice::<Loose>(body).is_err());
        assert_eq!(
            *mended(body),
            "{\"a\\\"1e999\":\"-1e999\",\"n\":[null,null,1.5],\"name\":\"Ren\u{fffd}\"}"
        );
        assert!(serde_json::from_str::<Loose>(&mended(body)).is_ok());
        assert_eq!(*mended(b"\"open \\\""), "\"open \\\"");
    }

    proptest! {
        #[test]
        fn what_is_no_number_stays_as_it_is(text in "\\PC{0,60}") {
            let mended = mended(text.as_bytes());
            prop_assert!(*mended == text || text.contains(['e', 'E', 'n']));
            prop_assert!(mended.len() <= text.len());
        }
    }
}
