//! The row of what an operator did.

use crate::{
    audit::{Action, AuditRow, Outcome},
    domain::{AppId, Operator},
};

/// A row under the operator's name.
pub(super) fn row_of(by: &Operator, app_id: AppId, action: Action) -> AuditRow {
    let mut row = AuditRow::draft(app_id, by.at, action, Outcome::Allowed);
    row.caller = Some(by.name.clone());
    row.caller_type = Some("operator".to_owned());
    row
}
