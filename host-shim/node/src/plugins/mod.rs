//! Plugins from the file to the handler: found, checked, tried out, loaded,
//! configured, made to serve, and swapped while others go on.

pub(crate) mod explain;

mod configure;
mod gather;
mod hand_over;
mod in_memory;
mod libraries;
mod make;
mod memory;
mod patient;
mod planned;
mod report;
mod retire;
mod rollback;
mod swap;
mod trial;
mod upkeep;
mod watch;

pub(crate) use configure::{Place, plugin_config, plugin_pointer};
pub(crate) use gather::gather;
pub(crate) use in_memory::{InMemory, Nobody, Peer};
pub(crate) use libraries::Libraries;
pub(crate) use make::{Numbers, make_generation, make_handler};
pub(crate) use planned::PlannedPlugin;
pub(crate) use report::{Kept, Outcome, Swapped};
pub(crate) use swap::{Listening, Swapper, Wanted};
pub(crate) use trial::{Settings, run_if_asked, try_out};
pub(crate) use upkeep::upkeep;
pub(crate) use watch::watch;
