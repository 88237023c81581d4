//! Connecting a person's account: sessions, waiting for their end, doing it from a terminal, signing in
//! (spec/03 §1, §2).

mod builder;
mod headless;
mod session;
mod sign_in;
#[cfg(feature = "terminal")]
mod terminal;
mod wait;

pub use builder::ConnectBuilder;
pub use headless::HeadlessConnect;
pub use session::{ConnectHandle, ConnectProgress, ConnectSession, Connected};
pub use sign_in::{HeadlessSignIn, SignInSession, SignInWait, SignedIn};
#[cfg(feature = "terminal")]
pub use terminal::Terminal;
pub use wait::{ConnectEvent, ConnectWait};

use std::time::Duration;

use url::Url;

use crate::{
    error::{Error, InvalidInput},
    wire::{connect::check_return_url, secret::SecretText},
};

/// How long is waited for a person unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Pause between two polls unless told otherwise.
const INTERVAL: Duration = Duration::from_secs(2);

/// The address of a page of the vault, which will be opened in a browser: https, or http on a loopback host. A vault
/// that names anything else, such as `file:` or the scheme of a program, is not followed.
fn page(url: &SecretText) -> Result<Url, Error> {
    check_return_url(url.expose())
        .map_err(|_| Error::malformed("the vault's page is not an https address that a browser can open"))
}

fn check_times(timeout: Duration, interval: Duration) -> Result<(), Error> {
    if timeout.is_zero() || interval.is_zero() {
        return Err(Error::invalid(
            InvalidInput::Session,
            "timeout and interval must be longer than nothing",
        ));
    }
    Ok(())
}
