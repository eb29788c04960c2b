//! Asks the caller's ssh-agent which public keys it holds
//! (draft-ietf-sshm-ssh-agent, section 4.4).

use std::env;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::secrets::wire::{take_string, take_u32};

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
/// The most bytes of an answer that are read: far more than an agent's list of
/// keys.
const MAX_ANSWER: u32 = 1024 * 1024;

/// The public keys in the agent of `SSH_AUTH_SOCK`, each as a line of a `.pub`
/// file. Empty where there is no agent, or none that answers.
pub(crate) fn public_keys() -> Vec<String> {
    env::var_os("SSH_AUTH_SOCK")
        .and_then(|socket| ask(UnixStream::connect(socket).ok()?))
        .unwrap_or_default()
}

fn ask(mut agent: UnixStream) -> Option<Vec<String>> {
    let timeout = Some(Duration::from_secs(5));
    agent.set_read_timeout(timeout).ok()?;
    agent.set_write_timeout(timeout).ok()?;
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
    let count = take_u32(&mut rest)?;
    (0..count)
        .map(|_| {
            let blob = take_string(&mut rest)?;
            let comment = take_string(&mut rest)?;
            let kind = take_string(&mut &*blob)?;
            Some(format!(
                "{} {} {}",
                std::str::from_utf8(kind).ok()?,
                BASE64_STANDARD.encode(blob),
                String::from_utf8_lossy(comment)
            ))
        })
        .collect()
}
