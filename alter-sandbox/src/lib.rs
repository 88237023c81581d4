//! alter-sandbox
