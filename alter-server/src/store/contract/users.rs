//! Users who are suspended or deleted, those who tell of it, and the wallet's browsers.

use super::{sessions::refused, *};
use crate::{
    domain::{
        Asked, GrantFilter, GrantStatus, HookShape, HookSource, NewBrowserSession, NewHookSource, SessionId,
        SessionRef, TokenDigest, User, UserId, UserRef, UserStatus, WebhookId,
    },
    store::{AdmittedNote, ChangedUser, Heard, HookMessage, ListCommand, RevokeAsUser, StoreError},
};

fn subject(subject: &str) -> UserRef {
    UserRef::Subject { issuer: "https://idp.example".to_owned(), subject: subject.to_owned() }
}

impl World {
    async fn user(&self, app_id: AppId, subject: &str) -> User {
        let users = self.store.list_users(app_id, 100, 0).await.unwrap();
        users.into_iter().find(|user| user.subject == subject).expect("the user")
    }

    async fn set_user(
        &self,
        app_id: AppId,
        who: UserRef,
        status: UserStatus,
    ) -> Result<ChangedUser, StoreError> {
        self.store.set_user_status(self.operator(), app_id, who, status, Some("because".to_owned())).await
    }

    async fn hook(&self, app_id: AppId) -> HookSource {
        let source = HookSource {
            id: WebhookId::random(),
            app_id,
            shape: HookShape::Clerk,
            created_at: self.clock.now(),
        };
        let new = NewHookSource { source, secret: "whsec".into() };
        self.store.add_hook_source(self.operator(), new).await.unwrap()
    }

    fn message(&self, source: &HookSource, text: &str, changes: Vec<(UserRef, UserStatus)>) -> HookMessage {
        HookMessage {
            app_id: source.app_id,
            source: source.id,
            shape: source.shape,
            message: TokenDigest::of(text.as_bytes()),
            timestamp: self.clock.now().as_second(),
            at: self.clock.now(),
            changes,
            remote: None,
        }
    }

    async fn sign_in(&self, app_id: AppId, subject: &str) -> SessionRef {
        let new = NewBrowserSession {
            app_id,
            id: SessionId::random(),
            secret: TokenDigest::of(b"cookie"),
            identity: identity(subject),
            expires_at: self.clock.now() + jiff::SignedDuration::from_hours(12),
        };
        self.store.open_browser_session(self.browser(None), new).await.unwrap().session
    }
}

pub(crate) async fn suspending_a_user_ends_everything_at_once(world: &World) {
    let key = world.app_with_google("one").await;
    let (first, second) = (world.connect(key, "u1", "a@x").await, world.connect(key, "u1", "b@x").await);
    let others = world.connect(key, "u2", "c@x").await;
    let secret = world.secret(key.app_id).await;
    let user = world.user(key.app_id, "u1").await;
    let shared = world.secret_grant(key.app_id, secret, Principal::User(user.id)).await;
    let browser = world.sign_in(key.app_id, "u1").await;
    let changed = world.set_user(key.app_id, UserRef::Id(user.id), UserStatus::Suspended).await.unwrap();
    let mut revoked = changed.revoked.clone();
    let mut all = vec![first, second, shared];
    revoked.sort();
    all.sort();
    assert_eq!((changed.user.status, revoked), (UserStatus::Suspended, all));
    for id in [first, second, shared] {
        assert_eq!(world.store.grant(key.app_id, id).await.unwrap().facts.status, GrantStatus::Revoked);
    }
    assert_eq!(world.store.grant(key.app_id, others).await.unwrap().facts.status, GrantStatus::Active);
    assert!(world.store.browser_session(browser, world.clock.now(), 3600).await.unwrap().is_none());
    let rows = world.rows(key.app_id).await;
    assert_eq!(rows.iter().filter(|row| row.action == Action::GrantRevoked).count(), 3);
    let row = world.last_row(key.app_id, Action::UserChanged).await;
    assert_eq!((row.app_user_id, row.reason.as_deref()), (Some(user.id), Some("because")));
    // Again changes nothing.
    let again = world.set_user(key.app_id, UserRef::Id(user.id), UserStatus::Suspended).await.unwrap();
    assert!(again.revoked.is_empty());
}

