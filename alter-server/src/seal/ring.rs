//! The key ring: key-encryption keys by name. Every key reads, the first one writes.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    rand,
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why there is no key ring. Never contains key material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// No entry at all.
    #[error("the key ring is empty: give at least one key as `name:base64 of 32 bytes`")]
    Empty,
    /// An entry is not `name:base64`, the name is odd, or the key is not 32 bytes long.
    #[error(
        "key ring entry {0} must be `name:key` with a name of 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-' and a key of 32 bytes in base64"
    )]
    Entry(usize),
    /// Two entries have the same name.
    #[error("the key ring names {0:?} twice")]
    Duplicate(String),
    /// Others could read the file.
    #[error(
        "{path} is readable by others (mode {mode:o}): run `chmod 600` on it and consider the keys known to them"
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file cannot be read or written.
    #[error("cannot use the key file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gave no randomness.
    #[error("the system's cryptography failed")]
    Crypto,
}

/// Key-encryption keys by name.
pub struct KeyRing {
    keys: Vec<(String, LessSafeKey)>,
}

impl KeyRing {
    /// Name of the environment variable that [`Self::from_env`] reads.
    pub const ENV: &'static str = "ALTER_KEK";

    /// Reads entries `name:base64 of 32 bytes`, separated by commas or line ends; the first one writes. Empty lines and
    /// lines that start with `#` are skipped.
    ///
    /// # Errors
    ///
    /// [`KeyRingError::Empty`], [`KeyRingError::Entry`] (counted from 1), [`KeyRingError::Duplicate`].
    pub fn parse(text: &SecretString) -> Result<Self, KeyRingError> {
        let mut keys: Vec<(String, LessSafeKey)> = Vec::new();
        let entries = text
            .expose_secret()
            .split(['\n', ','])
            .map(str::trim)
            .filter(|entry| !entry.is_empty() && !entry.starts_with('#'));
        for (index, entry) in entries.enumerate() {
            let wrong = KeyRingError::Entry(index + 1);
            let Some((name, encoded)) = entry.split_once(':') else { return Err(wrong) };
            let name_ok = (1..=64).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            let mut bytes = Zeroizing::new([0_u8; 48]);
            let decoded = BASE64.decode_slice(encoded.trim(), bytes.as_mut_slice());
            if !name_ok || decoded != Ok(32) {
                return Err(wrong);
            }
            if keys.iter().any(|(known, _)| known == name) {
                return Err(KeyRingError::Duplicate(name.to_owned()));
            }
            let key = UnboundKey::new(&AES_256_GCM, &bytes[..32]).map_err(|_| KeyRingError::Crypto)?;
            keys.push((name.to_owned(), LessSafeKey::new(key)));
        }
        if keys.is_empty() { Err(KeyRingError::Empty) } else { Ok(Self { keys }) }
    }

    /// A ring of one fresh key, kept nowhere. For tests and throw-away vaults.
    ///
    /// # Errors
    ///
    /// [`KeyRingError::Crypto`], or an odd `name`.
    pub fn generate(name: &str) -> Result<Self, KeyRingError> {
        Self::parse(&fresh_entry(name)?)
    }

    /// Reads the ring from `ALTER_KEK`; `None` if the variable is not set.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`]; [`KeyRingError::Entry`] if it is not Unicode.
    pub fn from_env() -> Result<Option<Self>, KeyRingError> {
        match std::env::var(Self::ENV) {
            Ok(text) => Self::parse(&SecretString::from(text)).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(KeyRingError::Entry(1)),
        }
    }

