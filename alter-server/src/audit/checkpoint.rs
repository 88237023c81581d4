//! Signed checkpoints: where a chain stood at a moment, in a form that only a holder of the vault's keys can make.
//!
//! The end of a chain is a plain row of the store, so whoever can write the store could cut a chain short or write it anew with
//! correct hashes. A checkpoint says "row `seq` of this chain has this hash" under an Ed25519 key whose private half is sealed:
//! nobody makes one without the key-encryption keys. Checkpoints of a chain name each other, so none can be taken out of the
//! middle. What only a copy outside of the store can show (an *anchor*) is that the newest ones were taken away.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    digest,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ChainHead;
use crate::{
    domain::{AppId, RunId},
    seal::{Envelope, Field, SealContext, SealError, SealedField},
};

/// Why a checkpoint was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// The chain goes on.
    Progress,
    /// Its writer has stopped: no row follows.
    Closed,
    /// Retention removed the rows up to here.
    Cut,
}

impl CheckpointKind {
    /// The text form, as it is signed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Progress => "progress",
            Self::Closed => "closed",
            Self::Cut => "cut",
        }
    }
}

/// The public half of a key that signs checkpoints: 32 bytes, base64 as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A short name: the first 8 bytes of its SHA-256, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(&digest::digest(&digest::SHA256, &self.0).as_ref()[..8])
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// The text was not the base64 of 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is the base64 of 32 bytes, as `audit key` prints it")]
pub struct InvalidPublicKey;

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        let bytes = BASE64.decode(text.trim()).map_err(|_| InvalidPublicKey)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPublicKey)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a chain stood. Its JSON form, one per line, is what operators keep elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The app.
    pub app_id: AppId,
    /// The chain: the run that wrote it.
    pub chain: RunId,
    /// Why it was made.
    pub kind: CheckpointKind,
    /// Counts the chain's checkpoints from 1; cuts are counted by themselves.
    pub number: u64,
    /// Place of the row that it is about.
    pub seq: u64,
    /// Hash of that row.
    #[serde(with = "super::text::hash")]
    pub hash: [u8; 32],
    /// When it was made, UTC, to the microsecond.
    pub at: Timestamp,
    /// Rows since the one before (of a cut: rows that it took away).
    pub rows: u64,
    /// Of a cut: SHA-256 of the file that its rows were exported to.
    #[serde(with = "super::text::maybe_hash")]
    pub export: Option<[u8; 32]>,
    /// [`Self::digest`] of the one before; for a cut, of the cut before.
    #[serde(with = "super::text::maybe_hash")]
    pub previous: Option<[u8; 32]>,
    /// The key that signed.
    pub key: PublicKey,
    /// Ed25519 over all of the above.
    #[serde(with = "super::text::bytes")]
    pub signature: Vec<u8>,
}

impl Checkpoint {
    /// What is signed: every part preceded by its length, so that no two checkpoints have the same encoding.
    fn encode(&self) -> Vec<u8> {
        // Every field is named, so that a new one cannot be forgotten here.
        let Self { app_id, chain, kind, number, seq, hash, at, rows, export, previous, key, signature: _ } =
            self;
        let mut out = Vec::with_capacity(512);
        let mut put = |part: Option<&[u8]>| match part {
            None => out.push(0),
            Some(bytes) => {
                out.push(1);
                out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
                out.extend_from_slice(bytes);
            }
        };
        put(Some(b"alter-audit-checkpoint-v1"));
        put(Some(app_id.bytes()));
        put(Some(chain.bytes()));
        put(Some(kind.as_str().as_bytes()));
        put(Some(&number.to_be_bytes()));
        put(Some(&seq.to_be_bytes()));
        put(Some(hash));
        put(Some(&at.as_microsecond().to_be_bytes()));
        put(Some(&rows.to_be_bytes()));
        put(export.as_ref().map(<[u8; 32]>::as_slice));
        put(previous.as_ref().map(<[u8; 32]>::as_slice));
        put(Some(key.bytes()));
        out
    }

