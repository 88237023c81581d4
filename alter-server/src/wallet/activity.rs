//! What was done with a person's connections: a page, and CSV.

use std::collections::BTreeMap;

use askama::Template;
use axum::{body::Body, response::Response};
use http::{HeaderValue, header};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;
use url::Url;

use super::{
    Moment, csv,
    holdings::{Connection, Holding},
    session::{Signed, same},
    told,
};
use crate::{
    audit::{Action, AuditFilter, AuditRow, Outcome},
    domain::{AgentId, GrantId},
    store::StoreError,
    web::{Asked, Remark, Shell, shown},
};

/// Lines of a page, at least; it ends with the part of the trail that brought them.
const PAGE_LINES: usize = 50;
/// Rows of the trail that are read at once while each is a line.
const READ_ROWS: u32 = 50;
/// The same while most are left out, or all are wanted.
const READ_MANY_ROWS: u32 = 500;
/// Rows that are searched for one page.
const SEARCHED_ROWS: usize = 5_000;
/// Rows that are searched for one CSV file.
pub(super) const CSV_ROWS: usize = 10_000;

/// What to look for; empty is everything.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Question {
    app: String,
    connection: String,
    provider: String,
    agent: String,
    from: String,
    to: String,
    after: String,
}

/// The same, understood.
struct Search<'a> {
    holding: &'a Holding,
    grants: Vec<GrantId>,
    agent: String,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    after: Option<u64>,
}

/// One thing that was done.
struct Line {
    when: Moment,
    what: &'static str,
    method: String,
    /// Host and path.
    target: String,
    status: String,
    refused: bool,
    who: String,
    why: String,
    provider: String,
    account: String,
    code: String,
}

struct Found {
    lines: Vec<Line>,
    next: Option<u64>,
}

/// A choice of a `<select>`.
struct Choice {
    value: String,
    words: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "wallet/activity.html")]
struct ActivityPage {
    shell: Shell,
    csrf: String,
    apps: Vec<Choice>,
    connections: Vec<Choice>,
    providers: Vec<Choice>,
    agents: Vec<String>,
    agent: String,
    from: String,
    to: String,
    /// A date that cannot be read.
    odd_date: bool,
    lines: Vec<Line>,
    /// Queries of the links.
    csv: String,
    older: Option<String>,
    is_first: bool,
}

/// `GET /wallet/activity`.
pub(super) async fn page(signed: Signed, Asked(asked): Asked<Question>) -> Response {
    match write_page(&signed, &asked).await {
        Ok(response) => response,
        Err(error) => signed.visit.store_trouble(signed.brand(), &error),
    }
}

async fn write_page(signed: &Signed, asked: &Question) -> Result<Response, StoreError> {
    let holdings = signed.holdings().await?;
    let search = Search::of(&holdings, asked);
    let (mut lines, mut next, mut agents) = (Vec::new(), None, BTreeMap::new());
    if let Some(search) = &search {
        if search.after.is_none() {
            viewed(signed, search, "activity").await?;
        }
        agents = agent_names(signed, search).await?;
        let found = search.run(signed, &agents, PAGE_LINES, SEARCHED_ROWS).await?;
        (lines, next) = (found.lines, found.next);
    }
    let holding = search.as_ref().map(|search| search.holding);
    let is_chosen = |one: &Holding| holding.is_some_and(|chosen| chosen.name == one.name);
    let apps = holdings.iter().map(|holding| Choice {
        value: holding.name.clone(),
        words: holding.brand.name.clone(),
        chosen: is_chosen(holding),
    });
    let apps: Vec<_> = apps.collect();
    let of_app = holding.map_or(&[][..], |holding| &holding.connections[..]);
    let connections = of_app.iter().map(|connection| Choice {
        value: connection.name.clone(),
        words: format!("{}: {}", connection.provider, connection.account),
        chosen: same(&connection.name, &asked.connection),
    });
    let mut providers: Vec<Choice> = Vec::new();
    for connection in of_app {
        let id = connection.grant.facts.provider.as_str();
        if !providers.iter().any(|known| known.value == id) {
            let chosen = id == asked.provider;
            providers.push(Choice { value: id.to_owned(), words: connection.provider.clone(), chosen });
        }
    }
    let mut known: Vec<String> = agents.into_values().collect();
    known.extend(lines.iter().map(|line| line.who.clone()));
    known.sort();
    known.dedup();
    Ok(signed.visit.page(&ActivityPage {
        shell: signed.shell("Activity"),
        csrf: signed.csrf(),
        apps,
        connections: connections.collect(),
        providers,
        agents: known,
        agent: shown(&asked.agent),
        from: written_date(&asked.from),
        to: written_date(&asked.to),
        odd_date: [&asked.from, &asked.to].into_iter().any(|text| !text.is_empty() && date(text).is_none()),
        lines,
        csv: asked.query(None),
        older: next.map(|next| asked.query(Some(next))),
        is_first: asked.after.is_empty(),
    }))
}

