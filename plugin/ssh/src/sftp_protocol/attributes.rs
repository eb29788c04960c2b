//! File attributes as SFTP encodes them (draft-ietf-secsh-filexfer-02 section
//! 5).

use rustix::fs::{Mode, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::wire::{Malformed, Put, Reader};

/// Attributes of a file as a peer gives them; what is `None` is left as it is
/// (draft-ietf-secsh-filexfer-02 section 5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) size: Option<u64>,
    /// The numbers of user and group.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) permissions: Option<u32>,
    /// The times of the last access and the last change, in seconds since 1970.
    pub(crate) times: Option<(u32, u32)>,
}

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// The bits of `st_mode` that can be set.
const SETTABLE: u32 = 0o7777;

impl Attributes {
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let flags = from.u32()?;
        let has = |flag| flags & flag != 0;
        let attributes = Self {
            size: has(SIZE).then(|| from.u64()).transpose()?,
            owner: has(OWNER)
                .then(|| Ok((from.u32()?, from.u32()?)))
                .transpose()?,
            permissions: has(PERMISSIONS).then(|| from.u32()).transpose()?,
            times: has(TIMES)
                .then(|| Ok((from.u32()?, from.u32()?)))
                .transpose()?,
        };
        if has(EXTENDED) {
            // Each takes eight bytes at least, so this ends with the message.
            for _ in 0..from.u32()? {
                from.string()?;
                from.string()?;
            }
        }
        Ok(attributes)
    }

    /// The permissions, if any are given.
    pub(crate) fn mode(&self) -> Option<Mode> {
        self.permissions
            .map(|permissions| Mode::from_raw_mode(permissions & SETTABLE))
    }

    pub(crate) fn timestamps(&self) -> Option<Timestamps> {
        let of = |seconds: u32| Timespec {
            tv_sec: seconds.into(),
            tv_nsec: 0,
        };
        self.times.map(|(access, change)| Timestamps {
            last_access: of(access),
            last_modification: of(change),
        })
    }
}

/// The outcome of several changes that were all tried: the last failure, if
/// any.
pub(crate) fn last_failure(outcomes: [Option<Result<(), Errno>>; 4]) -> Result<(), Errno> {
    let mut failures = outcomes.into_iter().flatten().filter_map(Result::err);
    failures.next_back().map_or(Ok(()), Err)
}

/// Appends the attributes of a file.
pub(crate) fn put_stat(to: &mut Vec<u8>, stat: &Stat) {
    to.put_u32(SIZE | OWNER | PERMISSIONS | TIMES);
    to.put_u64(u64::try_from(stat.st_size).unwrap_or(0));
    to.put_u32(stat.st_uid);
    to.put_u32(stat.st_gid);
    to.put_u32(stat.st_mode);
    to.put_u32(seconds(stat.st_atime));
    to.put_u32(seconds(stat.st_mtime));
}

/// Appends attributes that say nothing of a file.
pub(crate) fn put_nothing(to: &mut Vec<u8>) {
    to.put_u32(0);
}

/// A time in the range of the protocol, the years 1970 to 2106.
fn seconds(time: i64) -> u32 {
    u32::try_from(time.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_attributes_are_read_and_unknown_ones_passed_over() {
        let mut bytes = Vec::new();
        bytes.put_u32(SIZE | OWNER | PERMISSIONS | TIMES | EXTENDED);
        bytes.put_u64(1 << 40);
        for value in [1, 2, 0o100_644, 3, 4] {
            bytes.put_u32(value);
        }
        bytes.put_u32(1);
        bytes.put_string(b"name@example.com");
        bytes.put_string(b"value");
        bytes.put_u32(7);
        let mut reader = Reader::new(&bytes);
        let attributes = Attributes::read(&mut reader).unwrap();
        assert_eq!(attributes.size, Some(1 << 40));
        assert_eq!(attributes.owner, Some((1, 2)));
        assert_eq!(attributes.mode(), Some(Mode::from_raw_mode(0o644)));
        assert_eq!(attributes.times, Some((3, 4)));
        assert_eq!(reader.u32(), Ok(7));
    }

    #[test]
    fn four_billion_attributes_in_a_short_message_are_malformed() {
        let mut bytes = Vec::new();
        bytes.put_u32(EXTENDED);
        bytes.put_u32(u32::MAX);
        assert_eq!(Attributes::read(&mut Reader::new(&bytes)), Err(Malformed));
    }
}
