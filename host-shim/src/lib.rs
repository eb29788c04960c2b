//! The node: loads protocol plugins and serves them over QUIC.
