//! `ca trust` and `ca accept`: a node that trusts an authority, and the peers that it
//! lets in by its certificates.

use std::path::PathBuf;

use alknet_identity::{Authority, CertificateGrant, Imported};
use alknet_openssh::{AuthorizedKey, read_public_key_file};
use clap::Args;
use serde_json::json;

use super::context::{ENABLED, REVOKED_KEYS, set_config};
use crate::cli::complete;
use crate::cli::peers::{apply, draft, not_changed};
use crate::cli::reload::put_in_force;
use crate::cli::{Failed, StateArg, dir, fail, fail_all};
use crate::config::draft::Draft;
use crate::config::peers_file::{Change, change};
use crate::config::settings::Setting;

#[derive(Args)]
pub(in crate::cli) struct TrustArgs {
    /// The authority's public key file, as `ca show` prints the key
    #[arg(value_name = "CA.pub")]
    key: PathBuf,
    /// The authority's name in the peers file
    #[arg(long, default_value = "ca")]
    name: String,
    /// What it has revoked, as `ca krl` writes it; read at each reload
    #[arg(long, value_name = "FILE")]
    revoked_keys: Option<PathBuf>,
    #[command(flatten)]
    state: StateArg,
}

#[derive(Args)]
pub(in crate::cli) struct AcceptArgs {
    /// The peer
    #[arg(add = complete::peers())]
    peer: String,
    /// The authority [default: the only one there is]
    #[arg(long)]
    authority: Option<String>,
    /// A name that the certificates carry [default: the peer's id]
    #[arg(long = "principal", value_name = "NAME")]
    principals: Vec<String>,
    /// A user name that may be asked for (`ssh USER@node`), '*' for any
    /// [default: the principals]
    #[arg(long = "user", value_name = "USER")]
    users: Vec<String>,
    #[command(flatten)]
    state: StateArg,
}

/// Has the node trust another one's authority.
pub(super) fn trust(args: TrustArgs) -> Result<(), Failed> {
    let state = dir(args.state)?;
    let draft = draft(&state)?;
    let keys = read_public_key_file(&args.key).map_err(fail)?;
    let mut settings = vec![Setting {
        path: ENABLED,
        value: json!(true),
    }];
    if let Some(file) = args.revoked_keys {
        let file = std::path::absolute(&file).map_err(fail)?;
        std::fs::metadata(&file).map_err(|error| {
            fail(format_args!(
                "{}: {error}; write a list there with `alknet-node ca krl` first",
                file.display()
            ))
        })?;
        settings.push(Setting {
            path: REVOKED_KEYS,
            value: json!(file),
        });
    }
    for key in keys {
        add_authority(&draft, &args.name, &key.line)?;
    }
    set_config(&state, &settings)?;
    put_in_force(
        &state,
        &format!("this node trusts the authority {}", args.name),
        None,
    )
}

/// Lets a peer in by certificates.
pub(super) fn accept(args: AcceptArgs) -> Result<(), Failed> {
    let draft = draft(&dir(args.state.clone())?)?;
    let config = draft.read_peers().map_err(|problems| fail_all(&problems))?;
    let authority = match (args.authority, config.authorities.as_slice()) {
        (Some(named), _) => named,
        (None, [only]) => only.id.clone(),
        (None, []) => {
            return Err(fail(
                "this node trusts no authority; name one with `alknet-node ca trust CA.pub`, or be one with `alknet-node ca init`",
            ));
        }
        (None, several) => {
            let names: Vec<_> = several.iter().map(|one| one.id.as_str()).collect();
            return Err(fail(format_args!(
                "this node trusts several authorities; say which with --authority: {}",
                names.join(", ")
            )));
        }
    };
    let grant = CertificateGrant {
        authority,
        principals: match args.principals.as_slice() {
            [] => vec![args.peer.clone()],
            named => named.to_vec(),
        },
        users: args.users,
    };
    let known = config.peers.iter().find(|peer| peer.id == args.peer);
    if known.is_some_and(|peer| peer.certificates.contains(&grant)) {
        say!("{} is let in by such certificates already", args.peer);
        return Ok(());
    }
    let done = format!(
        "{} is let in by certificates of {} for {}",
        args.peer,
        grant.authority,
        grant.principals.join(", ")
    );
    apply(args.state, &Change::Certify(&args.peer, &grant), &done)
}

/// Adds an authority to the peers file, unless its key is there.
pub(super) fn add_authority(draft: &Draft, name: &str, line: &str) -> Result<(), Failed> {
    let config = draft.read_peers().map_err(|problems| fail_all(&problems))?;
    let fingerprint = |line: &str| line.parse::<AuthorizedKey>().map(|key| key.fingerprint);
    let wanted = fingerprint(line).map_err(fail)?;
    let mut known = config.authorities.iter().flat_map(|known| &known.keys);
    if known.any(|line| fingerprint(line).is_ok_and(|known| known == wanted)) {
        return Ok(());
    }
    let added = Imported {
        authorities: vec![Authority {
            id: name.to_owned(),
            keys: vec![line.to_owned()],
            disabled: false,
        }],
        peers: Vec::new(),
        lines: Vec::new(),
    };
    let file = draft.peers_file();
    change(&file, &Change::Import(&added))
        .map(drop)
        .map_err(|error| not_changed(&file, error))
}
