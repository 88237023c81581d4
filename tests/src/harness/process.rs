//! The `alter-server` binary as a child process that never outlives its test.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long a child may take to say that it is ready, before the test gives up on it.
const READY: Duration = Duration::from_secs(30);

/// The binary beside this test's executable; built first if it is not there.
pub(crate) fn server_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // …/target/debug/deps/alter_tests-<hash>
        let profile = env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
        let binary = profile.join(format!("alter-server{}", env::consts::EXE_SUFFIX));
        if !binary.exists() {
            build(&profile);
        }
        assert!(binary.exists(), "{} is not there and was not built", binary.display());
        binary
    })
}

fn build(profile: &Path) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("Cargo.toml");
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--package",
        "alter-server",
        "--bin",
        "alter-server",
        "--manifest-path",
    ]);
    command.arg(manifest).arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        command.arg("--release");
    }
    assert!(command.status().unwrap().success(), "alter-server could not be built");
}

/// Runs one command of the binary to its end.
pub(crate) fn cli(data_dir: &Path, arguments: &[&str]) -> Output {
    command(data_dir, arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs one command of the binary and reads the JSON that it prints.
pub(crate) fn cli_json(data_dir: &Path, arguments: &[&str]) -> Value {
    let output = cli(data_dir, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}\n{out}\n{err}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?} printed {out:?}: {error}"))
}

fn command(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(server_binary());
    command.args(arguments).arg("--json").arg("--data-dir").arg(data_dir);
    for (name, _) in env::vars_os() {
        // What the developer has set for a vault of their own must not reach this one.
        if name.to_string_lossy().starts_with("ALTER_") || name == OsStr::new("RUST_LOG") {
            command.env_remove(name);
        }
    }
    command
}

/// `alter-server serve`, killed when dropped.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    /// Where it listens, without a slash at the end.
    pub(crate) base_url: String,
    /// From its start to its line of JSON.
    pub(crate) ready_after: Duration,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Served {
    /// Starts it on a free port and waits for the line that it prints when it is ready.
    pub(crate) fn start(data_dir: &Path, log: &str) -> Self {
        let mut command = command(data_dir, &["serve", "--listen", "127.0.0.1:0"]);
        command.env("RUST_LOG", log).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        server_binary();
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (child.stderr.take().unwrap(), Arc::clone(&stderr));
        thread::spawn(move || {
            let mut piece = [0; 65_536];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                to.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        let (say, ready) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = say.send(line);
        });
        // From here on the guard ends the child, whatever is asserted.
        let mut served = Self { child, base_url: String::new(), ready_after: Duration::ZERO, stderr };
        let line = ready.recv_timeout(READY).unwrap_or_default();
        served.ready_after = started.elapsed();
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        said["base_url"]
            .as_str()
            .unwrap_or_else(|| panic!("serve said {line:?}: {}", String::from_utf8_lossy(&served.stderr())))
            .trim_end_matches('/')
            .clone_into(&mut served.base_url);
        served
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// Asks it to stop, and waits until it has; whether it said that all was well.
    pub(crate) fn terminate(mut self) -> bool {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.unwrap().success());
        let until = Instant::now() + READY;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("alter-server did not stop within {READY:?} of SIGTERM");
    }

    /// What it has written to its standard error so far.
    pub(crate) fn stderr(&self) -> Vec<u8> {
        self.stderr.lock().unwrap().clone()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}
