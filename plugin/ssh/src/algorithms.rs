use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

use crate::client::HostTrust;

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

/// All ciphers above authenticate by themselves; clients still insist on a
/// common entry here.
const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];

const COMPRESSION: &[compression::Name] = &[compression::NONE];

/// What the server offers a client that has AES-GCM. The client's order
/// decides, and OpenSSH's starts with ChaCha20, which costs twice the CPU of
/// AES-GCM where the processor has AES instructions: there it is not offered.
pub(crate) fn for_server(post_quantum_only: bool) -> Preferred {
    let ciphers = if has_aes() { AES_GCM } else { CHACHA_FIRST };
    preferred(kex(post_quantum_only), ciphers)
}

/// What the server offers any other client: Dropbear, as it is commonly built,
/// has no AES-GCM.
pub(crate) fn for_any_client(post_quantum_only: bool) -> Preferred {
    let ciphers = if has_aes() { AES_FIRST } else { CHACHA_FIRST };
    preferred(kex(post_quantum_only), ciphers)
}

/// What the client proposes, fastest first.
pub(crate) fn for_client() -> Preferred {
    preferred(KEX, if has_aes() { AES_FIRST } else { CHACHA_FIRST })
}

/// What the client proposes to a host of which something is known: the kinds of
/// keys it is known by first.
pub(crate) fn for_client_of(trust: &HostTrust) -> Preferred {
    let certificates = if trust.takes_certificates() {
        Cow::Borrowed(KEYS)
    } else {
        Cow::Borrowed(&[][..])
    };
    Preferred {
        key: Cow::Owned(trust.order(KEYS)),
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

fn preferred(kex: &'static [kex::Name], ciphers: &'static [cipher::Name]) -> Preferred {
    Preferred {
        kex: Cow::Borrowed(kex),
        key: Cow::Borrowed(KEYS),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(ciphers),
        mac: Cow::Borrowed(MACS),
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
