//! Vault processes that never outlive their test: started, stopped in the middle of a refresh, killed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::timeout,
};

use super::place::Place;

/// How long a process may take to be ready, or to reach the step at which it is to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which program serves the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The example `replica` of this crate: the vault with short leases, which can be stopped at a step.
    Replica,
    /// `alter-server serve`, as it is shipped.
    Server,
}

impl Program {
    /// The built program; built now if it is not there, or older than its sources.
    pub(crate) fn path(self) -> &'static Path {
        static REPLICA: OnceLock<PathBuf> = OnceLock::new();
        static SERVER: OnceLock<PathBuf> = OnceLock::new();
        match self {
            Self::Replica => REPLICA
                .get_or_init(|| built("examples/replica", &["-p", "alter-tests", "--example", "replica"])),
            Self::Server => {
                SERVER.get_or_init(|| built("alter-server", &["-p", "alter-server", "--bin", "alter-server"]))
            }
        }
    }

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Replica => "example `replica`",
            Self::Server => "`alter-server serve`",
        }
    }
}

fn built(name: &str, what: &[&str]) -> PathBuf {
    // …/target/debug/deps/alter_tests-<hash>, or …/target/release/examples/refresh-matrix
    let profile = env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let program = profile.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if is_stale(&program, workspace) {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = std::process::Command::new(cargo);
        command.args(["build", "--quiet"]).args(what).arg("--target-dir").arg(profile.parent().unwrap());
        command.arg("--manifest-path").arg(workspace.join("Cargo.toml"));
        if profile.ends_with("release") {
            command.arg("--release");
        }
        assert!(command.status().unwrap().success(), "{name} could not be built");
    }
    assert!(program.exists(), "{} is not there and was not built", program.display());
    program
}

fn is_stale(program: &Path, workspace: &Path) -> bool {
    let Ok(built) = program.metadata().and_then(|facts| facts.modified()) else { return true };
    let mut folders: Vec<_> = [
        "alter-core/src",
        "alter-sandbox/src",
        "alter-server/src",
        "alter-server/migrations",
        "tests/examples",
    ]
    .map(|name| workspace.join(name))
    .into();
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

/// How a process is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Lease of a refresh, in milliseconds, instead of the vault's own.
    pub(crate) lease_ms: Option<u64>,
    /// The step at which refreshes stand still.
    pub(crate) stop_at: Option<&'static str>,
}

/// A running vault process. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    /// Where it listens, without a slash at the end.
    pub(crate) base_url: String,
    child: Child,
    stdin: Option<ChildStdin>,
    said: mpsc::UnboundedReceiver<Value>,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts it, and waits until it listens.
    pub(crate) async fn start(program: Program, place: &Place, options: &Options) -> Self {
        let path = tokio::task::spawn_blocking(move || program.path()).await.unwrap();
        let mut command = Command::new(path);
        // What the developer has set for a vault of their own must not reach this one.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ALTER_")) {
            command.env_remove(name);
        }
        if program == Program::Server {
            command.args(["serve", "--json", "--listen", "127.0.0.1:0"]);
        }
        place.name_in(&mut command);
        if let Some(lease) = options.lease_ms {
            command.arg("--lease-ms").arg(lease.to_string());
        }
        if let Some(step) = options.stop_at {
            command.arg("--stop-at").arg(step);
        }
        command.env("RUST_LOG", "warn").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (say, said) = mpsc::unbounded_channel();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = say.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let log = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (child.stderr.take().unwrap(), Arc::clone(&log));
        tokio::spawn(async move {
            let mut piece = vec![0; 65_536];
            while let Ok(length @ 1..) = from.read(&mut piece).await {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        let stdin = child.stdin.take();
        let mut process = Self { base_url: String::new(), child, stdin, said, log };
        let ready = process.next_line().await;
        process.base_url = ready["base_url"]
            .as_str()
            .unwrap_or_else(|| panic!("{path:?} said {ready}: {}", process.log()))
            .trim_end_matches('/')
            .to_owned();
        process
    }

    async fn next_line(&mut self) -> Value {
        timeout(PATIENCE, self.said.recv()).await.ok().flatten().unwrap_or_default()
    }

    /// Waits until that many refreshes stand still at the step.
    pub(crate) async fn stands_still(&mut self, step: &str, refreshes: usize) {
        for number in 0..refreshes {
            let line = self.next_line().await;
            assert_eq!(line["step"], step, "refresh {number} of {refreshes}: {line}; {}", self.log());
        }
    }

    /// Lets what stands still go on.
    pub(crate) async fn go_on(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").await.unwrap();
    }

    /// SIGSTOP: not a single instruction is carried out from now on.
    pub(crate) async fn freeze(&self) {
        self.signal("-STOP").await;
        let status = format!("/proc/{}/stat", self.child.id().unwrap());
        for _ in 0..500 {
            // `T` after the name: every thread has stopped.
            if fs::read_to_string(&status).is_ok_and(|text| text.contains(") T ")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the process did not stop");
    }

    /// SIGCONT.
    pub(crate) async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// What it has written to standard error.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}
