//! What each command does.

pub(crate) mod connect;
pub(crate) mod cp;
pub(crate) mod exec;
pub(crate) mod forward;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod manual;
pub(crate) mod ping;
pub(crate) mod ssh_config;
