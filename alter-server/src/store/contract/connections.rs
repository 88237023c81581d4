//! Connections: which grant gets the credential, and what it finds there.

use super::{
    sessions::{done, refused},
    *,
};
use crate::{
    domain::{Asked, ConnectSession, Grant, GrantFilter, Operation},
    seal::{Field, SealContext, Sealed, SealedField},
    store::{Advanced, NewConnection, StoreError},
};

impl World {
    pub(super) async fn repair_session(&self, key: Key, subject: &str, grant: GrantId) -> ConnectSession {
        let asked = Asked { repair: Some(grant), ..Asked::default() };
        let command = self.new_session(key, Some(subject), asked).await;
        decided(self.store.create_session(command).await.unwrap()).unwrap()
    }

    async fn advance(&self, session: &ConnectSession, new: NewConnection) -> Advanced {
        self.store.advance_session(self.connecting(session, new)).await.unwrap()
    }

    async fn all_grants(&self, app_id: AppId) -> Vec<Grant> {
        self.store.grants(app_id, GrantFilter::default(), 100, 0).await.unwrap().grants
    }
}

pub(crate) async fn a_connection_makes_a_grant_that_works(world: &World) {
    let key = world.app_with_google("one").await;
    let session = world.session(key, "u1").await;
    let end = world.clock.now() + jiff::SignedDuration::from_hours(24);
    let new = NewConnection {
        label: Some("work".to_owned()),
        grant_expires_at: Some(end),
        ..world.new_connection(&session, "a@x").await
    };
    let after = done(world.advance(&session, new).await);
    let [made] = &*after.progress.grants else { panic!("{:?}", after.progress) };
    assert_eq!((made.operation, made.account_identifier.as_deref()), (Operation::Creation, Some("a@x")));
    assert_eq!((made.grant_expires_at, made.scopes.as_slice()), (Some(end), &["read".to_owned()][..]));
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "access-a@x");
    let grant = world.store.grant(key.app_id, made.grant_id).await.unwrap();
    assert_eq!((grant.generation, grant.account_id.as_deref()), (1, Some("id-a@x")));
    assert_eq!(grant.facts.label.as_deref(), Some("work"));
    let row = world.last_row(key.app_id, Action::GrantConnected).await;
    assert_eq!((row.grant_id, row.provider.as_deref()), (Some(made.grant_id), Some("google")));
    assert_eq!((row.account.as_deref(), row.token_generation), (Some("a@x"), grant.token_generation));
    assert_eq!(row.app_user_id, session.asked.user.map(|user| user.id));
}

pub(crate) async fn the_same_account_updates_and_another_adds(world: &World) {
    let key = world.app_with_google("one").await;
    let first = world.connect(key, "u1", "a@x").await;
    assert_eq!(world.connect(key, "u1", "a@x").await, first);
    // The account was renamed at the provider: its id is what counts.
    let session = world.session(key, "u1").await;
    let renamed = NewConnection {
        account_identifier: Some("new-name@x".to_owned()),
        ..world.new_connection(&session, "a@x").await
    };
    let after = done(world.advance(&session, renamed).await);
    assert_eq!(
        (after.progress.grants[0].grant_id, after.progress.grants[0].operation),
        (first, Operation::Reauth)
    );
    let grant = world.store.grant(key.app_id, first).await.unwrap();
    assert_eq!((grant.generation, grant.facts.account_identifier.as_deref()), (3, Some("new-name@x")));
    // The name passed on to another account.
    let session = world.session(key, "u1").await;
    let taken = NewConnection {
        account_id: Some("somebody else".to_owned()),
        ..world.new_connection(&session, "new-name@x").await
    };
    let after = done(world.advance(&session, taken).await);
    assert_ne!(after.progress.grants[0].grant_id, first);
    let second = world.connect(key, "u1", "b@x").await;
    assert_ne!(second, first);
    assert_ne!(world.connect(key, "u2", "a@x").await, first, "another user's grant is never touched");
    assert_eq!(world.all_grants(key.app_id).await.len(), 4);
}

