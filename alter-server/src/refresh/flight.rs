//! One flight: from a token at its end to the next one, or to a reason why there is none.

use std::{sync::PoisonError, time::Duration};

use alter_core::clock::Clock;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use super::{
    Inner,
    step::RefreshStep,
    wait::{Attempts, End, Held, Progress},
};
use crate::{
    domain::{CredentialVersion, FailureCode, ProviderId, RefreshFailure, TokenGeneration},
    oauth::{RefreshCall, Spent, TokenAnswer, TokenFailure},
    resolve::{Recovery, recovery},
    seal::SealedField,
    store::{
        StoreError,
        refresh::{
            BeginRefresh, Begun, FinishRefresh, Finished, FreshTokens, RefreshEnd, RefreshLease,
            RefreshSignal, Unsaved,
        },
    },
    telemetry,
};

/// How long a flight that only waits for another process looks on; then callers are told to come back.
const LOOK_ON: Duration = Duration::from_secs(300);
/// How often it looks whether a signal was missed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For each flight of the process, once there are many.
const LOOK_TOGETHER: Duration = Duration::from_millis(2);
/// Pauses between questions to the provider within one flight; so many more questions are asked.
const ASK_AGAIN: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];
/// A flight that has asked for so long does not ask again.
const ASK_FOR: Duration = Duration::from_secs(60);
/// How long it is attempted to write down that there is no new token.
const END_FOR: Duration = Duration::from_secs(60);
/// Between attempts to begin or to end while the store does not answer.
const BEGIN_EVERY: Duration = Duration::from_millis(250);
/// The longest pause between attempts to keep tokens.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// How long it is attempted to keep tokens, also when the access token has ended meanwhile: the refresh token beside it may be the
/// only one that is good.
const SAVE_FOR: Duration = Duration::from_secs(3600);
/// When callers are told to come back because the store did not do it.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// What became of a lease.
enum Leased {
    Ended(End),
    /// It is somebody else's, or the grant moved on: look again.
    Lost,
    /// It ran out before anything was asked under it: take it anew.
    Late,
}

impl Inner {
    /// Flies until the grant has a newer generation or cannot have one at the moment.
    pub(super) async fn fly(
        &self,
        version: CredentialVersion,
        provider: &ProviderId,
        progress: &watch::Sender<Progress>,
    ) -> End {
        let began = Instant::now();
        let end = self.look_and_lead(version, provider, progress).await;
        let outcome = match &end {
            End::Renewed(attempts) if attempts.asked == 0 => "adopted",
            End::Renewed(_) => "renewed",
            End::Failed { failure, .. } => failure.code.as_str(),
            // The failure that began the pause was counted when it happened.
            End::Paused { .. } => return end,
        };
        telemetry::refreshed(provider, outcome, began.elapsed());
        tracing::debug!(grant_id = %version.grant_id, %provider, outcome, "a refresh ended");
        end
    }

    async fn look_and_lead(
        &self,
        version: CredentialVersion,
        provider: &ProviderId,
        progress: &watch::Sender<Progress>,
    ) -> End {
        let mut owner = Uuid::new_v4();
        let mut in_doubt: Option<Instant> = None;
        // Before the first look, so that nothing that happens after it is missed.
        let mut signals = self.parts.store.refresh_signals();
        let until = Instant::now() + LOOK_ON;
        loop {
            self.see(RefreshStep::Note, version);
            let begin = BeginRefresh { version, owner, lease: self.parts.lease, despite_backoff: false };
            let asked_store = Instant::now();
            match self.parts.store.begin_refresh(begin).await {
                Ok(Begun::Taken(lease)) => match self.lead(*lease, asked_store, progress).await {
                    Leased::Ended(end) => return end,
                    // The next lease is another one, and what was asked under this one is not ours to forget.
                    Leased::Lost => owner = Uuid::new_v4(),
                    // The same owner: the store knows by it that nothing was presented under this note.
                    Leased::Late => {}
                },
                Ok(Begun::Moved) => {
                    telemetry::replay_avoided(provider);
                    return End::Renewed(Attempts::default());
                }
                Ok(Begun::Held { remaining }) => {
                    if self.stop.is_cancelled() || Instant::now() >= until {
                        let text = "another process is refreshing this grant";
                        return failed(FailureCode::StoreFailed, text, Some(STORE_PAUSE));
                    }
                    let pause = remaining.clamp(Duration::from_millis(20), self.look_pause());
                    let _ = timeout(pause, signal(&mut signals, version)).await;
                }
                Ok(Begun::Pause { remaining, failure }) => {
                    return End::Paused { failure, remaining };
                }
                Ok(Begun::Impossible(failure)) => return End::Failed { failure, retry_in: None },
                Err(error) => {
                    // Nothing was asked. But the note may be written all the same, and only its owner knows that it means
                    // nothing: it asks again for as long as others would wait.
                    if matches!(error, StoreError::Unavailable { .. }) {
                        in_doubt.get_or_insert_with(Instant::now);
                    }
                    if in_doubt.is_some_and(|since| since.elapsed() < self.parts.lease * 2)
                        && !self.stop.is_cancelled()
                    {
                        sleep(BEGIN_EVERY).await;
                        continue;
                    }
                    tracing::warn!(grant_id = %version.grant_id, %error, "a refresh could not begin");
                    let text = "the vault cannot write down that it refreshes the token";
                    return failed(FailureCode::StoreFailed, text, Some(STORE_PAUSE));
                }
            }
        }
    }

