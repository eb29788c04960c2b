//! The reasons for which a connection is turned away before its log-in.

/// Why a connection is turned away before it may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdmissionError {
    /// Its address misbehaved.
    #[error("penalised address")]
    Penalised,
    /// Its address has as many that have not logged in as it may.
    #[error("too many connections of this address are not logged in")]
    Source,
    /// All addresses together have as many as they may.
    #[error("too many connections are not logged in")]
    Startups,
    /// The TLS handshake did not prove an identity, and the configuration
    /// requires one.
    #[error("no known key in the QUIC handshake")]
    Unbound,
}

impl AdmissionError {
    /// The reason that the peer is told.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Penalised => "Not allowed at this time",
            Self::Source | Self::Startups => "Exceeded MaxStartups",
            Self::Unbound => {
                "alknet: this node wants a key that it knows in the QUIC handshake; connect with \
                 `alknet connect --identity-key FILE`"
            }
        }
    }
}