    /// SHA-256 of what is signed: how the next checkpoint names this one.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.encode())
    }

    /// Whether [`Self::key`] signed this. Whether that key is to be trusted is another question.
    #[must_use]
    pub fn signature_holds(&self) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key.bytes()).verify(&self.encode(), &self.signature).is_ok()
    }

    /// The place that it is about.
    #[must_use]
    pub const fn head(&self) -> ChainHead {
        ChainHead { seq: self.seq, hash: self.hash }
    }
}

/// The end of a chain that is to be signed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The app.
    pub app_id: AppId,
    /// The chain.
    pub chain: RunId,
    /// Why.
    pub kind: CheckpointKind,
    /// Where the chain stands.
    pub head: ChainHead,
    /// When.
    pub at: Timestamp,
    /// Of a cut: SHA-256 of the export.
    pub export: Option<[u8; 32]>,
}

/// Signs checkpoints.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.public).finish()
    }
}

impl Signer {
    fn of_seed(seed: &[u8]) -> Result<Self, SealError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SealError::Crypto)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| SealError::Crypto)?;
        Ok(Self { pair, public: PublicKey(public) })
    }

    /// Signs where the chain stands. `before` is the chain's newest checkpoint, for a cut its newest cut.
    #[must_use]
    pub fn sign(&self, due: &Due, before: Option<&Checkpoint>) -> Checkpoint {
        let at = Timestamp::from_microsecond(due.at.as_microsecond()).unwrap_or(due.at);
        let mut checkpoint = Checkpoint {
            app_id: due.app_id,
            chain: due.chain,
            kind: due.kind,
            number: before.map_or(1, |before| before.number + 1),
            seq: due.head.seq,
            hash: due.head.hash,
            at,
            rows: due.head.seq - before.map_or(0, |before| before.seq.min(due.head.seq)),
            export: due.export,
            previous: before.map(Checkpoint::digest),
            key: self.public,
            signature: Vec::new(),
        };
        checkpoint.signature = self.pair.sign(&checkpoint.encode()).as_ref().to_vec();
        checkpoint
    }
}

/// A key that signs checkpoints, as it is kept.
#[derive(Debug, Clone)]
pub struct CheckpointKey {
    /// The public half.
    pub public: PublicKey,
    /// When it was made, UTC.
    pub created_at: Timestamp,
    /// The private half.
    pub private: SealedField,
}

impl CheckpointKey {
    /// Where the private half belongs.
    #[must_use]
    pub fn context(public: PublicKey) -> SealContext {
        let field = Field::CheckpointKey;
        SealContext { app_id: AppId::VAULT, field, row: public.bytes().to_vec(), generation: 1 }
    }

