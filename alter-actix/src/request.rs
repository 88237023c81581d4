//! The caller of a request, wherever there is one in hand.

use actix_web::{HttpMessage, HttpRequest, dev::ServiceRequest};
use alter_core::{App, edge::Caller};

/// Finds the caller that [`AlterMiddleware`](crate::AlterMiddleware) found in a request: in handlers, guards and other
/// middleware.
pub trait AlterRequestExt {
    /// The caller that the innermost middleware found; `None` when the request came through none.
    fn alter_caller(&self) -> Option<Caller>;

    /// The caller that the middleware of that application found, or that of a clone of it.
    fn alter_caller_of(&self, app: &App) -> Option<Caller>;
}

impl AlterRequestExt for HttpRequest {
    fn alter_caller(&self) -> Option<Caller> {
        self.extensions().get().cloned()
    }

    fn alter_caller_of(&self, app: &App) -> Option<Caller> {
        self.extensions().get::<Caller>()?.at(app).cloned()
    }
}

impl AlterRequestExt for ServiceRequest {
    fn alter_caller(&self) -> Option<Caller> {
        self.request().alter_caller()
    }

    fn alter_caller_of(&self, app: &App) -> Option<Caller> {
        self.request().alter_caller_of(app)
    }
}

/// Puts a caller into the extensions of a request, inside of the one that is there already.
pub(crate) fn insert(caller: Caller, request: &ServiceRequest) {
    let mut extensions = request.extensions_mut();
    let outer = extensions.remove::<Caller>();
    extensions.insert(caller.inside(outer));
}
