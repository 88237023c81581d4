//! alter-axum
