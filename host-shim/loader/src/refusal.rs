//! Why a library was not loaded.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::signature::{NAMESPACE, Signer, signature_path};
use crate::text::shown;

/// Why a library was not loaded.
///
/// The text form is one line for an operator: the path, what was found, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file is not there.
    #[error("{}: there is no such file", shown(path))]
    Missing {
        /// The library.
        path: PathBuf,
    },
    /// cargo built the crate as something else.
    #[error(
        "{}: is {found}; a plugin's Cargo.toml has [lib] crate-type = [\"cdylib\"]",
        shown(path)
    )]
    CrateType {
        /// The file.
        path: PathBuf,
        /// What it is, with its article.
        found: &'static str,
    },
    /// The file, or a directory on its path, could not be opened or read.
    #[error("{}: cannot {action}: {source}", shown(path))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file itself is a symbolic link.
    #[error(
        "{}: is a symbolic link; copy the library itself into the plugins directory",
        shown(path)
    )]
    Symlink {
        /// The library.
        path: PathBuf,
    },
    /// The path names a directory, a pipe, a socket or a device.
    #[error("{}: is {found}, not a regular file", shown(path))]
    NotAFile {
        /// The library.
        path: PathBuf,
        /// What it is, with its article.
        found: &'static str,
    },
    /// Somebody else owns the file, or a directory on its path.
    #[error(
        "{}: {what} belongs to uid {owner}, neither root nor uid {user} which this process runs as; use a place that only these two can change",
        shown(path)
    )]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// `the file` or `the directory`.
        what: &'static str,
        /// Its owner.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// Others may write to the file, or to a directory on its path.
    #[error("{}: {what} is writable by {who} (mode {:04o}); run: chmod go-w '{}'", shown(path), mode & 0o7777, shown(path))]
    Writable {
        /// The file or directory.
        path: PathBuf,
        /// `the file` or `the directory`.
        what: &'static str,
        /// `group`, `others` or `group and others`.
        who: &'static str,
        /// Its mode.
        mode: u32,
    },
    /// The file has no contents.
    #[error("{}: the file is empty; copy the library again", shown(path))]
    Empty {
        /// The library.
        path: PathBuf,
    },
    /// The file is larger than a plugin can be.
    #[error(
        "{}: the file has {size} bytes, more than the {limit} a plugin may have",
        shown(path)
    )]
    TooLarge {
        /// The library.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The largest size accepted, in bytes.
        limit: u64,
    },
    /// Somebody wrote to the file as it was read.
    #[error(
        "{}: the file changed while it was read; wait for the copy to end and reload (write to another name, then rename)",
        shown(path)
    )]
    Changed {
        /// The library.
        path: PathBuf,
    },
    /// The contents are none of those the operator allowed.
    #[error(
        "{}: has digest {found}, which is not allowed (allowed: {}); if this is the version you want, allow its digest",
        shown(path),
        list(expected)
    )]
    DigestNotAllowed {
        /// The library.
        path: PathBuf,
        /// Its digest.
        found: Digest,
        /// The digests allowed.
        expected: Vec<Digest>,
    },
    /// There is no signature, and one is required.
    #[error(
        "{}: is not signed: there is no {}; one of the configured signers ({}) makes it with: ssh-keygen -Y sign -n {NAMESPACE} -f KEY '{}'",
        shown(path),
        shown(&signature_path(path)),
        list(expected),
        shown(path)
    )]
    Unsigned {
        /// The library.
        path: PathBuf,
        /// The signers whose signature is accepted.
        expected: Vec<Signer>,
    },
    /// A library that was loaded before is not signed by any of those who are
    /// believed now.
    #[error(
        "{}: the version before was {} when it was loaded, and the configured signers are {}; put that version there again, signed by one of them, and run: alknet-node plugins reload",
        shown(path),
        signer.as_ref().map_or_else(|| "not seen to be signed".to_owned(), |signer| format!("signed by {signer}")),
        list(expected)
    )]
    NoLongerTrusted {
        /// The path at which the library was.
        path: PathBuf,
        /// The signer of that library, if its signature was checked.
        signer: Option<Signer>,
        /// The signers whose signature is accepted.
        expected: Vec<Signer>,
    },
    /// What lies beside the library is not a signature.
    #[error(
        "{}: its signature {} is damaged: {problem}; copy it again, or sign again",
        shown(path),
        shown(signature)
    )]
    SignatureDamaged {
        /// The library.
        path: PathBuf,
        /// The file with the signature.
        signature: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The signature was made for something other than plugins.
    #[error(
        "{}: its signature is for {found:?}, not for {expected:?}; sign it with: ssh-keygen -Y sign -n {expected} -f KEY '{}'",
        shown(path),
        shown(path)
    )]
    SignatureNamespace {
        /// The library.
        path: PathBuf,
        /// What the signature says it is for.
        found: String,
        /// What it must say.
        expected: &'static str,
    },
    /// The signature is by a key that nobody configured.
    #[error(
        "{}: is signed by {found}, which is not a configured signer ({}); if you trust that key, add it to plugins.signers",
        shown(path),
        list(expected)
    )]
    UnknownSigner {
        /// The library.
        path: PathBuf,
        /// The fingerprint of the key.
        found: String,
        /// The signers whose signature is accepted.
        expected: Vec<Signer>,
    },
    /// The signature is by a configured key, of other contents.
    #[error(
        "{}: the signature by {signer} is of other contents: the library or its signature was changed or is of another version; copy both again, or sign again",
        shown(path)
    )]
    SignatureWrong {
        /// The library.
        path: PathBuf,
        /// The key that is named in the signature.
        signer: Signer,
    },
    /// The contents are not an ELF file.
    #[error("{}: is {found}, not an ELF shared library", shown(path))]
    NotElf {
        /// The library.
        path: PathBuf,
        /// What the contents look like, with its article.
        found: &'static str,
    },
    /// The library is for another machine.
    #[error(
        "{}: is for {found}, this node runs {expected}; install the plugin built for {expected}",
        shown(path)
    )]
    WrongMachine {
        /// The library.
        path: PathBuf,
        /// The machine it was built for.
        found: String,
        /// The machine this process runs on.
        expected: String,
    },
    /// An ELF file, but of a kind that cannot be loaded.
    #[error(
        "{}: is {found}, not a shared library; build it with crate-type cdylib",
        shown(path)
    )]
    NotSharedLibrary {
        /// The library.
        path: PathBuf,
        /// What it is, with its article.
        found: String,
    },
    /// The headers speak of bytes that the file does not have.
    #[error(
        "{}: is incomplete: {part} ends at byte {end}, the file has {size}; copy the library again",
        shown(path)
    )]
    Truncated {
        /// The library.
        path: PathBuf,
        /// What is cut off.
        part: String,
        /// The offset at which that part should end.
        end: u64,
        /// The size of the file in bytes.
        size: u64,
    },
    /// The headers contradict themselves.
    #[error("{}: is damaged: {problem}; copy the library again", shown(path))]
    Malformed {
        /// The library.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A sound library that exports no plugin.
    #[error(
        "{}: is not an alknet plugin: it has no `export_plugin!`, which stands in the lib.rs of every plugin",
        shown(path)
    )]
    NotAPlugin {
        /// The library.
        path: PathBuf,
    },
    /// A panic in it would end the whole process.
    #[error(
        "{}: is built with panic = \"abort\", so any panic in it would end the node with all its sessions; build it with panic = \"unwind\"",
        shown(path)
    )]
    Aborts {
        /// The library.
        path: PathBuf,
    },
    /// The system's loader would not open it.
    #[error("{}: cannot be loaded: {problem}", shown(path))]
    Open {
        /// The library.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// The library is built for another interface.
    #[error(
        "{}: is built for plugin interface {found}, this node speaks {expected}; install the plugin version that goes with this node, or build it with that version of alknet-plugin",
        shown(path)
    )]
    Interface {
        /// The library.
        path: PathBuf,
        /// Its interface version.
        found: String,
        /// The interface version of this node.
        expected: String,
    },
    /// The library claims our interface, but its binary form differs.
    #[error(
        "{}: does not fit this node: {problem}; build the plugin and the node from the same interface (the debug log has the full report)",
        shown(path)
    )]
    Abi {
        /// The library.
        path: PathBuf,
        /// What differs.
        problem: &'static str,
    },
    /// What the plugin says of itself cannot be used.
    #[error(
        "{}: registers itself wrongly: {problem}; ask the plugin's author",
        shown(path)
    )]
    Registration {
        /// The library.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The process that tried the library out did not survive it, or did not
    /// finish.
    #[error(
        "{}: {ending} when it was tried out in a process of its own; copy or build the library again",
        shown(path)
    )]
    FatalToLoad {
        /// The library.
        path: PathBuf,
        /// How the process ended, with its subject.
        ending: String,
    },
    /// The process that tried the library out refused it.
    #[error("{reason}")]
    TriedOut {
        /// The library.
        path: PathBuf,
        /// The refusal as that process worded it.
        reason: String,
    },
    /// The staging directory cannot hold private copies.
    #[error(
        "{}: the staging directory must be a directory of uid {user} with mode 0700, and is {found}; remove it, it is created again",
        shown(path)
    )]
    StageFolder {
        /// The staging directory.
        path: PathBuf,
        /// What it is instead.
        found: String,
        /// The effective user of this process.
        user: u32,
    },
}

