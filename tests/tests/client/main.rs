//! Our own client: commands, copies, forwards, shared connections, and what it trusts.

mod blocked_udp;
mod client_cp;
mod client_exec;
mod client_forward;
mod client_network;
mod client_sharing;
mod client_socks;
mod client_trust;
mod crash;
mod first_hour;
mod iroh;
mod offline;
mod others_text;
mod our_client;
mod round_trips;
