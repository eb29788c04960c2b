//! How our client and our server save the round trip in which a client opens
//! the channel of its first command: the server opens that channel, together
//! with its word that the user is let in (ADR 44). Only a client that asks is
//! promised the channel, and only what was promised is accepted.

/// What a client that asks for it has behind its version, as a comment (RFC
/// 4253 section 4.2).
pub(crate) const ASKED: &str = "command";

/// The banner (RFC 4252 section 5.4) by which a server promises it, before the
/// client logs in.
pub(crate) const PROMISED: &str = "alknet: the channel for the command follows";
