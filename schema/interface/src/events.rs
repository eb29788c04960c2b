//! The sink through which a plugin sends log records and other events to the
//! node.

use abi_stable::std_types::{RBox, RStr};
use abi_stable::{StableAbi, sabi_trait};

/// The sink of a plugin's events: the node's logs, and whatever else it
/// collects.
#[sabi_trait]
pub trait EventSink: Send + Sync + 'static {
    /// Takes one log record. `fields` is a JSON object of the structured
    /// fields; strings, numbers and booleans keep their type.
    fn log(&self, level: Level, target: RStr<'_>, message: RStr<'_>, fields: RStr<'_>);

    /// Takes any other event: `kind` says what `json` holds. Unknown kinds are
    /// ignored.
    #[sabi(last_prefix_field)]
    fn event(&self, kind: RStr<'_>, json: RStr<'_>);
}

/// An owned [`EventSink`].
pub type EventSinkObject = EventSink_TO<RBox<()>>;

/// The severity of a log record.
#[repr(u8)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed that should not have.
    Error,
    /// Something an operator should look at.
    Warn,
    /// Normal, noteworthy.
    Info,
    /// For finding a fault.
    Debug,
    /// Everything.
    Trace,
}
