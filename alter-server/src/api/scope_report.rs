//! `POST /sdk/grants/{id}/report-scope-mismatch`: the provider wants more scopes than granted (spec/01 §6.9).

use alter_core::wire::{code::Code, report::ScopeMismatchReport};

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint, decided},
};
use crate::{domain::Scope, store::ScopeMismatchCommand};

/// Most bytes of a report that the row keeps.
const MAX_DETAIL: usize = 4_096;

pub(super) struct ScopeReport;

impl Endpoint for ScopeReport {
    const ROUTE: &'static str = "POST /sdk/grants/{id}/report-scope-mismatch";
    const SCOPE: Scope = Scope::AuditEmit;
    const MAX_BODY: usize = 64 * 1024;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let grant_id = call.path_grant()?;
        let said: ScopeMismatchReport = call.json()?;
        if said.provider_status_code != 403 {
            return Err(Failure::refused(Code::InvalidRequest, "provider_status_code must be 403"));
        }
        let detail = detail(said.clamp());
        let command = ScopeMismatchCommand { admission: call.admission(), grant_id, detail };
        decided(call.core.store.record_scope_mismatch(command).await?)?;
        Ok(Reply::empty())
    }
}

/// The report as JSON; without its longest parts if it does not fit.
fn detail(mut said: ScopeMismatchReport) -> Option<String> {
    let text =
        |said: &ScopeMismatchReport| serde_json::to_string(said).ok().filter(|text| text.len() <= MAX_DETAIL);
    text(&said).or_else(|| {
        said.raw_www_authenticate = None;
        text(&said).or_else(|| {
            said.missing_scopes = None;
            text(&said)
        })
    })
}
