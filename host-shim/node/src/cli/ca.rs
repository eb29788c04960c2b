//! `alknet-node ca …`: a node as a certificate authority, and nodes that trust one.

mod begin;
mod context;
mod lifetime;
mod revoke;
mod serve;
mod sign;
mod trust;

use clap::Subcommand;

use super::{Failed, StateArg};

#[derive(Subcommand)]
pub(super) enum CaCommand {
    /// Make this node a certificate authority, which it trusts itself.
    Init(begin::InitArgs),
    /// Print the authority's public key, and the line of known_hosts for clients.
    Show {
        #[command(flatten)]
        state: StateArg,
    },
    /// Trust another node's authority.
    Trust(trust::TrustArgs),
    /// Let a peer in by certificates of an authority.
    Accept(trust::AcceptArgs),
    /// Sign a certificate for a user's key, or with --host for a host's.
    Sign(sign::SignArgs),
    /// Have this node sign for its peers, who ask with `alknet login`.
    Serve(serve::ServeArgs),
    /// List what was signed.
    List(revoke::ListArgs),
    /// Revoke certificates. Sessions on this node end at once.
    Revoke(revoke::RevokeArgs),
    /// Write the key revocation list, as `ssh-keygen -k` does, for this node's
    /// fellows and for sshd (RevokedKeys).
    Krl(revoke::KrlArgs),
}

/// Signs and revokes certificates.
pub(super) fn ca(command: CaCommand) -> Result<(), Failed> {
    match command {
        CaCommand::Init(args) => begin::init(args),
        CaCommand::Show { state } => begin::show(state),
        CaCommand::Trust(args) => trust::trust(args),
        CaCommand::Accept(args) => trust::accept(args),
        CaCommand::Sign(args) => sign::sign(args),
        CaCommand::Serve(args) => serve::serve(args),
        CaCommand::List(args) => revoke::list(args),
        CaCommand::Revoke(args) => revoke::revoke(args),
        CaCommand::Krl(args) => revoke::krl(args),
    }
}
