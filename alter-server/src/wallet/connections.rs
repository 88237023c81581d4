//! Applications and what they can reach, as pages; and taking it back.

use alter_core::wire::code::Code;
use askama::Template;
use axum::{extract::Path, response::Response};
use http::StatusCode;
use serde::Deserialize;

use super::{
    Moment,
    holdings::{Connection, Holding, State, find},
    session::{Signed, signed_out},
    told,
};
use crate::{
    audit::{Action, AuditFilter, Outcome},
    store::{RevokeAsUser, StoreError},
    web::{Asked, Posted, Remark, Shell, Trouble},
};

/// Rows about one connection that are searched for the provider's receipt.
const RECEIPT_ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "wallet/connections.html")]
struct AllPage {
    shell: Shell,
    csrf: String,
    /// Who is signed in.
    who: String,
    apps: Vec<AppView>,
}

struct AppView {
    name: String,
    logo: Option<String>,
    connections: Vec<View>,
    truncated: bool,
}

struct View {
    name: String,
    provider: String,
    account: String,
    scopes: Vec<String>,
    state: State,
    connected: Moment,
    used: Option<Moment>,
    ends: Option<Moment>,
    revoked: Option<Moment>,
}

impl View {
    fn of(connection: &Connection) -> Self {
        let grant = &connection.grant;
        Self {
            name: connection.name.clone(),
            provider: connection.provider.clone(),
            account: connection.account.clone(),
            scopes: connection.scopes.clone(),
            state: connection.state,
            connected: told(grant.created_at),
            used: grant.last_used_at.map(told),
            ends: grant.facts.grant_expires_at.map(told),
            revoked: grant.revoked_at.map(told),
        }
    }
}

#[derive(Template)]
#[template(path = "wallet/connection.html")]
struct OnePage {
    shell: Shell,
    csrf: String,
    app: String,
    view: View,
    /// It was taken back a moment ago.
    just_revoked: bool,
    /// By whom it was taken back.
    revoked_by: &'static str,
    receipt: Receipt,
}

/// What the provider said of the end of a connection.
enum Receipt {
    /// Nothing yet; or it is never told.
    None,
    Confirmed(Moment),
    GivenUp(Moment),
}

