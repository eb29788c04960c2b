//! Reproducible random bytes, and digests to compare them by.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// A stream of bytes that nothing compresses, the same for the same seed.
pub struct Random(u64);

impl Random {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for chunk in bytes.chunks_mut(8) {
            // xorshift64*.
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        bytes
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.bytes(8)
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Writes the next `length` bytes to a file, and gives their digest.
    pub fn file(&mut self, path: &Path, length: usize) -> String {
        let mut file = File::create(path).unwrap();
        let mut hash = Sha256::new();
        let mut left = length;
        while left > 0 {
            let chunk = self.bytes(left.min(1 << 20));
            file.write_all(&chunk).unwrap();
            hash.update(&chunk);
            left -= chunk.len();
        }
        hex::encode(hash.finalize())
    }
}

/// The SHA-256 of these bytes in hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The SHA-256 of a file in hex digits.
pub fn sha256_of_file(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk).unwrap() {
            0 => return hex::encode(hash.finalize()),
            length => hash.update(&chunk[..length]),
        }
    }
}
