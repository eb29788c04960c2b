//! `alknet-node peers import`: makes peers of the lines of an OpenSSH
//! `authorized_keys` file (sshd(8)).

use std::path::PathBuf;

use alknet_identity::{ImportSettings, Imported, import_authorized_keys};
use alknet_openssh::read_text;
use clap::Args;
use jiff::tz::TimeZone;

use super::peers::{apply, draft, not_changed};
use super::{Failed, StateArg, dir, fail, fail_all};
use crate::config::peers_file::{Change, try_out};

#[derive(Args)]
pub(super) struct ImportArgs {
    /// The file, such as ~/.ssh/authorized_keys
    file: PathBuf,
    /// What the names of the new peers begin with; the comments of the keys
    /// follow
    #[arg(long, value_name = "PREFIX", default_value = "")]
    id_prefix: String,
    /// The account whose file it is; a line with cert-authority and without
    /// principals= lets in certificates for that user name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Say what would become of it, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    state: StateArg,
}

/// Makes peers of an `authorized_keys` file.
pub(super) fn import(args: ImportArgs) -> Result<(), Failed> {
    let text = read_text(&args.file).map_err(fail)?;
    let draft = draft(&dir(args.state.clone())?)?;
    let present = draft.read_peers().map_err(|problems| fail_all(&problems))?;
    let settings = ImportSettings {
        id_prefix: args.id_prefix,
        user: args.user,
        zone: TimeZone::system(),
    };
    let shown = args.file.display();
    let imported = import_authorized_keys(&text, &settings, &present).map_err(|faults| {
        for fault in &faults {
            complain!("alknet-node: {shown}:{}: {}", fault.line, fault.problem);
        }
        fail(format_args!("nothing was imported from {shown}"))
    })?;
    if imported.peers.is_empty() {
        say!("{shown} holds no key, so there is nothing to import");
        return Ok(());
    }
    for line in &imported.lines {
        let options = match line.options.as_str() {
            "" => "no options",
            options => options,
        };
        say!("{shown}:{}: {options} {}", line.line, line.fingerprint);
        say!("  becomes {}: {}", line.peer, line.words);
    }
    say!("all as far as the services of the node are switched on");
    if imported
        .peers
        .iter()
        .any(|peer| !peer.certificates.is_empty())
    {
        say!("certificates count once [plugins.config.ssh.certificates] has enabled = true");
    }
    let change = Change::Import(&imported);
    if args.dry_run {
        let file = draft.peers_file();
        try_out(&file, &change).map_err(|error| not_changed(&file, error))?;
        say!("nothing was changed");
        return Ok(());
    }
    apply(args.state, &change, &counted(&imported))
}

fn counted(imported: &Imported) -> String {
    let peers = imported.peers.len();
    match imported.authorities.len() {
        0 => format!("imported {peers} peers"),
        authorities => format!("imported {peers} peers and {authorities} authorities"),
    }
}
