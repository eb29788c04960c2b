//! BIP39: published vectors, and what a user is told about wrong words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use alknet_vault::{Ed25519Key, Mnemonic, MnemonicError, Seed, Vault};
use zeroize::ZeroizeOnDrop;

const ABOUT: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                     abandon abandon about";

#[test]
fn published_vectors() {
    // The English set of the reference implementation; passphrase TREZOR.
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("vectors/bip39-english.json")).unwrap();
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 24);
    for vector in vectors {
        let phrase = vector["mnemonic"].as_str().unwrap();
        let mnemonic = Mnemonic::parse(phrase).unwrap();
        assert_eq!(mnemonic.expose_phrase().as_str(), phrase);
        let seed = mnemonic.to_seed("TREZOR");
        assert_eq!(hex::encode(seed.as_bytes()), vector["seed"], "{phrase}");
    }
}

#[test]
fn every_length_is_known() {
    // All-zero entropy; the last word carries its checksum.
    for (words, last) in [
        (12, "about"),
        (15, "address"),
        (18, "agent"),
        (21, "admit"),
        (24, "art"),
    ] {
        let phrase = format!("{}{last}", "abandon ".repeat(words - 1));
        assert_eq!(Mnemonic::parse(&phrase).unwrap().word_count(), words);
    }
}

#[test]
fn words_may_be_written_carelessly() {
    let careless = format!("\n  {}\r\n\n", ABOUT.to_uppercase().replace(' ', " \t "));
    let mnemonic = Mnemonic::parse(&careless).unwrap();
    assert_eq!(mnemonic.expose_phrase().as_str(), ABOUT);
    // Full-width letters are compatible forms of the plain ones (NFKD).
    let wide = ABOUT.replace("about", "ａｂｏｕｔ");
    assert_eq!(
        Mnemonic::parse(&wide).unwrap().expose_phrase().as_str(),
        ABOUT
    );
}

#[test]
fn the_passphrase_is_normalised() {
    let mnemonic = Mnemonic::parse(ABOUT).unwrap();
    let composed = mnemonic.to_seed("caf\u{e9}");
    let decomposed = mnemonic.to_seed("cafe\u{301}");
    assert_eq!(composed.as_bytes(), decomposed.as_bytes());
    assert_ne!(composed.as_bytes(), mnemonic.to_seed("cafe").as_bytes());
}

#[test]
fn wrong_words_are_named_by_position_only() {
    let error = Mnemonic::parse(&ABOUT.replace("about", "abuot")).unwrap_err();
    assert_eq!(error, MnemonicError::UnknownWord { position: 12 });
    let text = format!("{error} {error:?}");
    assert!(text.contains("word 12 of the mnemonic"), "{text}");
    assert!(
        !text.contains("abuot") && !text.contains("abandon"),
        "{text}"
    );
}

#[test]
fn a_wrong_checksum_or_count_says_so() {
    let last = Mnemonic::parse(&ABOUT.replace("about", "zoo")).unwrap_err();
    assert_eq!(last, MnemonicError::Checksum);
    for count in [0, 1, 11, 13, 14, 23, 25, 27] {
        let error = Mnemonic::parse(&"abandon ".repeat(count)).unwrap_err();
        assert_eq!(error, MnemonicError::WordCount { found: count });
        let text = error.to_string();
        assert!(text.contains("12, 15, 18, 21 or 24"), "{text}");
        assert!(text.contains(&format!("this one has {count}")), "{text}");
    }
}

#[test]
fn new_mnemonics_have_24_words_and_differ() {
    let first = Mnemonic::generate().unwrap();
    let second = Mnemonic::generate().unwrap();
    assert_eq!(first.word_count(), 24);
    assert_ne!(first.expose_phrase(), second.expose_phrase());
    Mnemonic::parse(&first.expose_phrase()).unwrap();
}

#[test]
fn secrets_do_not_show_and_are_wiped() {
    fn wiped<T: ZeroizeOnDrop>(_: &T) {}

    let mnemonic = Mnemonic::parse(ABOUT).unwrap();
    let seed: Seed = mnemonic.to_seed("");
    let vault = Vault::from_mnemonic(&mnemonic, "");
    let key: Ed25519Key = vault.host_key();
    wiped(&mnemonic);
    wiped(&seed);
    wiped(&key);

    let shown = format!("{mnemonic:?} {seed:?} {vault:?} {key:?}");
    assert!(
        !shown.contains("abandon") && !shown.contains("about"),
        "{shown}"
    );
    for secret in [seed.as_bytes().as_slice(), key.expose_seed()] {
        assert!(!shown.contains(&hex::encode(secret)), "{shown}");
        assert!(
            !shown.contains(&format!("{}, {}", secret[0], secret[1])),
            "{shown}"
        );
    }
}
