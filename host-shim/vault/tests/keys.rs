//! Keys derived from a mnemonic, checked against independent computations.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use alknet_vault::{Ed25519Key, HOST_KEY_PATH, Mnemonic, NODE_IDENTITY_PATH, Vault};

const ABOUT: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                     abandon abandon about";

fn assert_key(key: &Ed25519Key, private: &str, public: &str) {
    assert_eq!(hex::encode(key.expose_seed()), private);
    assert_eq!(hex::encode(key.public_key()), public);
}

/// As the keys below; then `prk = hmac(bytes(32), private)` and
/// `hmac(prk, label + b"\x01")`, both with SHA-256.
#[test]
fn fixed_words_give_a_fixed_key_for_secrets() {
    let mnemonic = Mnemonic::parse(ABOUT).unwrap();
    for (passphrase, key) in [
        (
            "",
            "f5168ae1dcaef40c548e36723c6be1b6421399fbac3e1480bfb25cc8d379f8a8",
        ),
        (
            "TREZOR",
            "3855f0089a6c9f2022d5ff36fda30265737b8f02e6fdbd880f298fc589199007",
        ),
    ] {
        let vault = Vault::from_mnemonic(&mnemonic, passphrase);
        assert_eq!(hex::encode(vault.secrets_key().as_ref()), key);
    }
}

/// Computed apart from this crate, with Python's standard library and the
/// `cryptography` package:
///
/// ```python
/// seed = hashlib.pbkdf2_hmac("sha512", phrase, b"mnemonic" + passphrase, 2048)
/// i = hmac.new(b"ed25519 seed", seed, "sha512").digest()
/// for n in (74, 0, 1, 0):
///     i = hmac.new(i[32:], b"\0" + i[:32] + (2**31 + n).to_bytes(4, "big"), "sha512").digest()
/// private, public = i[:32], Ed25519PrivateKey.from_private_bytes(i[:32]).public_key()
/// ```
#[test]
fn fixed_words_give_fixed_keys() {
    let mnemonic = Mnemonic::parse(ABOUT).unwrap();
    let vault = Vault::from_mnemonic(&mnemonic, "");
    assert_key(
        &vault.node_identity(),
        "603aa5c626317fda4afd87b902e5c9de76c33f40834005245e1c5a675e92d700",
        "e78c2766a792f09bfccb51493968ac322283e8d021a30063784d806929762ecc",
    );
    assert_key(
        &vault.host_key(),
        "be2dfaff0d268c833fd9c653b9bd352cef3ec2b211db804211c9f912b63dc3ab",
        "6a9dd5c41915fba6cc22b8760263aba45b068cae7bead1d069c7b8eeb0118134",
    );
    let vault = Vault::from_mnemonic(&mnemonic, "TREZOR");
    assert_key(
        &vault.node_identity(),
        "ea060192febfe86e881bb4bbcb85512611ea9e74338c5ec6b3e2bc1d54e17b5a",
        "51d5edf75f95a8457f4877803cf7bf72fdafe60b5da3190f91a3d9e5f9c7d96a",
    );
    assert_key(
        &vault.host_key(),
        "d0abf7faa4fcf861e251b7074c32c04fc8f3c4fb67d113ada46896534796546d",
        "439e8c3f2577adff86b88d76d954dbe9837380a0d26a6835637c6bed668359af",
    );
}

#[test]
fn named_keys_lie_at_their_paths() {
    let vault = Vault::from_mnemonic(&Mnemonic::parse(ABOUT).unwrap(), "");
    for (key, path, text) in [
        (vault.node_identity(), NODE_IDENTITY_PATH, "m/74'/0'/0'/0'"),
        (vault.host_key(), HOST_KEY_PATH, "m/74'/0'/1'/0'"),
    ] {
        assert_eq!(vault.derive(&path).public_key(), key.public_key());
        let parsed = text.parse().unwrap();
        assert_eq!(vault.derive(&parsed).public_key(), key.public_key());
    }
}

#[test]
fn public_keys_follow_rfc_8032() {
    // RFC 8032, section 7.1, tests 1 to 3.
    for (private, public) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        ),
    ] {
        let seed: [u8; 32] = hex::decode(private).unwrap().try_into().unwrap();
        assert_eq!(
            hex::encode(Ed25519Key::from_seed(&seed).public_key()),
            public
        );
    }
}

#[test]
fn another_library_reads_the_pkcs8() {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    let key = Vault::from_mnemonic(&Mnemonic::parse(ABOUT).unwrap(), "").node_identity();
    let read = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key.to_pkcs8_der()).unwrap();
    assert_eq!(read.public_key().as_ref(), key.public_key());
}
