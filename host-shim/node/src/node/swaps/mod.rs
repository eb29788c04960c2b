//! Plugins that are swapped, rolled back and unloaded while others go on.

mod hand_over;
mod memory;
mod report;
mod retire;
mod rollback;
mod swap;
mod upkeep;
mod watch;

pub(crate) use report::{Kept, Outcome, Swapped};
pub(crate) use swap::{Listening, Swapper, Wanted};
pub(crate) use upkeep::upkeep;
pub(crate) use watch::watch;
