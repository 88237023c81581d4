//! Cookies, and the secrets in them.

use std::fmt;

use aws_lc_rs::{hmac, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::PublicUrl;
use crate::domain::{SessionRef, TokenDigest};

/// 32 bytes that only one browser knows. The vault keeps at most their digest.
pub(crate) struct BrowserSecret(Zeroizing<[u8; 32]>);

impl fmt::Debug for BrowserSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrowserSecret(..)")
    }
}

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system gave no random bytes")]
pub(crate) struct NoRandomness;

/// Fresh random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

impl BrowserSecret {
    /// A fresh one.
    pub(crate) fn fresh() -> Result<Self, NoRandomness> {
        Ok(Self(Zeroizing::new(random()?)))
    }

    /// One that was read from a cookie.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What may be kept of it.
    pub(crate) fn digest(&self) -> TokenDigest {
        TokenDigest::of(self.bytes())
    }

    /// HMAC-SHA256 under this secret. Uses are told apart by `label`; no label is another one's beginning, since its
    /// length is part of what is authenticated.
    pub(crate) fn mac(&self, label: &str, data: &[u8]) -> [u8; 32] {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.bytes()));
        mac.update(&(label.len() as u64).to_be_bytes());
        mac.update(label.as_bytes());
        mac.update(data);
        let mut out = [0; 32];
        out.copy_from_slice(mac.sign().as_ref());
        out
    }

    /// The value of a form's hidden field `csrf`: bound to this browser and to what the form belongs to.
    pub(crate) fn csrf(&self, of: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.mac("csrf", of.as_bytes()))
    }

    /// Whether a posted `csrf` is the one of [`Self::csrf`]; takes the same time for every wrong answer.
    pub(crate) fn csrf_is(&self, of: &str, given: &str) -> bool {
        self.csrf(of).as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// The cookies that the vault sets. On https their names begin with `__Host-`, so that no other host can set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// The browser that works on a connect session: 32 bytes.
    Connect,
    /// The browser that is about to sign in to the wallet: 32 bytes.
    SignIn,
    /// The browser that is signed in to the wallet: a session and its secret.
    Wallet,
}

/// The cookie that an application sets on the vault's host to say whose browser it is (any value; its digest was told). On https
/// with the prefix that only this host can set: whoever can write cookies from a neighbouring host, or on the way of a plain
/// http request, would else put a victim's browser under the attacker's name.
pub(crate) fn binding(public: &PublicUrl) -> &'static str {
    if public.is_https() { "__Host-alter-binding" } else { "alter-binding" }
}

impl Cookie {
    fn name(self, public: &PublicUrl) -> &'static str {
        match (self, public.is_https()) {
            (Self::Connect, true) => "__Host-alter-connect",
            (Self::Connect, false) => "alter-connect",
            (Self::SignIn, true) => "__Host-alter-sign-in",
            (Self::SignIn, false) => "alter-sign-in",
            (Self::Wallet, true) => "__Host-alter-wallet",
            (Self::Wallet, false) => "alter-wallet",
        }
    }

    /// The header that sets it. Without `max_age` (seconds) it goes with the browser.
    pub(crate) fn set(self, public: &PublicUrl, value: &str, max_age: Option<u32>) -> HeaderValue {
        let secure = if public.is_https() { "; Secure" } else { "" };
        let age = max_age.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
        let text = Zeroizing::new(format!(
            "{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}",
            self.name(public)
        ));
        // Values are base64url of ours, which every header can hold.
        let mut header = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }

    /// The header that sets it to 32 bytes.
    pub(crate) fn set_secret(
        self,
        public: &PublicUrl,
        secret: &BrowserSecret,
        max_age: Option<u32>,
    ) -> HeaderValue {
        self.set(public, &Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.bytes())), max_age)
    }

    /// The header that sets it to a session and its secret.
    pub(crate) fn set_session(
        self,
        public: &PublicUrl,
        session: SessionRef,
        secret: &BrowserSecret,
        max_age: Option<u32>,
    ) -> HeaderValue {
        self.set(public, session.with_secret(secret.bytes()).expose_secret(), max_age)
    }

    /// The header that takes it away.
    pub(crate) fn clear(self, public: &PublicUrl) -> HeaderValue {
        self.set(public, "", Some(0))
    }

    /// Its value in a request.
    pub(crate) fn read<'a>(self, public: &PublicUrl, headers: &'a HeaderMap) -> Option<&'a str> {
        value(headers, self.name(public))
    }

    /// Its 32 bytes in a request.
    pub(crate) fn read_secret(self, public: &PublicUrl, headers: &HeaderMap) -> Option<BrowserSecret> {
        let text = self.read(public, headers).filter(|text| text.len() == 43)?;
        BrowserSecret::from_bytes(&Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?))
    }

    /// Its session and secret in a request. The secret is not checked by this.
    pub(crate) fn read_session(
        self,
        public: &PublicUrl,
        headers: &HeaderMap,
    ) -> Option<(SessionRef, BrowserSecret)> {
        let (session, secret) = SessionRef::split(self.read(public, headers)?)?;
        Some((session, BrowserSecret::from_bytes(secret.expose_secret())?))
    }
}

