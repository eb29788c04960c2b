//! `alknet-node`, the daemon, and the session helper that the monitor starts
//! from the same program.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// The first argument with which the monitor runs this program to enter a
/// plugin's helper.
const SESSION_HELPER: &str = "session-helper";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == SESSION_HELPER) {
        return alknet_monitor::session_helper(arguments, alknet_loader::enter_helper);
    }
    alknet_node::cli::main()
}
