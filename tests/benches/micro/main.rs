//! What single parts take: policy, SOCKS, configuration, and a swap of the SSH
//! plugin in a running node.
//!
//!     cargo bench -p alknet-benches --bench micro -- [part of a name]

#![forbid(unsafe_code)]

mod configuration;
mod policy;
mod socks;
mod swap;

fn main() {
    divan::main();
}
