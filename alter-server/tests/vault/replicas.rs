//! Two processes over one PostgreSQL, stopped and started one after the other while they are called.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use alter_core::wire::key::ApiKey;
use alter_test_postgres::Database;
use serde_json::{Value, json};

use crate::support::{Signed, signed};

const PROGRAM: &str = env!("CARGO_BIN_EXE_alter-server");

struct Place {
    database: Database,
    folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let (database, folder) = (Database::create().await, tempfile::tempdir().unwrap());
        let place = Self { database, folder };
        let key = [b"one:".as_slice(), b"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="].concat();
        std::fs::write(place.kek(), key).unwrap();
        let private = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
        std::fs::set_permissions(place.kek(), private).unwrap();
        place
    }

    fn kek(&self) -> std::path::PathBuf {
        self.folder.path().join("kek")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ALTER_"))
        {
            command.env_remove(name);
        }
        command.env("ALTER_DATABASE_URL", self.database.text()).env("RUST_LOG", "warn");
        command.args(["--json", "--kek-file"]).arg(self.kek()).args(words);
        command
    }

    fn done(&self, words: &[&str], input: &str) -> Value {
        let mut command = self.command(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{words:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// A replica on an address of its own, which it keeps when it is started again.
struct Replica {
    child: Child,
    address: String,
    metrics: String,
}

impl Replica {
    fn start(place: &Place, listen: &str) -> Self {
        let words = ["serve", "--listen", listen, "--metrics-listen", "127.0.0.1:0", "--drain-delay", "1"];
        let mut child = place.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let at = |name: &str| said[name].as_str().unwrap().trim_start_matches("http://").to_owned();
        Self { child, address: at("base_url"), metrics: at("metrics_url") }
    }

    fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    fn ended(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

/// A client as a proxy is one: it keeps connections for later, and goes to the next replica when no connection can be made, which
/// is the one case in which nothing was sent.
#[derive(Default)]
struct Client {
    kept: Option<(String, BufReader<TcpStream>)>,
}

impl Client {
    fn send(&mut self, addresses: &[String], request: &Signed) -> Result<u16, String> {
        let (address, mut stream) = match self.kept.take() {
            Some(kept) => kept,
            None => addresses
                .iter()
                .find_map(|address| {
                    Some((address.clone(), BufReader::new(TcpStream::connect(address).ok()?)))
                })
                .ok_or("no replica takes connections")?,
        };
        let broken = |error: std::io::Error| format!("{address}: {error}");
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n",
            request.target,
            request.body.len()
        );
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        head.push_str("\r\n");
        let bytes = [head.as_bytes(), &request.body].concat();
        stream.get_mut().write_all(&bytes).map_err(broken)?;
        let (mut status, mut length, mut close) = (0, 0, false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).map_err(broken)? == 0 {
                return Err(format!("{address}: closed without an answer"));
            }
            let line = line.trim_end().to_lowercase();
            match line.split_once(": ") {
                None if line.is_empty() => break,
                None => status = line[9..12].parse().map_err(|_| line)?,
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("connection", value)) => close = value == "close",
                Some(_) => {}
            }
        }
        stream.read_exact(&mut vec![0; length]).map_err(broken)?;
        if !close {
            self.kept = Some((address, stream));
        }
        Ok(status)
    }
}

/// Calls all the time until told to stop; every other client closes its connection after each call.
fn load(
    addresses: &[String; 2],
    key: &ApiKey,
    body: &Value,
    done: &Arc<AtomicBool>,
    served: &Arc<AtomicUsize>,
) -> Vec<thread::JoinHandle<Vec<String>>> {
    (0..8)
        .map(|number| {
            let mut addresses = addresses.clone();
            addresses.rotate_left(number % 2);
            let (key, body, done, served) = (key.clone(), body.clone(), Arc::clone(done), Arc::clone(served));
            thread::spawn(move || {
                let (mut client, mut wrong) = (Client::default(), Vec::new());
                while !done.load(Ordering::Relaxed) {
                    match client.send(&addresses, &signed(&key, "/sdk/token", &body)) {
                        Ok(200) => _ = served.fetch_add(1, Ordering::Relaxed),
                        other => wrong.push(format!("client {number}: {other:?}")),
                    }
                    if number % 4 < 2 {
                        client = Client::default();
                    }
                    // A fresh connection goes to the other one now and then.
                    if client.kept.is_none() {
                        addresses.rotate_left(1);
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                wrong
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_replaced_under_load_and_no_call_is_broken() {
    let place = Place::new().await;
    place.done(&["app", "create", "shop"], "");
    let key = place.done(&["key", "create", "backend", "--rate-limit", "100000"], "");
    let key = ApiKey::parse(key["key"].as_str().unwrap()).unwrap();
    let host = ["--host", "billing.example.test"];
    place.done(&[&["provider", "add", "billing", "--kind", "managed-secret"][..], &host].concat(), "");
    place.done(&["secret", "create", "billing"], "s3cret\n");
    let grant = place.done(&["grant", "create", "billing", "--principal", "system"], "");
    let body = json!({
        "grant_id": grant["grant_id"],
        "request": {"method": "GET", "url": "https://billing.example.test/"},
    });

    let mut replicas = [Replica::start(&place, "127.0.0.1:0"), Replica::start(&place, "127.0.0.1:0")];
    let addresses = [replicas[0].address.clone(), replicas[1].address.clone()];
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers = load(&addresses, &key, &body, &done, &served);
    let pause = || thread::sleep(Duration::from_millis(400));
    pause();
    for (replica, address) in replicas.iter_mut().zip(&addresses) {
        replica.terminate();
        thread::sleep(Duration::from_millis(300));
        // It says that it is going, and still serves.
        assert_eq!(get(address, "/readyz").0, 503);
        assert_eq!(get(address, "/healthz").0, 200);
        assert!(replica.ended());
        assert!(TcpStream::connect(address).is_err());
        let before = served.load(Ordering::Relaxed);
        pause();
        assert!(served.load(Ordering::Relaxed) > before, "the other one serves");
        *replica = Replica::start(&place, address);
        assert_eq!(get(address, "/readyz").0, 200);
    }
    // Keys turn while both are called.
    let rotated = place.done(&["rotate"], "");
    assert!(rotated["changed"].as_u64().unwrap() > 0);
    pause();
    done.store(true, Ordering::Relaxed);
    let wrong: Vec<String> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
    assert!(
        wrong.is_empty(),
        "{} of {}: {:?}",
        wrong.len(),
        served.load(Ordering::Relaxed),
        &wrong[..wrong.len().min(5)]
    );
    for replica in &replicas {
        let (status, shown) = get(&replica.metrics.replace("/metrics", ""), "/metrics");
        assert_eq!(status, 200);
        let answered = "alter_requests_total{route=\"POST /sdk/token\",status=\"200\"} ";
        let count =
            shown.lines().find_map(|line| line.strip_prefix(answered)).unwrap_or_else(|| panic!("{shown}"));
        assert!(count.parse::<u64>().unwrap() > 0);
    }
    for replica in &mut replicas {
        replica.terminate();
        assert!(replica.ended());
    }
    assert_eq!(place.done(&["audit", "verify"], "")["ok"], true);
}
