//! The wallet: where people see which applications can reach their accounts, what was done with that, and take it back.

use std::sync::Arc;

use axum::response::Response;

use crate::{
    audit::Action,
    idp::AppEntry,
    signin::{SignInError, SignedIn},
    web::{Brand, Remark, Trouble, Visit},
};

/// Goes on after somebody signed in, or failed to.
pub(crate) async fn after_sign_in(
    visit: Visit,
    app: Arc<AppEntry>,
    result: Result<SignedIn, SignInError>,
) -> Response {
    let brand = Brand::of(&app.config);
    match result {
        Ok(_) => visit.trouble(brand, Trouble::internal()),
        Err(error) => {
            let remark =
                Remark::refused(app.config.app_id, Action::WalletSignedIn, error.code(), error.to_string());
            visit.refuse(brand, remark, error.trouble().link("/wallet", "To the wallet")).await
        }
    }
}