/// The value of a cookie, if it is there exactly once: of two of the same name one may be somebody else's (RFC 6265 §8.6).
pub(crate) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| {
        let (pair_name, value) = pair.trim().split_once('=')?;
        (pair_name == name).then_some(value)
    });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AppId, SessionId};

    fn headers(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookie).unwrap())])
    }

    #[test]
    fn on_https_no_neighbouring_host_can_say_whose_browser_it_is() {
        for (address, name) in [
            ("https://a.example", "__Host-alter-binding"),
            ("https://localhost:1/vault", "__Host-alter-binding"),
            ("http://localhost:1", "alter-binding"),
        ] {
            assert_eq!(binding(&address.parse().unwrap()), name, "{address}");
        }
    }

    #[test]
    fn a_cookie_is_read_as_it_was_set() {
        for (address, name) in
            [("https://a.example", "__Host-alter-connect"), ("http://localhost:1", "alter-connect")]
        {
            let public: PublicUrl = address.parse().unwrap();
            let secret = BrowserSecret::fresh().unwrap();
            let set = Cookie::Connect.set_secret(&public, &secret, Some(60));
            assert!(set.is_sensitive());
            let set = set.to_str().unwrap().to_owned();
            assert!(
                set.starts_with(&format!("{name}=")) && set.contains("; Path=/; HttpOnly; SameSite=Lax"),
                "{set}"
            );
            assert_eq!(set.contains("; Secure"), address.starts_with("https"));
            let sent = headers(&format!("a=b; {}", set.split(';').next().unwrap()));
            assert_eq!(Cookie::Connect.read_secret(&public, &sent).unwrap().bytes(), secret.bytes());
            assert!(Cookie::SignIn.read_secret(&public, &sent).is_none());
            let session = SessionRef { app_id: AppId::random(), id: SessionId::random() };
            let set = Cookie::Wallet.set_session(&public, session, &secret, None);
            let sent = headers(set.to_str().unwrap().split(';').next().unwrap());
            let (found, found_secret) = Cookie::Wallet.read_session(&public, &sent).unwrap();
            assert_eq!((found, found_secret.bytes()), (session, secret.bytes()));
        }
    }

    #[test]
    fn a_cookie_that_comes_twice_or_malformed_is_none() {
        let public: PublicUrl = "http://localhost:1".parse().unwrap();
        let good = "A".repeat(43);
        assert!(Cookie::Connect.read_secret(&public, &headers(&format!("alter-connect={good}"))).is_some());
        for bad in [
            format!("alter-connect={good}; alter-connect={good}"),
            format!("alter-connect={good}A"),
            "alter-connect=".to_owned(),
            format!("xalter-connect={good}"),
            format!("alter-connect={}", "!".repeat(43)),
        ] {
            assert!(Cookie::Connect.read_secret(&public, &headers(&bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_form_counts_only_in_its_browser_and_for_its_page() {
        let (mine, other) = (BrowserSecret::fresh().unwrap(), BrowserSecret::fresh().unwrap());
        let token = mine.csrf("page");
        assert!(mine.csrf_is("page", &token));
        for (secret, page, given) in [
            (&other, "page", token.as_str()),
            (&mine, "pag", &token),
            (&mine, "page", ""),
            (&mine, "page", &token[1..]),
        ] {
            assert!(!secret.csrf_is(page, given));
        }
        assert_ne!(mine.mac("a", b"bc"), mine.mac("ab", b"c"));
        assert_eq!(format!("{mine:?}"), "BrowserSecret(..)");
    }
}
