//! Metrics in the text format of Prometheus, version 0.0.4, on a loopback
//! listener.
//!
//! The format is written here ([`text`]) because most of what is shown is not
//! counted here: it is read, when asked for, from the registry, from the
//! handlers' status and from the kernel. A crate with counters of its own
//! would be told these a second time, and the one of the Prometheus project
//! for Rust writes OpenMetrics only, whose names differ.

mod collect;
pub(crate) mod counters;
pub(crate) mod ended;
mod handlers;
mod http;
mod lookup;
mod process;
mod text;
pub(crate) mod traffic;

pub(crate) use collect::Collector;
pub(crate) use http::{MetricsBindError, Responder};
