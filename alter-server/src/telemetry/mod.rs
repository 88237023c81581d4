//! What the vault counts and times.
//!
//! Everything is recorded through the [`metrics`] facade under the names in [`names`]. The program exports it with
//! `alter-server serve --metrics-listen ADDR`. A program that embeds the vault installs a recorder of its own
//! (`metrics::set_global_recorder`) and gets the same numbers; without any recorder nothing is kept. [`describe`] tells a
//! recorder the units and texts.
//!
//! With feature `otel` each call has a span as well, which goes to an OTLP collector (`spans`).
//!
//! The number of time series is bounded: routes, statuses, outcomes and events are words of this program, and of provider ids the
//! first 200 of a process have their own series, the rest counts as `other`. No app, grant, user, agent or host is a label.

#[cfg(feature = "metrics")]
pub mod export;
mod labels;
pub mod names;
#[cfg(feature = "otel")]
pub mod spans;

use std::time::Duration;

use http::StatusCode;
use metrics::{SharedString, Unit, counter, gauge, histogram};

use self::{
    labels::Values,
    names::{Kind, Metric},
};
use crate::domain::ProviderId;

static PROVIDERS: Values = Values::new();

fn provider_label(provider: &ProviderId) -> SharedString {
    PROVIDERS.of(provider.as_str())
}

/// Tells the recorder in use what each metric means. [`export`] does it by itself.
pub fn describe() {
    for Metric { name, kind, help, .. } in names::ALL {
        let seconds = name.ends_with("_seconds");
        let unit = if seconds { Unit::Seconds } else { Unit::Count };
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, unit, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, unit, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, unit, *help),
        }
    }
}

/// A refresh ended. `outcome` is a word of the program, such as `renewed` or `invalid_grant`, never text of a provider.
pub(crate) fn refreshed(provider: &ProviderId, outcome: &'static str, took: Duration) {
    let provider = provider_label(provider);
    counter!(names::REFRESH_TOTAL, "provider" => provider.clone(), "outcome" => outcome).increment(1);
    histogram!(names::REFRESH_SECONDS, "provider" => provider).record(took);
}

/// A call waits for a refresh that another one began.
pub(crate) fn waited(provider: &ProviderId) {
    counter!(names::REFRESH_WAITERS, "provider" => provider_label(provider)).increment(1);
}

/// The generation had moved, so the newer token was adopted and nothing was spent.
pub(crate) fn replay_avoided(provider: &ProviderId) {
    counter!(names::REFRESH_REPLAYS_AVOIDED, "provider" => provider_label(provider)).increment(1);
}

/// What happened to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseEvent {
    /// Its owner was still at work.
    Renewed,
    /// Its owner found it gone.
    Lost,
    /// It had run out, and another process took it.
    TakenOver,
}

/// Counts what happened to a lease.
pub(crate) fn lease(event: LeaseEvent) {
    let event = match event {
        LeaseEvent::Renewed => "renewed",
        LeaseEvent::Lost => "lost",
        LeaseEvent::TakenOver => "taken_over",
    };
    counter!(names::REFRESH_LEASE, "event" => event).increment(1);
}

/// Counts a refresh as under way until it is dropped.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub(crate) struct InFlight(());

/// A refresh begins.
pub(crate) fn in_flight() -> InFlight {
    gauge!(names::REFRESH_IN_FLIGHT).increment(1);
    InFlight(())
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(names::REFRESH_IN_FLIGHT).decrement(1);
    }
}

/// How long ago the provider's oldest token in use was issued.
pub(crate) fn oldest_token(provider: &ProviderId, age: Duration) {
    gauge!(names::OLDEST_TOKEN_SECONDS, "provider" => provider_label(provider)).set(age);
}

/// An attempt at work after the fact ended.
pub(crate) fn outbox(task: &'static str, outcome: &'static str) {
    counter!(names::OUTBOX, "task" => task, "outcome" => outcome).increment(1);
}

/// An identity provider's message came.
pub(crate) fn hook(outcome: &'static str) {
    counter!(names::HOOKS, "outcome" => outcome).increment(1);
}

/// A request was answered.
pub(crate) fn answered(route: &'static str, status: StatusCode, took: Duration) {
    counter!(names::REQUESTS, "route" => route, "status" => status.as_str().to_owned()).increment(1);
    histogram!(names::REQUEST_SECONDS, "route" => route).record(took);
}

/// The store refused work because too much was waiting.
pub(crate) fn store_busy() {
    counter!(names::STORE_BUSY).increment(1);
}

/// The database did not work.
pub(crate) fn store_unavailable() {
    counter!(names::STORE_UNAVAILABLE).increment(1);
}
