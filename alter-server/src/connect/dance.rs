//! The secrets of one authorization request. All of them are made from the browser's cookie, so that nothing secret is at
//! rest in the vault, and no other browser can make them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    domain::{SessionRef, TokenDigest},
    web::BrowserSecret,
};

/// What tells one request of a session from the next. No secret: it stands in the address of the page that leads to the
/// provider, so that the page can be loaded again.
pub(super) type Attempt = [u8; 16];

/// The secrets.
#[derive(Debug)]
pub(super) struct Dance {
    /// `state`: the session, and 32 bytes.
    pub(super) state: SecretString,
    /// What is kept of the state.
    pub(super) digest: TokenDigest,
    /// The proof key's secret (RFC 7636 §4.1): 43 characters.
    pub(super) verifier: SecretString,
    /// What an ID token must repeat.
    pub(super) nonce: SecretString,
}

impl Dance {
    /// Of this attempt in this browser.
    pub(super) fn new(browser: &BrowserSecret, session: SessionRef, attempt: &Attempt) -> Self {
        let mut data = session.app_id.bytes().to_vec();
        data.extend(session.id.bytes());
        data.extend(attempt);
        let secret = browser.mac("state", &data);
        Self::of(browser, session.with_secret(&secret), TokenDigest::of(&secret))
    }

    /// Of a state that came back. Whether it is the session's is for the caller to compare.
    pub(super) fn returned(browser: &BrowserSecret, state: &str, secret: &[u8]) -> Self {
        Self::of(browser, SecretString::from(state), TokenDigest::of(secret))
    }

    fn of(browser: &BrowserSecret, state: SecretString, digest: TokenDigest) -> Self {
        let derived = |label: &str| {
            let bytes = browser.mac(label, state.expose_secret().as_bytes());
            SecretString::from(URL_SAFE_NO_PAD.encode(bytes))
        };
        Self { verifier: derived("pkce"), nonce: derived("nonce"), digest, state }
    }
}

/// Reads an attempt out of an address.
pub(super) fn read_attempt(text: &str) -> Option<Attempt> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// Writes one for an address.
pub(super) fn write_attempt(attempt: &Attempt) -> String {
    URL_SAFE_NO_PAD.encode(attempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AppId, SessionId};

    #[test]
    fn what_comes_back_to_the_same_browser_has_the_same_secrets_and_to_another_one_others() {
        let session = SessionRef { app_id: AppId::random(), id: SessionId::random() };
        let (mine, other) = (BrowserSecret::fresh().unwrap(), BrowserSecret::fresh().unwrap());
        let dance = Dance::new(&mine, session, &[1; 16]);
        let (found, secret) = SessionRef::split(dance.state.expose_secret()).unwrap();
        assert_eq!(found, session);
        let back = |browser| Dance::returned(browser, dance.state.expose_secret(), secret.expose_secret());
        assert_eq!(back(&mine).digest, dance.digest);
        assert_eq!(back(&mine).verifier.expose_secret(), dance.verifier.expose_secret());
        assert_ne!(back(&other).verifier.expose_secret(), dance.verifier.expose_secret());
        assert_eq!(dance.verifier.expose_secret().len(), 43);
        let next = Dance::new(&mine, session, &[2; 16]);
        assert_ne!(next.digest, dance.digest);
        assert_ne!(dance.verifier.expose_secret(), dance.nonce.expose_secret());
        assert_eq!(read_attempt(&write_attempt(&[7; 16])), Some([7; 16]));
        assert_eq!(read_attempt("x"), None);
    }
}
