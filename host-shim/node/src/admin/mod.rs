//! The admin socket: how a command reaches the running node.
//!
//! A Unix socket `admin.sock` in the state directory (in accounts mode in its directory
//! `run`), for the node's own user and root. One JSON object a line each way, both
//! with `version`:
//!
//! ```text
//! {"version":1,"command":"reload","dry_run":false}
//! {"version":1,"ok":true,"generation":2,"changed":["peers"],"needs_restart":[],"warnings":[]}
//! {"version":1,"ok":false,"faults":[{"message":"…","file":"…","pointer":"…","line":3,"column":1}]}
//! ```

mod client;
mod protocol;
mod server;
mod service;
mod socket;
mod status;

pub(crate) use client::{AskError, ask, ask_and_outlive};
pub(crate) use protocol::Request;
pub(crate) use server::serve;
pub(crate) use service::{AdminService, Ending};
pub(crate) use socket::{AdminSocket, SocketError, is_served};
pub(crate) use status::{Closed, GenerationStatus, NodeStatus, Sessions, Status};
