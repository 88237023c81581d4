//! Waiting for the end of a connect session (spec/03 §1.2).

use std::{fmt, future::IntoFuture, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{ConnectHandle, ConnectProgress, Connected, INTERVAL, TIMEOUT, check_times};
use crate::{
    error::{Connect, ConnectTimeout, Error, Kind, Throttle},
    wire::connect::DeclinedProvider,
};

/// Polls that may fail in a row before the waiting gives up.
const MAX_FAILURES: u32 = 5;
/// Longest pause after a failed poll, unless the vault asks for more.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Something that happened while a session was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectEvent {
    /// A provider said no; the person may still choose another one. Once per provider.
    Declined(DeclinedProvider),
    /// The vault asks to wait.
    Throttled {
        /// For how long.
        pause: Duration,
    },
    /// The vault could not be reached, or could not answer.
    Unreachable {
        /// For how long is paused.
        pause: Duration,
    },
}

pub(super) type OnEvent = Box<dyn FnMut(&ConnectEvent) + Send>;

/// The waiting for the end of a session; await it.
///
/// It polls at once, then every 2 s, and once more at the very end of its time. A throttle is waited out as the vault
/// says. A failure that may pass (no connection, no answer, HTTP 500, 502, 503, 504) does not end it, as it does in the
/// published clients: up to five in a row are borne, with pauses that double up to 30 s. A vault that hangs can hold the
/// last poll for the client's own timeout beyond the time of the waiting.
///
/// # Errors
///
/// As for [`ConnectHandle::poll`], and [`Connect::TimedOut`] when its time is over. The session lives on then, until
/// its own end: wait again.
///
/// # Cancel safety
///
/// Nothing is lost when the future is dropped: polling takes nothing away.
///
/// ```no_run
/// # async fn f(session: alter_core::ConnectSession) -> Result<(), alter_core::Error> {
/// use std::time::Duration;
///
/// let connected = session
///     .wait()
///     .timeout(Duration::from_secs(600))
///     .on_event(|event| eprintln!("{event:?}"))
///     .await?;
/// println!("{}", connected.grant().grant_id);
/// # Ok(()) }
/// ```
#[must_use = "a wait does nothing until it is awaited"]
pub struct ConnectWait {
    handle: ConnectHandle,
    timeout: Duration,
    interval: Duration,
    on_event: Option<OnEvent>,
}

impl ConnectWait {
    pub(super) fn new(handle: ConnectHandle) -> Self {
        Self { handle, timeout: TIMEOUT, interval: INTERVAL, on_event: None }
    }

    /// How long to wait, 300 s unless told otherwise.
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

    pub(super) fn telling(mut self, on_event: Option<OnEvent>) -> Self {
        self.on_event = on_event;
        self
    }

    pub(super) async fn run(mut self) -> Result<Connected, Error> {
        check_times(self.timeout, self.interval)?;
        let began = Instant::now();
        let mut declined: Vec<DeclinedProvider> = Vec::new();
        let mut failures = 0;
        loop {
            // What the waiting ends with if this was the last poll.
            let (pause, reason, error) = match self.handle.ask().await {
                Ok(Ok(ConnectProgress::Connected(connected))) => return Ok(connected),
                Ok(Ok(ConnectProgress::Pending { declined: now })) => {
                    failures = 0;
                    for new in now {
                        if declined.iter().all(|seen| seen.provider_id != new.provider_id) {
                            self.tell(&ConnectEvent::Declined(new.clone()));
                            declined.push(new);
                        }
                    }
                    (self.interval, ConnectTimeout::Deadline, None)
                }
                Ok(Err(end)) if is_expired(&end) => {
                    return Err(Error::out_of_time(ConnectTimeout::SessionExpired, declined));
                }
                Ok(Err(end)) => return Err(end),
                Err(error) if is_throttle(&error) => {
                    failures = 0;
                    let pause = error.retry_after().unwrap_or_default().max(self.interval);
                    self.tell(&ConnectEvent::Throttled { pause });
                    (pause, ConnectTimeout::Throttled, Some(error))
                }
                Err(error) if error.is_retryable() && failures < MAX_FAILURES => {
                    let doubled = self.interval.saturating_mul(1 << failures).min(MAX_PAUSE);
                    let pause = error.retry_after().unwrap_or_default().max(doubled);
                    failures += 1;
                    self.tell(&ConnectEvent::Unreachable { pause });
                    (pause, ConnectTimeout::Deadline, Some(error))
                }
                Err(error) => return Err(error),
            };
            let left = self.timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                let over = Error::out_of_time(reason, declined);
                return Err(match error {
                    Some(error) => {
                        let after = error.retry_after();
                        let retry = over.retry();
                        over.with_retry(retry, after).with_source(error)
                    }
                    None => over,
                });
            }
            tokio::time::sleep(pause.min(left)).await;
        }
    }

    fn tell(&mut self, event: &ConnectEvent) {
        if let Some(on_event) = &mut self.on_event {
            on_event(event);
        }
    }
}

impl IntoFuture for ConnectWait {
    type Output = Result<Connected, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for ConnectWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectWait")
            .field("timeout", &self.timeout)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

fn is_expired(error: &Error) -> bool {
    matches!(error.kind(), Kind::Connect(Connect::TimedOut { reason: ConnectTimeout::SessionExpired, .. }))
}

/// Any other 429 is about something that waiting does not mend.
fn is_throttle(error: &Error) -> bool {
    matches!(error.kind(), Kind::Throttled(Throttle::Rate { .. }))
}
