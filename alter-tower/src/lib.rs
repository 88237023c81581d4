#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod admission;
mod body;
mod future;
mod head;
mod layer;
mod service;
pub mod source;
#[cfg(feature = "verify")]
mod verify;

pub use alter_core::{
    answer::{Answer, Refusal},
    edge::Caller,
};
pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use head::RequestHead;
pub use layer::AlterLayer;
pub use service::AlterService;
pub use source::TokenSource;
#[cfg(feature = "verify")]
pub use verify::{VerifyFuture, VerifyLayer, VerifyService};
