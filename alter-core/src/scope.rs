//! The identity of the task: on whose behalf the code that runs right now acts.
//!
//! A middleware that knows the caller runs the handler inside [`scope`]; code deep in the call stack that holds only
//! the application's client then acts for that caller without being handed a token.
//!
//! Task-locals do not follow [`tokio::spawn`]. Use [`spawn`], or [`InCurrentScope::in_current_scope`], to take the
//! identity along:
//!
//! ```
//! use alter_core::scope::{self, Identity, InCurrentScope};
//! use alter_core::UserToken;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let alice = UserToken::parse("a.l.ice").unwrap();
//! scope::scope(alice, async {
//!     assert!(matches!(scope::current(), Some(Identity::User(_))));
//!     let lost = tokio::spawn(async { scope::current().is_none() });
//!     let kept = tokio::spawn(async { scope::current().is_some() }.in_current_scope());
//!     let spawned = scope::spawn(async { scope::current().is_some() });
//!     assert!(lost.await.unwrap() && kept.await.unwrap() && spawned.await.unwrap());
//! })
//! .await;
//! assert!(scope::current().is_none());
//! # }
//! ```
//!
//! # Two clients in one service
//!
//! A scope made with a [`ScopeKey`] counts only for the client with that key, so that two layers for two
//! applications, each with its own source of tokens, do not see each other's callers. A scope made without a key
//! counts for every client. The innermost scope that counts wins.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use pin_project::pin_project;
use tokio::task::{JoinHandle, futures::TaskLocalFuture};

use crate::user_token::UserToken;

tokio::task_local! {
    // `None` inside code that was taken along from outside of any scope.
    static FRAME: Option<Arc<Frame>>;
}

/// On whose behalf the task acts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Identity {
    /// A caller with a token.
    User(UserToken),
    /// A caller who came without one, on a route where that is allowed. It hides the identity of an outer scope.
    Anonymous,
}

impl From<UserToken> for Identity {
    fn from(token: UserToken) -> Self {
        Self::User(token)
    }
}

/// Ties a scope to one client and its clones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScopeKey(u64);

impl ScopeKey {
    /// A key that no other client of this process has.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One nested scope; the task-local holds the innermost.
struct Frame {
    key: Option<ScopeKey>,
    identity: Identity,
    outer: Option<Arc<Frame>>,
}

impl Frame {
    fn nested(key: Option<ScopeKey>, identity: Identity) -> Arc<Self> {
        // Without a key it hides all others. With one, it hides those of the same key: kept, they would grow without
        // bound in a task that spawns its own successor.
        let outer = key.and_then(|key| Self::without(innermost().as_ref(), key));
        Arc::new(Self { key, identity, outer })
    }

    /// The frames that still count for somebody inside a new one with that key.
    fn without(frame: Option<&Arc<Self>>, key: ScopeKey) -> Option<Arc<Self>> {
        let this = frame?;
        if this.key == Some(key) {
            return Self::without(this.outer.as_ref(), key);
        }
        let outer = Self::without(this.outer.as_ref(), key);
        let same = match (&outer, &this.outer) {
            (Some(outer), Some(before)) => Arc::ptr_eq(outer, before),
            (outer, before) => outer.is_none() && before.is_none(),
        };
        Some(if same {
            Arc::clone(this)
        } else {
            Arc::new(Self { key: this.key, identity: this.identity.clone(), outer })
        })
    }
}

fn innermost() -> Option<Arc<Frame>> {
    FRAME.try_with(Option::clone).ok().flatten()
}

/// The scopes around a piece of code, taken along to where a task-local does not reach: another task, or a response
/// body that is polled after its handler returned.
#[derive(Clone)]
pub struct Snapshot(Option<Arc<Frame>>);

impl Snapshot {
    /// The scopes around the code that calls this.
    #[must_use]
    pub fn take() -> Self {
        Self(innermost())
    }

    /// The scopes around the code that calls this, with one more inside them.
    #[must_use]
    pub fn nested(key: Option<ScopeKey>, identity: Identity) -> Self {
        Self(Some(Frame::nested(key, identity)))
    }

    /// Runs `f` inside these scopes and no others: outside of any, if the snapshot was taken there. For the synchronous
    /// parts of a service or a body.
    pub fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        FRAME.sync_scope(self.0.clone(), f)
    }

    /// Wraps a future so that it is polled, and dropped, inside these scopes and no others, whoever polls it.
    pub fn wrap<F: Future>(self, future: F) -> Scoped<F> {
        Scoped(FRAME.scope(self.0, future))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Snapshot").field(&self.0.as_ref().map(|frame| &frame.identity)).finish()
    }
}

/// Future of [`scope`], [`Snapshot::wrap`] and [`InCurrentScope::in_current_scope`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Scoped<F>(#[pin] TaskLocalFuture<Option<Arc<Frame>>, F>);

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scoped")
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().0.poll(cx)
    }
}

/// Runs a future on behalf of `identity`, for every client that the future uses.
pub fn scope<F: Future>(identity: impl Into<Identity>, future: F) -> Scoped<F> {
    Snapshot::nested(None, identity.into()).wrap(future)
}

/// Runs a future on behalf of `identity`, for the client with that key only.
pub fn scope_for<F: Future>(key: ScopeKey, identity: impl Into<Identity>, future: F) -> Scoped<F> {
    Snapshot::nested(Some(key), identity.into()).wrap(future)
}