/// `GET /wallet/activity.csv`: the same, without pages.
pub(super) async fn csv(signed: Signed, Asked(asked): Asked<Question>) -> Response {
    match write_csv(&signed, &asked).await {
        Ok(response) => response,
        Err(error) => signed.visit.store_trouble(signed.brand(), &error),
    }
}

async fn write_csv(signed: &Signed, asked: &Question) -> Result<Response, StoreError> {
    let holdings = signed.holdings().await?;
    let mut out = String::new();
    csv::line(
        &mut out,
        [
            "time_utc",
            "application",
            "provider",
            "account",
            "what",
            "method",
            "target",
            "status",
            "who",
            "why",
            "outcome",
            "code",
        ],
    );
    if let Some(mut search) = Search::of(&holdings, asked) {
        search.after = None;
        viewed(signed, &search, "activity as CSV").await?;
        let agents = agent_names(signed, &search).await?;
        for line in search.run(signed, &agents, usize::MAX, CSV_ROWS).await?.lines {
            let outcome = if line.refused { "refused" } else { "allowed" };
            csv::line(
                &mut out,
                [
                    line.when.exact.as_str(),
                    &search.holding.brand.name,
                    &line.provider,
                    &line.account,
                    line.what,
                    &line.method,
                    &line.target,
                    &line.status,
                    &line.who,
                    &line.why,
                    outcome,
                    &line.code,
                ],
            );
        }
    }
    let mut response = Response::new(Body::from(out));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let name = HeaderValue::from_static("attachment; filename=\"activity.csv\"");
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(signed.visit.dressed(response))
}

/// The trail says who looked at it.
async fn viewed(signed: &Signed, search: &Search<'_>, what: &str) -> Result<(), StoreError> {
    let user = &search.holding.user;
    let remark = Remark::allowed(user.app_id, Action::WalletViewed, Some(user.id), what);
    signed.visit.record(remark).await
}

async fn agent_names(signed: &Signed, search: &Search<'_>) -> Result<BTreeMap<AgentId, String>, StoreError> {
    let agents = signed.visit.core.store.list_agents(search.holding.user.app_id).await?;
    Ok(agents.into_iter().map(|agent| (agent.id, agent.name)).collect())
}

impl Question {
    /// The same question as a query, continued after a position.
    fn query(&self, after: Option<u64>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let asked = [
            ("app", &self.app),
            ("connection", &self.connection),
            ("provider", &self.provider),
            ("agent", &self.agent),
            ("from", &self.from),
            ("to", &self.to),
        ];
        for (name, value) in asked {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        if let Some(after) = after {
            query.append_pair("after", &after.to_string());
        }
        query.finish()
    }
}

impl<'a> Search<'a> {
    /// `None` if nothing can be found: what is asked for is not the person's.
    fn of(holdings: &'a [Holding], asked: &Question) -> Option<Self> {
        let holding = if !asked.connection.is_empty() {
            super::holdings::find(holdings, &asked.connection)?.0
        } else if asked.app.is_empty() {
            holdings.iter().find(|holding| !holding.connections.is_empty()).or(holdings.first())?
        } else {
            holdings.iter().find(|holding| same(&holding.name, &asked.app))?
        };
        let wanted = |connection: &&Connection| {
            (asked.connection.is_empty() || same(&connection.name, &asked.connection))
                && (asked.provider.is_empty() || connection.grant.facts.provider.as_str() == asked.provider)
        };
        let grants = holding.connections.iter().filter(wanted).map(|connection| connection.grant.facts.id);
        let day = |text: &str, end: bool| {
            let date = date(text)?;
            let date = if end { date.tomorrow().ok()? } else { date };
            date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
        };
        Some(Self {
            holding,
            grants: grants.collect(),
            agent: asked.agent.trim().to_lowercase(),
            from: day(&asked.from, false),
            to: day(&asked.to, true),
            after: asked.after.parse().ok(),
        })
    }

