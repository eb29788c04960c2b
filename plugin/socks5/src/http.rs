//! HTTP CONNECT (RFC 9110, section 9.3.6) with the message syntax of RFC 9112
//! and Basic credentials (RFC 7617).
//!
//! What HTTP's status codes do not tell apart is said in, and taken from, a
//! Proxy-Status field (RFC 9209).

mod basic;
mod client;
mod head;
mod request;
mod response;

pub use client::connect;
pub use head::{MAX_FIELDS, MAX_HEAD};
pub use request::{ConnectRequest, RequestError};
pub use response::ConnectResponse;