pub(crate) async fn a_suspended_users_token_is_refused_everywhere(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.connect(key, "u1", "a@x").await;
    let open = world.session(key, "u1").await;
    let user = world.user(key.app_id, "u1").await;
    world.set_user(key.app_id, UserRef::Id(user.id), UserStatus::Suspended).await.unwrap();
    assert_eq!(code(world.token_of(key, "u1").await), Code::JwtValidationError);
    let row = world.last_row(key.app_id, Action::TokenRefused).await;
    assert_eq!((row.code.as_deref(), row.app_user_id), (Some("jwt_validation_error"), Some(user.id)));
    let by_id = world.ask(key, Address::Grant(id), Some(identity("u1"))).await;
    assert_eq!(code(world.release(by_id).await.map(|_| ())), Code::JwtValidationError);
    let named = Address::Provider {
        provider: "google".to_owned(),
        account: None,
        label: None,
        app_user_id: Some(user.id.to_string()),
    };
    let named = world.ask(key, named, None).await;
    assert_eq!(code(world.release(named).await.map(|_| ())), Code::JwtValidationError);
    let unnamed = world.ask(key, Address::Grant(id), None).await;
    assert_eq!(code(world.release(unnamed).await.map(|_| ())), Code::GrantRevoked);
    assert_eq!(code(world.revoke(key, id, Some("u1")).await.map(|_| ())), Code::JwtValidationError);
    let list = ListCommand {
        admission: world.admission(key, Scope::GrantsRead).await,
        user: Some(identity("u1")),
        filter: GrantFilter::default(),
        limit: 10,
        offset: 0,
    };
    assert_eq!(code(decided(world.store.list_grants(list).await.unwrap())), Code::JwtValidationError);
    let note = AdmittedNote {
        admission: world.admission(key, Scope::TokensRetrieve).await,
        action: Action::UserVerified,
        user: Some(identity("u1")),
        code: None,
        grant: None,
        detail: None,
    };
    assert_eq!(code(decided(world.store.note(note).await.unwrap())), Code::JwtValidationError);
    let session = world.new_session(key, Some("u1"), Asked::default()).await;
    let made = decided(world.store.create_session(session).await.unwrap());
    assert_eq!(code(made.map(|_| ())), Code::JwtValidationError);
    // A session that was begun before makes no grant any more.
    let new = world.new_connection(&open, "b@x").await;
    let end = world.store.advance_session(world.connecting(&open, new)).await.unwrap();
    assert_eq!(refused(end).code, Code::JwtValidationError);
    let import =
        world.import_of(key.app_id, crate::domain::ImportOwner::Identity(identity("u1")), "z@x", "t");
    assert!(matches!(world.store.import_grant(world.operator(), import).await, Err(StoreError::Conflict(_))));
    let new = NewBrowserSession {
        app_id: key.app_id,
        id: SessionId::random(),
        secret: TokenDigest::of(b"cookie"),
        identity: identity("u1"),
        expires_at: world.clock.now() + jiff::SignedDuration::from_hours(1),
    };
    let wallet = world.store.open_browser_session(world.browser(None), new).await;
    assert!(matches!(wallet, Err(StoreError::Invalid(_))), "{wallet:?}");
}

pub(crate) async fn an_active_user_begins_anew_and_a_deleted_one_never(world: &World) {
    let key = world.app_with_google("one").await;
    world.connect(key, "u1", "a@x").await;
    world.set_user(key.app_id, subject("u1"), UserStatus::Suspended).await.unwrap();
    let back = world.set_user(key.app_id, subject("u1"), UserStatus::Active).await.unwrap();
    assert_eq!((back.user.status, back.revoked.len()), (UserStatus::Active, 0));
    assert_eq!(code(world.token_of(key, "u1").await), Code::GrantRevoked);
    world.connect(key, "u1", "a@x").await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "access-a@x");
    let gone = world.set_user(key.app_id, subject("u1"), UserStatus::Deleted).await.unwrap();
    assert_eq!((gone.user.email, gone.user.name, gone.revoked.len()), (None, None, 1));
    assert_eq!(code(world.token_of(key, "u1").await), Code::JwtValidationError);
    assert_eq!(
        world.user(key.app_id, "u1").await.email,
        None,
        "what is gone does not come back with a token"
    );
    for status in [UserStatus::Active, UserStatus::Suspended] {
        let late = world.set_user(key.app_id, subject("u1"), status).await;
        assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
    }
    let nobody = world.set_user(key.app_id, UserRef::Id(UserId::random()), UserStatus::Suspended).await;
    assert!(matches!(nobody, Err(StoreError::NotFound(_))));
    // A user that was never seen is remembered with its status.
    world.set_user(key.app_id, subject("u9"), UserStatus::Deleted).await.unwrap();
    assert_eq!(code(world.token_of(key, "u9").await), Code::JwtValidationError);
}

