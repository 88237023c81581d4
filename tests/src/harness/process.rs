//! The `alter-server` binary as a child process that never outlives its test.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long a child may take to say that it is ready, before the test gives up on it.
const READY: Duration = Duration::from_secs(30);

/// The binary beside this test's executable; built first if it is not there, or older than its sources.
pub(crate) fn server_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // …/target/debug/deps/alter_tests-<hash>
        let profile = env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
        let binary = profile.join(format!("alter-server{}", env::consts::EXE_SUFFIX));
        if is_stale(&binary) {
            build(&profile);
        }
        assert!(binary.exists(), "{} is not there and was not built", binary.display());
        binary
    })
}

fn is_stale(binary: &Path) -> bool {
    let Ok(built) = binary.metadata().and_then(|facts| facts.modified()) else { return true };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders: Vec<_> =
        ["alter-core", "alter-sandbox", "alter-server"].map(|name| workspace.join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let facts = entry.metadata().unwrap();
            if facts.is_dir() {
                folders.push(entry.path());
            } else if facts.modified().unwrap() > built {
                return true;
            }
        }
    }
    false
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

/// Runs one command of the binary and reads the JSON that it prints.
pub(crate) fn cli_json(data_dir: &Path, arguments: &[&str]) -> Value {
    let output = cli(data_dir, arguments, "error", "");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}\n{out}\n{err}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?} printed {out:?}: {error}"))
}

/// Runs one command of the binary to its end, with that on its standard input.
pub(crate) fn cli(data_dir: &Path, arguments: &[&str], log: &str, input: &str) -> Output {
    let mut command = command(data_dir, arguments);
    command.env("RUST_LOG", log).stdin(Stdio::piped());
    run(command, input, READY)
}

/// Runs a process to its end, or ends it when it takes longer than that.
pub(crate) fn run(mut command: Command, input: &str, limit: Duration) -> Output {
    let mut child = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    if let Some(mut stdin) = child.0.stdin.take() {
        // A command that reads nothing may be gone before it was given everything.
        let _ = stdin.write_all(input.as_bytes());
    }
    let (stdout, stderr) = (collect(child.0.stdout.take().unwrap()), collect(child.0.stderr.take().unwrap()));
    let until = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < until, "{command:?} did not end within {limit:?}");
        thread::sleep(Duration::from_millis(5));
    };
    let all = |pipe: thread::JoinHandle<Vec<u8>>| pipe.join().unwrap();
    Output { status, stdout: all(stdout), stderr: all(stderr) }
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        let _ = pipe.read_to_end(&mut all);
        all
    })
}

/// A child process, killed when dropped.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(server_binary());
    command.args(arguments).arg("--json").arg("--data-dir").arg(data_dir);
    for (name, _) in env::vars_os() {
        // What the developer has set for a vault of their own must not reach this one.
        if name.to_string_lossy().starts_with("ALTER_") {
            command.env_remove(name);
        }
    }
    command
}

/// `alter-server serve`, killed when dropped.
#[derive(Debug)]
pub(crate) struct Served {
    child: Running,
    /// Where it listens, without a slash at the end.
    pub(crate) base_url: String,
    /// From its start to its line of JSON.
    pub(crate) ready_after: Duration,
    stderr: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Served {
    /// Starts it on a free port and waits for the line that it prints when it is ready.
    pub(crate) fn start(data_dir: &Path, log: &str) -> Self {
        let mut command = command(data_dir, &["serve", "--listen", "127.0.0.1:0"]);
        command.env("RUST_LOG", log).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        server_binary();
        let started = Instant::now();
        // From here on the guard ends the child, whatever is asserted.
        let mut child = Running(command.spawn().unwrap());
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (child.0.stderr.take().unwrap(), Arc::clone(&stderr));
        let reader = thread::spawn(move || {
            let mut piece = [0; 65_536];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                to.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        let (say, ready) = mpsc::channel();
        let stdout = child.0.stdout.take().unwrap();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = say.send(line);
        });
        let mut served = Self {
            child,
            base_url: String::new(),
            ready_after: Duration::ZERO,
            stderr,
            reader: Some(reader),
        };
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
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Asks it to stop, and waits until it has: whether it said that all was well, and all that it has written to its
    /// standard error.
    pub(crate) fn terminate(mut self) -> (bool, Vec<u8>) {
        let asked = Command::new("kill").args(["-TERM", &self.child.0.id().to_string()]).status();
        assert!(asked.unwrap().success());
        let until = Instant::now() + READY;
        while Instant::now() < until {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                let _ = self.reader.take().map(thread::JoinHandle::join);
                return (status.success(), self.stderr());
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("alter-server did not stop within {READY:?} of SIGTERM");
    }

    fn stderr(&self) -> Vec<u8> {
        self.stderr.lock().unwrap().clone()
    }
}
