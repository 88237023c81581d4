//! A `PgBouncer` in transaction mode in front of the private server.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use crate::{Cluster, Database, is_root};

const MISSING: &str = "PgBouncer is not installed: on Debian, `apt-get install pgbouncer`";
/// Connections to the server that all clients of one database share.
pub const POOL: usize = 4;

/// A running pooler. It ends with the process, however that ends.
#[derive(Debug)]
struct Pooler {
    port: u16,
    _folder: tempfile::TempDir,
}

/// The program, as a user that it accepts: it refuses root.
fn command() -> Command {
    if !is_root() {
        return Command::new("pgbouncer");
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--", "pgbouncer"]);
    command
}

/// Releases from 1.21 on can follow named prepared statements; here they shall not, as older ones cannot.
fn follows_statements() -> bool {
    let output = Command::new("pgbouncer").arg("--version").output();
    let output = output.unwrap_or_else(|error| panic!("{MISSING} ({error})"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = said.lines().next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    let (major, minor) = (numbers.next(), numbers.next());
    (major, minor) >= (Some(1), Some(21))
}

impl Pooler {
    fn start(cluster: &Cluster) -> Self {
        let folder = tempfile::Builder::new().prefix("alter-pgbouncer").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let own = folder.path().join("pgbouncer.ini");
        let statements = if follows_statements() { "max_prepared_statements = 0\n" } else { "" };
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=alter\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = {POOL}\nmax_client_conn = 1000\nserver_idle_timeout = 10\n\
             {statements}",
            cluster.port
        );
        fs::write(&own, text).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = command()
            .arg(&own)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{MISSING} ({error})"));
        guard(child.id(), folder.path());
        // It lives as long as this process does.
        std::mem::forget(child);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(20), "PgBouncer does not start: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, _folder: folder }
    }
}

/// A shell that sees its input end, because this process ended, ends the pooler (`runuser` passes the signal on).
fn guard(id: u32, folder: &Path) {
    let script = "read -r _; kill -TERM \"$1\" 2>/dev/null; rm -rf \"$2\"";
    let guard = Command::new("sh")
        .args(["-c", script, "guard", &id.to_string()])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its input stays open for as long as this process lives.
    std::mem::forget(guard);
}

impl Database {
    /// Its URL at a pooler in front of the server that all tests of this process share.
    pub async fn pooled_text(&self) -> String {
        static KEPT: OnceLock<Pooler> = OnceLock::new();
        let cluster = Arc::clone(&self.cluster);
        let start = move || KEPT.get_or_init(|| Pooler::start(&cluster)).port;
        let port = tokio::task::spawn_blocking(start).await.unwrap();
        format!("postgres://alter@127.0.0.1:{port}/{}", self.name)
    }
}
