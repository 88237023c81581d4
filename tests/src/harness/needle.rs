//! Known secrets, in every form in which they could leave: what to look for and where it was found.

use std::{collections::HashMap, fmt::Write as _};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Shortest piece of a secret that counts as a leak, in bytes.
const PIECE: usize = 12;
/// Bytes by which the search jumps to its candidates.
const HEAD: usize = 6;

/// Secrets to look for.
#[derive(Default)]
pub(crate) struct Needles {
    pieces: Vec<(String, Vec<u8>)>,
    by_head: HashMap<[u8; HEAD], Vec<usize>>,
}

impl Needles {
    /// Adds a secret text: the whole of it in each encoding, and its first, middle and last characters as they are, so
    /// that a text which was cut on its way into a log is found too.
    pub(crate) fn text(&mut self, name: &str, secret: &str) -> &mut Self {
        assert!(secret.len() >= PIECE, "{name} is too short to be looked for");
        let bytes = secret.as_bytes();
        let end = bytes.len() - PIECE;
        for (part, at) in [("beginning", 0), ("middle", end / 2), ("end", end)] {
            self.add(format!("{name} ({part})"), bytes[at..at + PIECE].to_vec());
        }
        self.encodings(name, bytes)
    }

    /// Adds secret bytes such as a key.
    pub(crate) fn bytes(&mut self, name: &str, secret: &[u8]) -> &mut Self {
        self.add(format!("{name} (raw)"), secret[..PIECE.min(secret.len())].to_vec());
        self.add(format!("{name} (raw, end)"), secret[secret.len().saturating_sub(PIECE)..].to_vec());
        self.encodings(name, secret)
    }

    /// Adds a compact JWT: its claims and its signature, each as a secret of its own. The header is the same for
    /// everybody.
    pub(crate) fn jwt(&mut self, name: &str, token: &str) -> &mut Self {
        let mut parts = token.split('.').skip(1);
        let (claims, signature) = (parts.next().unwrap(), parts.next().unwrap());
        // The first claim is the issuer or the time in every token; the rest is this one's.
        self.text(&format!("{name}, claims"), claims);
        if !signature.is_empty() {
            self.text(&format!("{name}, signature"), signature);
        }
        self
    }

    /// Adds an API key without the beginning that is shown to tell keys apart.
    pub(crate) fn api_key(&mut self, name: &str, key: &str) -> &mut Self {
        let parsed = alter_core::wire::key::ApiKey::parse(key).unwrap();
        self.text(name, &key[parsed.prefix().len()..]);
        self.bytes(&format!("{name}, signing key"), parsed.signing_key().expose())
    }

    fn encodings(&mut self, name: &str, secret: &[u8]) -> &mut Self {
        // Base64 of a text depends on where in a group of three it stands: three cores, without the characters that
        // also depend on the neighbours.
        for shift in 0..3 {
            let padded = [&b"aa"[..shift], secret].concat();
            let skip = [0, 2, 3][shift];
            for (kind, encoded) in
                [("base64", STANDARD_NO_PAD.encode(&padded)), ("base64url", URL_SAFE_NO_PAD.encode(&padded))]
            {
                let core = &encoded[skip..encoded.len() - 2];
                self.add(format!("{name} ({kind}, shifted by {shift})"), core.as_bytes().to_vec());
            }
        }
        let lower = hex::encode(secret);
        self.add(format!("{name} (hex)"), lower.as_bytes().to_vec());
        self.add(format!("{name} (HEX)"), lower.to_ascii_uppercase().into_bytes());
        let (mut percent, mut json, mut list) = (String::new(), String::new(), String::new());
        for (at, byte) in secret.iter().enumerate() {
            let _ = write!(percent, "%{byte:02X}");
            let _ = write!(json, "\\u{byte:04x}");
            let _ = write!(list, "{}{byte}", if at > 0 { ", " } else { "" });
        }
        self.add(format!("{name} (percent)"), percent.as_bytes().to_vec());
        self.add(format!("{name} (percent, lower case)"), percent.to_ascii_lowercase().into_bytes());
        self.add(format!("{name} (JSON escapes)"), json.into_bytes());
        // `Debug` of a byte slice.
        self.add(format!("{name} (list of numbers)"), list.replace(", ", ",").into_bytes());
        self.add(format!("{name} (Debug of bytes)"), list.into_bytes());
        if let Ok(text) = std::str::from_utf8(secret) {
            let form: String = form_encoded(text);
            if form != text {
                self.add(format!("{name} (form)"), form.into_bytes());
            }
            let quoted = serde_json::to_string(text).unwrap();
            let inner = quoted.trim_matches('"');
            if inner != text {
                self.add(format!("{name} (JSON)"), inner.as_bytes().to_vec());
            }
        }
        self
    }

    fn add(&mut self, name: String, piece: Vec<u8>) {
        let head = *piece.first_chunk().expect("pieces are longer than their head");
        self.by_head.entry(head).or_default().push(self.pieces.len());
        self.pieces.push((name, piece));
    }

    /// The names of the secrets that stand in `hay`, in whatever form, with what stands around the first of each.
    pub(crate) fn found_in(&self, hay: &[u8]) -> Vec<String> {
        let mut found: HashMap<usize, usize> = HashMap::new();
        for (at, head) in hay.windows(HEAD).enumerate() {
            // Most bytes of a log begin no needle: the map is asked with a key that costs little to hash.
            let Some(candidates) = self.by_head.get(head) else { continue };
            for &candidate in candidates {
                if hay[at..].starts_with(&self.pieces[candidate].1) {
                    found.entry(candidate).or_insert(at);
                }
            }
        }
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_unstable();
        found
            .into_iter()
            .map(|(piece, at)| {
                let around = &hay[at.saturating_sub(120)..hay.len().min(at + 60)];
                format!("{} at byte {at}: …{}…", self.pieces[piece].0, String::from_utf8_lossy(around))
            })
            .collect()
    }

    /// Fails if a secret stands in `hay`.
    pub(crate) fn assert_absent(&self, place: &str, hay: &[u8]) {
        let found = self.found_in(hay);
        assert!(found.is_empty(), "{place} contains secrets:\n{}", found.join("\n"));
    }
}

fn form_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            b' ' => "+".to_owned(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[test]
fn a_secret_is_found_in_each_of_its_forms() {
    use base64::engine::general_purpose::STANDARD;

    let secret = "s3cr3t+/=\"quoted\" 0123456789abcdef";
    let mut needles = Needles::default();
    needles.text("it", secret);
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for hay in [
        format!("token={secret};"),
        format!("cut {}", &secret[..14]),
        STANDARD.encode(format!("user:{secret}")),
        STANDARD.encode(format!("user1:{secret}")),
        STANDARD.encode(format!("{secret}:x")),
        URL_SAFE_NO_PAD.encode(secret),
        hex::encode(secret),
        percent,
        form_encoded(secret),
        serde_json::json!({ "token": secret }).to_string(),
        format!("{:?}", secret.as_bytes()),
    ] {
        assert!(!needles.found_in(hay.as_bytes()).is_empty(), "{hay}");
    }
    assert!(needles.found_in(b"nothing of it").is_empty());
}
