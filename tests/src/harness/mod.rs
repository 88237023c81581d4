//! The stage on which the suites play: the sandbox as the outside world, a vault on a socket, requests made by hand,
//! the binary as a child process, and the search for secrets.

pub(crate) mod draft;
pub(crate) mod needle;
pub(crate) mod process;
pub(crate) mod world;

pub(crate) use draft::{Draft, Reply, plain_client, unix_now};
pub(crate) use needle::Needles;
pub(crate) use process::{Served, cli, cli_json};
pub(crate) use world::{Tenant, World};
