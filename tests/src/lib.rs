//! A small language for tests against real processes: a node of one's own in
//! a temporary directory, stock OpenSSH towards it, our own client in process.
//!
//! Every wait has a guard against hanging; nothing here measures speed.

#![forbid(unsafe_code)]

mod alknet;
mod artifacts;
mod authority;
mod background;
mod client;
mod crowd;
mod data;
mod disk;
mod key;
mod loopback;
mod memory;
mod node;
mod packets;
mod peers;
mod process;
mod relay;
mod rules;
mod setup;
mod ssh;
mod sshd;
/// Versions of plugins that take turns.
pub mod swapping;
/// What forwards lead to, and what goes through them.
pub mod target;
mod terminal;
mod transport;
mod upstream;
mod wait;

pub use alknet::{Alknet, NODE};
pub use artifacts::{
    Artifacts, NO_DEBUG, artifacts, library_built_with, library_of_crate, workspace,
};
pub use authority::TestAuthority;
pub use background::Background;
pub use client::{Dialled, connect_ssh, dial, dial_as};
pub use crowd::{Crowd, Member, peer_of};
pub use data::{Random, sha256, sha256_of_file};
pub use disk::{Disk, Full};
pub use key::{TestKey, openssh_files};
pub use loopback::{Loopback, log_in, log_in_with_file};
pub use memory::{Memory, proportional_kib};
pub use node::{Stopped, TestNode};
pub use packets::{Fields, Message, Packets};
pub use peers::Peers;
pub use process::{Ended, HANG, Run, Running, alive, requires, requires_that};
pub use relay::{Datagram, Relay};
pub use rules::rules;
pub use setup::Setup;
pub use ssh::{Reached, Ssh};
pub use sshd::Sshd;
pub use target::Target;
pub use terminal::Terminal;
pub use transport::Transport;
pub use upstream::UpstreamProxy;
pub use wait::eventually;
