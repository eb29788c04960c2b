//! `ca list`, `ca revoke` and `ca krl`: what was signed, and what of it counts no
//! more.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use alknet_certificate::Issued;
use alknet_openssh::read_public_key_file;
use clap::Args;

use super::context::OpenAuthority;
use crate::cli::reload::put_in_force;
use crate::cli::table::{Cell, Look, table, until};
use crate::cli::{Failed, StateArg, fail, print_json};
use crate::state::replace_file;

#[derive(Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    state: StateArg,
    /// List those that have expired, too
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(in crate::cli) struct RevokeArgs {
    /// Serial numbers, as `ca list` has them
    #[arg(required_unless_present_any = ["key_ids", "keys"])]
    serials: Vec<u64>,
    /// All certificates with this key id, those that are signed later among them
    #[arg(long = "key-id", value_name = "TEXT")]
    key_ids: Vec<String>,
    /// A public key: plain, and in any certificate
    #[arg(long = "key", value_name = "KEY.pub")]
    keys: Vec<PathBuf>,
    #[command(flatten)]
    state: StateArg,
}

#[derive(Args)]
pub(in crate::cli) struct KrlArgs {
    /// Where to write it [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    state: StateArg,
}

/// Lists what was signed.
pub(super) fn list(args: ListArgs) -> Result<(), Failed> {
    let ca = OpenAuthority::open(args.state)?;
    let revoked = ca.records.revocations().map_err(fail)?;
    let now = now();
    let mut issued = ca.records.issued().map_err(fail)?;
    issued.retain(|issued| args.all || issued.before > now);
    if args.json {
        return print_json(&issued);
    }
    let is_revoked = |issued: &Issued| {
        revoked.serials.contains(&issued.serial) || revoked.key_ids.contains(&issued.key_id)
    };
    let rows = issued.iter().map(|issued| {
        let (word, look) = match issued {
            issued if is_revoked(issued) => ("revoked", Look::Bad),
            issued if issued.before <= now => ("expired", Look::Bad),
            _ => ("valid", Look::Good),
        };
        let limits = issued.scopes.iter().chain(&issued.accounts).flatten();
        [
            Cell::from(issued.serial.to_string()),
            Cell::looking(word, look),
            Cell::from(match issued.before > now {
                true => until(issued.before.saturating_mul(1000)),
                false => String::new(),
            }),
            Cell::from(if issued.host { "host" } else { "user" }.to_owned()),
            Cell::from(issued.key_id.clone()),
            Cell::from(issued.principals.join(" ")),
            Cell::from(limits.cloned().collect::<Vec<_>>().join(" ")),
        ]
    });
    let headings = [
        "SERIAL",
        "STATE",
        "LEFT",
        "KIND",
        "KEY ID",
        "NAMES",
        "LIMITED TO",
    ];
    say!("{}", table(headings, rows.collect()));
    Ok(())
}

/// Revokes certificates, and has the running node know at once.
pub(super) fn revoke(args: RevokeArgs) -> Result<(), Failed> {
    let ca = OpenAuthority::open(args.state)?;
    let issued = ca.records.issued().map_err(fail)?;
    let known: BTreeSet<u64> = issued.iter().map(|issued| issued.serial).collect();
    if let Some(unknown) = args.serials.iter().find(|serial| !known.contains(serial)) {
        return Err(fail(format_args!(
            "this authority has signed no certificate with the serial {unknown}; `alknet-node ca list --all` has those it did"
        )));
    }
    let mut keys = BTreeSet::new();
    for file in &args.keys {
        for key in read_public_key_file(file).map_err(fail)? {
            let words = key.line.split_whitespace().take(2);
            keys.insert(words.collect::<Vec<_>>().join(" "));
        }
    }
    let revoked = ca
        .records
        .revoke(&ca.authority, |revoked| {
            revoked.serials.extend(&args.serials);
            revoked.key_ids.extend(args.key_ids.iter().cloned());
            revoked.keys.extend(keys.iter().cloned());
        })
        .map_err(fail)?;
    let what = args.serials.iter().map(|serial| format!("serial {serial}"));
    let ids = args.key_ids.iter().map(|id| format!("key id {id:?}"));
    let files = args.keys.iter().map(|file| file.display().to_string());
    let what: Vec<_> = what.chain(ids).chain(files).collect();
    put_in_force(
        &ca.state,
        &format!("revoked {}: list {}", what.join(", "), revoked.number),
        None,
    )
}

/// Writes the key revocation list.
pub(super) fn krl(args: KrlArgs) -> Result<(), Failed> {
    let ca = OpenAuthority::open(args.state)?;
    let revoked = ca.records.revocations().map_err(fail)?;
    let list = revoked.to_krl(&ca.authority, now());
    let Some(file) = args.output else {
        let mut out = io::stdout();
        if out.is_terminal() {
            return Err(fail("the list is binary; name a file with -o"));
        }
        return out
            .write_all(&list)
            .and_then(|()| out.flush())
            .map_err(fail);
    };
    replace_file::put(&file, 0o644, &list)
        .map_err(|error| fail(format_args!("{}: {error}", file.display())))?;
    say!("wrote list {} to {}", revoked.number, file.display());
    Ok(())
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
