//! What an authority has revoked, and its key revocation list (PROTOCOL.krl of
//! OpenSSH).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use crate::Authority;

/// `SSHKRL`, a newline and NUL.
const MAGIC: &[u8] = b"SSHKRL\n\0";
const FORMAT_VERSION: u32 = 1;
/// Sections.
const CERTIFICATES: u8 = 1;
const EXPLICIT_KEY: u8 = 2;
/// Parts of a section about certificates.
const SERIAL_LIST: u8 = 0x20;
const KEY_ID: u8 = 0x23;

/// What an authority has revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Revocations {
    /// How often something was revoked: the number of the list.
    pub number: u64,
    /// Serial numbers of certificates.
    pub serials: BTreeSet<u64>,
    /// Key ids of certificates, those that are made later among them.
    pub key_ids: BTreeSet<String>,
    /// Public keys as lines, without comments: as plain keys and in any
    /// certificate.
    pub keys: BTreeSet<String>,
}

impl Revocations {
    /// Whether the public key of this line is revoked.
    pub fn holds_key(&self, line: &str) -> bool {
        let data = |line: &str| {
            let key = PublicKey::from_openssh(line.trim()).ok()?;
            Some(key.key_data().clone())
        };
        let key = data(line);
        key.is_some() && self.keys.iter().any(|revoked| data(revoked) == key)
    }

    /// The list as `ssh-keygen -k` writes it, made at that time (seconds since
    /// 1970).
    pub fn to_krl(&self, authority: &Authority, now: u64) -> Vec<u8> {
        let mut list = MAGIC.to_vec();
        list.extend(FORMAT_VERSION.to_be_bytes());
        list.extend(self.number.to_be_bytes());
        list.extend(now.to_be_bytes());
        // Flags, a reserved text and a comment.
        list.extend(0u64.to_be_bytes());
        put(&mut list, b"");
        put(&mut list, b"");
        if !self.serials.is_empty() || !self.key_ids.is_empty() {
            let mut section = Vec::new();
            put(&mut section, &authority.public_blob());
            put(&mut section, b"");
            let serials = self.serials.iter().flat_map(|serial| serial.to_be_bytes());
            put_part(&mut section, SERIAL_LIST, &serials.collect::<Vec<_>>());
            let mut ids = Vec::new();
            self.key_ids
                .iter()
                .for_each(|id| put(&mut ids, id.as_bytes()));
            put_part(&mut section, KEY_ID, &ids);
            put_part(&mut list, CERTIFICATES, &section);
        }
        let mut keys = Vec::new();
        for line in &self.keys {
            let key = PublicKey::from_openssh(line);
            if let Ok(blob) = key.and_then(|key| key.to_bytes()) {
                put(&mut keys, &blob);
            }
        }
        put_part(&mut list, EXPLICIT_KEY, &keys);
        list
    }
}

/// Appends a section or a part of one; nothing where it is empty.
fn put_part(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(kind);
        put(out, bytes);
    }
}

/// Appends a string (RFC 4251, section 5).
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}
