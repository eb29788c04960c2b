//! Asks a program of the operator who a peer is that the peers file does not
//! know.
//!
//! [`Lookup`] is an identity provider around the store of the peers. What the
//! store does not know, it asks the program: a line of JSON for each question,
//! a line of JSON for each answer. It remembers answers for a while, goes on
//! with them while the program is out of order, and asks again about whoever
//! has a session.

#![forbid(unsafe_code)]

mod account;
mod cache;
mod config;
mod identity;
mod known;
mod lines;
mod program;
mod protocol;
mod provider;
mod question;
mod status;

pub use config::{ConfigFault, LookupConfig, WhenStale};
pub use identity::AnswerError;
pub use program::LookupError;
pub use protocol::lookup_schema;
pub use provider::{Lookup, Surroundings};
pub use status::{LookupStatus, ProgramState};
