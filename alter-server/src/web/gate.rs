//! How often browsers may ask.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use quick_cache::sync::Cache;

use crate::domain::SessionRef;

/// Requests per second of one public address, after a burst of [`PEER_BURST`].
const PEER_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Requests of one public address at once: an office behind one address in the morning.
const PEER_BURST: NonZeroU32 = NonZeroU32::new(400).unwrap();
/// Requests per second of everybody together, after a burst of [`ALL_BURST`].
const ALL_PER_SECOND: NonZeroU32 = NonZeroU32::new(4_000).unwrap();
/// Requests of everybody at once.
const ALL_BURST: NonZeroU32 = NonZeroU32::new(20_000).unwrap();
/// Requests per second of one session's browser, after a burst of [`SESSION_BURST`].
const SESSION_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Requests of one session's browser at once.
const SESSION_BURST: NonZeroU32 = NonZeroU32::new(200).unwrap();
/// Addresses, and sessions, that are remembered.
const PEERS: usize = 10_000;

/// Counts requests to pages, which need no key. Time is the machine's monotonic one: it is never set back.
#[derive(Debug)]
pub(crate) struct Gate {
    peers: Cache<IpAddr, Arc<DefaultDirectRateLimiter>>,
    sessions: Cache<SessionRef, Arc<DefaultDirectRateLimiter>>,
    all: DefaultDirectRateLimiter,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let all = RateLimiter::direct(Quota::per_second(ALL_PER_SECOND).allow_burst(ALL_BURST));
        Self { peers: Cache::new(PEERS), sessions: Cache::new(PEERS), all }
    }

    /// Whether a request of this peer is served.
    pub(crate) fn opens(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer.and_then(one_party) else { return self.all.check().is_ok() };
        let quota = Quota::per_second(PEER_PER_SECOND).allow_burst(PEER_BURST);
        takes(&self.peers, &peer, quota) && self.all.check().is_ok()
    }

    /// Whether a request of the browser that a session belongs to is served. Every such request may write a row, and behind a
    /// proxy its address says nothing.
    pub(crate) fn opens_for(&self, session: SessionRef) -> bool {
        takes(&self.sessions, &session, Quota::per_second(SESSION_PER_SECOND).allow_burst(SESSION_BURST))
    }
}

/// Takes one out of the bucket of this key.
fn takes<K: std::hash::Hash + Eq + Copy>(
    buckets: &Cache<K, Arc<DefaultDirectRateLimiter>>,
    key: &K,
    quota: Quota,
) -> bool {
    let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(RateLimiter::direct(quota)));
    let bucket = buckets.get_or_insert_with(key, fresh).unwrap_or_else(|never| match never {});
    bucket.check().is_ok()
}

/// The address that stands for one party: itself, or its /64 network (one customer's, in IPv6). `None` for addresses of the
/// machine or a private network: most likely a proxy that ends TLS, which speaks for everybody.
fn one_party(peer: IpAddr) -> Option<IpAddr> {
    match peer.to_canonical() {
        IpAddr::V4(v4) => {
            (!v4.is_loopback() && !v4.is_private() && !v4.is_link_local()).then_some(IpAddr::V4(v4))
        }
        IpAddr::V6(v6) => {
            let far = !v6.is_loopback() && !v6.is_unique_local() && !v6.is_unicast_link_local();
            far.then(|| IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_ask_without_end_and_others_are_not_held_up() {
        let gate = Gate::new();
        let noisy = Some("203.0.113.7".parse().unwrap());
        let served = (0..2_000).filter(|_| gate.opens(noisy)).count();
        assert!((400..600).contains(&served), "{served}");
        assert!(gate.opens(Some("203.0.113.8".parse().unwrap())));
        assert!((0..2_000).all(|_| gate.opens(Some("10.0.0.1".parse().unwrap()))), "a proxy speaks for many");
    }

    #[test]
    fn one_session_cannot_ask_without_end_behind_a_proxy_either() {
        let gate = Gate::new();
        let session =
            || SessionRef { app_id: crate::domain::AppId::random(), id: crate::domain::SessionId::random() };
        let (noisy, other) = (session(), session());
        let served = (0..2_000).filter(|_| gate.opens_for(noisy)).count();
        assert!((200..300).contains(&served), "{served}");
        assert!(gate.opens_for(other));
    }

    #[test]
    fn a_network_of_ipv6_is_one_party() {
        let one = |text: &str| one_party(text.parse().unwrap());
        assert_eq!(one("2001:db8:1:2::1"), one("2001:db8:1:2:ffff::9"));
        assert_ne!(one("2001:db8:1:2::1"), one("2001:db8:1:3::1"));
        assert_eq!(one("::ffff:203.0.113.7"), one("203.0.113.7"));
        assert_eq!(one("::1"), None);
    }
}
