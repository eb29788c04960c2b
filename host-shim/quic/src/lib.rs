//! What both ends of the QUIC link share: raw-key identities, transport settings, endpoints.
