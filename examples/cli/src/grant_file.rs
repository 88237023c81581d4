//! The file with the grant's id: `$XDG_CONFIG_HOME/alter-example-cli/grant`, for its owner only.

use std::{
    env,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
};

use uuid::Uuid;

/// See the module.
pub(crate) struct GrantFile(PathBuf);

impl GrantFile {
    /// Where it is, or will be.
    pub(crate) fn find() -> Result<Self, String> {
        // XDG Base Directory Specification: what is set and not absolute is ignored.
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
        let config = config.ok_or("set HOME or XDG_CONFIG_HOME, where the grant's id is kept")?;
        Ok(Self(config.join("alter-example-cli").join("grant")))
    }

    pub(crate) fn read(&self) -> Result<Uuid, String> {
        let text = fs::read_to_string(&self.0).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "no account is connected: example-cli connect PROVIDER".to_owned(),
            _ => self.told(&error),
        })?;
        text.trim().parse().map_err(|_| format!("{} holds no grant's id: remove it", self.0.display()))
    }

    /// Writes it as a whole: whoever is interrupted keeps the old one.
    pub(crate) fn write(&self, grant: &str) -> Result<(), String> {
        let fresh = self.0.with_extension("new");
        let write = || {
            if let Some(folder) = self.0.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let _ = fs::remove_file(&fresh);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            writeln!(file, "{grant}")?;
            file.sync_all()?;
            fs::rename(&fresh, &self.0)
        };
        write().map_err(|error| self.told(&error))
    }

    pub(crate) fn remove(&self) -> Result<(), String> {
        fs::remove_file(&self.0).map_err(|error| self.told(&error))
    }

    fn told(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.0.display())
    }
}
