//! The JSON spelling that is signed: compact, members in the order of the type, everything outside printable
//! ASCII escaped as `\uXXXX` in lower-case hex (spec/01 §5, §3.3).
//!
//! Bytes are what a signature covers, so two clients that mean the same request must spell it the same.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Serialises `value` in the signed spelling.
///
/// # Errors
///
/// Those of the value's own `Serialize`; the types of this crate have none.
pub fn to_ascii_vec<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut out, Ascii))?;
    Ok(out)
}

struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, character) in fragment.char_indices() {
            if (' '..='~').contains(&character) {
                continue;
            }
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + character.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            // serde_json never escapes a solidus on its own; written out because the match must be total.
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_outside_printable_ascii_is_escaped() {
        let spelled = to_ascii_vec("é\u{7f}😀\n\u{1}\"\\/ ~").unwrap();
        assert_eq!(
            String::from_utf8(spelled).unwrap(),
            "\"\\u00e9\\u007f\\ud83d\\ude00\\n\\u0001\\\"\\\\/ ~\""
        );
    }

    proptest::proptest! {
        #[test]
        fn the_spelling_is_ascii_and_reads_back(text in ".*") {
            let spelled = to_ascii_vec(&text).unwrap();
            proptest::prop_assert!(spelled.is_ascii());
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&spelled).unwrap(), text);
        }
    }
}