/// The app's own grants come from people who do not know each other: what one of them is called, or that the provider says nothing,
/// leads to nobody else's grant.
pub(crate) async fn among_the_apps_own_grants_only_the_accounts_id_decides(world: &World) {
    let key = world.app_with_google("one").await;
    let connect = async |id: Option<&str>, name: Option<&str>| {
        let command = world.new_session(key, None, Asked::default()).await;
        let session = decided(world.store.create_session(command).await.unwrap()).unwrap();
        let new = NewConnection {
            account_id: id.map(str::to_owned),
            account_identifier: name.map(str::to_owned),
            ..world.new_connection(&session, "a@x").await
        };
        let after = done(world.advance(&session, new).await);
        after.progress.grants[0].grant_id
    };
    let imports = ImportOwner::Principal(Principal::System);
    let import = world.import_of(key.app_id, imports, "a@x", "t1");
    world.store.import_grant(world.operator(), import).await.unwrap();
    let mut grants = vec![world.all_grants(key.app_id).await[0].facts.id];
    for (id, name) in
        [(Some("1"), Some("a@x")), (None, Some("a@x")), (None, Some("a@x")), (None, None), (None, None)]
    {
        let grant = connect(id, name).await;
        assert!(!grants.contains(&grant), "{id:?} {name:?}");
        grants.push(grant);
    }
    assert_eq!(connect(Some("1"), Some("another name")).await, grants[1]);
}

pub(crate) async fn imported_tokens_are_recognised_by_the_accounts_name(world: &World) {
    let key = world.app_with_google("one").await;
    let imported = world.import(key.app_id, "u1", "a@x", "t1").await;
    assert_eq!(world.store.grant(key.app_id, imported).await.unwrap().account_id, None);
    assert_eq!(world.connect(key, "u1", "a@x").await, imported);
    let grant = world.store.grant(key.app_id, imported).await.unwrap();
    assert_eq!(grant.account_id.as_deref(), Some("id-a@x"));
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "access-a@x");
}

pub(crate) async fn a_session_tells_each_grant_once(world: &World) {
    let key = world.app_with_google("one").await;
    let session = world.session(key, "u1").await;
    let new = world.new_connection(&session, "a@x").await;
    let session = done(world.advance(&session, new).await);
    let new = world.new_connection(&session, "b@x").await;
    let session = done(world.advance(&session, new).await);
    let new = world.new_connection(&session, "a@x").await;
    let session = done(world.advance(&session, new).await);
    let told: Vec<_> = session.progress.grants.iter().map(|grant| grant.account_identifier.clone()).collect();
    assert_eq!(told, [Some("b@x".to_owned()), Some("a@x".to_owned())]);
}

pub(crate) async fn a_refresh_token_that_is_not_renewed_stays(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.connect(key, "u1", "a@x").await;
    let session = world.session(key, "u1").await;
    let new = NewConnection { refresh_token: None, ..world.new_connection(&session, "a@x").await };
    done(world.advance(&session, new).await);
    let grant = world.store.grant(key.app_id, id).await.unwrap();
    assert_eq!(grant.generation, 2);
    let health = world.store.grant_health(key.app_id, id).await.unwrap();
    assert!(health.refreshable);
    // It is sealed for the generation that it is kept under: taking it to the provider opens it there.
    world.revocable(key.app_id).await;
    world.revoke(key, id, None).await.unwrap();
    let (_, refresh) = world.revocation(id).await;
    assert_eq!(refresh.as_deref(), Some("refresh-a@x"));
}

pub(crate) async fn a_repair_keeps_the_grant_and_its_id(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.connect(key, "u1", "a@x").await;
    let session = world.repair_session(key, "u1", id).await;
    let new = NewConnection {
        scopes: vec!["read".to_owned(), "write".to_owned()],
        ..world.new_connection(&session, "a@x").await
    };
    let after = done(world.advance(&session, new).await);
    assert_eq!(
        (after.progress.grants[0].grant_id, after.progress.grants[0].operation),
        (id, Operation::Reauth)
    );
    let grant = world.store.grant(key.app_id, id).await.unwrap();
    assert_eq!((grant.generation, grant.scopes.len()), (2, 2));
    assert!(!grant.facts.needs_reconnect && !grant.scope_mismatch);
}

