//! What can be wrong with a configuration, or with what it names.

use std::fmt;
use std::path::PathBuf;

use alknet_document::{Document, Fault};
use alknet_identity::PeersError;
use alknet_loader::{Refusal, shown};
use serde::{Deserialize, Serialize};

use crate::secrets::keys;

/// A fault that does not keep the node from starting.
#[derive(Debug)]
pub enum Warning {
    /// A file in the plugins directory was refused; the node starts without it.
    Plugin(Refusal),
    /// A plugin was loaded but would not make its handler; the node starts
    /// without it.
    Handler(MakeHandlerError),
    /// Two files hold the same plugin; the node starts with the first.
    SamePlugin {
        /// The plugin's name.
        name: String,
        /// The file in use.
        first: PathBuf,
        /// The file left out.
        second: PathBuf,
    },
    /// No plugin was found, so nothing will be served.
    NoPlugins {
        /// The plugins directory.
        dir: PathBuf,
    },
    /// Two plugins want the same ALPN; the node starts with the first.
    SameAlpn {
        /// The ALPN.
        alpn: String,
        /// The file in use.
        first: PathBuf,
        /// The file left out.
        second: PathBuf,
    },
    /// A plugin is configured that is not there.
    ConfiguredButAbsent(Fault),
    /// The node listens on TCP for an ALPN that no plugin serves.
    TcpUnserved(Fault),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plugin(refusal) => refusal.fmt(f),
            Self::Handler(refused) => refused.fmt(f),
            Self::SamePlugin {
                name,
                first,
                second,
            } => write!(
                f,
                "{}: holds the plugin {name:?} that {} holds too; the file name that comes first wins, so this one is left out; keep one of the two",
                shown(second),
                shown(first)
            ),
            Self::SameAlpn {
                alpn,
                first,
                second,
            } => write!(
                f,
                "{}: serves the ALPN {alpn:?} that {} serves too; the file name that comes first wins, so this one is left out; keep one of the two",
                shown(second),
                shown(first)
            ),
            Self::NoPlugins { dir } => write!(
                f,
                "{}: there is no plugin in this directory, so the node serves nothing; put libalknet_ssh_plugin.so there and restart",
                shown(dir)
            ),
            Self::ConfiguredButAbsent(fault) | Self::TcpUnserved(fault) => fault.fmt(f),
        }
    }
}

/// Something that keeps the node from starting.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A fault in a configuration file.
    #[error("{0}")]
    Config(Fault),
    /// A key file cannot be used.
    #[error("{0}")]
    Keys(#[from] keys::KeysError),
    /// Something that alone would not keep the node from starting.
    #[error("{0}")]
    Warning(Warning),
    /// The peers cannot be used.
    #[error("{0}")]
    Peers(PeersError),
    /// The node is about to stop.
    #[error("the node is about to stop; nothing was reloaded")]
    Stopping,
    /// A plugin cannot be used.
    #[error("{0}")]
    Plugin(Refusal),
    /// A plugin would not make its handler.
    #[error("{0}")]
    Handler(MakeHandlerError),
    /// What was asked for is not there.
    #[error("{0}")]
    Absent(String),
    /// Others could change a configuration file.
    #[error("{0}")]
    Place(Refusal),
    /// What was asked for would end sessions.
    #[error("{0}")]
    EndsSessions(String),
    /// The directory for private copies of the libraries cannot be used.
    #[error("{0}")]
    Staging(Refusal),
}

/// A loaded plugin that does not serve.
#[derive(Debug)]
pub struct MakeHandlerError {
    /// The file of the plugin.
    pub file: PathBuf,
    /// The reason, and what to do.
    pub reason: String,
    /// JSON pointer (RFC 6901) to the fault in the node's configuration, if it
    /// is there.
    pub pointer: Option<String>,
}

impl MakeHandlerError {
    /// The fault in the configuration, with its place, if it is one.
    pub(crate) fn fault(&self, document: &Document) -> Option<Fault> {
        let pointer = self.pointer.as_deref()?;
        Some(Fault::at(document, pointer, self.reason.clone()))
    }
}

impl fmt::Display for MakeHandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.file), self.reason)
    }
}

/// Something that is wrong, for people and for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FaultReport {
    /// The whole fault in one line.
    pub(crate) message: String,
    /// The file that the fault is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The JSON pointer within that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
    /// The column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<u32>,
}

impl FaultReport {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }
}

impl From<&NodeError> for FaultReport {
    fn from(problem: &NodeError) -> Self {
        let mut report = Self::new(problem.to_string());
        if let NodeError::Config(fault) = problem {
            report.file = Some(fault.file.to_string());
            report.pointer = Some(fault.pointer.to_string());
            report.line = fault.position.map(|position| position.line);
            report.column = fault.position.map(|position| position.column);
        }
        report
    }
}
