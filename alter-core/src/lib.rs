//! alter-core
#![forbid(unsafe_code)]

pub mod answer;
pub mod bearer;
pub mod clock;
pub mod error;
#[cfg(feature = "jwt")]
pub mod jwt;
pub mod scope;
mod user_token;
pub mod wire;

pub use error::{Error, Kind, Recovery, Retry};
pub use user_token::{MAX_TOKEN_LEN, TokenFormatError, UserToken};