#[derive(Template)]
#[template(path = "wallet/revoke.html")]
struct ConfirmPage {
    shell: Shell,
    csrf: String,
    app: String,
    view: View,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct After {
    revoked: Option<String>,
}

/// `GET /wallet`.
pub(super) async fn all(signed: Signed) -> Response {
    let holdings = match signed.holdings().await {
        Ok(holdings) => holdings,
        Err(error) => return signed.visit.store_trouble(signed.brand(), &error),
    };
    let who = who(&signed, &holdings);
    let apps = holdings.iter().map(|holding| AppView {
        name: holding.brand.name.clone(),
        logo: holding.brand.logo.clone(),
        connections: holding.connections.iter().map(View::of).collect(),
        truncated: holding.truncated,
    });
    let apps = apps.collect();
    signed.visit.page(&AllPage {
        shell: signed.shell("Your connected accounts"),
        csrf: signed.csrf(),
        who,
        apps,
    })
}

/// The person by e-mail address or name, as the app of the sign-in knows it.
fn who(signed: &Signed, holdings: &[Holding]) -> String {
    let user =
        holdings.iter().find(|holding| holding.user.id == signed.session.user).map(|holding| &holding.user);
    let named = user.and_then(|user| user.email.as_ref().or(user.name.as_ref()));
    crate::web::shown(named.unwrap_or(&signed.session.subject))
}

/// `GET /wallet/grants/{connection}`.
pub(super) async fn one(signed: Signed, Path(name): Path<String>, Asked(after): Asked<After>) -> Response {
    let holdings = match signed.holdings().await {
        Ok(holdings) => holdings,
        Err(error) => return signed.visit.store_trouble(signed.brand(), &error),
    };
    let Some((holding, connection)) = find(&holdings, &name) else { return nothing(&signed).await };
    let receipt = match receipt(&signed, connection).await {
        Ok(receipt) => receipt,
        Err(error) => return signed.visit.store_trouble(signed.brand(), &error),
    };
    let by = connection.grant.revoked_by.as_deref().unwrap_or_default();
    let page = OnePage {
        shell: signed.shell(format!("{} for {}", connection.provider, holding.brand.name)),
        csrf: signed.csrf(),
        app: holding.brand.name.clone(),
        view: View::of(connection),
        just_revoked: after.revoked.is_some() && connection.state == State::Revoked,
        revoked_by: if by == format!("user:{}", holding.user.id) {
            "you"
        } else {
            "the application or its operator"
        },
        receipt,
    };
    signed.visit.page(&page)
}

async fn receipt(signed: &Signed, connection: &Connection) -> Result<Receipt, StoreError> {
    if connection.state != State::Revoked {
        return Ok(Receipt::None);
    }
    let filter = AuditFilter {
        app_id: Some(connection.grant.app_id),
        newest_first: true,
        limit: RECEIPT_ROWS,
        grants: vec![connection.grant.facts.id],
        ..AuditFilter::default()
    };
    let rows = signed.visit.core.store.audit_page(filter).await?.rows;
    let row = rows.into_iter().find(|row| row.action == Action::ProviderRevoked);
    Ok(match row {
        None => Receipt::None,
        Some(row) if row.outcome == Outcome::Allowed => Receipt::Confirmed(told(row.at)),
        Some(row) => Receipt::GivenUp(told(row.at)),
    })
}

/// `GET /wallet/grants/{connection}/revoke`: are you sure?
pub(super) async fn confirm(signed: Signed, Path(name): Path<String>) -> Response {
    let holdings = match signed.holdings().await {
        Ok(holdings) => holdings,
        Err(error) => return signed.visit.store_trouble(signed.brand(), &error),
    };
    let Some((holding, connection)) = find(&holdings, &name) else { return nothing(&signed).await };
    if !connection.state.is_open() {
        return signed.visit.to_path(&format!("/wallet/grants/{name}"));
    }
    let page = ConfirmPage {
        shell: signed.shell("Take back access?"),
        csrf: signed.csrf(),
        app: holding.brand.name.clone(),
        view: View::of(connection),
    };
    signed.visit.page(&page)
}

#[derive(Deserialize)]
pub(super) struct Revoke {
    csrf: String,
}

/// `POST /wallet/grants/{connection}/revoke`. Again is no error.
pub(super) async fn revoke(Path(name): Path<String>, Posted { visit, form }: Posted<Revoke>) -> Response {
    let signed = match Signed::of(visit).await {
        Ok(Ok(signed)) => signed,
        Ok(Err(visit)) => return signed_out(&visit).await,
        Err(response) => return response,
    };
    if let Err(response) = signed.check_csrf(&form.csrf).await {
        return response;
    }
    let holdings = match signed.holdings().await {
        Ok(holdings) => holdings,
        Err(error) => return signed.visit.store_trouble(signed.brand(), &error),
    };
    let Some((holding, connection)) = find(&holdings, &name) else { return nothing(&signed).await };
    let revoke = RevokeAsUser {
        browser: signed.visit.browser(Some(holding.user.id)),
        app_id: connection.grant.app_id,
        grant_id: connection.grant.facts.id,
    };
    match signed.visit.core.store.revoke_as_user(revoke).await {
        Ok(_) => {
            signed.visit.core.outbox.wake();
            signed.visit.to_path(&format!("/wallet/grants/{}?revoked=1", connection.name))
        }
        Err(StoreError::NotFound(_)) => nothing(&signed).await,
        Err(error) => signed.visit.store_trouble(signed.brand(), &error),
    }
}

/// The address names nothing of this person's; an address of an earlier session does neither.
async fn nothing(signed: &Signed) -> Response {
    let mut remark = Remark::refused(
        signed.session.session.app_id,
        Action::RequestRefused,
        Code::NotFound,
        "an address of the wallet that names nothing of this user's",
    );
    remark.user = Some(signed.session.user);
    let trouble = Trouble::new(
        StatusCode::NOT_FOUND,
        "There is no such connection",
        "It was removed, or the address comes from an earlier session or from somebody else.",
        "Choose it from the list.",
    );
    signed.visit.refuse(signed.brand(), remark, trouble.link("/wallet", "Your connected accounts")).await
}
