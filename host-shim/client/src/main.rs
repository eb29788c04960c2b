//! The alknet client: reaches a node over QUIC, for ssh or on its own.

#![forbid(unsafe_code)]

mod commands;
mod connection;
mod console;
mod control_master;
mod failure;
mod options;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::console::terminal::Terminal;
use crate::failure::{FAILED, Failure};
use crate::options::args::{Args, Command};

fn main() -> ExitCode {
    alknet_manual::complete_if_asked(Args::command);
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
            Command::Connect(args) => commands::connect::run(args, terminal).await.map(|()| 0),
            Command::ConnectionMaster(args) => control_master::keep(args, terminal).await,
            Command::Cp(args) => commands::cp::run(args, terminal).await,
            Command::Exec(args) => commands::exec::run(args, terminal).await,
            Command::Forward(args) => commands::forward::run(args, terminal).await,
            Command::Keys(args) => commands::keys::run(args, terminal).await.map(|()| 0),
            Command::Login(args) => commands::login::run(args, terminal).await.map(|()| 0),
            Command::Ping(args) => commands::ping::run(args, terminal).await.map(|()| 0),
            Command::Socks(args) => commands::forward::run_socks(args, terminal).await,
            Command::SshConfig(args) => commands::ssh_config::run(args, terminal).await.map(|()| 0),
            Command::IdentityKey(args) => connection::identity_key::run(args).map(|()| 0),
            Command::Completions(args) => args
                .print(Args::command())
                .map(|()| 0)
                .map_err(Failure::unwritten),
            Command::Man(args) => args
                .write(Args::command(), &commands::manual::MANUAL)
                .map(|()| 0)
                .map_err(Failure::unwritten),
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
            error.status()
        }
    };
    terminal.flush();
    status.into()
}
