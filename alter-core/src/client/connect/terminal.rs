//! A person at a terminal: the browser, the URL, a QR code, a few lines.

use std::{
    env, fmt,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use url::Url;

use super::{ConnectEvent, Connected};
use crate::wire::{error::clean, url::is_loopback};

type Opener = Box<dyn FnOnce(&str) -> bool + Send>;

/// Widest QR code that is printed, in columns.
const MAX_COLUMNS: usize = 80;

/// A person at a terminal. Lines go to standard error, so that the program's own output stays clean. (Feature
/// `terminal`.)
///
/// The browser is opened by the system's own means; the page's URL is printed in any case, and a QR code when no browser
/// can be opened and the page can be reached from a phone. A browser that is opened gets the URL as an argument, which
/// other users of the machine can see for a moment; say [`open_browser(false)`](Self::open_browser) where they must not.
pub struct Terminal {
    lines: Lines,
    open: Option<Opener>,
    qr_code: bool,
}

impl Terminal {
    /// Standard error, the system's browser, and a QR code if standard error is a terminal.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lines: Lines::new(io::stderr()),
            open: Some(Box::new(open_in_browser)),
            qr_code: io::stderr().is_terminal(),
        }
    }

    /// Whether to open a browser on this machine. Unless told otherwise, it is tried.
    #[must_use]
    pub fn open_browser(mut self, open: bool) -> Self {
        self.open = if open { Some(Box::new(open_in_browser)) } else { None };
        self
    }

    /// Opens the browser in another way. `open` may block; it tells whether it could.
    #[must_use]
    pub fn open_with(mut self, open: impl FnOnce(&str) -> bool + Send + 'static) -> Self {
        self.open = Some(Box::new(open));
        self
    }

    /// Writes elsewhere than to standard error.
    #[must_use]
    pub fn output(mut self, out: impl Write + Send + 'static) -> Self {
        self.lines = Lines::new(out);
        self
    }

    /// Whether to print a QR code when no browser can be opened.
    #[must_use]
    pub fn qr_code(mut self, print: bool) -> Self {
        self.qr_code = print;
        self
    }

    pub(super) async fn show(&mut self, purpose: &str, url: &str) {
        let opened = match self.open.take() {
            Some(open) => {
                let url = url.to_owned();
                tokio::task::spawn_blocking(move || open(&url)).await.unwrap_or(false)
            }
            None => false,
        };
        if opened {
            self.lines.say(format_args!(
                "A browser was opened to {purpose}. If you do not see it, open this page:\n\n  {url}\n"
            ));
        } else {
            self.lines.say(format_args!("Open this page in a browser to {purpose}:\n\n  {url}\n"));
            // A phone's own loopback is another one.
            let far = Url::parse(url).is_ok_and(|url| !is_loopback(&url));
            if let Some(code) = (self.qr_code && far).then(|| qr_code(url)).flatten() {
                self.lines.say(format_args!("Or scan this with a phone:\n\n{code}"));
            }
        }
        self.lines.say(format_args!("Waiting until you are done there. Ctrl-C gives up."));
    }

    pub(super) fn lines(&self) -> Lines {
        self.lines.clone()
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal")
            .field("opens", &self.open.is_some())
            .field("qr_code", &self.qr_code)
            .finish_non_exhaustive()
    }
}

/// Where lines go.
#[derive(Clone)]
pub(super) struct Lines(Arc<Mutex<dyn Write + Send>>);

impl Lines {
    fn new(out: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(out)))
    }

    /// Whole lines in one write, so that whatever interrupts the program leaves no half of one. A terminal that is gone
    /// must not end the call.
    pub(super) fn say(&self, line: fmt::Arguments<'_>) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
    }

    pub(super) fn event(&self, event: &ConnectEvent) {
        match event {
            ConnectEvent::Declined(declined) => self.say(format_args!(
                "{} said no ({}). You can choose another one on the page.",
                declined.provider_id, declined.error_code
            )),
            ConnectEvent::Throttled { pause } => {
                self.say(format_args!("The vault is busy: going on in {} s.", seconds(*pause)));
            }
            ConnectEvent::Unreachable { pause } => {
                self.say(format_args!("The vault does not answer: trying again in {} s.", seconds(*pause)));
            }
        }
    }

    pub(super) fn connected(&self, connected: &Connected) {
        for grant in connected.grants() {
            let provider = clean(&grant.provider_id);
            match &grant.account_identifier {
                Some(account) => self.say(format_args!("Connected: {provider} ({})", clean(account))),
                None => self.say(format_args!("Connected: {provider}")),
            }
        }
        for failed in connected.failed() {
            let (provider, message) = (clean(&failed.provider_id), clean(&failed.message));
            self.say(format_args!("Not connected: {provider} ({message})"));
        }
    }
}

fn seconds(pause: Duration) -> u64 {
    pause.as_secs() + u64::from(pause.subsec_nanos() > 0)
}

/// `open` tells whether a launcher took the URL. Where there is no screen, what a launcher finds is a text browser that
/// would fight the program for the terminal.
fn open_in_browser(url: &str) -> bool {
    let has_screen = if cfg!(any(target_os = "macos", target_os = "ios", windows)) {
        true
    } else {
        ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "WSL_DISTRO_NAME"]
            .iter()
            .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
    };
    has_screen && open::that_detached(url).is_ok()
}

/// The code in half blocks, dark on light whatever the terminal's colours are; `None` when it would be too wide.
fn qr_code(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let drawn = code.render::<Dense1x2>().build();
    let wide = drawn.lines().next().is_some_and(|line| line.chars().count() > MAX_COLUMNS);
    // Black on white, reset at the end of each line, so that an interruption leaves no colours behind.
    let paint = |line: &str| format!("\x1b[38;5;16;48;5;231m{line}\x1b[0m\n");
    (!wide).then(|| drawn.lines().map(paint).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_square_framed_and_leaves_no_colours_behind() {
        let code =
            qr_code("https://vault.example/sdk/oauth/connect#session=abcdefghijklmnopqrstuvwxyz012345")
                .unwrap();
        let rows: Vec<_> = code.lines().collect();
        assert!(rows.iter().all(|row| row.starts_with("\x1b[") && row.ends_with("\x1b[0m")));
        let bare = rows[1].trim_start_matches("\x1b[38;5;16;48;5;231m").trim_end_matches("\x1b[0m");
        assert!(bare.starts_with("    "), "a quiet zone of four modules: {bare:?}");
        assert_eq!(bare.chars().count().div_ceil(2), rows.len());
    }

    #[test]
    fn a_code_that_is_too_wide_is_left_out() {
        assert_eq!(qr_code(&"x".repeat(1_000)), None);
    }
}
