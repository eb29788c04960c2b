//! What a client says before its packets are encrypted, as far as it has to be
//! understood to know where that ends.

/// The bytes at the start of a packet: its length, the length of its padding,
/// its message number (RFC 4253 section 6).
const HEAD: usize = 6;
const NEWKEYS: u8 = 21;

/// Follows the bytes of a client up to its first encrypted one.
#[derive(Debug, Default)]
pub(crate) struct ClearText(State);

#[derive(Debug, Default)]
enum State {
    /// Within the identification line.
    #[default]
    Line,
    /// At the head of a packet.
    Head(Vec<u8>),
    /// In a packet, with bytes to come, which may be the last in clear.
    Body { left: usize, is_last: bool },
    /// Past the last byte in clear: everything is encrypted.
    Over,
}

impl ClearText {
    /// Takes the next bytes. True once one of them was encrypted.
    pub(crate) fn passes(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((&byte, rest)) = bytes.split_first() {
            match &mut self.0 {
                State::Line => {
                    if byte == b'\n' {
                        self.0 = State::Head(Vec::with_capacity(HEAD));
                    }
                    bytes = rest;
                }
                State::Head(head) => {
                    head.push(byte);
                    bytes = rest;
                    if let &[a, b, c, d, _, kind] = head.as_slice() {
                        let length = u32::from_be_bytes([a, b, c, d]) as usize;
                        self.0 = State::Body {
                            left: (length + 4).saturating_sub(HEAD),
                            is_last: kind == NEWKEYS,
                        };
                    }
                }
                State::Body { left, is_last } => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if *left == 0 {
                        self.0 = if *is_last {
                            State::Over
                        } else {
                            State::Head(Vec::with_capacity(HEAD))
                        };
                    }
                }
                State::Over => return true,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8) -> Vec<u8> {
        [&[0, 0, 0, 12, 4, kind][..], &[0; 10]].concat()
    }

    #[test]
    fn the_first_byte_after_new_keys_is_noticed_however_the_bytes_come() {
        let clear = [
            &b"SSH-2.0-test\r\n"[..],
            &packet(20),
            &packet(30),
            &packet(21),
        ]
        .concat();
        let mut whole = ClearText::default();
        assert!(!whole.passes(&clear));
        assert!(whole.passes(&[0]));
        let mut by_bytes = ClearText::default();
        for byte in &clear {
            assert!(!by_bytes.passes(&[*byte]));
        }
        assert!(by_bytes.passes(&[7]));
        let mut together = ClearText::default();
        assert!(together.passes(&[&clear[..], &[1]].concat()));
    }
}
