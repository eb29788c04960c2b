//! What a start needs, gathered and checked before anything is opened to the
//! world.

pub(crate) mod accounts;
pub(crate) mod editors;
pub mod plan;
pub(crate) mod state_rights;
