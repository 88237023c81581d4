//! The program as it is, against a vault on a socket, without a browser on this machine: the test reads the page's address from
//! standard error, as a person would, and opens it elsewhere.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use alter_server::{
    dev::Dev,
    testkit::{Browser, Person},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
    sync::oneshot,
    time::timeout,
};

/// How long each step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn program(dev: &Dev, config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-cli"));
    command.args(arguments).env("ALTER_BASE_URL", &dev.ready.base_url).env("XDG_CONFIG_HOME", config);
    command.env("ALTER_API_KEY", dev.ready.app.key.expose()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

#[expect(clippy::unwrap_used, reason = "a helper of the test")]
async fn run(dev: &Dev, config: &Path, arguments: &[&str]) -> Output {
    timeout(PATIENCE, program(dev, config, arguments).output()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_connects_from_a_terminal_and_only_the_grants_id_stays() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let dev = Dev::start(None, base_url).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let vault = dev.vault.clone();
    let serving = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        vault.serve(listener, stopped).await
    });
    let config = tempfile::tempdir().unwrap();
    let me = format!("{}/me", dev.sandbox.api_url());

    let early = run(&dev, config.path(), &["call", &me]).await;
    assert!(!early.status.success());
    assert!(String::from_utf8_lossy(&early.stderr).contains("no account is connected"));

    let mut connect = program(&dev, config.path(), &["connect", "sandbox", "--no-browser"]);
    let mut connect = connect.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(connect.stderr.take().unwrap()).lines();
    let page = timeout(PATIENCE, async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the page's address is printed");
            if let Some(url) = line.split_whitespace().find(|word| word.starts_with("http")) {
                break url.to_owned();
            }
        }
    });
    let page = page.await.unwrap();
    let mut browser = Browser::new(&dev.sandbox, Person::new("ann").account("ann@work"));
    assert!(browser.finish(&page).await.unwrap().connected);
    // Read to its end, so that the program is not stopped by a full pipe.
    while timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().is_some() {}
    assert!(timeout(PATIENCE, connect.wait()).await.unwrap().unwrap().success());

    let file = config.path().join("alter-example-cli").join("grant");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert_eq!(kept.trim().len(), 36, "an id and nothing else");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let called = run(&dev, config.path(), &["call", &me]).await;
    let told: serde_json::Value = serde_json::from_slice(&called.stdout).unwrap();
    assert_eq!(told["account"], "ann@work");

    let forgotten = run(&dev, config.path(), &["forget"]).await;
    assert!(forgotten.status.success(), "{}", String::from_utf8_lossy(&forgotten.stderr));
    assert!(!file.exists());
    // Whoever kept a copy of the id has nothing.
    std::fs::write(&file, kept).unwrap();
    let late = run(&dev, config.path(), &["call", &me]).await;
    assert!(!late.status.success());
    assert!(String::from_utf8_lossy(&late.stderr).contains("Connect again"));

    let _ = stop.send(());
    serving.await.unwrap().unwrap();
    dev.stop().await.unwrap();
}
