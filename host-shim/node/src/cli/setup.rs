//! `alknet-node init` and `alknet-node up`: make a state directory, and the
//! second serves from it.

pub(crate) mod authorize;
pub(crate) mod init;
pub(crate) mod nodes_entry;
pub(crate) mod owner;
pub(crate) mod private_half;
pub(crate) mod ssh_include;
pub(crate) mod stanza;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use alknet_document::Document;
use alknet_identity::PeersConfig;
use clap::Args;

use super::serve::{Listen, Show, serve};
use super::{Failed, StateArg, fail, fail_all, named, own_dir, print_keys};
use crate::cli::setup::authorize::{OwnKeys, own_keys, usable_identity_file};
use crate::cli::setup::init::{
    Contents, InitError, Made, authorize_in, caller_id, peers_from_files,
};
use crate::cli::setup::owner::{LeftOut, owner};
use crate::config::draft::Draft;
use crate::config::peers_file::{Change, change};
use crate::startup::editors::write_schemas;
use crate::startup::plan::Plan;
use crate::state::StateDir;
use crate::walls::is_root;

/// The note on the rights of the peers that `init` and `up` authorise.
const UNCONFINED_NOTE: &str = "what they run has all the rights of the account that the node runs as (ssh:unconfined); peers added later are confined unless they get that scope too";

#[derive(Args)]
pub(super) struct InitArgs {
    #[command(flatten)]
    state: StateArg,
    /// The UDP address to serve on [default: 127.0.0.1:4433]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// A TCP address to serve on as well [default: none]
    #[arg(long, value_name = "ADDR")]
    tcp_listen: Option<SocketAddr>,
    /// Public key files of those who may run commands
    #[arg(long, value_name = "KEY.pub", num_args = 1..)]
    authorize: Vec<PathBuf>,
    /// Take the mnemonic from this file (mode 0600) instead of making one
    #[arg(long, value_name = "FILE")]
    mnemonic_file: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    state: StateArg,
    /// The UDP address to serve on [default: as configured, at first 127.0.0.1:4433]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// A TCP address to serve on as well [default: as configured, at first none]
    #[arg(long, value_name = "ADDR")]
    tcp_listen: Option<SocketAddr>,
    #[command(flatten)]
    left_out: LeftOut,
    /// Leave ~/.ssh/config and the client's nodes.toml as they are
    #[arg(long)]
    no_client_config: bool,
}

/// Whether the package was installed and its node not made yet.
fn fresh_package() -> bool {
    let packaged = StateDir::packaged();
    packaged.is_started_by_systemd() && packaged.root().is_dir() && !packaged.is_initialised()
}

/// Makes a state directory.
pub(super) fn init(args: InitArgs) -> Result<(), Failed> {
    let state = match named(&args.state) {
        // Where the package's unit serves from, as long as no node is there.
        None if is_root() && fresh_package() => StateDir::packaged(),
        _ => own_dir(args.state)?,
    };
    let peers = peers_from_files(&args.authorize).map_err(fail)?;
    let authorised = peers.len();
    let contents = Contents {
        listen: args.listen,
        tcp_listen: args.tcp_listen,
        mnemonic_file: args.mnemonic_file,
        peers,
        make_client_key: None,
    };
    let made = init::init(&state, contents).map_err(fail)?;
    report(&state, &made);
    if authorised > 0 {
        say!("{UNCONFINED_NOTE}");
    }
    if authorised == 0 {
        say!(
            "nobody may log in yet: add peers to {}",
            state.peers_file().display()
        );
    }
    let plan = Draft::read(&state.config_file())
        .and_then(|draft| Plan::complete(draft, None))
        .map_err(|problems| fail_all(&problems))?;
    write_schemas(&state, &plan).map_err(fail)?;
    print_keys(&plan.keys.node_key().to_string(), &plan.keys.host_keys);
    match state.is_started_by_systemd() {
        true => {
            say!("let somebody in: alknet-node peers add ID KEY.pub --scope ssh:exec");
            say!("start it with: systemctl enable --now alknet-node");
        }
        false => say!(
            "start it with: alknet-node run --state '{}'",
            state.root().display()
        ),
    }
    Ok(())
}

