//! Connect and sign-in sessions: made, polled, advanced once per version.

use super::*;
use crate::{
    domain::{
        Asked, ConnectSession, Leaving, Progress, SessionEnd, SessionId, SessionKind, SessionRef,
        TokenDigest, UserId,
    },
    store::{AdvanceSession, Advanced, Browser, BrowserNote, CreateSession, NewConnection, PollSession},
};

/// The secret half of every session's token in these tests.
pub(super) const SECRET: &[u8] = b"secret";

impl World {
    pub(super) fn browser(&self, user: Option<UserId>) -> Browser {
        Browser {
            at: self.clock.now(),
            user,
            request_id: uuid::Uuid::nil(),
            remote: Some("192.0.2.1".to_owned()),
        }
    }

    pub(super) async fn new_session(&self, key: Key, subject: Option<&str>, asked: Asked) -> CreateSession {
        CreateSession {
            admission: self.admission(key, Scope::GrantsWrite).await,
            id: SessionId::random(),
            kind: SessionKind::Connect,
            token: TokenDigest::of(SECRET),
            user: subject.map(identity),
            asked,
            expires_at: self.clock.now() + jiff::SignedDuration::from_secs(600),
        }
    }

    /// A connect session for a user.
    pub(crate) async fn session(&self, key: Key, subject: &str) -> ConnectSession {
        let command = self.new_session(key, Some(subject), Asked::default()).await;
        decided(self.store.create_session(command).await.unwrap()).unwrap()
    }

    pub(super) async fn poll(
        &self,
        key: Key,
        session: Option<SessionRef>,
        secret: &[u8],
        kind: SessionKind,
    ) -> Option<ConnectSession> {
        let admission = self.admission(key, Scope::GrantsWrite).await;
        let command = PollSession { admission, session, token: TokenDigest::of(secret), kind };
        decided(self.store.poll_session(command).await.unwrap()).unwrap()
    }

    pub(crate) fn step(
        &self,
        session: &ConnectSession,
        change: impl FnOnce(&mut Progress),
    ) -> AdvanceSession {
        let mut progress = session.progress.clone();
        change(&mut progress);
        AdvanceSession {
            session: session.session,
            version: session.version,
            progress,
            connection: None,
            user_token: None,
            note: BrowserNote {
                browser: self.browser(session.asked.user.as_ref().map(|user| user.id)),
                app_id: session.session.app_id,
                action: Action::SessionOpened,
                code: None,
                provider: None,
                detail: Some("a step".to_owned()),
            },
        }
    }

    pub(crate) async fn new_connection(&self, session: &ConnectSession, account: &str) -> NewConnection {
        let config = self.store.app_config(session.session.app_id).await.unwrap().unwrap();
        let user = session.asked.user.as_ref().map(|user| Principal::User(user.id));
        NewConnection {
            provider: id_of("google"),
            config_generation: config.generation,
            principal: user.unwrap_or(Principal::System),
            repair: session.asked.repair,
            account_id: Some(format!("id-{account}")),
            account_identifier: Some(account.to_owned()),
            account_display_name: Some("Ada".to_owned()),
            label: None,
            access_token: format!("access-{account}").into(),
            refresh_token: Some(format!("refresh-{account}").into()),
            token_expires_at: None,
            scopes: vec!["read".to_owned()],
            grant_expires_at: None,
        }
    }

    pub(crate) fn connecting(&self, session: &ConnectSession, new: NewConnection) -> AdvanceSession {
        let mut advance = self.step(session, |_| {});
        advance.note.action = Action::GrantConnected;
        AdvanceSession { connection: Some(new), ..advance }
    }

    /// Connects an account in a session of its own.
    pub(crate) async fn connect(&self, key: Key, subject: &str, account: &str) -> GrantId {
        let session = self.session(key, subject).await;
        let new = self.new_connection(&session, account).await;
        let done = done(self.store.advance_session(self.connecting(&session, new)).await.unwrap());
        done.progress.grants[0].grant_id
    }
}