    /// The more flights wait, the less often each looks: together about five hundred times a second at most, so that whoever only
    /// waits does not keep the store from those who work.
    fn look_pause(&self) -> Duration {
        let flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner).len();
        LOOK_EVERY.max(LOOK_TOGETHER.saturating_mul(u32::try_from(flights).unwrap_or(u32::MAX)))
    }

    /// Holds the lease: asks the provider and keeps what it gives. `asked_store` is the moment before the lease was asked
    /// for: the time that the store's answer took counts towards the age of its note.
    async fn lead(
        &self,
        lease: RefreshLease,
        asked_store: Instant,
        progress: &watch::Sender<Progress>,
    ) -> Leased {
        self.see(RefreshStep::Noted, lease.version);
        let Some(refreshing) = lease.provider.refreshing() else {
            let text = "the provider's definition has no token URL or no client id";
            return self.give_up(&lease, RefreshFailure::new(FailureCode::NotRefreshable, text)).await;
        };
        if lease.unresolved_since.is_some() {
            telemetry::lease(telemetry::LeaseEvent::TakenOver);
        }
        let may_ask_again = |pause: Duration| {
            let since = lease.unresolved_since.unwrap_or_default() + asked_store.elapsed() + pause;
            recovery(refreshing.settings, lease.seen_rotating, since) == Recovery::Again
        };
        if lease.unresolved_since.is_some() && !may_ask_again(Duration::ZERO) {
            let text = "a process ended while it was refreshing, and the provider takes each refresh token only once";
            return self.bury(&lease, RefreshFailure::new(FailureCode::RotationOutcomeUnknown, text)).await;
        }
        let (refresh_token, client_secret) = match self.secrets(&lease) {
            Ok(secrets) => secrets,
            Err(failure) => return self.give_up(&lease, failure).await,
        };
        let call =
            RefreshCall { refreshing, client_secret: client_secret.as_ref(), refresh_token: &refresh_token };
        // A process that was stopped right here must not send when it is continued: others may be further by then.
        if asked_store.elapsed() >= self.parts.lease {
            return Leased::Late;
        }
        let mut attempts = Attempts::default();
        let mut unresolved = lease.unresolved_since.is_some();
        let began = Instant::now();
        loop {
            attempts.asked += 1;
            let Some(answer) = self.see_through(lease.name(), self.endpoint.refresh(&call)).await else {
                return Leased::Lost;
            };
            let TokenFailure { failure, retry_after, spent } = match answer {
                Ok(answer) => return self.save(&lease, answer, &refresh_token, attempts, progress).await,
                Err(refused) => refused,
            };
            if failure.code.is_final() {
                let failure = if unresolved { lost_answer(&failure) } else { failure };
                return self.bury(&lease, failure).await;
            }
            unresolved |= spent == Spent::Maybe;
            // Also after a clear answer: it says nothing of an earlier, lost one, whose window may be over by now.
            if unresolved && !may_ask_again(Duration::ZERO) {
                return self.bury(&lease, lost_answer(&failure)).await;
            }
            let pause = ASK_AGAIN.get(attempts.failed.len()).copied();
            match pause.filter(|pause| asks_again(&failure, retry_after, *pause, began.elapsed())) {
                // The next question would come when the provider takes the old token no more.
                Some(pause) if unresolved && !may_ask_again(pause) => {
                    return self.bury(&lease, lost_answer(&failure)).await;
                }
                Some(pause) => {
                    attempts.failed.push((failure, pause));
                    if self.keep(lease.name(), sleep(pause)).await.is_none() {
                        return Leased::Lost;
                    }
                }
                None => {
                    return self.end(&lease, RefreshEnd::Failed { failure, retry_after, unresolved }).await;
                }
            }
        }
    }

    /// Opens what is presented.
    fn secrets(&self, lease: &RefreshLease) -> Result<(SecretString, Option<SecretString>), RefreshFailure> {
        let open = |field: &SealedField| -> Result<SecretString, RefreshFailure> {
            let damaged = |why: &str| RefreshFailure::new(FailureCode::NotRefreshable, why);
            let opened = self.parts.keys.open(field).map_err(|error| damaged(&error.to_string()))?;
            let text = std::str::from_utf8(opened.expose_secret()).map_err(|_| damaged("no text"))?;
            Ok(SecretString::from(text))
        };
        Ok((open(&lease.refresh_token)?, lease.client_secret.as_ref().map(open).transpose()?))
    }

    /// Keeps what the provider gave, however long it takes: the old refresh token may be worth nothing any more. Meanwhile
    /// those who wait are handed the access token, under rows of their own.
    async fn save(
        &self,
        lease: &RefreshLease,
        answer: TokenAnswer,
        presented: &SecretString,
        attempts: Attempts,
        progress: &watch::Sender<Progress>,
    ) -> Leased {
        let tokens = self.fresh(answer, presented);
        self.see(RefreshStep::Answered, lease.version);
        let (began, mut pause) = (Instant::now(), Duration::from_millis(50));
        let saved = self.see_through(lease.name(), async {
            loop {
                let finish = FinishRefresh {
                    lease: lease.name(),
                    at: self.parts.clock.now(),
                    end: RefreshEnd::Renewed(Box::new(tokens.clone())),
                };
                match self.parts.store.finish_refresh(finish).await {
                    Ok(finished) => return Some(finished),
                    Err(error) => {
                        tracing::error!(
                            grant_id = %lease.version.grant_id, %error,
                            "fresh tokens could not be kept yet: they are served meanwhile, and it is tried again"
                        );
                    }
                }
                if began.elapsed() > SAVE_FOR {
                    return None;
                }
                progress.send_if_modified(|now| {
                    let first = matches!(now, Progress::Flying);
                    if first {
                        *now = Progress::Unsaved(std::sync::Arc::new(held(lease.version, &tokens)));
                    }
                    first
                });
                sleep(pause).await;
                pause = (pause * 2).min(SAVE_EVERY);
            }
        });
        match saved.await {
            Some(Some(Finished::Written { .. })) => {
                self.see(RefreshStep::Saved, lease.version);
                Leased::Ended(End::Renewed(attempts))
            }
            Some(None) => {
                let text = "fresh tokens could not be kept within an hour";
                Leased::Ended(failed(FailureCode::StoreFailed, text, Some(STORE_PAUSE)))
            }
            Some(Some(Finished::Overtaken)) | None => {
                tracing::warn!(
                    grant_id = %lease.version.grant_id,
                    "fresh tokens came too late: the grant has moved on, ended, or is being refreshed by another process"
                );
                Leased::Lost
            }
        }
    }

    fn fresh(&self, answer: TokenAnswer, presented: &SecretString) -> FreshTokens {
        // The life of a token is counted from when it was asked for: it was not issued earlier. The time that passed since
        // is taken from a clock that nobody sets.
        let obtained_at = ago(self.parts.clock.as_ref(), answer.sent_at.elapsed());
        let rotated = answer
            .refresh_token
            .as_ref()
            .is_some_and(|next| next.expose_secret() != presented.expose_secret());
        FreshTokens {
            access_token: answer.access_token,
            refresh_token: answer.refresh_token.filter(|_| rotated),
            expires_at: answer.expires_in.and_then(|life| obtained_at.checked_add(life).ok()),
            obtained_at,
            scopes: answer.scopes,
            token_generation: TokenGeneration::random(),
            rotated,
        }
    }

    /// The grant is at its end.
    async fn bury(&self, lease: &RefreshLease, failure: RefreshFailure) -> Leased {
        self.end(lease, RefreshEnd::Dead { failure }).await
    }

    /// Nothing was asked.
    async fn give_up(&self, lease: &RefreshLease, failure: RefreshFailure) -> Leased {
        let unresolved = lease.unresolved_since.is_some();
        self.end(lease, RefreshEnd::Failed { failure, retry_after: None, unresolved }).await
    }

    /// Writes down that there is no new token, and why. Until that is written the note stands, and would have to be read as
    /// "outcome unknown", so it is tried for a while.
    async fn end(&self, lease: &RefreshLease, end: RefreshEnd) -> Leased {
        let (failure, retry_in) = match &end {
            RefreshEnd::Failed { failure, retry_after, .. } => {
                (failure.clone(), Some(retry_after.unwrap_or(STORE_PAUSE)))
            }
            RefreshEnd::Dead { failure } => (failure.clone(), None),
            RefreshEnd::Renewed(_) => return Leased::Lost,
        };
        tracing::warn!(
            grant_id = %lease.version.grant_id, provider = %lease.provider.id, %failure,
            dead = failure.code.is_final(), "a refresh failed"
        );
        let began = Instant::now();
        let written = self.keep(lease.name(), async {
            loop {
                let finish = FinishRefresh { lease: lease.name(), at: self.parts.clock.now(), end: end.clone() };
                match self.parts.store.finish_refresh(finish).await {
                    Ok(finished) => return Some(finished),
                    Err(error) => {
                        tracing::error!(grant_id = %lease.version.grant_id, %error, "how a refresh ended could not be kept yet");
                    }
                }
                if began.elapsed() > END_FOR {
                    return None;
                }
                sleep(BEGIN_EVERY).await;
            }
        });
        match written.await {
            Some(Some(Finished::Written { .. })) => Leased::Ended(End::Failed { failure, retry_in }),
            Some(None) => Leased::Ended(End::Failed { failure, retry_in: Some(STORE_PAUSE) }),
            Some(Some(Finished::Overtaken)) | None => Leased::Lost,
        }
    }

    pub(super) fn see(&self, step: RefreshStep, version: CredentialVersion) {
        if let Some(observer) = &self.parts.observer {
            observer.see(step, version.grant_id);
        }
    }
}

