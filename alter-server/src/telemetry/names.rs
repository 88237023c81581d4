//! The name of every metric, with what it counts, its unit and its labels.
//!
//! A name is part of what users build dashboards and alarms on: one that was released is not changed, and the test below
//! fails when the list does.

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, with its unit.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $constant:ident = $name:literal, $kind:ident, [$($label:literal),*];)+) => {
        $($(#[doc = $help])+ pub const $constant: &str = $name;)+

        /// Every metric of the vault.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: concat!($($help),+).trim_ascii(),
        },)+];
    };
}

metrics! {
    /// Ends of refreshes: each is one flight of a grant in this process, whoever waited for it.
    REFRESH_TOTAL = "alter_refresh_total", Counter, ["provider", "outcome"];
    /// Seconds that a refresh took, from the lease to the saved pair.
    REFRESH_SECONDS = "alter_refresh_seconds", Histogram, ["provider"];
    /// Calls that waited for a refresh which another call had begun.
    REFRESH_WAITERS = "alter_refresh_waiters_total", Counter, ["provider"];
    /// Refreshes that spent nothing, because the generation had moved and the newer token was adopted.
    REFRESH_REPLAYS_AVOIDED = "alter_refresh_replays_avoided_total", Counter, ["provider"];
    /// What happened to leases: `taken_over` from a process that stopped, `renewed`, `lost`.
    REFRESH_LEASE = "alter_refresh_lease_total", Counter, ["event"];
    /// Refreshes under way in this process.
    REFRESH_IN_FLIGHT = "alter_refresh_in_flight", Gauge, [];
    /// Seconds since the oldest token in use was issued.
    OLDEST_TOKEN_SECONDS = "alter_oldest_token_seconds", Gauge, ["provider"];
    /// Attempts at work after the fact: `revoke_at_provider` or `deliver`, and whether it is `done`, tried `again` or `dead`.
    OUTBOX = "alter_outbox_total", Counter, ["task", "outcome"];
    /// Messages of identity providers: `heard`, `replayed` or `refused`.
    HOOKS = "alter_hooks_total", Counter, ["outcome"];
    /// Answered requests by endpoint and HTTP status.
    REQUESTS = "alter_requests_total", Counter, ["route", "status"];
    /// Seconds from a request's head to its answer.
    REQUEST_SECONDS = "alter_request_seconds", Histogram, ["route"];
    /// Calls answered 503 because too much work was waiting for the store.
    STORE_BUSY = "alter_store_busy_total", Counter, [];
    /// Calls answered 503 because the database did not work.
    STORE_UNAVAILABLE = "alter_store_unavailable_total", Counter, [];
    /// Always 1; the label says which program this is.
    BUILD_INFO = "alter_build_info", Gauge, ["version"];
    /// Seconds since the process began to record.
    UPTIME_SECONDS = "alter_uptime_seconds", Gauge, [];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_the_released_ones() {
        let shown: Vec<_> =
            ALL.iter().map(|m| format!("{}{{{}}} {:?}", m.name, m.labels.join(","), m.kind)).collect();
        let golden = [
            "alter_refresh_total{provider,outcome} Counter",
            "alter_refresh_seconds{provider} Histogram",
            "alter_refresh_waiters_total{provider} Counter",
            "alter_refresh_replays_avoided_total{provider} Counter",
            "alter_refresh_lease_total{event} Counter",
            "alter_refresh_in_flight{} Gauge",
            "alter_oldest_token_seconds{provider} Gauge",
            "alter_outbox_total{task,outcome} Counter",
            "alter_hooks_total{outcome} Counter",
            "alter_requests_total{route,status} Counter",
            "alter_request_seconds{route} Histogram",
            "alter_store_busy_total{} Counter",
            "alter_store_unavailable_total{} Counter",
            "alter_build_info{version} Gauge",
            "alter_uptime_seconds{} Gauge",
        ];
        assert_eq!(shown, golden);
    }

    #[test]
    fn counters_end_in_total_and_times_are_seconds() {
        for metric in ALL {
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.kind != Kind::Histogram || metric.name.ends_with("_seconds"), "{}", metric.name);
            assert!(!metric.help.is_empty());
        }
    }

    /// What could grow with users, apps or grants is no label.
    #[test]
    fn no_label_grows_with_use() {
        for label in ALL.iter().flat_map(|metric| metric.labels) {
            assert!(
                ["provider", "outcome", "event", "route", "status", "version", "task"].contains(label),
                "{label}"
            );
        }
    }
}
