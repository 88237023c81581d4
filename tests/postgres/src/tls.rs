//! A server that speaks TLS, and the authorities that vouch for it or do not. Made with the `openssl` program, which Debian's
//! PostgreSQL brings along (`ssl-cert` needs it).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use crate::{Cluster, Database, run};

const EXTENSIONS: &str = "[req]\ndistinguished_name = name\n[name]\n\
     [authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n\
     [server]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth\n";

/// A database that `encrypted` reaches over TLS only. The certificate is for `localhost`.
#[derive(Debug)]
pub struct EncryptedDatabase {
    database: Database,
    folder: tempfile::TempDir,
}

fn openssl(folder: &Path, words: &str) {
    run(Command::new("openssl").current_dir(folder).env_remove("OPENSSL_CONF").args(words.split(' ')));
}

fn authority(folder: &Path, name: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -config extensions -extensions authority -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
             -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}"
        ),
    );
}

fn certificates(folder: &Path) {
    fs::write(folder.join("extensions"), EXTENSIONS).unwrap();
    authority(folder, "authority");
    authority(folder, "stranger");
    openssl(
        folder,
        "req -new -config extensions -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key \
         -out server.request -subj /CN=localhost",
    );
    openssl(
        folder,
        "x509 -req -in server.request -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 \
         -extfile extensions -extensions server -out server.pem",
    );
}

impl EncryptedDatabase {
    /// On a server of its own.
    pub async fn create() -> Self {
        let start = || {
            let folder = tempfile::tempdir().unwrap();
            certificates(folder.path());
            let cluster = Cluster::start_with(|data| {
                for name in ["server.key", "server.pem"] {
                    fs::copy(folder.path().join(name), data.join(name)).unwrap();
                }
                let settings = data.join("postgresql.conf");
                let mut text = fs::read_to_string(&settings).unwrap();
                text.push_str("\nssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n");
                fs::write(&settings, text).unwrap();
                let rules = "local all all trust\nhostnossl all alter 127.0.0.1/32 trust\n\
                     hostssl all encrypted 127.0.0.1/32 trust\n";
                fs::write(data.join("pg_hba.conf"), rules).unwrap();
            });
            (Arc::new(cluster), folder)
        };
        let (cluster, folder) = tokio::task::spawn_blocking(start).await.unwrap();
        let database = Database::create_in(cluster).await;
        database.sql().await.batch_execute("CREATE ROLE encrypted LOGIN SUPERUSER").await.unwrap();
        Self { database, folder }
    }

    /// Its URL, with that name for the server; the bytes go to this machine whatever the name.
    #[must_use]
    pub fn text(&self, host: &str) -> String {
        let (port, name) = (self.database.cluster.port, &self.database.name);
        format!("postgres://encrypted@{host}:{port}/{name}?hostaddr=127.0.0.1")
    }

    /// The authority that signed the server's certificate, as a file.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Another authority.
    #[must_use]
    pub fn stranger(&self) -> PathBuf {
        self.folder.path().join("stranger.pem")
    }
}
