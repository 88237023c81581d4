//! alter-server
