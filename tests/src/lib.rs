//! A small language for tests against real processes: a node of one's own in
//! a temporary folder, stock OpenSSH towards it, our own client in process.
//!
//! Every wait has a guard against hanging; nothing here measures speed.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod artifacts;
mod client;
mod data;
mod key;
mod node;
mod process;
mod setup;
mod ssh;
mod upstream;
mod wait;

pub use artifacts::{Artifacts, artifacts, workspace};
pub use client::{Dialled, connect_ssh, dial, dial_as};
pub use data::{Random, sha256, sha256_of_file};
pub use key::TestKey;
pub use node::{Stopped, TestNode};
pub use process::{Ended, HANG, Run, Running, alive, requires};
pub use setup::Setup;
pub use ssh::Ssh;
pub use upstream::UpstreamProxy;
pub use wait::eventually;