    /// Reads the ring from a file that nobody else may read.
    ///
    /// # Errors
    ///
    /// [`KeyRingError::Permissions`] if group or others have any right on it, [`KeyRingError::File`], or as [`Self::parse`].
    pub fn from_file(path: &Path) -> Result<Self, KeyRingError> {
        let file_error = |source| KeyRingError::File { path: path.to_owned(), source };
        let mut file = fs::File::open(path).map_err(file_error)?;
        // Of the opened file, so that nobody can exchange it between check and use.
        let mode = file.metadata().map_err(file_error)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyRingError::Permissions { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        io::Read::read_to_string(&mut file, &mut text).map_err(file_error)?;
        Self::parse(&SecretString::from(text.as_str()))
    }

    /// Reads the ring from a file, or makes the file with one fresh key (mode 0600, complete or not there at all).
    ///
    /// # Errors
    ///
    /// As [`Self::from_file`].
    pub fn from_file_or_generate(path: &Path) -> Result<Self, KeyRingError> {
        match fs::symlink_metadata(path) {
            Ok(_) => return Self::from_file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(KeyRingError::File { path: path.to_owned(), source }),
        }
        let mut suffix = [0_u8; 8];
        rand::fill(&mut suffix).map_err(|_| KeyRingError::Crypto)?;
        let entry = fresh_entry(&format!("k-{}", hex::encode(&suffix[..4])))?;
        let draft = path.with_extension(format!("new-{}", hex::encode(suffix)));
        let result = publish(&draft, path, &entry);
        // Left over only when something failed; the key in it was never used.
        let _ = fs::remove_file(&draft);
        match result {
            // Another process was first: its key is the one.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(KeyRingError::File { path: path.to_owned(), source }),
            Ok(()) => {}
        }
        Self::from_file(path)
    }

    /// Adds a fresh key in front of those in the file, so that it is the one that writes, and reads the ring again. The
    /// file is replaced as a whole; the old keys stay in it and go on reading.
    ///
    /// # Errors
    ///
    /// As [`Self::from_file`]. The file is then as it was.
    pub fn add_key_to_file(path: &Path) -> Result<Self, KeyRingError> {
        let file_error = |source| KeyRingError::File { path: path.to_owned(), source };
        // Two processes that add at once would each write a file without the other's key, and what was sealed with the
        // key that is gone would be lost. The lock ends with this call.
        let folder = fs::File::open(folder_of(path)).map_err(file_error)?;
        folder.lock().map_err(file_error)?;
        // Checks mode and content before anything is written.
        Self::from_file(path)?;
        let old = Zeroizing::new(fs::read_to_string(path).map_err(file_error)?);
        let mut suffix = [0_u8; 8];
        rand::fill(&mut suffix).map_err(|_| KeyRingError::Crypto)?;
        let entry = fresh_entry(&format!("k-{}", hex::encode(&suffix[..4])))?;
        let text = Zeroizing::new(format!("{}\n{}", entry.expose_secret(), old.as_str()));
        let draft = path.with_extension(format!("new-{}", hex::encode(suffix)));
        let written = replace(&draft, path, &text);
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written.map_err(file_error)?;
        Self::from_file(path)
    }

    pub(super) fn writing(&self) -> (&str, &LessSafeKey) {
        let (name, key) = &self.keys[0];
        (name, key)
    }

    pub(super) fn find(&self, name: &str) -> Option<&LessSafeKey> {
        self.keys.iter().find(|(known, _)| known == name).map(|(_, key)| key)
    }
}

/// Writes `entry` to `draft`, then links it to `path`, which fails if `path` exists: a reader sees all of it or nothing.
fn publish(draft: &Path, path: &Path, entry: &SecretString) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(entry.expose_secret().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::hard_link(draft, path)?;
    fs::File::open(folder_of(path))?.sync_all()
}

/// Writes `text` to `draft`, then renames it to `path`: a reader sees the old file or the new one.
fn replace(draft: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, path)?;
    fs::File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn fresh_entry(name: &str) -> Result<SecretString, KeyRingError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| KeyRingError::Crypto)?;
    let encoded = Zeroizing::new(BASE64.encode(bytes.as_slice()));
    Ok(SecretString::from(format!("{name}:{}", encoded.as_str())))
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(name, _)| name)).finish()
    }
}