    /// A fresh key.
    ///
    /// # Errors
    ///
    /// [`SealError::Crypto`] when the system gives no randomness.
    pub fn generate(envelope: &Envelope, created_at: Timestamp) -> Result<(Self, Signer), SealError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        aws_lc_rs::rand::fill(seed.as_mut_slice()).map_err(|_| SealError::Crypto)?;
        let signer = Signer::of_seed(seed.as_slice())?;
        let context = Self::context(signer.public);
        let sealed = envelope.seal(&context, &SecretSlice::from(seed.to_vec()))?;
        let private = SealedField { context, sealed };
        Ok((Self { public: signer.public, created_at, private }, signer))
    }

    /// Opens the private half. That it opens, and belongs to the public half, is what tells a key of this vault from one that
    /// somebody wrote into the store.
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::open`].
    pub fn open(&self, envelope: &Envelope) -> Result<Signer, SealError> {
        let seed = envelope.open(&self.private)?;
        let signer = Signer::of_seed(seed.expose_secret())?;
        if signer.public == self.public { Ok(signer) } else { Err(SealError::Refused) }
    }
}

/// What a walk over the trail is checked against besides the trail itself.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Keys that are known from outside the store. `None` takes those inside whose private half opens with the key ring.
    pub trusted: Option<Vec<PublicKey>>,
    /// Checkpoints that were kept outside the store.
    pub anchors: Vec<Checkpoint>,
}

impl Evidence {
    /// The keys whose signatures count.
    #[must_use]
    pub fn keys(&self, inside: &[CheckpointKey], envelope: &Envelope) -> Vec<PublicKey> {
        match &self.trusted {
            Some(outside) => outside.clone(),
            None => inside.iter().filter(|key| key.open(envelope).is_ok()).map(|key| key.public).collect(),
        }
    }
}

impl Evidence {
    /// The anchors of one app, or all of them.
    pub(crate) fn anchors_of(&self, app_id: Option<AppId>) -> impl Iterator<Item = &Checkpoint> {
        self.anchors.iter().filter(move |anchor| app_id.is_none_or(|app_id| anchor.app_id == app_id))
    }
}

/// The newest key whose private half opens.
pub(crate) fn signer_of(keys: &[CheckpointKey], envelope: &Envelope) -> Option<Signer> {
    let newest = keys.iter().filter_map(|key| Some((key.created_at, key.open(envelope).ok()?)));
    newest.max_by_key(|(created_at, _)| *created_at).map(|(_, signer)| signer)
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::seal::KeyRing;

    fn envelope(number: u8) -> Envelope {
        let key = BASE64.encode([number; 32]);
        Envelope::new(KeyRing::parse(&SecretString::from(format!("one:{key}"))).unwrap())
    }

    fn due() -> Due {
        Due {
            app_id: AppId::random(),
            chain: RunId::random(),
            kind: CheckpointKind::Progress,
            head: ChainHead { seq: 7, hash: [7; 32] },
            at: Timestamp::from_second(1_767_225_600).unwrap(),
            export: None,
        }
    }

    #[test]
    fn a_checkpoint_survives_its_json_form_and_every_changed_field_breaks_its_signature() {
        let (_, signer) = CheckpointKey::generate(&envelope(1), Timestamp::UNIX_EPOCH).unwrap();
        let (_, other) = CheckpointKey::generate(&envelope(1), Timestamp::UNIX_EPOCH).unwrap();
        let first = signer.sign(&due(), None);
        let mut last = due();
        last.export = Some([1; 32]);
        let checkpoint = signer.sign(&last, Some(&first));
        let text = serde_json::to_string(&checkpoint).unwrap();
        assert_eq!(serde_json::from_str::<Checkpoint>(&text).unwrap(), checkpoint);
        assert!(checkpoint.signature_holds());
        let changes: [fn(&mut Checkpoint); 11] = [
            |c| c.app_id = AppId::random(),
            |c| c.chain = RunId::random(),
            |c| c.kind = CheckpointKind::Cut,
            |c| c.number += 1,
            |c| c.seq += 1,
            |c| c.hash[0] ^= 1,
            |c| c.at = Timestamp::UNIX_EPOCH,
            |c| c.rows += 1,
            |c| c.export = None,
            |c| c.previous = None,
            |c| c.signature[0] ^= 1,
        ];
        for change in changes {
            let mut changed = checkpoint.clone();
            change(&mut changed);
            assert!(!changed.signature_holds(), "{changed:?}");
        }
        let mut claimed = checkpoint;
        claimed.key = other.public;
        assert!(!claimed.signature_holds());
    }

    #[test]
    fn a_key_that_was_written_into_the_store_without_the_key_ring_does_not_count() {
        let (own, _) = CheckpointKey::generate(&envelope(1), Timestamp::UNIX_EPOCH).unwrap();
        let (mut planted, _) = CheckpointKey::generate(&envelope(2), Timestamp::UNIX_EPOCH).unwrap();
        let keys = Evidence::default().keys(&[own.clone(), planted.clone()], &envelope(1));
        assert_eq!(keys, [own.public]);
        // Nor does another public half beside a private half that opens.
        planted.private = own.private.clone();
        assert!(planted.open(&envelope(1)).is_err());
        assert!(signer_of(&[planted], &envelope(1)).is_none());
    }
}
