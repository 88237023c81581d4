//! The private PostgreSQL of the tests, with this crate's URLs.

use std::ops::Deref;

use super::DatabaseUrl;

/// A database of its own for one test.
pub(crate) struct Database(alter_test_postgres::Database);

impl Database {
    pub(crate) async fn create() -> Self {
        Self(alter_test_postgres::Database::create().await)
    }

    /// On a server that no other test uses, so that it may be stopped.
    pub(crate) async fn alone() -> Self {
        Self(alter_test_postgres::Database::alone().await)
    }

    /// Over TCP.
    pub(crate) fn url(&self) -> DatabaseUrl {
        DatabaseUrl::from(self.text())
    }

    /// Over `PgBouncer` in transaction mode.
    pub(crate) async fn pooled_url(&self) -> DatabaseUrl {
        DatabaseUrl::from(self.pooled_text().await)
    }

    /// Over the Unix socket.
    pub(crate) fn socket_url(&self) -> DatabaseUrl {
        DatabaseUrl::from(self.socket_text())
    }
}

impl Deref for Database {
    type Target = alter_test_postgres::Database;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
