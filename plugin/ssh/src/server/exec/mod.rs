//! Commands, shells and subsystems on session channels, and what they leave behind.

pub(crate) mod channel;
pub(crate) mod command;
pub(crate) mod jobs;
pub(crate) mod start;
pub(crate) mod subsystem;
