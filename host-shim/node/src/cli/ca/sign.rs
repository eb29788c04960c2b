//! `ca sign`: signs a certificate for a user's key or a host's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alknet_certificate::{
    Asker, AuthorityError, HostTerms, Issued, Permits, RecordsError, SignRequest, UserTerms,
    Validity,
};
use alknet_handler::Identity;
use alknet_identity::{Peer, check_scope};
use alknet_openssh::read_public_key_file;
use clap::Args;
use serde_json::json;

use super::context::{OpenAuthority, set_config};
use super::lifetime::lifetime;
use crate::cli::reload::put_in_force;
use crate::cli::table::until;
use crate::cli::{Failed, StateArg, complete, fail, fail_all};
use crate::config::settings::Setting;
use crate::state::replace_file;

/// The lifetime of a user certificate: a day's work.
const USER_LIFETIME: Duration = Duration::from_secs(16 * 60 * 60);
/// The lifetime of a host certificate.
const HOST_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The longest lifetime of a certificate for a peer: as long as an operator likes.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

const HOST_CERTIFICATES: &[&str] = &[
    "plugins",
    "config",
    "ssh",
    "certificates",
    "host_certificates",
];

#[derive(Args)]
pub(in crate::cli) struct SignArgs {
    /// The public key to certify; with --host, this node's own host keys if none
    /// is named
    #[arg(value_name = "KEY.pub", required_unless_present = "host")]
    key: Option<PathBuf>,
    /// Certify a host's key. NAME is what clients call it; may be given several
    /// times
    #[arg(long, value_name = "NAME", conflicts_with_all = ["principals", "peer", "scopes", "accounts"])]
    host: Vec<String>,
    /// The peer whose certificate it is to be: it carries that peer's scopes and
    /// accounts, or those of them that are named
    #[arg(long = "for", value_name = "PEER", add = complete::peers())]
    peer: Option<String>,
    /// A name to be valid for [default: the peer's id]
    #[arg(long = "principal", value_name = "NAME", required_unless_present_any = ["peer", "host"])]
    principals: Vec<String>,
    /// A scope to be limited to [default: those of the peer; not limited without
    /// one]
    #[arg(long = "scope", value_name = "SCOPE", add = complete::scopes())]
    scopes: Vec<String>,
    /// An account to be limited to [default: those of the peer; not limited
    /// without one]
    #[arg(long = "account", value_name = "NAME")]
    accounts: Vec<String>,
    /// What logs call it [default: the peer, or the first name]
    #[arg(long, value_name = "TEXT")]
    id: Option<String>,
    /// How long it is valid [default: 16h, for hosts 90d]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    lifetime: Option<Duration>,
    /// Where to write it, - for standard output [default: beside the key, as
    /// ssh-keygen does]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    state: StateArg,
}

/// Signs a certificate.
pub(super) fn sign(args: SignArgs) -> Result<(), Failed> {
    let ca = OpenAuthority::open(args.state.clone())?;
    match (&args.key, args.host.is_empty()) {
        (None, _) => own_host_keys(&ca, &args),
        (Some(file), is_user) => {
            let line = one_key(file)?;
            let made = match is_user {
                true => user(&ca, &args, &line)?,
                false => host(&ca, &args, &line)?,
            };
            write(&made, &output(args.output.as_deref(), file))
        }
    }
}

fn user(ca: &OpenAuthority, args: &SignArgs, line: &str) -> Result<Made, Failed> {
    let lifetime = args.lifetime.unwrap_or(USER_LIFETIME);
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    for scope in &args.scopes {
        check_scope(scope).map_err(fail)?;
    }
    let mut terms = match &args.peer {
        None => UserTerms {
            serial: 0,
            key_id: args.principals.first().cloned().unwrap_or_default(),
            principals: args.principals.clone(),
            validity: Validity::from_now(lifetime),
            scopes: some(&args.scopes),
            accounts: some(&args.accounts),
            permits: Permits::ALL,
            force_command: None,
            source_address: None,
        },
        Some(id) => {
            let peers = ca
                .draft
                .read_peers()
                .map_err(|problems| fail_all(&problems))?;
            let peer = peers.peers.iter().find(|peer| peer.id == *id);
            let peer = peer.ok_or_else(|| {
                fail(format_args!(
                    "there is no peer {id:?}; `alknet-node peers list` names them"
                ))
            })?;
            let request = SignRequest {
                principals: some(&args.principals),
                scopes: some(&args.scopes),
                accounts: some(&args.accounts),
                lifetime_seconds: Some(lifetime.as_secs()),
                ..SignRequest::default()
            };
            UserTerms::for_identity(&identity(peer), &request, Asker::Operator, NO_LIMIT)
                .map_err(fail)?
        }
    };
    if let Some(id) = &args.id {
        terms.key_id.clone_from(id);
    }
    let issued = Issued::for_user(&terms, line, "operator");
    Made::new(ca, issued, |serial| {
        terms.serial = serial;
        ca.authority.sign_user(line, &terms)
    })
}

