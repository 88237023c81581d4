//! The pages on which people connect accounts. The way back from a sign-in comes first.

use axum::response::Response;

use crate::{
    audit::Action,
    signin::{Purpose, SignInError, SignedIn},
    web::{Brand, BrowserSecret, Remark, Trouble, Visit},
};

/// Goes on after somebody signed in, or failed to, for a connect or sign-in session. `secret` is the browser's
/// ([`crate::web::Cookie::Connect`]).
pub(crate) async fn after_sign_in(
    visit: Visit,
    purpose: Purpose,
    _secret: BrowserSecret,
    result: Result<SignedIn, SignInError>,
) -> Response {
    let remark =
        |code| Remark::refused(purpose.app_id(), Action::SessionProved, code, "sign-in for a session");
    match result {
        Ok(_) => visit.trouble(Brand::vault(), Trouble::internal()),
        Err(error) => visit.refuse(Brand::vault(), remark(error.code()), error.trouble()).await,
    }
}
