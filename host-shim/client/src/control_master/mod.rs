//! One connection for many commands, kept by a background process, as ssh does
//! with ControlMaster (ADR 45).

pub(crate) mod command;
pub(crate) mod ended;
mod error;
mod folder;
mod lock;
mod master;
mod message;
mod serve;
mod settings;
mod spawn;
mod user;
mod wire;

pub(crate) use master::keep;
pub(crate) use settings::Sharing;
pub(crate) use user::{give, start};