fn report(state: &StateDir, made: &Made) {
    say!("made the state directory {}", state.root().display());
    if made.new_mnemonic {
        say!(
            "the node's keys come from the words in {}: keep a copy where nobody finds it",
            state.root().join("mnemonic").display()
        );
    }
    match (&made.plugin, &made.shared_plugins) {
        (Some(source), _) => say!("copied the plugin {}", source.display()),
        (None, Some(dir)) => say!("plugins are loaded from {}", dir.display()),
        (None, None) => say!(
            "no plugin was copied; the directory for them is {}",
            state.root().join("plugins").display()
        ),
    }
    if let Some(key) = &made.client_key {
        say!("made you a key to log in with: {}", key.display());
        say!("{UNCONFINED_NOTE}");
    }
}

/// Serves from a state directory, which is made first where it does not exist.
pub(super) fn up(args: UpArgs) -> Result<ExitCode, Failed> {
    let state = own_dir(args.state)?;
    let mut identity_file = None;
    if !state.is_initialised() {
        let own = gather_own_keys();
        let mut contents = Contents {
            listen: args.listen,
            tcp_listen: args.tcp_listen,
            mnemonic_file: None,
            peers: Vec::new(),
            make_client_key: None,
        };
        let owner = owner(&own.keys, args.left_out);
        if own.keys.is_empty() {
            contents.make_client_key = Some(owner);
        } else {
            contents.peers.push(owner);
        }
        identity_file = own.identity_file;
        match init::init(&state, contents) {
            Ok(made) => report(&state, &made),
            // Somebody else's `up` was quicker: serve what it made.
            Err(InitError::AlreadyThere { .. }) => {}
            Err(error) => return Err(fail(error)),
        }
    } else if nobody_is_let_in(&state) {
        let own = gather_own_keys();
        if own.keys.is_empty() {
            say!(
                "nobody may log in, and you have no key: make one with ssh-keygen, then run this again"
            );
        } else {
            authorize_in(&state, owner(&own.keys, args.left_out)).map_err(fail)?;
            identity_file = own.identity_file;
        }
    } else {
        take_from_owner(&state, args.left_out)?;
        identity_file = usable_identity_file(&peers(&state).unwrap_or_default());
    }
    let client_key = state.client_key();
    if client_key.exists() {
        identity_file = Some(client_key);
    }
    let listen = Listen {
        udp: args.listen,
        tcp: args.tcp_listen,
    };
    let show = Show::Owner {
        identity_file,
        client_config: !args.no_client_config,
    };
    serve(&state, listen, show, false)
}

/// Takes from an owner who was let in before what is left out this time.
fn take_from_owner(state: &StateDir, left_out: LeftOut) -> Result<(), Failed> {
    let id = caller_id();
    let peers = peers(state).unwrap_or_default().peers;
    let Some(owner) = peers.iter().find(|peer| peer.id == id) else {
        return Ok(());
    };
    let scopes = left_out.of(owner);
    if !scopes.is_empty() {
        let file = state.peers_file();
        change(&file, &Change::Revoke(&id, &scopes)).map_err(fail)?;
        say!("took {} from {id}", scopes.join(", "));
    }
    Ok(())
}

/// Gathers the caller's keys and prints which they are.
fn gather_own_keys() -> OwnKeys {
    let own = own_keys();
    for line in &own.left_out {
        say!("not authorised: {line}");
    }
    for key in &own.keys {
        say!(
            "authorised as {}: {} {}",
            caller_id(),
            key.fingerprint,
            key.comment
        );
    }
    if !own.keys.is_empty() {
        say!("{UNCONFINED_NOTE}");
    }
    own
}

/// Whether the directory's own peers file is sound and names nobody.
fn nobody_is_let_in(state: &StateDir) -> bool {
    peers(state).is_some_and(|peers| peers.peers.is_empty())
}

/// The directory's own peers file, if it is sound.
fn peers(state: &StateDir) -> Option<PeersConfig> {
    let document = Document::read(&state.peers_file()).ok()?;
    document.deserialize().ok()
}
