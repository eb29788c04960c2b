//! What is wrong with the text of a destination.

/// Why a text is not a destination, or one that could never match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// The text has no colon with a port after it.
    #[error("no port follows {host:?}; write <host>:<port>, with * for every port")]
    NoPort {
        /// The text.
        host: String,
    },
    /// The part before the port is not a host pattern.
    #[error(
        "{host:?} is not a host; write a name, *.suffix, an address, a network like 10.0.0.0/8 or \
         [fd00::]/8, or *"
    )]
    Host {
        /// The part.
        host: String,
    },
    /// An IPv6 address without brackets, or with the prefix length inside.
    #[error("an IPv6 address stands in brackets, a prefix length after them; write {right}")]
    Brackets {
        /// The right form.
        right: String,
    },
    /// A prefix length no address has.
    #[error("the prefix of {network} is too long; it has at most {longest} bits")]
    PrefixTooLong {
        /// The network.
        network: String,
        /// The greatest length.
        longest: u8,
    },
    /// A network with bits behind the prefix that would never be compared.
    #[error("{network} cannot match, it has bits set after its prefix; write {right}")]
    HostBits {
        /// The network.
        network: String,
        /// The network that holds its address.
        right: String,
    },
    /// An IPv4-mapped IPv6 network; such addresses are compared as IPv4.
    #[error("{network} cannot match, such addresses count as IPv4; write {right}")]
    Mapped {
        /// The network.
        network: String,
        /// The same in IPv4.
        right: String,
    },
    /// The unspecified address as the end of a connection.
    #[error("connecting to the unspecified address reaches the loopback; write {right}")]
    Unspecified {
        /// The loopback address of the family.
        right: String,
    },
    /// The part after the last colon is not a port pattern.
    #[error("{port:?} is not a port; write a number up to 65535, a range like 8000-8010, or *")]
    Port {
        /// The part.
        port: String,
    },
    /// A range that ends before it starts.
    #[error("the range {first}-{last} holds no port; write {last}-{first}")]
    ReversedRange {
        /// What stands first.
        first: u16,
        /// What stands last.
        last: u16,
    },
    /// Port 0 as the end of a connection.
    #[error("nothing can be connected to on port 0; ports are 1 to 65535")]
    PortZero,
    /// A name as a listener's address.
    #[error(
        "{name:?} cannot match, listeners are asked for by address; write an address, a network, \
         localhost or *"
    )]
    ListenName {
        /// The name.
        name: String,
    },
}
