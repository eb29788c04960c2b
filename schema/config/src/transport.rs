//! Settings for flow control, re-keying (RFC 4253 section 9) and key exchange.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SshConfigError;
use crate::range::within;

/// Flow control and re-keying of the SSH transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Transport {
    /// Bytes a peer may send on a channel before it is granted more (RFC 4254
    /// section 5.2). 65536 to 16777216. Default 2097152 (2 MiB).
    #[schemars(range(min = 65_536, max = 16_777_216))]
    pub window_bytes: u32,
    /// What that grows to on a path that holds as much (twice the
    /// bandwidth-delay product), as long as the channel's data is consumed.
    /// Less than `window_bytes` counts as that. 65536 to 16777216. Default
    /// 16777216 (16 MiB).
    #[schemars(range(min = 65_536, max = 16_777_216))]
    pub max_window_bytes: u32,
    /// Largest piece of channel data a peer may send at once. 4096 to 65535.
    /// Default 32768.
    #[schemars(range(min = 4_096, max = 65_535))]
    pub max_packet_bytes: u32,
    /// Bytes in one direction after which new keys are agreed (RFC 4253
    /// section 9). 1048576 to 68719476736. Default 17179869184 (16 GiB).
    #[schemars(range(min = 1_048_576_u64, max = 68_719_476_736_u64))]
    pub rekey_bytes: u64,
    /// Seconds after which new keys are agreed. 60 to 86400. Default 3600.
    #[schemars(range(min = 60, max = 86_400))]
    pub rekey_seconds: u32,
    /// Whether only clients with post-quantum key exchange
    /// (`mlkem768x25519-sha256`) are served. OpenSSH has it since 9.9; older
    /// ones, and many other clients, are then turned away. Default false.
    pub require_post_quantum: bool,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            window_bytes: 2 << 20,
            max_window_bytes: 16 << 20,
            max_packet_bytes: 32 << 10,
            rekey_bytes: 16 << 30,
            rekey_seconds: 3600,
            require_post_quantum: false,
        }
    }
}

impl Transport {
    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        within(
            "/transport/window_bytes",
            self.window_bytes,
            65_536..=16_777_216,
        )?;
        within(
            "/transport/max_window_bytes",
            self.max_window_bytes,
            65_536..=16_777_216,
        )?;
        within(
            "/transport/max_packet_bytes",
            self.max_packet_bytes,
            4_096..=65_535,
        )?;
        within(
            "/transport/rekey_bytes",
            self.rekey_bytes,
            1_048_576..=68_719_476_736,
        )?;
        within("/transport/rekey_seconds", self.rekey_seconds, 60..=86_400)
    }
}
