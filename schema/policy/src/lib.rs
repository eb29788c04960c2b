//! Who may do what over SSH: the grammar of scopes and rules, and the
//! decisions. No I/O: nothing is looked up, opened or run here.
//!
//! A request passes when its service is switched on and the peer's
//! certificate, if it has one, does not withhold it. Then the first rule that
//! matches decides; if none does, a scope of the identity must grant it; else
//! it is denied.
//!
//! | scope | grants |
//! |---|---|
//! | `ssh:exec` | any command, run by the shell |
//! | `ssh:exec:<program>` | that program with any arguments, run without a shell |
//! | `ssh:forward:<host>:<port>` | connections from the node to there |
//! | `ssh:listen:<address>:<port>` | listeners on the node |
//! | `ssh:streamlocal:<path>` | Unix sockets on the node, both ways |
//! | `ssh:shell`, `ssh:sftp`, `ssh:agent` | that service |
//! | `ssh:env:<NAME>` | setting that variable for commands |
//! | `ssh:unconfined` | nothing by itself: processes of this peer run without confinement |
//!
//! The target of a rule is written like a scope without `ssh:`; a bare
//! `<host>:<port>` is about forwarding. [`Destination`] and [`PathPattern`]
//! say how hosts, ports and paths are written.

#![forbid(unsafe_code)]

mod bad_host;
mod command;
mod conditions;
mod denied;
mod destination;
mod destination_error;
mod exec;
mod host;
mod listen;
mod name;
mod path;
mod pattern;
mod policy;
mod rule;
mod scope;
mod sources;
mod subject;
mod variable;

pub use bad_host::BadHost;
pub use command::Command;
pub use conditions::{BadCondition, ConditionError, Conditions};
pub use denied::Denied;
pub use destination::{Destination, PortPattern};
pub use destination_error::DestinationError;
pub use host::{Host, canonical};
pub use listen::listen_addresses;
pub use path::{BadPath, PathPattern};
pub use pattern::HostPattern;
pub use policy::{Basis, Policy, Switches};
pub use rule::{Action, Rule, RuleError, RuleTarget};
pub use scope::{Scope, ScopeError, Service};
pub use sources::{BadSource, Sources};
pub use subject::{Restrictions, Subject, is_unconfined};
pub use variable::{QUIET_ENVIRONMENT, can_start_programs};
