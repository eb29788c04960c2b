//! What the user asks for: arguments as they are given, files of names, and what
//! becomes of them.

pub(crate) mod address;
pub(crate) mod args;
pub(crate) mod complete;
pub(crate) mod control_path;
pub(crate) mod forward_spec;
pub(crate) mod iroh_address;
pub(crate) mod node;
pub(crate) mod nodes_file;
pub(crate) mod option_error;
pub(crate) mod places;
pub(crate) mod sharing;
pub(crate) mod ssh_options;
pub(crate) mod target;
