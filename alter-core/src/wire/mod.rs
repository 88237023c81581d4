//! The protocol between a client and a vault, as types: keys, signatures, requests, answers, error codes.
//!
//! Client and server both build on this module, so that there is one place where a field is spelled. The facts
//! come from `spec/01` to `spec/04`, which were measured on the published packages; each item names its section.
//!
//! | Module | What it holds |
//! |---|---|
//! | [`key`] | API keys: format, checksum, minting |
//! | [`sign`] | the request signature: canonical form, signing, verification |
//! | [`header`] | header names |
//! | [`code`], [`error`] | error codes with their HTTP status, and the body they travel in |
//! | [`token`] | `POST /sdk/token` |
//! | [`report`] | the two reports after a provider call: audit row and scope mismatch |
//! | [`grants`] | `grants/list` and `revoke` |
//! | [`connect`] | `oauth/connect/session` and its poll |
//! | [`auth`] | `auth/session` and `auth/poll`: signing a user in |
//! | [`catalog`] | `oauth/provider-catalog` |
//! | [`identity`] | `auth/verify-token` |
//! | [`limit`] | rate-limit headers and `Retry-After` |
//! | [`json`] | the JSON spelling that is signed |
//! | [`url`] | what makes a URL unsafe |
//! | [`secret`] | text that must not be printed, inside wire types |

pub mod auth;
pub mod catalog;
pub mod code;
pub mod connect;
pub mod error;
pub mod grants;
pub mod header;
pub mod identity;
pub mod json;
pub mod key;
pub mod limit;
pub mod report;
pub mod secret;
pub mod sign;
pub mod token;
pub mod url;
