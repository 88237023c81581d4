//! alter-core
