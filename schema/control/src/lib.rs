//! The control protocol: what a node asks of a plugin's handler beyond serving
//! connections, and the answers.
//!
//! Each request is a JSON object with the member `command`, each answer a JSON
//! object. A handler refuses a command that it does not know; a member that it does
//! not know is to be ignored, on both sides, so that either can be the older one.

#![forbid(unsafe_code)]

mod answer;
mod request;
mod schema;

pub use answer::{
    ConfigVerdict, FailedTest, HandedOver, Refused, SessionInfo, SessionList, SystemReport,
    TestReport,
};
pub use request::{ControlRequest, Explain, ExplainIdentity, RunTests, TestAccounts, TestIdentity};
pub use schema::control_schema;
