//! Asks the caller's ssh-agent which public keys it holds
//! (draft-ietf-sshm-ssh-agent, section 4.4).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ssh_key::encoding::Decode;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
/// The most bytes of an answer that are read: far more than an agent's list of
/// keys.
const MAX_ANSWER: u32 = 1024 * 1024;

/// The time in which an agent has to answer.
const AGENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The public keys in the agent that listens at `socket`, each as a line of a
/// `.pub` file. Empty where there is no agent, or none that answers.
pub fn agent_keys(socket: &Path) -> Vec<String> {
    UnixStream::connect(socket)
        .ok()
        .and_then(ask)
        .unwrap_or_default()
}

fn ask(mut agent: UnixStream) -> Option<Vec<String>> {
    agent.set_read_timeout(Some(AGENT_TIMEOUT)).ok()?;
    agent.set_write_timeout(Some(AGENT_TIMEOUT)).ok()?;
    agent.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES]).ok()?;
    let mut length = [0; 4];
    agent.read_exact(&mut length).ok()?;
    let length = u32::from_be_bytes(length);
    if length > MAX_ANSWER {
        return None;
    }
    let mut answer = vec![0; usize::try_from(length).ok()?];
    agent.read_exact(&mut answer).ok()?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Option<Vec<String>> {
    let (&IDENTITIES_ANSWER, mut rest) = answer.split_first()? else {
        return None;
    };
    let count = u32::decode(&mut rest).ok()?;
    (0..count)
        .map(|_| {
            let blob = Vec::<u8>::decode(&mut rest).ok()?;
            let comment = Vec::<u8>::decode(&mut rest).ok()?;
            let algorithm = String::decode(&mut blob.as_slice()).ok()?;
            Some(format!(
                "{algorithm} {} {}",
                STANDARD.encode(&blob),
                String::from_utf8_lossy(&comment)
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let blob = [string(b"ssh-ed25519"), string(&[7; 32])].concat();
        let one = [string(&blob), string(b"me")].concat();
        let answer = |count: u8, keys: &[u8]| [&[IDENTITIES_ANSWER, 0, 0, 0, count], keys].concat();
        let line =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH me";
        assert_eq!(parse(&answer(1, &one)), Some(vec![line.to_owned()]));
        assert_eq!(parse(&answer(0, &[])), Some(Vec::new()));
        assert_eq!(parse(&answer(2, &one)), None);
        assert_eq!(parse(&answer(1, &one[..20])), None);
        assert_eq!(parse(&[5]), None);
        assert_eq!(parse(&[]), None);
    }
}
