//! The transports over which a test reaches a node.

/// The two ways to a node. What is served is the same on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// QUIC, through `alknet connect` as the ProxyCommand.
    Quic,
    /// Plain TCP, without anything of ours.
    Tcp,
}

impl Transport {
    /// All transports.
    pub const ALL: [Self; 2] = [Self::Quic, Self::Tcp];
}