pub(super) fn done(advanced: Advanced) -> ConnectSession {
    match advanced {
        Advanced::Done(session) => *session,
        other => panic!("{other:?}"),
    }
}

pub(super) fn refused(advanced: Advanced) -> Box<Refusal> {
    match advanced {
        Advanced::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn leaving(secret: &[u8], at: jiff::Timestamp) -> Leaving {
    Leaving {
        provider: id_of("google"),
        state: TokenDigest::of(secret),
        scopes: vec!["read".to_owned()],
        ttl_seconds: None,
        own_window: false,
        at,
    }
}

fn failed() -> SessionEnd {
    SessionEnd::Error { code: "session_expired".to_owned(), message: "too late".to_owned() }
}

pub(crate) async fn a_session_is_kept_as_it_was_asked_for(world: &World) {
    let key = world.app_with_google("one").await;
    let asked = Asked {
        key_id: Some(key.key_id),
        providers: vec![id_of("google")],
        return_url: Some("https://shop.example/done?x=1".to_owned()),
        label: Some("work".to_owned()),
        max_ttl_seconds: Some(60),
        browser_binding: Some(TokenDigest::of(b"cookie")),
        ..Asked::default()
    };
    let command = world.new_session(key, Some("u1"), asked.clone()).await;
    let expires_at = command.expires_at;
    let made = decided(world.store.create_session(command).await.unwrap()).unwrap();
    let user = made.asked.user.clone().unwrap();
    assert_eq!((user.issuer.as_str(), user.subject.as_str()), ("https://idp.example", "u1"));
    assert_eq!(user.name.as_deref(), Some("u1@example.com"));
    assert_eq!(made.asked, Asked { user: Some(user.clone()), ..asked });
    assert_eq!((made.version, made.expires_at, made.created_at), (1, expires_at, world.clock.now()));
    assert_eq!(made.progress, Progress::default());
    let read = world.store.session(made.session).await.unwrap().unwrap();
    assert_eq!((read.asked, read.version, read.token), (made.asked, 1, TokenDigest::of(SECRET)));
    let row = world.last_row(key.app_id, Action::SessionCreated).await;
    assert_eq!((row.app_user_id, row.provider.as_deref()), (Some(user.id), Some("google")));
    let elsewhere = SessionRef { app_id: AppId::random(), ..made.session };
    assert!(world.store.session(elsewhere).await.unwrap().is_none());
}

pub(crate) async fn a_session_names_only_what_the_app_has(world: &World) {
    let key = world.app_with_google("one").await;
    world.secret(key.app_id).await;
    let mine = world.import(key.app_id, "u1", "a@x", "t").await;
    let others = world.import(key.app_id, "u2", "b@x", "t").await;
    let ended = world.import(key.app_id, "u1", "c@x", "t").await;
    world.revoke(key, ended, None).await.unwrap();
    for provider in ["billing", "unknown"] {
        let asked = Asked { providers: vec![id_of(provider)], ..Asked::default() };
        let command = world.new_session(key, Some("u1"), asked).await;
        let refusal = decided(world.store.create_session(command).await.unwrap()).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidRequest);
    }
    let repair = async |subject: Option<&str>, repair, provider: &str| {
        let asked = Asked { repair: Some(repair), providers: vec![id_of(provider)], ..Asked::default() };
        let command = world.new_session(key, subject, asked).await;
        decided(world.store.create_session(command).await.unwrap())
    };
    for wrong in [
        repair(Some("u1"), others, "google").await,
        repair(Some("u1"), ended, "google").await,
        repair(Some("u1"), GrantId::random(), "google").await,
        repair(None, mine, "google").await,
    ] {
        assert_eq!(code(wrong.map(|_| ())), Code::GrantNotFound);
    }
    assert_eq!(
        world.last_row(key.app_id, Action::SessionCreated).await.code.as_deref(),
        Some("grant_not_found")
    );
    let good = repair(Some("u1"), mine, "google").await.unwrap();
    assert_eq!(good.asked.repair, Some(mine));
    // Nothing was said of the provider: it is the grant's.
    let asked = Asked { repair: Some(mine), ..Asked::default() };
    let command = world.new_session(key, Some("u1"), asked).await;
    let made = decided(world.store.create_session(command).await.unwrap()).unwrap();
    assert_eq!(made.asked.providers, [id_of("google")]);
}

pub(crate) async fn a_session_is_polled_with_its_token_only(world: &World) {
    let (key, other) = (world.app_with_google("one").await, world.app_with_google("two").await);
    let session = world.session(key, "u1").await;
    let at = Some(session.session);
    assert!(world.poll(key, at, SECRET, SessionKind::Connect).await.is_some());
    assert!(world.poll(key, at, b"another", SessionKind::Connect).await.is_none());
    assert!(world.poll(key, at, SECRET, SessionKind::SignIn).await.is_none());
    assert!(world.poll(key, None, SECRET, SessionKind::Connect).await.is_none());
    assert!(world.poll(other, at, SECRET, SessionKind::Connect).await.is_none());
    let polls = async || {
        let rows = world.rows(key.app_id).await;
        rows.iter().filter(|row| row.action == Action::SessionPolled).count()
    };
    assert_eq!(polls().await, 0);
    let end = world.step(&session, |progress| progress.end = Some(failed()));
    done(world.store.advance_session(end).await.unwrap());
    let polled = world.poll(key, at, SECRET, SessionKind::Connect).await.unwrap();
    assert_eq!(polled.progress.end, Some(failed()));
    assert_eq!(polls().await, 1);
}

pub(crate) async fn of_two_advances_from_one_version_one_counts(world: &World) {
    let key = world.app_with_google("one").await;
    for _ in 0..10 {
        let session = world.session(key, "u1").await;
        let first = world.step(&session, |progress| progress.browser = Some(TokenDigest::of(b"1")));
        let second = world.step(&session, |progress| progress.browser = Some(TokenDigest::of(b"2")));
        let (first, second) =
            tokio::join!(world.store.advance_session(first), world.store.advance_session(second));
        let ends = [first.unwrap(), second.unwrap()];
        let done = ends.iter().filter(|end| matches!(end, Advanced::Done(_))).count();
        let moved = ends.iter().filter(|end| matches!(end, Advanced::Moved)).count();
        assert_eq!((done, moved), (1, 1), "{ends:?}");
        let kept = world.store.session(session.session).await.unwrap().unwrap();
        assert_eq!(kept.version, 2);
        let winner = ends.into_iter().find_map(|end| match end {
            Advanced::Done(session) => session.progress.browser,
            _ => None,
        });
        assert_eq!(kept.progress.browser, winner);
    }
    let opened = world.rows(key.app_id).await;
    assert_eq!(opened.iter().filter(|row| row.action == Action::SessionOpened).count(), 10);
}

pub(crate) async fn a_state_is_used_once(world: &World) {
    let key = world.app_with_google("one").await;
    let session = world.session(key, "u1").await;
    let at = world.clock.now();
    let gone = world.step(&session, |progress| progress.leaving = Some(leaving(b"state", at)));
    let session = done(world.store.advance_session(gone).await.unwrap());
    assert!(session.progress.leaving.as_ref().unwrap().state.is_of(b"state"));
    let back = || async {
        let new = world.new_connection(&session, "a@x").await;
        let mut advance = world.connecting(&session, new);
        advance.progress.leaving = None;
        world.store.advance_session(advance).await.unwrap()
    };
    let ends: Vec<Advanced> = futures_util::future::join_all((0..8).map(|_| back())).await;
    assert_eq!(ends.iter().filter(|end| matches!(end, Advanced::Done(_))).count(), 1, "{ends:?}");
    assert_eq!(ends.iter().filter(|end| matches!(end, Advanced::Moved)).count(), 7);
    let page = world.store.grants(key.app_id, crate::domain::GrantFilter::default(), 10, 0).await.unwrap();
    assert_eq!((page.total, page.grants[0].generation), (1, 1));
}

pub(crate) async fn an_ended_session_never_changes(world: &World) {
    let key = world.app_with_google("one").await;
    let session = world.session(key, "u1").await;
    let end = world.step(&session, |progress| {
        progress.end = Some(SessionEnd::Error { code: "user_denied".to_owned(), message: "no".to_owned() });
    });
    let ended = done(world.store.advance_session(end).await.unwrap());
    let new = world.new_connection(&ended, "a@x").await;
    for late in [
        world.step(&ended, |progress| progress.end = None),
        world.step(&ended, |progress| progress.end = Some(SessionEnd::Completed)),
        world.connecting(&ended, new),
    ] {
        assert!(matches!(world.store.advance_session(late).await.unwrap(), Advanced::Moved));
    }
    let kept = world.store.session(ended.session).await.unwrap().unwrap();
    assert_eq!((kept.version, kept.progress), (ended.version, ended.progress));
}

pub(crate) async fn a_session_past_its_time_can_only_end(world: &World) {
    let key = world.app_with_google("one").await;
    let session = world.session(key, "u1").await;
    world.clock.advance(600);
    let new = world.new_connection(&session, "a@x").await;
    let mut completed = world.connecting(&session, new);
    completed.progress.end = Some(SessionEnd::Completed);
    let mut token = world.step(&session, |progress| progress.end = Some(SessionEnd::Completed));
    token.user_token = Some("jwt".into());
    for late in [
        completed,
        token,
        world.step(&session, |progress| progress.browser = Some(TokenDigest::of(b"1"))),
        world.step(&session, |progress| progress.end = Some(SessionEnd::Completed)),
    ] {
        assert!(matches!(world.store.advance_session(late).await.unwrap(), Advanced::Moved));
    }
    let end = world.step(&session, |progress| progress.end = Some(failed()));
    done(world.store.advance_session(end).await.unwrap());
    assert_eq!(code(world.token_of(key, "u1").await), Code::GrantNotFound);
}

pub(crate) async fn a_sign_in_ends_with_a_sealed_token(world: &World) {
    let key = world.app_with_google("one").await;
    let command =
        CreateSession { kind: SessionKind::SignIn, ..world.new_session(key, None, Asked::default()).await };
    let session = decided(world.store.create_session(command).await.unwrap()).unwrap();
    assert!(session.user_token.is_none() && session.asked.user.is_none());
    let mut end = world.step(&session, |progress| progress.end = Some(SessionEnd::Completed));
    end.user_token = Some("the.users.token".into());
    done(world.store.advance_session(end).await.unwrap());
    let polled = world.poll(key, Some(session.session), SECRET, SessionKind::SignIn).await.unwrap();
    let opened = world.envelope.open(&polled.user_token.unwrap()).unwrap();
    assert_eq!(opened.expose_secret(), b"the.users.token");
}

pub(crate) async fn sessions_are_swept_when_their_time_is_long_over(world: &World) {
    let key = world.app_with_google("one").await;
    for _ in 0..3 {
        world.session(key, "u1").await;
    }
    world.clock.advance(300);
    let young = world.session(key, "u1").await;
    let before = world.clock.now() + jiff::SignedDuration::from_secs(301);
    assert_eq!(world.store.sweep_sessions(before, 2).await.unwrap(), 2);
    assert_eq!(world.store.sweep_sessions(before, 2).await.unwrap(), 1);
    assert_eq!(world.store.sweep_sessions(before, 2).await.unwrap(), 0);
    assert!(world.store.session(young.session).await.unwrap().is_some());
}
