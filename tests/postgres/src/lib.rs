//! A private PostgreSQL for this test process: made by `initdb` in a temporary folder, started once, stopped at the end.
//!
//! Only for tests and measurements: whatever goes wrong panics.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "only tests use it, and a test that cannot have its server has failed"
)]

mod pooler;
mod tls;

pub use pooler::POOL;
pub use tls::EncryptedDatabase;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

const MISSING: &str =
    "PostgreSQL's programs (initdb, postgres) are not installed: on Debian, `apt-get install postgresql`";

/// Where Debian keeps the programs of the newest version that is installed; else they are looked for in `PATH`.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path().join("bin").join(name);
            path.exists().then_some((version, path))
        })
        .collect();
    found.sort();
    found.pop().map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The program, as a user that PostgreSQL accepts: it refuses root.
fn command(name: &str) -> Command {
    let path = program(name);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(path);
    command
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{MISSING} ({error})"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{MISSING}, or they failed: {command:?}: {said}");
}

/// A running server. It ends when it is dropped, or with the process however that ends.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    port: u16,
    settings: String,
}

impl Cluster {
    fn start() -> Self {
        Self::start_with(|_| ())
    }

    /// `prepare` gets the folder of the data before the server is started for the first time.
    fn start_with(prepare: impl FnOnce(&Path)) -> Self {
        Self::make("-c shared_buffers=32MB", prepare)
    }

    /// As the tests' own, with further settings as `postgres` takes them: `-c name=value`.
    #[must_use]
    pub fn with_settings(settings: &str) -> Self {
        Self::make(settings, |_| ())
    }

    fn make(settings: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::Builder::new().prefix("alter-pg").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let data = folder.path().join("data");
        run(command("initdb").arg("-D").arg(&data).args([
            "-U",
            "alter",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
        ]));
        prepare(&data);
        if is_root() {
            run(Command::new("chown").arg("-R").arg("postgres").arg(&data));
        }
        // A free port; whoever takes it in between makes the start fail, not the test wrong.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { folder, port, settings: settings.to_owned() };
        cluster.launch();
        cluster.guard();
        cluster
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the server logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The id of the server's first process; the others are its children.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        file.lines().next().unwrap().trim().parse().unwrap()
    }

    /// Starts it, and waits until it takes connections.
    pub fn launch(&self) {
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={} -c fsync=on -c max_connections=400 {}",
            self.port,
            self.folder.path().display(),
            self.settings
        );
        let log = self.log();
        run(command("pg_ctl")
            .arg("start")
            .arg("-w")
            .arg("-s")
            .arg("-D")
            .arg(self.data())
            .arg("-l")
            .arg(log)
            .args(["-o", &options]));
    }

    fn stop_fast(data: &Path) {
        run(command("pg_ctl").args(["stop", "-w", "-s", "-m", "immediate", "-D"]).arg(data));
    }

    /// Ends the server's processes at once, without a chance to tidy up.
    pub fn crash(&self) {
        Self::stop_fast(&self.data());
    }

    /// The same, and starts it again.
    pub fn crash_and_restart(&self, pause: Duration) {
        self.crash();
        std::thread::sleep(pause);
        self.launch();
    }

    /// Test harnesses leave through `exit`, and a crash leaves at all: a shell that sees its input end stops the server, by the
    /// id in its own file, and takes the folder away.
    fn guard(&self) {
        let script = "read -r _; kill -QUIT \"$(head -1 \"$1/data/postmaster.pid\")\" 2>/dev/null; sleep 0.3; rm -rf \"$1\"";
        let guard = Command::new("sh")
            .args(["-c", script, "guard"])
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Its input stays open for as long as this process lives.
        std::mem::forget(guard);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        Self::stop_fast(&self.data());
    }
}

/// The cluster of this process.
fn shared() -> Arc<Cluster> {
    static KEPT: OnceLock<Arc<Cluster>> = OnceLock::new();
    Arc::clone(KEPT.get_or_init(|| Arc::new(Cluster::start())))
}

/// A database of its own for one test.
#[derive(Debug)]
pub struct Database {
    /// The server it is on.
    pub cluster: Arc<Cluster>,
    name: String,
}

impl Database {
    /// On the server that all tests of this process share.
    pub async fn create() -> Self {
        Self::create_in(tokio::task::spawn_blocking(shared).await.unwrap()).await
    }

    /// On a server that no other test uses, so that it may be stopped.
    pub async fn alone() -> Self {
        let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
        Self::create_in(Arc::new(cluster)).await
    }

    /// On this server.
    pub async fn create_in(cluster: Arc<Cluster>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = format!("postgres://alter@127.0.0.1:{}/postgres", cluster.port);
        let (sql, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        sql.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        drop(sql);
        driver.await.unwrap().unwrap();
        Self { cluster, name }
    }

    /// Its URL, over TCP.
    #[must_use]
    pub fn text(&self) -> String {
        format!("postgres://alter@127.0.0.1:{}/{}", self.cluster.port, self.name)
    }

    /// Its connection string, over the Unix socket.
    #[must_use]
    pub fn socket_text(&self) -> String {
        let folder = self.cluster.folder.path().display();
        format!("host={folder} port={} user=alter dbname={}", self.cluster.port, self.name)
    }

    /// A plain connection.
    pub async fn sql(&self) -> tokio_postgres::Client {
        let (sql, connection) = tokio_postgres::connect(&self.text(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        sql
    }
}
