//! One SSH channel: what comes in on it and what goes out.

pub(crate) mod input;
pub(crate) mod output;
