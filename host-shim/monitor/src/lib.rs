//! The monitor: the one process of a node that starts peers' processes.
//!
//! It loads no plugin, reads no network byte, has no thread but one and speaks
//! the protocol of [`alknet_session`] over socket pairs. `alknet-node` starts
//! it before it has any thread: [`start_owner_mode`] forks it off as a child of
//! the node; [`start_accounts_mode`] makes the caller the monitor (as root) and
//! executes the node afresh as an unprivileged child.
//!
//! To read the crate: `monitor` is the loop, `validate` what is refused before
//! anything is done with a message, `keeper` the process beside each job,
//! `leader` the steps from a fork to a peer's program, `confine` the walls.

#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod account;
mod accounts;
mod config;
mod confine;
mod context;
mod errand;
mod helper;
mod keeper;
mod leader;
mod link;
mod log;
mod login_defs;
mod monitor;
mod node_message;
#[cfg(feature = "pam")]
mod pam;
mod prepare;
mod process;
mod program;
mod sealed;
mod start;
mod start_node;
mod sys;
mod task;
mod unix_socket;
mod validate;

pub use account::AccountIds;
pub use config::{AccountsConfig, MonitorConfig, NodeProgram};
pub use confine::confinement_support;
pub use helper::{SESSION_HELPER, session_helper};
pub use link::{LinkError, NodeLink, Whose};
pub use start::{start_accounts_mode, start_owner_mode};