pub(crate) async fn a_message_about_users_counts_once(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.connect(key, "u1", "a@x").await;
    let source = world.hook(key.app_id).await;
    let message = world.message(&source, "m1", vec![(subject("u1"), UserStatus::Suspended)]);
    let Heard::Done(changed) = world.store.hear(message.clone()).await.unwrap() else { panic!("replayed") };
    assert_eq!(changed[0].revoked, [id]);
    assert_eq!(code(world.token_of(key, "u1").await), Code::JwtValidationError);
    world.set_user(key.app_id, subject("u1"), UserStatus::Active).await.unwrap();
    assert_eq!(world.store.hear(message).await.unwrap(), Heard::Replayed);
    assert_eq!(world.user(key.app_id, "u1").await.status, UserStatus::Active);
    let row = world.last_row(key.app_id, Action::HookReceived).await;
    assert_eq!(row.code.as_deref(), Some("nonce_replayed"));
    // One that says nothing of us has its row, too; one about somebody deleted changes nothing.
    let empty = world.message(&source, "m2", Vec::new());
    assert_eq!(world.store.hear(empty).await.unwrap(), Heard::Done(Vec::new()));
    world.set_user(key.app_id, subject("u1"), UserStatus::Deleted).await.unwrap();
    let late = world.message(
        &source,
        "m3",
        vec![
            (subject("u1"), UserStatus::Active),
            (UserRef::Id(UserId::random()), UserStatus::Deleted),
            (subject("u2"), UserStatus::Suspended),
        ],
    );
    let Heard::Done(changed) = world.store.hear(late).await.unwrap() else { panic!("replayed") };
    assert_eq!(changed.iter().map(|change| change.user.subject.as_str()).collect::<Vec<_>>(), ["u2"]);
    let rows = world.rows(key.app_id).await;
    assert_eq!(rows.iter().filter(|row| row.action == Action::HookReceived).count(), 4);
}

pub(crate) async fn sources_keep_their_secret_sealed(world: &World) {
    let (key, other) = (world.app_with_google("one").await, world.app("two").await);
    let source = world.hook(key.app_id).await;
    let (kept, secret) = world.store.hook_source(key.app_id, source.id).await.unwrap().unwrap();
    assert_eq!((kept.shape, kept.id), (HookShape::Clerk, source.id));
    assert_eq!(world.envelope.open(&secret).unwrap().expose_secret(), b"whsec");
    assert!(world.store.hook_source(other.id, source.id).await.unwrap().is_none());
    assert_eq!(world.store.list_hook_sources(key.app_id).await.unwrap(), [kept]);
    let elsewhere = world.store.remove_hook_source(world.operator(), other.id, source.id).await;
    assert!(matches!(elsewhere, Err(StoreError::NotFound(_))));
    world.store.remove_hook_source(world.operator(), key.app_id, source.id).await.unwrap();
    let late = world.store.hear(world.message(&source, "m1", Vec::new())).await;
    assert!(matches!(late, Err(StoreError::NotFound(_))));
}

pub(crate) async fn a_wallet_session_ends_by_time_disuse_and_sign_out(world: &World) {
    let key = world.app_with_google("one").await;
    let session = world.sign_in(key.app_id, "u1").await;
    let read = async || world.store.browser_session(session, world.clock.now(), 1800).await.unwrap();
    let kept = read().await.unwrap();
    assert_eq!((kept.subject.as_str(), kept.secret), ("u1", TokenDigest::of(b"cookie")));
    for _ in 0..4 {
        world.clock.advance(1500);
        let kept = read().await.unwrap();
        assert_eq!(kept.seen_at, world.clock.now());
    }
    world.clock.advance(1801);
    assert!(read().await.is_none());
    let session = world.sign_in(key.app_id, "u1").await;
    world.clock.advance(12 * 3600);
    assert!(world.store.browser_session(session, world.clock.now(), u32::MAX).await.unwrap().is_none());
    let session = world.sign_in(key.app_id, "u1").await;
    world.store.close_browser_session(world.browser(None), session).await.unwrap();
    world.store.close_browser_session(world.browser(None), session).await.unwrap();
    assert!(world.store.browser_session(session, world.clock.now(), 1800).await.unwrap().is_none());
    let rows = world.rows(key.app_id).await;
    assert_eq!(rows.iter().filter(|row| row.action == Action::WalletSignedOut).count(), 1);
    assert_eq!(rows.iter().filter(|row| row.action == Action::WalletSignedIn).count(), 3);
    world.clock.advance(24 * 3600);
    assert_eq!(world.store.sweep_sessions(world.clock.now(), 100).await.unwrap(), 2);
}

pub(crate) async fn one_person_is_found_in_every_app(world: &World) {
    let (one, two) = (world.app_with_google("one").await, world.app_with_google("two").await);
    world.import(one.app_id, "u1", "a@x", "t").await;
    world.import(two.app_id, "u1", "b@x", "t").await;
    world.import(two.app_id, "u2", "c@x", "t").await;
    let found = world.store.same_person("https://idp.example".to_owned(), "u1".to_owned()).await.unwrap();
    let apps: std::collections::BTreeSet<_> = found.iter().map(|user| user.app_id).collect();
    assert_eq!((found.len(), apps), (2, [one.app_id, two.app_id].into()));
    let other = world.store.same_person("https://other.example".to_owned(), "u1".to_owned()).await.unwrap();
    assert!(other.is_empty());
}

