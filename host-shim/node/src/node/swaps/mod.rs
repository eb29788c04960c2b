//! Plugins that are swapped, rolled back and unloaded while others go on.

mod history;
mod report;
mod retire;
mod rollback;
mod swap;
mod transfer;
mod upkeep;
mod watch;

pub(crate) use report::{GenerationId, Outcome, Swapped};
pub(crate) use swap::{Listening, Swapper, Wanted};
pub(crate) use upkeep::upkeep;
pub(crate) use watch::watch;
