//! Commands as process groups: started with a clean environment, signalled
//! and ended as a group.

mod account;
mod group;
mod signal;
mod spawn;

pub(crate) use account::Account;
pub(crate) use group::ProcessGroup;
pub use signal::Signal;
pub(crate) use spawn::{Origin, Spawned, spawn};