fn host(ca: &OpenAuthority, args: &SignArgs, line: &str) -> Result<Made, Failed> {
    let id = args.id.clone().or_else(|| args.host.first().cloned());
    let mut terms = HostTerms {
        serial: 0,
        key_id: id.unwrap_or_default(),
        names: args.host.clone(),
        validity: Validity::from_now(args.lifetime.unwrap_or(HOST_LIFETIME)),
    };
    let issued = Issued::for_host(&terms, line, "operator");
    Made::new(ca, issued, |serial| {
        terms.serial = serial;
        ca.authority.sign_host(line, &terms)
    })
}

/// Certifies this node's own host keys, and has its SSH server present that.
fn own_host_keys(ca: &OpenAuthority, args: &SignArgs) -> Result<(), Failed> {
    let mut problems = Vec::new();
    let (keys, _) = ca.draft.keys_and_secrets(None, &mut problems);
    let keys = keys.ok_or_else(|| fail_all(&problems))?;
    let mut files = Vec::new();
    for (index, key) in keys.host_keys.iter().enumerate() {
        if key.public_line.starts_with("ssh-rsa ") {
            say!(
                "left out the host key {}: RSA keys are not certified",
                key.fingerprint
            );
            continue;
        }
        let made = host(ca, args, &key.public_line)?;
        let file = match index {
            0 => "host_key-cert.pub".to_owned(),
            more => format!("host_key_{}-cert.pub", more + 1),
        };
        let file = args
            .output
            .clone()
            .unwrap_or_else(|| ca.directory.join(file));
        write(&made, &Output::File(file.clone()))?;
        files.push(file);
    }
    set_config(
        &ca.state,
        &[Setting {
            path: HOST_CERTIFICATES,
            value: json!(files),
        }],
    )?;
    put_in_force(
        &ca.state,
        &format!("this node proves to be {}", args.host.join(", ")),
        None,
    )?;
    if let Some(line) = ca.known_hosts_line() {
        say!("known_hosts  {line}");
    }
    Ok(())
}

/// A peer as the identity that a certificate is for.
fn identity(peer: &Peer) -> Identity {
    let mut resources = peer.resources.clone();
    if !peer.accounts.is_empty() {
        resources.insert("accounts".to_owned(), peer.accounts.clone());
    }
    Identity {
        id: peer.id.clone(),
        scopes: peer.scopes.clone(),
        resources,
    }
}

/// A certificate that was signed and written down.
struct Made {
    line: String,
    words: String,
}

impl Made {
    fn new(
        ca: &OpenAuthority,
        issued: Issued,
        sign: impl FnOnce(u64) -> Result<String, AuthorityError>,
    ) -> Result<Self, Failed> {
        let (names, before) = (issued.principals.join(", "), issued.before);
        let mut number = 0;
        let line = ca
            .records
            .issue::<SigningError>(|serial| {
                number = serial;
                Ok((sign(serial)?, issued))
            })
            .map_err(fail)?;
        Ok(Self {
            line,
            words: format!(
                "signed serial {number} for {names}, valid for {}",
                until(before.saturating_mul(1000))
            ),
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum SigningError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// Where a certificate is written.
enum Output {
    Stdout,
    File(PathBuf),
}

/// Where a certificate of this key is written.
fn output(named: Option<&Path>, key: &Path) -> Output {
    match named {
        Some(named) if named == Path::new("-") => Output::Stdout,
        Some(named) => Output::File(named.to_owned()),
        None => {
            let stem = key.with_extension("");
            let mut name = match key.extension() {
                Some(extension) if extension == "pub" => stem.into_os_string(),
                _ => key.as_os_str().to_owned(),
            };
            name.push("-cert.pub");
            Output::File(name.into())
        }
    }
}

fn write(made: &Made, output: &Output) -> Result<(), Failed> {
    match output {
        Output::Stdout => {
            say!("{}", made.line);
            complain!("alknet-node: {}", made.words);
        }
        Output::File(file) => {
            let text = format!("{}\n", made.line);
            replace_file::put(file, 0o644, text.as_bytes())
                .map_err(|error| fail(format_args!("{}: {error}", file.display())))?;
            // Readable by the node, who may be somebody else.
            if let Some(directory) = file.parent() {
                same_owner(directory, file);
            }
            say!("{}: {}", made.words, file.display());
        }
    }
    Ok(())
}

/// Gives a file to the owner of its directory, where root made it.
fn same_owner(directory: &Path, file: &Path) {
    use std::os::unix::fs::{MetadataExt, chown};
    if rustix::process::geteuid().is_root()
        && let Ok(owner) = fs::metadata(directory)
    {
        // Mode 0644 does where this does not.
        let _ = chown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

fn one_key(file: &Path) -> Result<String, Failed> {
    let mut keys = read_public_key_file(file).map_err(fail)?;
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key.line),
        _ => Err(fail(format_args!(
            "{} holds several keys; a certificate is for one",
            file.display()
        ))),
    }
}
