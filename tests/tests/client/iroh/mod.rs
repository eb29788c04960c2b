//! A node that is reached through iroh: by its endpoint id, directly or through a
//! relay of our own.

mod bad_input;
mod direct;
mod relay;
mod relayed;
mod ways;
