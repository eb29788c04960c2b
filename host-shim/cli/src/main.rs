//! The alknet client: reaches a node over QUIC, for ssh or on its own.

#![forbid(unsafe_code)]

mod args;
mod backoff;
mod bridge;
mod command;
mod connect;
mod cp;
mod dial;
mod escape;
mod exec;
mod failure;
mod forward;
mod host_key;
mod identity_key;
mod keys;
mod known_nodes;
mod lanes;
mod link;
mod manual;
mod node;
mod nodes_file;
mod options;
mod path_mtu;
mod path_recovery;
mod ping;
mod places;
mod prompt;
mod raw_mode;
mod session;
mod share;
mod signals;
mod ssh_config;
mod stdio;
mod target;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::terminal::Terminal;

fn main() -> ExitCode {
    let args = Args::parse();
    let terminal = Terminal::new(args.quiet, args.verbose > 0);
    // One thread: a client is one connection, and a second thread would only
    // cost its start and the waking of each other.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal.error(&format_args!("cannot start: {error}"));
            return FAILED.into();
        }
    };
    let outcome = runtime.block_on(async {
        match &args.command {
            Command::Connect(args) => connect::run(args, terminal).await.map(|()| 0),
            Command::ConnectionMaster(args) => share::keep(args, terminal).await,
            Command::Cp(args) => cp::run(args, terminal).await,
            Command::Exec(args) => exec::run(args, terminal).await,
            Command::Forward(args) => forward::run(args, terminal).await,
            Command::Keys(args) => keys::run(args, terminal).await.map(|()| 0),
            Command::Ping(args) => ping::run(args, terminal).await.map(|()| 0),
            Command::Socks(args) => forward::run_socks(args, terminal).await,
            Command::SshConfig(args) => ssh_config::run(args, terminal).await.map(|()| 0),
            Command::IdentityKey(args) => identity_key::run(args).map(|()| 0),
            Command::Completions(args) => args
                .print(Args::command())
                .map(|()| 0)
                .map_err(Failure::Manual),
            Command::Man(args) => args
                .write(Args::command(), &manual::MANUAL)
                .map(|()| 0)
                .map_err(Failure::Manual),
        }
    });
    // A look-up that hangs in the resolver must not hold up the exit.
    runtime.shutdown_background();
    let status = match outcome {
        Ok(status) => status,
        Err(error) => {
            if !error.is_quiet() {
                terminal.error(&error);
            }
            FAILED
        }
    };
    terminal.flush();
    status.into()
}

/// The status that ssh itself exits with when a connection fails.
const FAILED: u8 = 255;
