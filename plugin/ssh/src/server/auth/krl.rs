//! OpenSSH's key revocation lists (`PROTOCOL.krl`), read strictly: a list that
//! is only half understood would let in what it revokes.

use std::collections::HashSet;

/// `SSHKRL`, a newline and NUL.
const MAGIC: &[u8] = b"SSHKRL\n\0";
const FORMAT_VERSION: u32 = 1;

/// Sections.
const CERTIFICATES: u8 = 1;
const EXPLICIT_KEY: u8 = 2;
const FINGERPRINT_SHA1: u8 = 3;
const SIGNATURE: u8 = 4;
const FINGERPRINT_SHA256: u8 = 5;
const EXTENSION: u8 = 255;

/// Parts of a section about certificates.
const SERIAL_LIST: u8 = 0x20;
const SERIAL_RANGE: u8 = 0x21;
const SERIAL_BITMAP: u8 = 0x22;
const KEY_ID: u8 = 0x23;
const CERTIFICATES_EXTENSION: u8 = 0x39;

/// The contents of a list; keys and hashes are in their binary form.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    pub(super) keys: HashSet<Vec<u8>>,
    pub(super) sha1: HashSet<Vec<u8>>,
    pub(super) sha256: HashSet<Vec<u8>>,
    pub(super) certificates: Vec<Certificates>,
}

/// The revoked certificates of one authority, or of all.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// The authority's key in its binary form; empty for all authorities.
    pub(super) authority: Vec<u8>,
    serials: HashSet<u64>,
    ranges: Vec<(u64, u64)>,
    bitmaps: Vec<Bitmap>,
    key_ids: HashSet<Vec<u8>>,
}

/// The lowest bit of the last byte stands for `offset`.
#[derive(Debug)]
struct Bitmap {
    offset: u64,
    bytes: Vec<u8>,
}

/// Whether these bytes are a key revocation list rather than something else.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads a list.
pub(super) fn parse(bytes: &[u8]) -> Result<Revoked, KrlError> {
    let mut reader = Reader(bytes.strip_prefix(MAGIC).ok_or(KrlError::Truncated)?);
    let version = reader.u32()?;
    if version != FORMAT_VERSION {
        return Err(KrlError::Version { version });
    }
    // Its number, the time it was made, flags, a reserved text and a comment.
    for _ in 0..3 {
        reader.u64()?;
    }
    for _ in 0..2 {
        reader.string()?;
    }
    let mut revoked = Revoked::default();
    while !reader.0.is_empty() {
        let kind = reader.u8()?;
        let mut section = Reader(reader.string()?);
        match kind {
            CERTIFICATES => revoked.certificates.push(certificates(section)?),
            EXPLICIT_KEY => section.strings_into(&mut revoked.keys, None)?,
            FINGERPRINT_SHA1 => section.strings_into(&mut revoked.sha1, Some(20))?,
            FINGERPRINT_SHA256 => section.strings_into(&mut revoked.sha256, Some(32))?,
            SIGNATURE => return Err(KrlError::Signed),
            EXTENSION => extension(section)?,
            kind => return Err(KrlError::UnknownSection { kind }),
        }
    }
    Ok(revoked)
}

fn certificates(mut reader: Reader<'_>) -> Result<Certificates, KrlError> {
    let mut section = Certificates {
        authority: reader.string()?.to_vec(),
        ..Certificates::default()
    };
    // Reserved.
    reader.string()?;
    while !reader.0.is_empty() {
        let kind = reader.u8()?;
        let mut part = Reader(reader.string()?);
        match kind {
            SERIAL_LIST => {
                while !part.0.is_empty() {
                    section.serials.insert(part.u64()?);
                }
            }
            SERIAL_RANGE => {
                let (first, last) = (part.u64()?, part.u64()?);
                if first > last {
                    return Err(KrlError::Range { first, last });
                }
                section.ranges.push((first, last));
                part.end()?;
            }
            SERIAL_BITMAP => {
                let offset = part.u64()?;
                let bytes = part.string()?;
                // A number without sign (RFC 4251, `mpint`).
                if bytes.first().is_some_and(|first| first & 0x80 != 0) {
                    return Err(KrlError::Bitmap);
                }
                section.bitmaps.push(Bitmap {
                    offset,
                    bytes: bytes.to_vec(),
                });
                part.end()?;
            }
            KEY_ID => part.strings_into(&mut section.key_ids, None)?,
            CERTIFICATES_EXTENSION => extension(part)?,
            kind => return Err(KrlError::UnknownSection { kind }),
        }
    }
    Ok(section)
}

/// Reads an extension; one that is not critical is ignored.
fn extension(mut reader: Reader<'_>) -> Result<(), KrlError> {
    let name = reader.string()?;
    let critical = reader.u8()? != 0;
    reader.string()?;
    reader.end()?;
    if critical {
        return Err(KrlError::CriticalExtension {
            name: alknet_text::visible_bytes(name),
        });
    }
    Ok(())
}

impl Certificates {
    pub(super) fn holds(&self, serial: u64, key_id: &str) -> bool {
        if self.key_ids.contains(key_id.as_bytes()) {
            return true;
        }
        serial != 0
            && (self.serials.contains(&serial)
                || self
                    .ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&serial))
                || self.bitmaps.iter().any(|bitmap| bitmap.holds(serial)))
    }
}