    /// Reads the trail, newest first, until there are `lines` lines or `rows` rows were read.
    async fn run(
        &self,
        signed: &Signed,
        agents: &BTreeMap<AgentId, String>,
        lines: usize,
        rows: usize,
    ) -> Result<Found, StoreError> {
        let mut found = Found { lines: Vec::new(), next: self.after };
        // No grants in the filter would mean everybody's.
        if self.grants.is_empty() {
            found.next = None;
            return Ok(found);
        }
        let sifted = !self.agent.is_empty() || self.from.is_some() || self.to.is_some();
        let limit = if sifted || lines == usize::MAX { READ_MANY_ROWS } else { READ_ROWS };
        let mut read = 0;
        loop {
            let filter = AuditFilter {
                app_id: Some(self.holding.user.app_id),
                after: found.next,
                newest_first: true,
                limit,
                grants: self.grants.clone(),
            };
            let page = signed.visit.core.store.audit_page(filter).await?;
            read += page.rows.len();
            let past = page.rows.last().is_some_and(|row| self.from.is_some_and(|from| row.at < from));
            let wanted = page.rows.iter().filter(|row| {
                self.from.is_none_or(|from| row.at >= from) && self.to.is_none_or(|to| row.at < to)
            });
            let wanted = wanted.filter_map(|row| self.line(row, agents));
            found.lines.extend(wanted.filter(|line| line.who.to_lowercase().contains(&self.agent)));
            found.next = page.next.filter(|_| !past);
            if found.next.is_none() || found.lines.len() >= lines || read >= rows {
                return Ok(found);
            }
        }
    }

    fn line(&self, row: &AuditRow, agents: &BTreeMap<AgentId, String>) -> Option<Line> {
        let connection = self
            .holding
            .connections
            .iter()
            .find(|connection| Some(connection.grant.facts.id) == row.grant_id)?;
        let agent = row.agent_id.and_then(|agent| agents.get(&agent));
        let by_person =
            row.caller.is_none() && row.key_id.is_none() && row.app_user_id == Some(self.holding.user.id);
        let who = match (agent, &row.caller, row.caller_type.as_deref()) {
            (Some(agent), ..) => shown(agent),
            (None, Some(_), Some("operator")) => "An operator of the vault".to_owned(),
            (None, Some(caller), _) => shown(caller),
            (None, None, _) if by_person => "You".to_owned(),
            (None, None, _) if row.key_id.is_some() => "The application".to_owned(),
            (None, None, _) => "The vault".to_owned(),
        };
        let status = match row.status {
            Some(0) => "no answer".to_owned(),
            Some(status) => status.to_string(),
            None => String::new(),
        };
        Some(Line {
            when: told(row.at),
            what: what(row.action),
            method: row.method.as_deref().map(shown).unwrap_or_default(),
            target: row.url.as_deref().map(target).unwrap_or_default(),
            status,
            refused: row.outcome == Outcome::Refused,
            who,
            why: row.reason.as_deref().map(shown).unwrap_or_default(),
            provider: connection.provider.clone(),
            account: connection.account.clone(),
            code: row.code.as_deref().map(shown).unwrap_or_default(),
        })
    }
}

/// What happened, in words for the person whose account it is.
fn what(action: Action) -> &'static str {
    match action {
        Action::CallReported => "Call made",
        Action::TokenReleased => "Access handed out",
        Action::TokenRefused => "Access refused",
        Action::TokenRefreshed => "Access renewed",
        Action::RefreshFailed => "Access could not be renewed",
        Action::ReconnectNeeded => "Needs reconnecting",
        Action::ScopeMismatchReported => "More permissions needed",
        Action::GrantCreated | Action::GrantImported | Action::GrantConnected => "Connected",
        Action::ConnectBegun => "Connecting begun",
        Action::ConnectFailed => "Connecting failed",
        Action::GrantRevoked => "Access taken back",
        Action::ProviderRevoked => "Provider told of the end",
        Action::GrantDeleted => "Removed",
        _ => "Looked up",
    }
}

/// Host and path of an address: what was called, without what may be personal in its query.
fn target(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            shown(&format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path()))
        }
        Err(_) => shown(url.split(['?', '#']).next().unwrap_or_default()),
    }
}

fn date(text: &str) -> Option<Date> {
    (text.len() == 10).then(|| text.parse().ok()).flatten()
}

/// A date as a form takes it; empty if it is none.
fn written_date(text: &str) -> String {
    date(text).map(|date| date.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_query() {
        assert_eq!(target("https://api.example.com/v1/me?token=s3cret#x"), "api.example.com/v1/me");
        assert_eq!(target("http://127.0.0.1:8080/me"), "127.0.0.1:8080/me");
        assert_eq!(target("not an address?x=1"), "not an address");
    }

    #[test]
    fn only_days_are_dates() {
        assert_eq!(written_date("2026-11-21"), "2026-11-21");
        for text in ["", "x", "2026-13-01", "2026-11-21T00:00", "\"><script>"] {
            assert_eq!(written_date(text), "", "{text}");
        }
    }
}
