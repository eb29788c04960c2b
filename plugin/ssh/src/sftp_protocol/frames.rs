//! The framing of SFTP messages in a stream of bytes
//! (draft-ietf-secsh-filexfer-02 section 3).

use bytes::{Buf, Bytes, BytesMut};

/// The longest message either side sends, without its length field; what
/// OpenSSH takes as well.
pub(crate) const LONGEST_MESSAGE: usize = 256 * 1024;

/// Finds messages in a stream of bytes: a length, then so many bytes
/// (draft-ietf-secsh-filexfer-02 section 3).
#[derive(Debug, Default)]
pub(crate) struct Frames(BytesMut);

/// A message has a length that is not accepted: the input is not a file
/// transfer, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LengthError(pub(crate) u32);

impl Frames {
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    /// Whether [`next`](Self::next) would return a message or an error.
    pub(crate) fn is_ready(&self) -> bool {
        !matches!(self.length(), Ok(None))
    }

    /// The next message that is complete.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, LengthError> {
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        self.0.advance(size_of::<u32>());
        Ok(Some(self.0.split_to(length).freeze()))
    }

    /// The length of the next message, if it is complete.
    fn length(&self) -> Result<Option<usize>, LengthError> {
        let Some((length, rest)) = self.0.split_first_chunk() else {
            return Ok(None);
        };
        let claimed = u32::from_be_bytes(*length);
        let length = claimed as usize;
        if length == 0 || length > LONGEST_MESSAGE {
            return Err(LengthError(claimed));
        }
        Ok((rest.len() >= length).then_some(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let stream = b"\0\0\0\x02ab\0\0\0\x01c";
        for cut in 0..stream.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                frames.push(part);
                while let Some(message) = frames.next().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, [&b"ab"[..], b"c"]);
            assert!(frames.0.is_empty());
        }
    }

    #[test]
    fn a_length_nobody_may_send_is_refused_before_anything_is_held_for_it() {
        for length in [0, LONGEST_MESSAGE as u32 + 1, u32::MAX] {
            let mut frames = Frames::default();
            frames.push(&length.to_be_bytes());
            assert!(frames.is_ready());
            assert_eq!(frames.next(), Err(LengthError(length)));
        }
    }
}
