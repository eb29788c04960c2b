//! Peers who attack the node that lets them in.

mod accounts;
mod walls;
