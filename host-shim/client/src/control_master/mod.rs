//! One connection for many commands, kept by a background process, as ssh does
//! with ControlMaster (ADR 45).

mod client;
pub(crate) mod command;
mod directory;
pub(crate) mod ended;
mod error;
mod lock;
mod master;
mod message;
mod serve;
mod settings;
mod spawn;
mod wire;

pub(crate) use client::{give, start};
pub(crate) use master::keep;
pub(crate) use settings::Sharing;
