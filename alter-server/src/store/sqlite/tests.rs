//! The contract on SQLite, and what is special about it.

use std::sync::Arc;

use alter_core::clock::ManualClock;
use base64::Engine;
use secrecy::SecretString;

use super::*;
use crate::{
    seal::KeyRing,
    store::contract::{START, World, store_contract},
};

pub(super) fn envelope() -> Envelope {
    let key = base64::engine::general_purpose::STANDARD.encode([1; 32]);
    Envelope::new(KeyRing::parse(&SecretString::from(format!("old:{key}"))).unwrap())
}

pub(super) async fn open() -> World {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(START);
    let envelope = envelope();
    let store = SqliteStore::open(folder.path(), envelope.clone(), clock.clone()).await.unwrap();
    World::new(Arc::new(store), envelope, clock, Box::new(folder))
}

store_contract!(open);
