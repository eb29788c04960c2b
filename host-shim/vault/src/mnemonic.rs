//! The words that every key is derived from, and the seed they stretch to
//! (BIP39).

use std::fmt;

use bip39::Language;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The words everything else is derived from: 12, 15, 18, 21 or 24 English
/// words (BIP39), checked for spelling and checksum.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Mnemonic(bip39::Mnemonic);

impl Mnemonic {
    /// Makes 24 new words from the operating system's randomness.
    ///
    /// # Errors
    /// [`MnemonicError::NoRandomness`] when the system has none to give.
    pub fn generate() -> Result<Self, MnemonicError> {
        let mut entropy = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(entropy.as_mut())
            .map_err(|_| MnemonicError::NoRandomness)?;
        bip39::Mnemonic::from_entropy(entropy.as_ref())
            .map(Self)
            .map_err(MnemonicError::from_bip39)
    }

    /// Reads words as people write them: case and the amount of white space do
    /// not matter, and compatible Unicode forms are folded (NFKD).
    ///
    /// # Errors
    /// When the number of words, a word or the checksum is wrong. The error
    /// names a position, never a word.
    pub fn parse(phrase: &str) -> Result<Self, MnemonicError> {
        let phrase = Zeroizing::new(phrase.to_lowercase());
        bip39::Mnemonic::parse_in(Language::English, phrase.as_str())
            .map(Self)
            .map_err(MnemonicError::from_bip39)
    }

    /// The words, lower case with one space between, for the one place they
    /// are written to.
    pub fn expose_phrase(&self) -> Zeroizing<String> {
        // Sized ahead: growing would leave copies of the words behind.
        let length = self.0.words().map(|word| word.len() + 1).sum();
        let mut phrase = Zeroizing::new(String::with_capacity(length));
        for word in self.0.words() {
            if !phrase.is_empty() {
                phrase.push(' ');
            }
            phrase.push_str(word);
        }
        phrase
    }

    /// The number of words.
    pub fn word_count(&self) -> usize {
        self.0.word_count()
    }

    /// The seed of these words and a passphrase (BIP39: PBKDF2 with
    /// HMAC-SHA512, 2048 rounds, after NFKD). There is no wrong passphrase,
    /// only another seed.
    pub fn to_seed(&self, passphrase: &str) -> Seed {
        let mut bytes = self.0.to_seed(passphrase);
        let seed = Seed(bytes);
        bytes.zeroize();
        seed
    }
}

impl fmt::Debug for Mnemonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mnemonic({} words)", self.word_count())
    }
}

/// The 64 bytes a mnemonic and its passphrase stretch to (BIP39).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 64]);

impl Seed {
    /// The seed itself.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// Why a text is not a mnemonic, or why a new one could not be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MnemonicError {
    /// The number of words is not one BIP39 knows.
    #[error("a mnemonic has 12, 15, 18, 21 or 24 words; this one has {found}")]
    WordCount {
        /// The number of words.
        found: usize,
    },
    /// A word is not in the English list of BIP39.
    #[error(
        "word {position} of the mnemonic is not in the BIP39 English word list; check its spelling"
    )]
    UnknownWord {
        /// Which word, counted from 1.
        position: usize,
    },
    /// All words are known, but they do not belong together.
    #[error(
        "the mnemonic's checksum is wrong: every word is in the list, but one is not the right \
         one or the order has changed; compare it with your copy"
    )]
    Checksum,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes for a new mnemonic")]
    NoRandomness,
}

impl MnemonicError {
    fn from_bip39(error: bip39::Error) -> Self {
        match error {
            bip39::Error::BadWordCount(found) => Self::WordCount { found },
            bip39::Error::UnknownWord(index) => Self::UnknownWord {
                position: index + 1,
            },
            bip39::Error::InvalidChecksum => Self::Checksum,
            // Neither can come up: one language, and entropy of a right size.
            bip39::Error::AmbiguousLanguages(_) => Self::Checksum,
            bip39::Error::BadEntropyBitCount(_) => Self::NoRandomness,
        }
    }
}
