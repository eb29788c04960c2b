//! Plugins from the file to the handler: found, checked, tried out, loaded,
//! configured and made to serve.

pub(crate) mod explain;

mod configure;
mod gather;
mod in_memory;
mod libraries;
mod make;
mod planned;
mod policy_tests;
mod timeout;
mod trial;

pub(crate) use configure::{ConfigContext, configure, plugin_config, plugin_pointer};
pub(crate) use gather::gather;
pub(crate) use in_memory::{InMemory, Nobody, Peer};
pub(crate) use libraries::Libraries;
pub(crate) use make::{Numbers, make_generation, make_handler};
pub(crate) use planned::PlannedPlugin;
pub(crate) use policy_tests::TestContext;
pub(crate) use trial::{Settings, run_if_asked, try_out};
