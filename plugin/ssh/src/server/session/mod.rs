//! The state that the parts of one SSH connection share.

pub(crate) mod context;
pub(crate) mod denial;
pub(crate) mod endpoint;
pub(crate) mod note;
pub(crate) mod peer;