pub(crate) async fn a_repair_with_another_account_is_refused(world: &World) {
    let key = world.app_with_google("one").await;
    let id = world.connect(key, "u1", "a@x").await;
    let session = world.repair_session(key, "u1", id).await;
    let new = world.new_connection(&session, "b@x").await;
    let refusal = refused(world.advance(&session, new).await);
    assert_eq!((refusal.code.as_str(), refusal.grant_id), ("account_mismatch", Some(id)));
    let kept = world.store.session(session.session).await.unwrap().unwrap();
    assert_eq!((kept.version, kept.progress), (session.version, session.progress.clone()));
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "access-a@x");
    let row = world.last_row(key.app_id, Action::ConnectFailed).await;
    assert_eq!((row.code.as_deref(), row.grant_id), (Some("account_mismatch"), Some(id)));
    // An account that the provider says nothing of is not shown to be the same.
    let nameless = NewConnection {
        account_id: None,
        account_identifier: None,
        ..world.new_connection(&session, "a@x").await
    };
    assert_eq!(refused(world.advance(&session, nameless).await).code.as_str(), "account_mismatch");
    world.revoke(key, id, None).await.unwrap();
    let new = world.new_connection(&session, "a@x").await;
    assert_eq!(refused(world.advance(&session, new).await).code, Code::GrantNotFound);
}

pub(crate) async fn a_label_that_is_taken_is_refused(world: &World) {
    let key = world.app_with_google("one").await;
    let labelled = async |account: &str| {
        let session = world.session(key, "u1").await;
        let new =
            NewConnection { label: Some("work".to_owned()), ..world.new_connection(&session, account).await };
        world.advance(&session, new).await
    };
    done(labelled("a@x").await);
    assert_eq!(refused(labelled("b@x").await).code, Code::SiblingLabelConflict);
    // An existing grant keeps the label it has.
    done(labelled("a@x").await);
    assert_eq!(world.all_grants(key.app_id).await.len(), 1);
}

pub(crate) async fn a_connection_under_old_settings_is_made_anew(world: &World) {
    let key = world.app_with_google("one").await;
    let session = world.session(key, "u1").await;
    let new = world.new_connection(&session, "a@x").await;
    world.put_google(key.app_id, "other.example.com").await;
    assert!(matches!(world.advance(&session, new).await, Advanced::Moved));
    assert!(world.all_grants(key.app_id).await.is_empty());
    let new = world.new_connection(&session, "a@x").await;
    world.store.remove_provider(world.operator(), key.app_id, id_of("google")).await.unwrap();
    let gone = world.new_connection(&session, "a@x").await;
    assert!(matches!(world.advance(&session, new).await, Advanced::Moved));
    assert_eq!(refused(world.advance(&session, gone).await).code, Code::InvalidRequest);
}

pub(crate) async fn what_no_request_can_carry_makes_no_grant(world: &World) {
    let key = world.app_with_google("one").await;
    let session = world.session(key, "u1").await;
    let new =
        NewConnection { access_token: "line\nbreak".into(), ..world.new_connection(&session, "a@x").await };
    assert_eq!(refused(world.advance(&session, new).await).code.as_str(), "activation_failed");
    assert!(world.all_grants(key.app_id).await.is_empty());
}

pub(crate) async fn a_principals_grants_are_its_own(world: &World) {
    let key = world.app_with_google("one").await;
    let first = world.connect(key, "u1", "a@x").await;
    world.clock.advance(1);
    let second = world.connect(key, "u1", "b@x").await;
    world.connect(key, "u2", "c@x").await;
    let users = world.store.list_users(key.app_id, 10, 0).await.unwrap();
    let u1 = users.iter().find(|user| user.subject == "u1").unwrap().id;
    let list = |limit, offset| {
        world.store.grants_of(key.app_id, Principal::User(u1), GrantFilter::default(), limit, offset)
    };
    let page = list(10, 0).await.unwrap();
    let ids: Vec<_> = page.grants.iter().map(|grant| grant.facts.id).collect();
    assert_eq!((page.total, ids), (2, vec![second, first]));
    assert_eq!(list(1, 1).await.unwrap().grants[0].facts.id, first);
    let others = AppId::random();
    let none = world.store.grants_of(others, Principal::User(u1), GrantFilter::default(), 10, 0).await;
    assert!(none.is_ok_and(|page| page.grants.is_empty()));
    assert!(matches!(world.store.grant(others, first).await, Err(StoreError::NotFound(_))));
}

/// A token that was taken to the outbox, opened where it came from.
pub(super) fn opened(
    world: &World,
    app_id: AppId,
    field: Field,
    id: GrantId,
    generation: u64,
    sealed: &Sealed,
) -> String {
    let context = SealContext::of(app_id, field, id.uuid(), generation);
    let plain = world.envelope.open(&SealedField { context, sealed: sealed.clone() }).unwrap();
    String::from_utf8(plain.expose_secret().to_vec()).unwrap()
}
