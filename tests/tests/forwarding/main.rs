//! Forwarded ports and sockets, what they may reach and how many.

mod egress;
mod forward_abuse;
mod forwards;
mod limits;
