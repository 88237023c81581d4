//! The vault's key ring where it is used: opening sealed values, and noticing keys that another process added.

use std::path::{Path, PathBuf};

use secrecy::SecretSlice;

use crate::seal::{Envelope, KeyRing, KeyRingError, SealError, SealedField};

/// The envelope, and the file that its keys came from.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) envelope: Envelope,
    file: Option<PathBuf>,
}

impl Keys {
    pub(crate) fn new(envelope: Envelope, file: Option<PathBuf>) -> Self {
        Self { envelope, file }
    }

    /// Opens a sealed value. A key that another process added to the key file meanwhile is looked up there.
    pub(crate) fn open(&self, field: &SealedField) -> Result<SecretSlice<u8>, SealError> {
        match self.envelope.open(field) {
            Err(SealError::UnknownKey(_)) if self.reload().unwrap_or(false) => self.envelope.open(field),
            opened => opened,
        }
    }

    /// Reads the key file again. Whether there was a file to read.
    pub(crate) fn reload(&self) -> Result<bool, KeyRingError> {
        let Some(path) = &self.file else { return Ok(false) };
        self.envelope.replace_ring(KeyRing::from_file(path)?);
        Ok(true)
    }

    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}