impl Refusal {
    /// The library, or the file or directory on its way that is at fault.
    pub fn path(&self) -> &Path {
        match self {
            Self::Missing { path, .. }
            | Self::CrateType { path, .. }
            | Self::Io { path, .. }
            | Self::Symlink { path, .. }
            | Self::NotAFile { path, .. }
            | Self::Owner { path, .. }
            | Self::Writable { path, .. }
            | Self::Empty { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Changed { path, .. }
            | Self::DigestNotAllowed { path, .. }
            | Self::Unsigned { path, .. }
            | Self::NoLongerTrusted { path, .. }
            | Self::SignatureDamaged { path, .. }
            | Self::SignatureNamespace { path, .. }
            | Self::UnknownSigner { path, .. }
            | Self::SignatureWrong { path, .. }
            | Self::NotElf { path, .. }
            | Self::WrongMachine { path, .. }
            | Self::NotSharedLibrary { path, .. }
            | Self::Truncated { path, .. }
            | Self::Malformed { path, .. }
            | Self::NotAPlugin { path, .. }
            | Self::Aborts { path }
            | Self::Open { path, .. }
            | Self::Interface { path, .. }
            | Self::Abi { path, .. }
            | Self::Registration { path, .. }
            | Self::FatalToLoad { path, .. }
            | Self::TriedOut { path, .. }
            | Self::StageFolder { path, .. } => path,
        }
    }

    /// A label for metrics, one for each cause.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::CrateType { .. } => "crate_type",
            Self::Io { .. } => "io",
            Self::Symlink { .. } => "symlink",
            Self::NotAFile { .. } => "not_a_file",
            Self::Owner { .. } => "owner",
            Self::Writable { .. } => "writable",
            Self::Empty { .. } => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::Changed { .. } => "changed",
            Self::DigestNotAllowed { .. } => "digest",
            Self::Unsigned { .. } => "unsigned",
            Self::NoLongerTrusted { .. } => "no_longer_trusted",
            Self::SignatureDamaged { .. } => "signature_damaged",
            Self::SignatureNamespace { .. } => "signature_namespace",
            Self::UnknownSigner { .. } => "signer",
            Self::SignatureWrong { .. } => "signature",
            Self::NotElf { .. } => "not_elf",
            Self::WrongMachine { .. } => "machine",
            Self::NotSharedLibrary { .. } => "not_shared_library",
            Self::Truncated { .. } => "truncated",
            Self::Malformed { .. } => "malformed",
            Self::NotAPlugin { .. } => "not_a_plugin",
            Self::Aborts { .. } => "aborts",
            Self::Open { .. } => "open",
            Self::Interface { .. } => "interface",
            Self::Abi { .. } => "abi",
            Self::Registration { .. } => "registration",
            Self::FatalToLoad { .. } => "fatal_to_load",
            Self::TriedOut { .. } => "tried_out",
            Self::StageFolder { .. } => "stage_folder",
        }
    }
}

fn list(items: &[impl ToString]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    let items = items.iter().map(ToString::to_string).collect::<Vec<_>>();
    items.join(", ")
}
