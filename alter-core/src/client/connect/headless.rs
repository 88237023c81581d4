//! Connecting from a program that has no web pages (spec/03 §2.1).

use std::{fmt, future::IntoFuture, time::Duration};

use futures_util::future::BoxFuture;

#[cfg(feature = "terminal")]
use super::Terminal;
use super::{ConnectBuilder, ConnectEvent, Connected, INTERVAL, TIMEOUT, check_times, wait::OnEvent};
use crate::error::Error;

/// How the person learns of the page.
pub(super) enum Show {
    /// A terminal.
    #[cfg(feature = "terminal")]
    Terminal(Terminal),
    /// Whatever the program does with the URL.
    Custom(Box<dyn FnOnce(&str) + Send>),
}

/// Connecting from a program that has no web pages, made by [`ConnectBuilder::connect_with`] and, with feature `terminal`,
/// by its `connect()`; await it. It makes the session, shows the page, and waits for the end by polling:
/// nothing listens on this machine.
///
/// # Errors
///
/// As for [`ConnectBuilder::create`] and [`ConnectWait`](super::ConnectWait).
///
/// # Cancel safety
///
/// Dropping the future ends it cleanly: nothing is left on the terminal or on this machine, and the session ends by
/// itself. No signal handler is installed, so Ctrl-C ends the program unless it says otherwise:
///
/// ```no_run
/// # async fn f(app: alter_core::App, mut ctrl_c: impl Future<Output = ()> + Unpin) -> Result<(), alter_core::Error> {
/// let connecting = app.connect_session().provider("google").as_app().connect_with(|url| eprintln!("{url}"));
/// tokio::select! {
///     connected = connecting => println!("{}", connected?.grant().grant_id),
///     _ = &mut ctrl_c => eprintln!("given up"),
/// }
/// # Ok(()) }
/// ```
#[must_use = "it does nothing until it is awaited"]
pub struct HeadlessConnect {
    session: ConnectBuilder,
    show: Show,
    timeout: Duration,
    interval: Duration,
    on_event: Option<OnEvent>,
}

impl HeadlessConnect {
    #[cfg(feature = "terminal")]
    pub(super) fn on(session: ConnectBuilder, terminal: Terminal) -> Self {
        Self::new(session, Show::Terminal(terminal))
    }

    pub(super) fn with(session: ConnectBuilder, on_url: impl FnOnce(&str) + Send + 'static) -> Self {
        Self::new(session, Show::Custom(Box::new(on_url)))
    }

    fn new(session: ConnectBuilder, show: Show) -> Self {
        Self { session, show, timeout: TIMEOUT, interval: INTERVAL, on_event: None }
    }

    /// How long to wait for the person, 300 s unless told otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The pause between two polls, 2 s unless told otherwise.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Hears of what happens meanwhile.
    pub fn on_event(mut self, on_event: impl FnMut(&ConnectEvent) + Send + 'static) -> Self {
        self.on_event = Some(Box::new(on_event));
        self
    }

    async fn run(self) -> Result<Connected, Error> {
        check_times(self.timeout, self.interval)?;
        let session = self.session.create().await?;
        let wait = session.wait().timeout(self.timeout).interval(self.interval);
        match self.show {
            Show::Custom(on_url) => {
                on_url(session.url());
                wait.telling(self.on_event).run().await
            }
            #[cfg(feature = "terminal")]
            Show::Terminal(mut terminal) => {
                terminal.show("connect an account", session.url()).await;
                let (lines, mut on_event) = (terminal.lines(), self.on_event);
                let wait = wait.on_event(move |event| {
                    lines.event(event);
                    if let Some(on_event) = &mut on_event {
                        on_event(event);
                    }
                });
                let connected = wait.run().await?;
                terminal.lines().connected(&connected);
                Ok(connected)
            }
        }
    }
}

impl IntoFuture for HeadlessConnect {
    type Output = Result<Connected, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for HeadlessConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadlessConnect")
            .field("session", &self.session)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