fn failed(code: FailureCode, text: &str, retry_in: Option<Duration>) -> End {
    End::Failed { failure: RefreshFailure::new(code, text), retry_in }
}

/// An earlier question for the same generation may have spent the token, so the refusal proves nothing but that.
fn lost_answer(failure: &RefreshFailure) -> RefreshFailure {
    let text = format!("the provider's answer to an earlier refresh was lost; now: {failure}");
    RefreshFailure::new(FailureCode::RotationOutcomeUnknown, &text)
}

/// Whether the same flight asks again.
fn asks_again(
    failure: &RefreshFailure,
    retry_after: Option<Duration>,
    pause: Duration,
    asked_for: Duration,
) -> bool {
    let passing = matches!(
        failure.code,
        FailureCode::Unreachable | FailureCode::NoAnswer | FailureCode::ProviderUnavailable
    );
    passing && retry_after.is_none_or(|asked| asked <= pause) && asked_for < ASK_FOR
}

fn held(replaces: CredentialVersion, tokens: &FreshTokens) -> Held {
    let FreshTokens { token_generation, expires_at, access_token, .. } = tokens;
    Held {
        unsaved: Unsaved { replaces, token_generation: *token_generation, expires_at: *expires_at },
        access_token: access_token.clone(),
    }
}

fn ago(clock: &dyn Clock, past: Duration) -> Timestamp {
    let now = clock.now();
    now.checked_sub(past).unwrap_or(now)
}

/// Ends when a refresh of the grant ended somewhere, or when signals were missed.
async fn signal(signals: &mut broadcast::Receiver<RefreshSignal>, version: CredentialVersion) {
    loop {
        match signals.recv().await {
            Ok(signal) if signal.grant_id != version.grant_id => {}
            Err(broadcast::error::RecvError::Closed) => sleep(LOOK_EVERY).await,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
        }
    }
}
