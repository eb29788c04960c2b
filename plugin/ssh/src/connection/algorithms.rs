//! The algorithms that server and client offer (RFC 4253 section 7.1), by what
//! the peer can do.

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

use super::kexinit::Proposal;

/// Key exchanges: the post-quantum hybrid first, then the curve every client
/// has; and the extension markers of RFC 8308 and of strict key exchange.
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// The post-quantum hybrid alone.
const KEX_POST_QUANTUM: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// Public key algorithms, for host keys and user keys alike. `ssh-rsa`, which
/// signs SHA-1, is not among them.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

const AES_GCM: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::AES_128_GCM];
const CHACHA_FIRST: &[cipher::Name] = &[
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
];
const AES_FIRST: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
];
/// Ciphers with AES-CTR (RFC 4344) at the end, for clients without newer ones.
const AES_FIRST_AND_CTR: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];
const CHACHA_FIRST_AND_CTR: &[cipher::Name] = &[
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

/// MACs, which AES-CTR alone uses: the other ciphers authenticate by
/// themselves. Clients still insist on a common entry here.
const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];
/// MACs with the plain forms last (RFC 6668), whose order of encryption and MAC
/// is the weaker.
const MACS_AND_PLAIN: &[mac::Name] = &[
    mac::HMAC_SHA512_ETM,
    mac::HMAC_SHA256_ETM,
    mac::HMAC_SHA512,
    mac::HMAC_SHA256,
];

/// What is known of a client from what it proposes, or from its version line
/// while it has not proposed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// The client has AES-GCM.
    HasAesGcm,
    /// Nothing is known. Dropbear as it is commonly built has no AES-GCM,
    /// Paramiko before 3.5 and PuTTY before 0.81 neither; that Paramiko has no
    /// ChaCha20 on top.
    Unknown,
    /// libssh2: before 1.11 it has AES-CTR alone, with plain MACs.
    Libssh2,
}

impl ClientKind {
    const BY_VERSION: &[(&[u8], Self)] = &[
        (b"SSH-2.0-OpenSSH", Self::HasAesGcm),
        (b"SSH-2.0-alknet", Self::HasAesGcm),
        (b"SSH-2.0-russh", Self::HasAesGcm),
        (b"SSH-2.0-Go", Self::HasAesGcm),
        (b"SSH-2.0-libssh2_", Self::Libssh2),
    ];

    /// The kind of client by the beginning of its version line. A line that was
    /// changed on its way fails the key exchange, which covers it (RFC 4253
    /// section 8).
    pub(crate) fn of(version: &[u8]) -> Self {
        Self::BY_VERSION
            .iter()
            .find(|(name, _)| version.starts_with(name))
            .map_or(Self::Unknown, |(_, kind)| *kind)
    }
}

impl ClientKind {
    /// The kind of client by its proposal, whatever its version line says.
    pub(crate) fn of_proposal(proposal: &Proposal) -> Self {
        let both = |lists: &[Vec<String>; 2], has: &dyn Fn(&str) -> bool| {
            lists.iter().all(|list| list.iter().any(|name| has(name)))
        };
        let gcm = |name: &str| AES_GCM.iter().any(|gcm| gcm.as_ref() == name);
        let chacha = |name: &str| cipher::CHACHA20_POLY1305.as_ref() == name;
        let etm = |name: &str| MACS.iter().any(|mac| mac.as_ref() == name);
        if both(&proposal.ciphers, &gcm) {
            Self::HasAesGcm
        } else if both(&proposal.ciphers, &chacha) || both(&proposal.macs, &etm) {
            Self::Unknown
        } else {
            Self::Libssh2
        }
    }
}

const COMPRESSION: &[compression::Name] = &[compression::NONE];

/// The algorithms that the server offers. The client's order decides, and
/// OpenSSH's starts with ChaCha20, which costs twice the CPU of AES-GCM where
/// the processor has AES instructions: there it is not offered to who has
/// AES-GCM.
pub(crate) fn for_server(client: ClientKind, post_quantum_only: bool) -> Preferred {
    let (ciphers, macs) = match (client, has_aes()) {
        (ClientKind::HasAesGcm, true) => (AES_GCM, MACS),
        (ClientKind::HasAesGcm, false) => (CHACHA_FIRST, MACS),
        (ClientKind::Unknown, true) => (AES_FIRST_AND_CTR, MACS),
        (ClientKind::Unknown, false) => (CHACHA_FIRST_AND_CTR, MACS),
        (ClientKind::Libssh2, true) => (AES_FIRST_AND_CTR, MACS_AND_PLAIN),
        (ClientKind::Libssh2, false) => (CHACHA_FIRST_AND_CTR, MACS_AND_PLAIN),
    };
    preferred(kex(post_quantum_only), ciphers, macs)
}

/// The algorithms that our client proposes, fastest first.
pub(crate) fn for_client() -> Preferred {
    preferred(KEX, if has_aes() { AES_FIRST } else { CHACHA_FIRST }, MACS)
}

/// The algorithms that our client proposes to a host of which something is
/// known: host keys as `order` puts them, and certificates where an authority
/// for them is known.
pub(crate) fn for_client_of(
    order: impl FnOnce(&[Algorithm]) -> Vec<Algorithm>,
    has_authority: bool,
) -> Preferred {
    let certificates = if has_authority {
        Cow::Borrowed(KEYS)
    } else {
        Cow::Borrowed(&[][..])
    };
    Preferred {
        key: Cow::Owned(order(KEYS)),
        host_key_certificates: certificates,
        ..for_client()
    }
}

fn kex(post_quantum_only: bool) -> &'static [kex::Name] {
    if post_quantum_only {
        KEX_POST_QUANTUM
    } else {
        KEX
    }
}

fn preferred(
    kex: &'static [kex::Name],
    ciphers: &'static [cipher::Name],
    macs: &'static [mac::Name],
) -> Preferred {
    Preferred {
        kex: Cow::Borrowed(kex),
        key: Cow::Borrowed(KEYS),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(ciphers),
        mac: Cow::Borrowed(macs),
        compression: Cow::Borrowed(COMPRESSION),
    }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_proposes_decides_what_it_is_offered() {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        for (ciphers, macs, kind) in [
            (
                "chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com",
                "hmac-sha2-256",
                ClientKind::HasAesGcm,
            ),
            (
                "chacha20-poly1305@openssh.com",
                "umac-64-etm@openssh.com",
                ClientKind::Unknown,
            ),
            (
                "aes256-ctr",
                "hmac-sha2-512-etm@openssh.com,hmac-sha2-512",
                ClientKind::Unknown,
            ),
            ("aes256-ctr", "hmac-sha2-512", ClientKind::Libssh2),
        ] {
            let proposal = Proposal {
                ciphers: [list(ciphers), list(ciphers)],
                macs: [list(macs), list(macs)],
            };
            assert_eq!(ClientKind::of_proposal(&proposal), kind, "{ciphers}");
        }
    }
}