pub(crate) async fn a_user_revokes_in_the_wallet_what_is_theirs(world: &World) {
    let key = world.app_with_google("one").await;
    let (mine, others) = (world.connect(key, "u1", "a@x").await, world.connect(key, "u2", "b@x").await);
    let user = world.user(key.app_id, "u1").await.id;
    let revoke = |browser, grant_id| {
        world.store.revoke_as_user(RevokeAsUser { browser, app_id: key.app_id, grant_id })
    };
    for (browser, grant) in [(Some(user), others), (None, mine), (Some(user), GrantId::random())] {
        let result = revoke(world.browser(browser), grant).await;
        assert!(matches!(result, Err(StoreError::NotFound(_))), "{result:?}");
    }
    let revoked = revoke(world.browser(Some(user)), mine).await.unwrap();
    assert_eq!(revoked.revoked_at, world.clock.now());
    world.clock.advance(60);
    assert_eq!(revoke(world.browser(Some(user)), mine).await.unwrap(), revoked);
    assert_eq!(code(world.token_of(key, "u1").await), Code::GrantRevoked);
    let row = world.last_row(key.app_id, Action::GrantRevoked).await;
    assert_eq!((row.app_user_id, row.grant_id), (Some(user), Some(mine)));
    let grant = world.store.grant(key.app_id, mine).await.unwrap();
    assert_eq!(grant.revoked_by, Some(format!("user:{user}")));
}

pub(crate) async fn what_happens_in_a_browser_has_a_row(world: &World) {
    let key = world.app_with_google("one").await;
    let note = crate::store::BrowserNote {
        browser: world.browser(None),
        app_id: key.app_id,
        action: Action::SessionProved,
        code: Some(Code::GrantNotFound),
        provider: Some(id_of("google")),
        detail: Some("another person".to_owned()),
    };
    world.store.note_browser(note).await.unwrap();
    let row = world.last_row(key.app_id, Action::SessionProved).await;
    assert_eq!((row.code.as_deref(), row.provider.as_deref()), (Some("grant_not_found"), Some("google")));
    assert_eq!((row.remote.as_deref(), row.detail.as_deref()), (Some("192.0.2.1"), Some("another person")));
}

pub(crate) async fn pages_and_sign_in_are_part_of_the_configuration(world: &World) {
    use crate::domain::{PageSettings, SignInSettings};
    let key = world.app_with_google("one").await;
    let before = world.store.app_config(key.app_id).await.unwrap().unwrap();
    let page = PageSettings {
        display_name: Some("Shop \u{1F980}".to_owned()),
        color: Some("#112233".to_owned()),
        origins: vec!["https://shop.example".to_owned()],
        ..PageSettings::default()
    };
    let config = world.store.set_page(world.operator(), key.app_id, page.clone()).await.unwrap();
    assert_eq!((config.generation, &config.page), (before.generation + 1, &page));
    let sign_in = SignInSettings {
        client_id: "vault".to_owned(),
        authorize_url: None,
        token_url: None,
        scopes: vec!["openid".to_owned()],
        authorize_params: std::collections::BTreeMap::new(),
        user_token: crate::domain::UserTokenKind::AccessToken,
    };
    let set = |sign_in: Option<SignInSettings>, secret: Option<&str>| {
        world.store.set_sign_in(world.operator(), key.app_id, sign_in, secret.map(Into::into))
    };
    let config = set(Some(sign_in.clone()), Some("s1")).await.unwrap();
    assert_eq!((config.sign_in.as_ref(), config.generation), (Some(&sign_in), before.generation + 2));
    let secret = async || {
        let sealed = world.store.sign_in_secret(key.app_id).await.unwrap();
        sealed.map(|sealed| world.envelope.open(&sealed).unwrap().expose_secret().to_vec())
    };
    assert_eq!(secret().await.as_deref(), Some(&b"s1"[..]));
    set(Some(sign_in.clone()), None).await.unwrap();
    assert_eq!(secret().await.as_deref(), Some(&b"s1"[..]), "no secret keeps the one that is there");
    set(Some(sign_in), Some("s2")).await.unwrap();
    assert_eq!(secret().await.as_deref(), Some(&b"s2"[..]));
    assert!(matches!(set(None, Some("s3")).await, Err(StoreError::Invalid(_))));
    let config = set(None, None).await.unwrap();
    assert_eq!((config.sign_in, config.page), (None, page));
    assert_eq!(secret().await, None);
    let rows = world.rows(key.app_id).await;
    assert_eq!(rows.iter().filter(|row| row.action == Action::PageChanged).count(), 5);
}
