//! Sessions, browsers, users: what runs where.

use futures_util::FutureExt;
use jiff::Timestamp;
use secrecy::SecretString;

use super::{SqliteStore, browsers, connect, ending, grants, hooks, pages, users, writer::Unit};
use crate::{
    audit::Action,
    domain::{
        AppConfig, AppId, BrowserSession, ConnectSession, GrantFilter, GrantPage, GrantStatus, HookSource,
        NewBrowserSession, NewHookSource, Operator, PageSettings, Principal, SessionRef, SignInSettings,
        User, UserRef, UserStatus, WebhookId,
    },
    seal::SealedField,
    store::{
        AdvanceSession, Advanced, Answer, Browser, BrowserNote, ChangedUser, Connections, CreateSession,
        Heard, HookMessage, Outcome, PollSession, RevokeAsUser, Revoked, StoreError, draft,
    },
};

impl Connections for SqliteStore {
    fn create_session(&self, command: CreateSession) -> Answer<'_, Outcome<ConnectSession>> {
        let row = draft::of_new_session(&command);
        self.writer.run(move |unit| connect::create(unit, &command, row)).boxed()
    }

    fn poll_session(&self, command: PollSession) -> Answer<'_, Outcome<Option<ConnectSession>>> {
        let row = draft::of_call(&command.admission, Action::SessionPolled);
        self.writer.run(move |unit| connect::poll(unit, &command, row)).boxed()
    }

    fn session(&self, session: SessionRef) -> Answer<'_, Option<ConnectSession>> {
        self.read(move |sql| connect::load(sql, session)).boxed()
    }

    fn advance_session(&self, advance: AdvanceSession) -> Answer<'_, Advanced> {
        self.writer.run(move |unit| connect::advance(unit, advance)).boxed()
    }

    fn note_browser(&self, note: BrowserNote) -> Answer<'_, ()> {
        let row = draft::of_browser_note(&note);
        self.writer.run(move |unit| unit.audit(row)).boxed()
    }

    fn grants_of(
        &self,
        app_id: AppId,
        principal: Principal,
        filter: GrantFilter,
        limit: u32,
        offset: u64,
    ) -> Answer<'_, GrantPage> {
        let at = self.clock.now();
        let limit = limit.clamp(1, 1000);
        self.read(move |sql| grants::page(sql, app_id, Some(&[principal]), &filter, (limit, offset), at))
            .boxed()
    }

    fn sweep_sessions(&self, before: Timestamp, limit: u32) -> Answer<'_, u64> {
        self.writer.run(move |unit| connect::sweep(unit, before, limit)).boxed()
    }

    fn open_browser_session(&self, browser: Browser, new: NewBrowserSession) -> Answer<'_, BrowserSession> {
        self.writer.run(move |unit| browsers::open(unit, &browser, &new)).boxed()
    }

    fn browser_session(
        &self,
        session: SessionRef,
        now: Timestamp,
        idle_seconds: u32,
    ) -> Answer<'_, Option<BrowserSession>> {
        async move {
            let found = self.read(move |sql| browsers::valid(sql, session, now, idle_seconds)).await?;
            let Some(mut kept) = found else { return Ok(None) };
            if now.as_second() >= kept.seen_at.as_second() + browsers::SEEN_EVERY {
                self.writer.run(move |unit| browsers::note_use(unit, session, now)).await?;
                kept.seen_at = now;
            }
            Ok(Some(kept))
        }
        .boxed()
    }

    fn close_browser_session(&self, browser: Browser, session: SessionRef) -> Answer<'_, ()> {
        self.writer.run(move |unit| browsers::close(unit, &browser, session)).boxed()
    }

    fn same_person(&self, issuer: String, subject: String) -> Answer<'_, Vec<User>> {
        self.read(move |sql| users::same_person(sql, &issuer, &subject)).boxed()
    }

    fn revoke_as_user(&self, revoke: RevokeAsUser) -> Answer<'_, Revoked> {
        self.writer.run(move |unit| revoke_as_user(unit, &revoke)).boxed()
    }

    fn set_user_status(
        &self,
        by: Operator,
        app_id: AppId,
        user: UserRef,
        status: UserStatus,
        reason: Option<String>,
    ) -> Answer<'_, ChangedUser> {
        self.writer
            .run(move |unit| users::set_status(unit, &by, app_id, &user, status, reason.as_deref()))
            .boxed()
    }

    fn hear(&self, message: HookMessage) -> Answer<'_, Heard> {
        self.writer.run(move |unit| hooks::hear(unit, &message)).boxed()
    }

    fn add_hook_source(&self, by: Operator, new: NewHookSource) -> Answer<'_, HookSource> {
        self.writer.run(move |unit| hooks::add(unit, &by, &new)).boxed()
    }

    fn hook_source(&self, app_id: AppId, id: WebhookId) -> Answer<'_, Option<(HookSource, SealedField)>> {
        self.read(move |sql| hooks::load(sql, app_id, id)).boxed()
    }

    fn list_hook_sources(&self, app_id: AppId) -> Answer<'_, Vec<HookSource>> {
        self.read(move |sql| hooks::list(sql, app_id)).boxed()
    }

    fn remove_hook_source(&self, by: Operator, app_id: AppId, id: WebhookId) -> Answer<'_, ()> {
        self.writer.run(move |unit| hooks::remove(unit, &by, app_id, id)).boxed()
    }

    fn set_page(&self, by: Operator, app_id: AppId, page: PageSettings) -> Answer<'_, AppConfig> {
        self.writer.run(move |unit| pages::set_page(unit, &by, app_id, &page)).boxed()
    }

    fn set_sign_in(
        &self,
        by: Operator,
        app_id: AppId,
        sign_in: Option<SignInSettings>,
        secret: Option<SecretString>,
    ) -> Answer<'_, AppConfig> {
        self.writer
            .run(move |unit| pages::set_sign_in(unit, &by, app_id, sign_in.as_ref(), secret.as_ref()))
            .boxed()
    }

    fn sign_in_secret(&self, app_id: AppId) -> Answer<'_, Option<SealedField>> {
        self.read(move |sql| pages::sign_in_secret(sql, app_id)).boxed()
    }
}

fn revoke_as_user(unit: &mut Unit<'_>, revoke: &RevokeAsUser) -> Result<Revoked, StoreError> {
    let Some(user) = revoke.browser.user else { return Err(StoreError::NotFound("grant")) };
    let grant = grants::load(unit.sql, revoke.app_id, revoke.grant_id)?;
    let own = grant.facts.principal == Principal::User(user) && grant.facts.status != GrantStatus::Deleted;
    if !own {
        return Err(StoreError::NotFound("grant"));
    }
    if let Some(revoked_at) = grant.revoked_at {
        return Ok(Revoked { grant_id: revoke.grant_id, revoked_at });
    }
    let row = draft::of_browser(&revoke.browser, revoke.app_id, Action::GrantRevoked);
    ending::end(unit, row, &grant.facts, &format!("user:{user}"))?;
    Ok(Revoked { grant_id: revoke.grant_id, revoked_at: revoke.browser.at })
}
