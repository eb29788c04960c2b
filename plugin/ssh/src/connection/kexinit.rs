//! What a client proposes in its first packet, before russh sees it: which
//! ciphers the server is to offer depends on it.

/// The largest packet that is looked into (RFC 4253 section 6.1).
const MAX_PACKET: usize = 35_000;
/// SSH_MSG_KEXINIT (RFC 4253 section 7.1).
const KEXINIT: u8 = 20;
const COOKIE: usize = 16;

/// The ciphers and MACs of a client's `SSH_MSG_KEXINIT`, in its order; each
/// list for what it sends, then for what it receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) ciphers: [Vec<String>; 2],
    pub(crate) macs: [Vec<String>; 2],
}

/// What came is not a `SSH_MSG_KEXINIT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KexInitError;

impl Proposal {
    /// Reads the packet that `bytes` begin with; `None` while it is not there
    /// as a whole.
    ///
    /// # Errors
    /// When it is another packet, or none.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, KexInitError> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_PACKET {
            return Err(KexInitError);
        }
        let Some(packet) = rest.get(..length) else {
            return Ok(None);
        };
        let (padding, payload) = packet.split_first().ok_or(KexInitError)?;
        let length = payload.len().checked_sub((*padding).into());
        let payload = length.and_then(|length| payload.get(..length));
        let (kind, payload) = payload.and_then(<[u8]>::split_first).ok_or(KexInitError)?;
        if *kind != KEXINIT {
            return Err(KexInitError);
        }
        let mut lists = Lists(payload.get(COOKIE..).ok_or(KexInitError)?);
        // Key exchange and host key algorithms.
        lists.next()?;
        lists.next()?;
        Ok(Some(Self {
            ciphers: [lists.next()?, lists.next()?],
            macs: [lists.next()?, lists.next()?],
        }))
    }
}

/// Name-lists (RFC 4251 section 5), one after the other.
struct Lists<'a>(&'a [u8]);

impl Lists<'_> {
    fn next(&mut self) -> Result<Vec<String>, KexInitError> {
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(KexInitError)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (list, rest) = rest.split_at_checked(length).ok_or(KexInitError)?;
        self.0 = rest;
        let list = std::str::from_utf8(list).map_err(|_| KexInitError)?;
        Ok(list.split(',').map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, lists: &[&str]) -> Vec<u8> {
        let mut payload = vec![kind];
        payload.extend([7; COOKIE]);
        for list in lists {
            payload.extend((list.len() as u32).to_be_bytes());
            payload.extend(list.as_bytes());
        }
        let mut packet = (payload.len() as u32 + 5).to_be_bytes().to_vec();
        packet.push(4);
        packet.extend(payload);
        packet.extend([0; 4]);
        packet
    }

    #[test]
    fn the_lists_are_read_once_the_packet_is_whole() {
        let lists = ["k", "h", "a,b", "c", "m", "n,o", "none", "none", "", ""];
        let packet = packet(KEXINIT, &lists);
        for end in 0..packet.len() {
            assert_eq!(Proposal::read(&packet[..end]), Ok(None), "{end}");
        }
        let proposal = Proposal::read(&[packet, vec![1, 2, 3]].concat());
        let proposal = proposal.unwrap().unwrap();
        assert_eq!(proposal.ciphers, [vec!["a", "b"], vec!["c"]]);
        assert_eq!(proposal.macs, [vec!["m"], vec!["n", "o"]]);
    }

    #[test]
    fn what_is_not_a_proposal_is_told() {
        for bytes in [
            packet(21, &["k", "h", "a", "c", "m", "n"]),
            packet(KEXINIT, &["k", "h", "a", "c", "m"]),
            packet(KEXINIT, &[]),
            vec![0, 0, 0, 0],
            vec![0, 0, 0, 1, 1],
            vec![255; 5],
            b"GET / HTTP/1.1\r\n".to_vec(),
        ] {
            assert_eq!(Proposal::read(&bytes), Err(KexInitError), "{bytes:?}");
        }
    }
}
