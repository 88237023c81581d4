//! Messages about changes, out and in.
//!
//! **Out**: what happened to grants is posted to the endpoints that an operator registered, signed as Standard Webhooks says
//! ([`sign`]), to public addresses only ([`address`]), by [`Sender`]. When, and how often, is [`crate::outbox`]'s to say.
//!
//! **In**: an identity provider tells that a user was suspended or deleted. Each shape has its own proof and its own words;
//! [`inbound`] reads all of them into the same few facts. The route is `api/hooks.rs`.

mod address;
pub(crate) mod inbound;
mod send;
mod sign;

pub(crate) use send::{Answered, Sender, Undelivered};
pub(crate) use sign::SigningSecret;
