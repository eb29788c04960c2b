//! `alknet-node`, the daemon.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    alknet_node::cli::main()
}
