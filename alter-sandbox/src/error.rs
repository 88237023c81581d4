//! Why a sandbox did not start.

use std::{io, net::SocketAddr};

/// Why [`SandboxBuilder::start`](crate::SandboxBuilder::start) refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The address is reachable from other machines. Whoever reaches a sandbox can be any user, so it listens
    /// on `127.0.0.0/8` or `::1` only.
    #[error(
        "the sandbox hands out tokens for any user and listens on loopback only, not on {addr}; use 127.0.0.1:0"
    )]
    NotLoopback {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The operating system refused the address.
    #[error("the sandbox could not listen on {addr}: {source}")]
    Bind {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}