impl Bitmap {
    fn holds(&self, serial: u64) -> bool {
        let Some(place) = serial.checked_sub(self.offset) else {
            return false;
        };
        let from_the_end = usize::try_from(place / 8).unwrap_or(usize::MAX);
        let byte = self.bytes.iter().rev().nth(from_the_end);
        byte.is_some_and(|byte| byte >> (place % 8) & 1 == 1)
    }
}

/// The bytes that are left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], KrlError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(KrlError::Truncated)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, KrlError> {
        self.take().map(u8::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, KrlError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, KrlError> {
        self.take().map(u64::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], KrlError> {
        let length = self.u32()? as usize;
        let split = self.0.split_at_checked(length);
        let (bytes, rest) = split.ok_or(KrlError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Takes all strings that are left, each of `length` bytes if that is
    /// given.
    fn strings_into(
        &mut self,
        strings: &mut HashSet<Vec<u8>>,
        length: Option<usize>,
    ) -> Result<(), KrlError> {
        while !self.0.is_empty() {
            let string = self.string()?;
            if length.is_some_and(|length| length != string.len()) {
                return Err(KrlError::HashLength);
            }
            strings.insert(string.to_vec());
        }
        Ok(())
    }

    fn end(&self) -> Result<(), KrlError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(KrlError::TrailingBytes)
        }
    }
}

/// What can be wrong with a key revocation list.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KrlError {
    #[error("it ends early; copy it again")]
    Truncated,
    #[error("there are bytes after the end of one of its parts")]
    TrailingBytes,
    #[error("it is of format version {version}, not {FORMAT_VERSION}")]
    Version { version: u32 },
    #[error("it has a section of kind {kind}, which is not known here")]
    UnknownSection { kind: u8 },
    #[error("it has a critical extension {name:?}, which is not known here")]
    CriticalExtension { name: String },
    #[error("it is signed, which is not supported; make one without a signature")]
    Signed,
    #[error("the range of serial numbers from {first} to {last} is not a range")]
    Range { first: u64, last: u64 },
    #[error("a bitmap of serial numbers is a negative number")]
    Bitmap,
    #[error("a hash has the wrong length")]
    HashLength,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn krl(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut list = [MAGIC, &1u32.to_be_bytes(), &[0; 24], &[0; 8]].concat();
        for (kind, section) in sections {
            list.push(*kind);
            list.extend(string(section));
        }
        list
    }

    fn certificates(parts: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut section = [string(b"ca"), string(b"")].concat();
        for (kind, part) in parts {
            section.push(*kind);
            section.extend(string(part));
        }
        krl(&[(CERTIFICATES, section)])
    }

    fn numbers(numbers: &[u64]) -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }

    #[test]
    fn serial_numbers_are_found_in_every_form() {
        let bitmap = [numbers(&[100]), string(&[0b1, 0b1000_0001])].concat();
        let list = certificates(&[
            (SERIAL_LIST, numbers(&[0, 7])),
            (SERIAL_RANGE, numbers(&[20, 22])),
            (SERIAL_BITMAP, bitmap),
            (KEY_ID, string(b"lost")),
            (
                CERTIFICATES_EXTENSION,
                [string(b"x"), vec![0], string(b"")].concat(),
            ),
        ]);
        let revoked = parse(&list).unwrap();
        let found: Vec<u64> = (0..130)
            .filter(|&serial| revoked.certificates[0].holds(serial, "kept"))
            .collect();
        assert_eq!(found, [7, 20, 21, 22, 100, 107, 108]);
        assert!(revoked.certificates[0].holds(1, "lost"));
        assert!(!revoked.certificates[0].holds(u64::MAX, "kept"));
    }

    #[test]
    fn whatever_is_not_understood_refuses_the_list() {
        let extension = [string(b"x"), vec![1], string(b"")].concat();
        for (list, error) in [
            (krl(&[(6, vec![])]), KrlError::UnknownSection { kind: 6 }),
            (krl(&[(SIGNATURE, vec![])]), KrlError::Signed),
            (
                krl(&[(FINGERPRINT_SHA1, string(&[0; 32]))]),
                KrlError::HashLength,
            ),
            (
                krl(&[(FINGERPRINT_SHA256, string(&[0; 20]))]),
                KrlError::HashLength,
            ),
            (krl(&[(CERTIFICATES, vec![])]), KrlError::Truncated),
            (
                krl(&[(EXTENSION, extension)]),
                KrlError::CriticalExtension {
                    name: "x".to_owned(),
                },
            ),
            (
                certificates(&[(0x24, vec![])]),
                KrlError::UnknownSection { kind: 0x24 },
            ),
            (
                certificates(&[(SERIAL_RANGE, numbers(&[2, 1]))]),
                KrlError::Range { first: 2, last: 1 },
            ),
            (
                certificates(&[(SERIAL_RANGE, numbers(&[1, 2, 3]))]),
                KrlError::TrailingBytes,
            ),
            (certificates(&[(SERIAL_LIST, vec![1])]), KrlError::Truncated),
            (
                certificates(&[(SERIAL_BITMAP, [numbers(&[1]), string(&[0x80])].concat())]),
                KrlError::Bitmap,
            ),
        ] {
            assert_eq!(parse(&list).unwrap_err(), error);
        }
        let good = krl(&[(EXPLICIT_KEY, string(b"key"))]);
        parse(&good).unwrap();
        // Cut anywhere but between two sections.
        let header = krl(&[]).len();
        for length in (MAGIC.len()..good.len()).filter(|length| *length != header) {
            assert_eq!(
                parse(&good[..length]).unwrap_err(),
                KrlError::Truncated,
                "{length}"
            );
        }
    }
}
