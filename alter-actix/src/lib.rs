//! alter-actix
