//! The reasons for which a request is denied, each with its message.

use std::net::IpAddr;

use crate::{BadHost, BadPath, Service};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The configuration switches the service off.
    #[error("the service {service} is switched off")]
    ServiceOff {
        /// The service.
        service: Service,
    },
    /// A rule of the configuration denies the request.
    #[error("rule {index} of the configuration denies it")]
    Rule {
        /// The rule's place among those given to [`crate::Policy::new`].
        index: usize,
    },
    /// No rule decides, and no scope of the identity grants the request.
    #[error("no rule and no ssh:{service} scope of the identity grants it")]
    NoScope {
        /// The service.
        service: Service,
    },
    /// The peer's certificate is limited to scopes, and none of them grants the
    /// request.
    #[error("no ssh:{service} scope that the certificate is limited to grants it")]
    NotCertified {
        /// The service.
        service: Service,
    },
    /// The peer's certificate or authorized key withholds what was asked for.
    #[error("the certificate does not permit it ({what})")]
    Restricted {
        /// The extension the certificate lacks, or the option it has.
        what: &'static str,
    },
    /// The identity may run certain programs, but not this one.
    #[error("the identity may run certain programs, and the command does not start with one")]
    OtherProgram,
    /// The identity may run certain programs, but which one this is cannot be
    /// told.
    #[error("the command cannot be split into words (unbalanced quotes)")]
    Unparsable,
    /// A command holds a NUL byte, which no argument can.
    #[error("the command holds a NUL byte")]
    NulByte,
    /// The host asked for is neither a host name nor an address.
    #[error("the host cannot be connected to: {0}")]
    BadHost(#[from] BadHost),
    /// The port asked for is not one that can be connected to.
    #[error("{port} is not a port to connect to; ports are 1 to 65535")]
    BadPort {
        /// The port, as SSH carries it.
        port: u32,
    },
    /// The path of a Unix socket cannot be used.
    #[error("the socket's path cannot be used: {0}")]
    BadPath(#[from] BadPath),
    /// A terminal was asked for a program that runs without a shell.
    #[error(
        "a terminal for a program that runs without a shell needs ssh:shell: many programs start \
         others from one"
    )]
    TerminalOfProgram,
    /// The variable could make a program start another one or load code.
    #[error(
        "with this variable programs start others, and the identity may run certain programs only"
    )]
    StartsPrograms,
    /// No environment variable can have this name.
    #[error("no environment variable can have this name (empty, or with = or NUL)")]
    BadVariable,
    /// A listener was asked for on a name that stands for no address of the
    /// node.
    #[error("a listener's address is an IP address, localhost, * or empty")]
    ListenName,
    /// The address to bind is not among those that the requested text stands
    /// for.
    #[error("the address {bind} is not what was asked for")]
    NotAsked {
        /// The address.
        bind: IpAddr,
    },
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
}