/// Runs a function on behalf of `identity`, for every client that it uses.
pub fn sync_scope<T>(identity: impl Into<Identity>, f: impl FnOnce() -> T) -> T {
    Snapshot::nested(None, identity.into()).enter(f)
}

/// The identity of the innermost scope that counts for every client; `None` outside of any.
#[must_use]
pub fn current() -> Option<Identity> {
    find(|key| key.is_none())
}

/// The identity of the innermost scope that counts for the client with that key; `None` outside of any.
#[must_use]
pub fn current_for(key: ScopeKey) -> Option<Identity> {
    find(|frame| frame.is_none_or(|frame| frame == key))
}

fn find(counts: impl Fn(Option<ScopeKey>) -> bool) -> Option<Identity> {
    FRAME
        .try_with(|innermost| {
            std::iter::successors(innermost.as_ref(), |frame| frame.outer.as_ref())
                .find(|frame| counts(frame.key))
                .map(|frame| frame.identity.clone())
        })
        .ok()
        .flatten()
}

/// Takes the identity of the task along.
pub trait InCurrentScope: Future + Sized {
    /// Wraps the future so that it runs in the scopes around the code that calls this, wherever it is polled.
    fn in_current_scope(self) -> Scoped<Self> {
        Snapshot::take().wrap(self)
    }
}

impl<F: Future> InCurrentScope for F {}

/// [`tokio::spawn`] that takes the identity of the task along.
///
/// # Panics
///
/// Outside of a tokio runtime, as [`tokio::spawn`] does.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.in_current_scope())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> UserToken {
        UserToken::parse(text).unwrap()
    }

    fn name(identity: Option<Identity>) -> Option<String> {
        match identity? {
            Identity::User(token) => Some(token.expose().to_owned()),
            Identity::Anonymous => Some("nobody".to_owned()),
        }
    }

    #[tokio::test]
    async fn scopes_nest_and_end() {
        scope(token("outer"), async {
            scope(token("inner"), async { assert_eq!(name(current()).unwrap(), "inner") }).await;
            scope(Identity::Anonymous, async { assert_eq!(name(current()).unwrap(), "nobody") }).await;
            assert_eq!(name(current()).unwrap(), "outer");
        })
        .await;
        assert!(current().is_none());
    }

    #[tokio::test]
    async fn two_clients_stay_apart() {
        let (one, other) = (ScopeKey::unique(), ScopeKey::unique());
        scope_for(one, token("one"), async {
            assert_eq!(name(current_for(one)).unwrap(), "one");
            assert!(current_for(other).is_none());
            assert!(current().is_none());
            scope_for(other, token("other"), async {
                assert_eq!(name(current_for(one)).unwrap(), "one");
                assert_eq!(name(current_for(other)).unwrap(), "other");
            })
            .await;
        })
        .await;
    }

    #[tokio::test]
    async fn a_panic_inside_leaves_no_identity_behind() {
        let run = tokio::spawn(scope(token("gone"), async { panic!("on purpose") }));
        assert!(run.await.is_err());
        assert!(current().is_none());
        let caught = std::panic::catch_unwind(|| sync_scope(token("gone"), || panic!("on purpose")));
        assert!(caught.is_err() && current().is_none());
    }

    #[tokio::test]
    async fn a_snapshot_reaches_code_that_runs_later() {
        let snapshot = scope(token("late"), async { Snapshot::take() }).await;
        assert_eq!(snapshot.enter(|| name(current())).unwrap(), "late");
        assert_eq!(tokio::spawn(snapshot.wrap(async { name(current()) })).await.unwrap().unwrap(), "late");
        assert!(Snapshot::take().enter(current).is_none());
    }

    #[tokio::test]
    async fn what_was_taken_along_from_outside_acts_for_nobody_wherever_it_is_polled() {
        let nobodys = Snapshot::take();
        let background = async { name(current()) }.in_current_scope();
        scope(token("alice"), async {
            assert_eq!(nobodys.enter(|| name(current())), None);
            assert_eq!(nobodys.enter(Snapshot::take).wrap(async { name(current()) }).await, None);
            assert_eq!(background.await, None);
            assert_eq!(name(current()).unwrap(), "alice");
        })
        .await;
    }

    #[test]
    fn nesting_without_end_keeps_only_the_scopes_that_count() {
        fn depth(snapshot: &Snapshot) -> usize {
            std::iter::successors(snapshot.0.as_ref(), |frame| frame.outer.as_ref()).count()
        }
        let keys = [ScopeKey::unique(), ScopeKey::unique()];
        let mut snapshot = Snapshot::nested(None, Identity::Anonymous);
        for round in 0..10_000 {
            let key = keys[round % 2];
            snapshot = snapshot.enter(|| Snapshot::nested(Some(key), token(&format!("t{round}")).into()));
        }
        assert_eq!(depth(&snapshot), 3);
        snapshot.enter(|| {
            assert_eq!(name(current_for(keys[0])).unwrap(), "t9998");
            assert_eq!(name(current_for(keys[1])).unwrap(), "t9999");
            assert_eq!(name(current()).unwrap(), "nobody");
            assert_eq!(depth(&Snapshot::nested(None, Identity::Anonymous)), 1);
        });
    }
}
