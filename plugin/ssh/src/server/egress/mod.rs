//! How connections leave the node: look-ups of names, and the way out.

pub(crate) mod dial;
pub(crate) mod resolve;
pub(crate) mod way_out;
