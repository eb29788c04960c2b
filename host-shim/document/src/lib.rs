//! Configuration documents in JSON or TOML whose faults say where they are.
//!
//! A [`Document`] is read once, keeps the place of every field, and is then checked against a JSON Schema, turned into
//! a type, and checked further by its owner; whichever of these finds something wrong, the operator gets a [`Fault`]
//! that names file, line, column and JSON pointer, what was expected and what was found:
//!
//! ```
//! use alknet_document::{Document, Format};
//!
//! let document = Document::parse("[limits]\nmax_channels = \"ten\"\n", Format::Toml, "node.toml")?;
//! let schema = serde_json::json!({ "properties": { "limits": { "properties": {
//!     "max_channels": { "type": "integer", "minimum": 1, "maximum": 65535 }
//! } } } });
//! let faults = document.validate(&schema).unwrap_err();
//! assert_eq!(
//!     faults[0].to_string(),
//!     "node.toml:2:16: /limits/max_channels: expected an integer from 1 to 65535, found \"ten\""
//! );
//! # Ok::<(), alknet_document::Fault>(())
//! ```

#![forbid(unsafe_code)]

mod checked;
mod deserialize;
mod document;
mod fault;
mod json_text;
mod place;
mod pointer;
mod schema;
mod suggest;
mod toml_text;
mod wording;

pub use document::{Document, Format, MAX_DEPTH, MAX_SIZE};
pub use fault::{Fault, Position, Problem};
pub use pointer::join as join_pointer;
pub use schema::check_schema;
pub use suggest::did_you_mean;
