//! Nothing but tests of what the compiler refuses; see `tests/`.
#![forbid(unsafe_code)]
