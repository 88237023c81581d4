//! Sessions, browsers, users: which unit of work each operation is.
//!
//! What only adds or looks shares the app's gate with signed calls. What takes away holds it alone: revoking, a user's status, an
//! operator's changes. So does a session that a connection came about in: it may replace the credential that a refresh is about to
//! replace, and it decides on what the principal has at the provider.

use futures_util::FutureExt;
use jiff::Timestamp;
use secrecy::SecretString;

use super::{
    PostgresStore, browsers, connect::Mode, connect_sessions, ending, grants, hooks, lanes::Gate, pages,
    users,
};
use crate::{
    audit::Action,
    domain::{
        AppConfig, AppId, BrowserSession, ConnectSession, GrantFilter, GrantPage, HookSource,
        NewBrowserSession, NewHookSource, Operator, PageSettings, Principal, SessionRef, SignInSettings,
        User, UserRef, UserStatus, WebhookId,
    },
    seal::SealedField,
    store::{
        AdvanceSession, Advanced, Answer, Browser, BrowserNote, ChangedUser, Connections, CreateSession,
        Heard, HookMessage, Outcome, PollSession, RevokeAsUser, Revoked, draft,
    },
};

impl Connections for PostgresStore {
    fn create_session(&self, command: CreateSession) -> Answer<'_, Outcome<ConnectSession>> {
        let row = draft::of_new_session(&command);
        unit!(self, Gate::Shared(row.app_id), (command, row), |unit| connect_sessions::create(
            unit,
            command,
            row.clone()
        ))
    }

    fn poll_session(&self, command: PollSession) -> Answer<'_, Outcome<Option<ConnectSession>>> {
        let row = draft::of_call(&command.admission, Action::SessionPolled);
        unit!(self, Gate::Shared(row.app_id), (command, row), |unit| connect_sessions::poll(
            unit,
            command,
            row.clone()
        ))
    }

    fn session(&self, session: SessionRef) -> Answer<'_, Option<ConnectSession>> {
        read!(self, Read, (session), |sql| connect_sessions::load(sql, *session))
    }

    fn advance_session(&self, advance: AdvanceSession) -> Answer<'_, Advanced> {
        let mut row = draft::of_browser_note(&advance.note);
        row.app_id = advance.session.app_id;
        let gate = if advance.connection.is_some() { Gate::Exclusive } else { Gate::Shared };
        unit!(self, gate(row.app_id), (advance, row), |unit| connect_sessions::advance(
            unit,
            advance,
            row.clone()
        ))
    }

    fn note_browser(&self, note: BrowserNote) -> Answer<'_, ()> {
        let row = draft::of_browser_note(&note);
        unit!(self, Gate::Open, (row), |unit| async {
            unit.audit(row.clone());
            Ok(())
        })
    }

    fn grants_of(
        &self,
        app_id: AppId,
        principal: Principal,
        filter: GrantFilter,
        limit: u32,
        offset: u64,
    ) -> Answer<'_, GrantPage> {
        let (at, part, whose) = (self.clock.now(), (limit.clamp(1, 1000), offset), vec![principal]);
        read!(self, Read, (app_id, whose, filter, part, at), |sql| grants::page(
            sql,
            *app_id,
            Some(whose),
            filter,
            *part,
            *at
        ))
    }

    fn sweep_sessions(&self, before: Timestamp, limit: u32) -> Answer<'_, u64> {
        unit!(self, Gate::Open, (before, limit), |unit| connect_sessions::sweep(unit.sql, *before, *limit))
    }

    fn open_browser_session(&self, browser: Browser, new: NewBrowserSession) -> Answer<'_, BrowserSession> {
        unit!(self, Gate::Shared(new.app_id), (browser, new), |unit| browsers::open(unit, browser, new))
    }

    fn browser_session(
        &self,
        session: SessionRef,
        now: Timestamp,
        idle_seconds: u32,
    ) -> Answer<'_, Option<BrowserSession>> {
        async move {
            let found: Answer<'_, _> = read!(self, Read, (session, now, idle_seconds), |sql| {
                browsers::valid(sql, *session, *now, *idle_seconds)
            });
            let Some(mut kept) = found.await? else { return Ok(None) };
            if now.as_second() >= kept.seen_at.as_second() + browsers::SEEN_EVERY {
                let noted: Answer<'_, ()> =
                    unit!(self, Gate::Open, (session, now), |unit| browsers::note_use(
                        unit.sql, *session, *now
                    ));
                noted.await?;
                kept.seen_at = now;
            }
            Ok(Some(kept))
        }
        .boxed()
    }

    fn close_browser_session(&self, browser: Browser, session: SessionRef) -> Answer<'_, ()> {
        unit!(self, Gate::Shared(session.app_id), (browser, session), |unit| browsers::close(
            unit, browser, *session
        ))
    }

    fn same_person(&self, issuer: String, subject: String) -> Answer<'_, Vec<User>> {
        read!(self, Read, (issuer, subject), |sql| users::same_person(sql, issuer, subject))
    }

    fn revoke_as_user(&self, revoke: RevokeAsUser) -> Answer<'_, Revoked> {
        unit!(self, Gate::Exclusive(revoke.app_id), (revoke), |unit| ending::revoke_as_user(unit, revoke))
    }

    fn set_user_status(
        &self,
        by: Operator,
        app_id: AppId,
        user: UserRef,
        status: UserStatus,
        reason: Option<String>,
    ) -> Answer<'_, ChangedUser> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, user, status, reason), |unit| users::set_status(
            unit,
            by,
            *app_id,
            user,
            *status,
            reason.as_deref()
        ))
    }

    fn hear(&self, message: HookMessage) -> Answer<'_, Heard> {
        let row = draft::of_hook(&message);
        unit!(self, Gate::Exclusive(row.app_id), (message, row), |unit| hooks::hear(
            unit,
            message,
            row.clone()
        ))
    }

    fn add_hook_source(&self, by: Operator, new: NewHookSource) -> Answer<'_, HookSource> {
        unit!(self, Gate::Exclusive(new.source.app_id), (by, new), |unit| hooks::add(unit, by, new))
    }

    fn hook_source(&self, app_id: AppId, id: WebhookId) -> Answer<'_, Option<(HookSource, SealedField)>> {
        read!(self, Read, (app_id, id), |sql| hooks::load(sql, *app_id, *id))
    }

    fn list_hook_sources(&self, app_id: AppId) -> Answer<'_, Vec<HookSource>> {
        read!(self, Read, (app_id), |sql| hooks::list(sql, *app_id))
    }

    fn remove_hook_source(&self, by: Operator, app_id: AppId, id: WebhookId) -> Answer<'_, ()> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, id), |unit| hooks::remove(unit, by, *app_id, *id))
    }

    fn set_page(&self, by: Operator, app_id: AppId, page: PageSettings) -> Answer<'_, AppConfig> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, page), |unit| pages::set_page(
            unit, by, *app_id, page
        ))
    }

    fn set_sign_in(
        &self,
        by: Operator,
        app_id: AppId,
        sign_in: Option<SignInSettings>,
        secret: Option<SecretString>,
    ) -> Answer<'_, AppConfig> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, sign_in, secret), |unit| pages::set_sign_in(
            unit,
            by,
            *app_id,
            sign_in.as_ref(),
            secret.as_ref()
        ))
    }

    fn sign_in_secret(&self, app_id: AppId) -> Answer<'_, Option<SealedField>> {
        read!(self, Read, (app_id), |sql| pages::sign_in_secret(sql, *app_id))
    }
}
