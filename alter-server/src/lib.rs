//! The vault: a self-hosted store of third-party credentials that hands each one only to whom it belongs.
//!
//! A web backend that calls Google, Slack or an internal API on behalf of its users keeps no token of theirs. The vault
//! keeps them, sealed; verifies who is asking; finds the one grant that is meant; writes down that it was used; and only
//! then hands the credential to [`alter_core`]'s client, which injects it into the call. It speaks the wire protocol of the
//! published Alter packages, which work against it unmodified.
//!
//! # Three sizes of the same thing
//!
//! **In your process**, with an embedded SQLite store and no socket:
//!
//! ```
//! use alter_server::testkit::TestVault; // a vault with a sandbox of the outside world; feature `dev`
//! use alter_core::UserToken;
//! use http::Method;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kit = TestVault::start().await?;
//! let app = kit.vault().app_client(&kit.app_key()).build()?;
//! let user = app.for_user(UserToken::parse(kit.mint("user-1"))?);
//!
//! let url = format!("{}/me", kit.api_url());
//! let me: serde_json::Value = user.request(Method::GET, url).provider("sandbox").send().await?.json().await?;
//! assert_eq!(me["sub"], "user-1");
//!
//! app.close().await;
//! kit.stop().await?;
//! # Ok(()) }
//! ```
//!
//! **In your router**: [`Vault::router`] mounts under any prefix. **As a program**: `alter-server serve`. A real vault is
//! opened with [`Vault::open`] and set up with [`Vault::admin`] or the same words on the command line:
//!
//! ```text
//! export ALTER_DATA_DIR=/var/lib/alter
//! alter-server app create shop
//! alter-server key create backend
//! alter-server idp set https://id.example.com --audience https://api.example.com
//! alter-server provider add google --host www.googleapis.com
//! alter-server grant import < tokens.ndjson
//! alter-server serve --listen 127.0.0.1:8720
//! ```
//!
//! The same program serves a vault in PostgreSQL, from as many processes as wanted: `ALTER_DATABASE_URL` instead of
//! `ALTER_DATA_DIR`, and the key-encryption keys named for all of them with `ALTER_KEK` or `--kek-file`.
//!
//! # What it keeps to
//!
//! * No credential leaves before its audit row is durable. Rows are chained by hash; `alter-server audit verify` walks them.
//! * A revoked grant, key or agent is refused by the very next call: their state is read again in each unit of work.
//! * A user's token reaches that user's grants only. What cannot be read, reached or verified is a refusal.
//! * A signed request counts once: signature, time window, single-use nonce.
//! * Credentials are sealed with AES-256-GCM to the place they belong to; keys turn while calls are served.
//!
//! # Where to look
//!
//! | For | Look at |
//! |---|---|
//! | opening, mounting, serving, closing | [`Vault`], [`VaultConfig`] |
//! | setting it up | [`admin`] |
//! | its nouns | [`domain`] |
//! | who gets what, as pure functions | [`resolve`] |
//! | what is kept, as domain operations | [`store`] |
//! | what is secret at rest | [`seal`] |
//! | what was done | [`audit`] |
//! | what is counted and timed | [`telemetry`] |
//! | what real OAuth providers need | [`catalog`] |
//! | whose JWTs are taken | [`idp`] |
//! | what a token endpoint's answer means | [`oauth`] |
//! | moving a vault between its stores, or into a file | [`transfer`] |
//! | tests of your own | `testkit` (feature `dev`) |
//!
//! # Features
//!
//! | Feature | Default | What it adds |
//! |---|---|---|
//! | `cli` | yes | the program `alter-server` |
//! | `postgres` | yes | the store on PostgreSQL, for several processes over one database |
//! | `metrics` | yes | counts and times as Prometheus text (`serve --metrics-listen`); without it they go to a recorder of yours only |
//! | `otel` | no | spans of calls to an OTLP collector, as `OTEL_EXPORTER_OTLP_ENDPOINT` says |
//! | `dev` | yes | `alter-server dev` and `testkit`: vault and sandbox together |

#![forbid(unsafe_code)]

pub mod admin;
mod api;
pub mod audit;
pub mod catalog;
#[cfg(feature = "cli")]
pub mod cli;
mod config;
mod connect;
#[cfg(feature = "dev")]
pub mod dev;
pub mod domain;
pub mod idp;
mod keys;
pub mod oauth;
mod outbox;
mod refresh;
pub mod resolve;
pub mod seal;
mod serve;
mod signin;
pub mod store;
pub mod telemetry;
#[cfg(feature = "dev")]
pub mod testkit;
pub mod transfer;
mod vault;
mod wallet;
mod web;
mod webhook;

pub use refresh::{RefreshObserver, RefreshStep};
pub use vault::{DEFAULT_RATE_LIMIT, KekSource, Vault, VaultConfig, VaultError};
pub use web::{InvalidPublicUrl, PublicUrl};
