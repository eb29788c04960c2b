//! `alknet-node drain` and `alknet-node stop`: both end the running node, the
//! first once its last connection has ended.

use clap::Args;

use super::{Failed, StateArg, dir, refused};
use crate::admin::{Request, ask_and_outlive};

#[derive(Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    state: StateArg,
    /// Return as soon as the node has begun
    #[arg(long)]
    no_wait: bool,
}

#[derive(Args)]
pub(super) struct StopArgs {
    #[command(flatten)]
    state: StateArg,
    /// End live sessions at once, whatever `shutdown.drain_seconds` says
    #[arg(long)]
    now: bool,
    /// Return as soon as the node has begun
    #[arg(long)]
    no_wait: bool,
}

/// Has the running node accept no more, and end with its last connection.
pub(super) fn drain(args: DrainArgs) -> Result<(), Failed> {
    end(args.state, &Request::Drain {}, args.no_wait, "draining")
}

/// Stops the running node.
pub(super) fn stop(args: StopArgs) -> Result<(), Failed> {
    let request = Request::Stop { now: args.now };
    end(args.state, &request, args.no_wait, "stopping")
}

fn end(state: StateArg, request: &Request, no_wait: bool, word: &str) -> Result<(), Failed> {
    let state = dir(state)?;
    if no_wait {
        let _: serde_json::Value = super::asked(&state, request, "")?;
        say!("{word}");
        return Ok(());
    }
    ask_and_outlive(&state, request, || {
        say!("{word}; waiting for the node to end")
    })
    .map_err(|error| refused(error, ""))?;
    say!("ended");
    Ok(())
}
