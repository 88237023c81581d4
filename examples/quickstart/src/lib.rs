//! What the quickstarts share: the world around the application, and the story.
#![forbid(unsafe_code)]

pub mod story;
pub mod world;
