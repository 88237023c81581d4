//! The `state` of a sign-in: which one it is, and that this browser began it.
//!
//! `base64url(purpose ‖ session or app ‖ begun at ‖ random ‖ HMAC(cookie secret, all before))`. The `nonce` and the PKCE
//! verifier are HMACs of it under the same secret with other labels: whoever has the cookie can make them again, nobody else.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::SecretString;
use subtle::ConstantTimeEq;

use super::{Purpose, SignInError};
use crate::{
    domain::{AppId, SessionRef},
    web::{BrowserSecret, random},
};

/// How long a sign-in may take, in seconds.
pub(super) const MAX_AGE: i64 = 15 * 60;
/// Purpose, session or app, Unix seconds, random bytes.
const BODY: usize = 1 + 32 + 8 + 16;
const LEN: usize = BODY + 32;
/// In characters of base64url.
const TEXT: usize = 119;

/// One sign-in that is under way.
pub(super) struct State {
    pub(super) text: String,
    pub(super) purpose: Purpose,
    pub(super) nonce: String,
    pub(super) verifier: SecretString,
    begun: i64,
}

impl State {
    /// A new one.
    pub(super) fn fresh(
        purpose: Purpose,
        secret: &BrowserSecret,
        now: Timestamp,
    ) -> Result<Self, SignInError> {
        let random: [u8; 16] = random().map_err(|error| SignInError::Failed(error.to_string()))?;
        let mut bytes = Vec::with_capacity(LEN);
        let (kind, reference) = match purpose {
            Purpose::Connect(session) => (1, session.bytes()),
            Purpose::SignIn(session) => (2, session.bytes()),
            Purpose::Wallet(app) => {
                let mut bytes = [0; 32];
                bytes[..16].copy_from_slice(app.bytes());
                (3, bytes)
            }
        };
        bytes.push(kind);
        bytes.extend(reference);
        bytes.extend(now.as_second().to_be_bytes());
        bytes.extend(random);
        bytes.extend(secret.mac("sign-in state", &bytes));
        Ok(Self::with(URL_SAFE_NO_PAD.encode(bytes), purpose, now.as_second(), secret))
    }

    fn with(text: String, purpose: Purpose, begun: i64, secret: &BrowserSecret) -> Self {
        let derived = |label| URL_SAFE_NO_PAD.encode(secret.mac(label, text.as_bytes()));
        let (nonce, verifier) = (derived("sign-in nonce"), SecretString::from(derived("sign-in verifier")));
        Self { text, purpose, nonce, verifier, begun }
    }

    /// What a returning browser's state is about. Says nothing of who began it: [`Claimed::of`] does.
    pub(super) fn read(text: &str) -> Option<Claimed> {
        if text.len() != TEXT {
            return None;
        }
        let bytes: [u8; LEN] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (kind, reference) = (bytes[0], &bytes[1..33]);
        let purpose = match kind {
            1 => Purpose::Connect(SessionRef::from_bytes(reference)?),
            2 => Purpose::SignIn(SessionRef::from_bytes(reference)?),
            3 => Purpose::Wallet(AppId::from_uuid(uuid::Uuid::from_slice(&reference[..16]).ok()?)),
            _ => return None,
        };
        Some(Claimed { purpose, bytes, text: text.to_owned() })
    }

    /// Whether it has taken too long, or comes from the future.
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        !(0..=MAX_AGE).contains(&(now.as_second() - self.begun))
    }

    /// `code_challenge` of the verifier (RFC 7636 §4.2).
    pub(super) fn challenge(&self) -> String {
        let verifier = secrecy::ExposeSecret::expose_secret(&self.verifier);
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
    }
}

/// A state that somebody brought.
pub(super) struct Claimed {
    pub(super) purpose: Purpose,
    bytes: [u8; LEN],
    text: String,
}

impl Claimed {
    /// The state, if the browser with this secret began it.
    pub(super) fn of(self, secret: &BrowserSecret) -> Option<State> {
        let (body, mac) = self.bytes.split_at(BODY);
        let ours: bool = secret.mac("sign-in state", body).ct_eq(mac).into();
        let begun = i64::from_be_bytes(body[33..41].try_into().ok()?);
        ours.then(|| State::with(self.text, self.purpose, begun, secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SessionId;

    #[test]
    fn only_the_browser_that_began_a_sign_in_can_end_it() {
        let (mine, other) = (BrowserSecret::fresh().unwrap(), BrowserSecret::fresh().unwrap());
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let session = SessionRef { app_id: AppId::random(), id: SessionId::random() };
        for purpose in [Purpose::Connect(session), Purpose::SignIn(session), Purpose::Wallet(session.app_id)]
        {
            let begun = State::fresh(purpose, &mine, now).unwrap();
            let ended = State::read(&begun.text).unwrap().of(&mine).unwrap();
            assert_eq!((ended.purpose, &ended.nonce), (purpose, &begun.nonce));
            assert_eq!(ended.challenge(), begun.challenge());
            assert_eq!(begun.challenge().len(), 43);
            assert!(State::read(&begun.text).unwrap().of(&other).is_none());
            assert!(!ended.is_stale(now) && ended.is_stale(Timestamp::from_second(1_800_000_901).unwrap()));
            assert!(ended.is_stale(Timestamp::from_second(1_799_999_999).unwrap()));
        }
    }

    #[test]
    fn a_state_that_was_changed_is_nobodys() {
        let secret = BrowserSecret::fresh().unwrap();
        let session = SessionRef { app_id: AppId::random(), id: SessionId::random() };
        let text = State::fresh(Purpose::Connect(session), &secret, Timestamp::now()).unwrap().text;
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let text = URL_SAFE_NO_PAD.encode(&changed);
            assert!(State::read(&text).and_then(|state| state.of(&secret)).is_none(), "byte {at}");
        }
        for text in ["", "x", &text[1..], &format!("{text}A"), &"!".repeat(text.len())] {
            assert!(State::read(text).is_none());
        }
    }
}
