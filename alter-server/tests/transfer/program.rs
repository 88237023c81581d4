//! The program as a child process.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// A place, as the command line names it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'a> {
    Folder(&'a Path),
    Database(&'a str),
}

impl At<'_> {
    fn word(&self, to: bool) -> [&OsStr; 2] {
        match (self, to) {
            (Self::Folder(path), false) => ["--data-dir".as_ref(), path.as_os_str()],
            (Self::Folder(path), true) => ["--to-data-dir".as_ref(), path.as_os_str()],
            (Self::Database(url), false) => ["--database-url".as_ref(), url.as_ref()],
            (Self::Database(url), true) => ["--to-database-url".as_ref(), url.as_ref()],
        }
    }
}

pub(crate) fn command(at: At<'_>, kek: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alter-server"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ALTER_") {
            command.env_remove(name);
        }
    }
    command.args(words).arg("--json").arg("--kek-file").arg(kek).args(at.word(false)).env("RUST_LOG", "info");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn migrate(from: At<'_>, to: At<'_>, kek: &Path, words: &[&str]) -> Command {
    let mut command = command(from, kek, &[&["migrate"], words].concat());
    command.args(to.word(true));
    command
}

/// Runs it to its end.
pub(crate) fn run(mut command: Command) -> Output {
    command.output().unwrap()
}

/// What it printed.
pub(crate) fn done(command: Command) -> Value {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Exit code and standard error.
pub(crate) fn failed(command: Command) -> (i32, String) {
    let output = run(command);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A child that is killed, as by `kill -9`, when it is dropped.
pub(crate) struct Killed(Child);

impl Killed {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Waits until something is so, and kills the child at once; whether it was still running then.
    pub(crate) fn when(mut self, mut so: impl FnMut() -> bool) -> bool {
        let until = Instant::now() + Duration::from_secs(120);
        while !so() {
            if self.0.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < until, "it never came to that");
            std::thread::sleep(Duration::from_millis(2));
        }
        let running = self.0.try_wait().unwrap().is_none();
        drop(self);
        running
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
