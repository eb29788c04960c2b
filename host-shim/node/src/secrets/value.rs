//! The value of a secret, read from standard input or from a terminal without
//! echo (termios(3)).

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use alknet_handler::Secret;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use super::error::SecretsError;

/// The longest value, in bytes.
pub(crate) const MAX_VALUE: usize = 64 * 1024;
/// The byte that a terminal sends for Ctrl-C.
const CTRL_C: u8 = 3;

/// Reads a value from standard input, less one line end. From a terminal one
/// line is read, which is not shown.
pub(crate) fn read_value(prompt: impl FnOnce()) -> Result<Secret, SecretsError> {
    let stdin = io::stdin();
    // Not through the standard library's buffer, which nobody wipes.
    let input = stdin.as_fd().try_clone_to_owned();
    let mut input = std::fs::File::from(input.map_err(SecretsError::Input)?);
    if !stdin.is_terminal() {
        return cut(read_to_end(&mut input, false)?);
    }
    let quiet = Quiet::begin(&stdin).map_err(SecretsError::Input)?;
    prompt();
    let value = read_to_end(&mut input, true);
    drop(quiet);
    cut(value?)
}

fn read_to_end(input: &mut impl Read, one_line: bool) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    // All of the room at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(vec![0; MAX_VALUE + 2]);
    let mut length = 0;
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        match input.read(room) {
            Ok(0) => break,
            Ok(read) => {
                let new = room.get(..read).unwrap_or_default();
                if one_line && new.contains(&CTRL_C) {
                    return Err(SecretsError::Interrupted);
                }
                length += read;
                if one_line && new.ends_with(b"\n") {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SecretsError::Input(error)),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn cut(bytes: Zeroizing<Vec<u8>>) -> Result<Secret, SecretsError> {
    let value = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    match value.len() {
        0 => Err(SecretsError::Empty),
        length if length > MAX_VALUE => Err(SecretsError::TooLong),
        _ => Ok(Secret::new(value.to_vec())),
    }
}

/// A terminal that does not show what is typed, until dropped. It sends no
/// signals either: one would end the program and leave the terminal as it is.
/// Ctrl-C ends the line instead.
struct Quiet<'a> {
    terminal: &'a io::Stdin,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a io::Stdin) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], one_line: bool) -> Result<Secret, SecretsError> {
        cut(read_to_end(&mut &*bytes, one_line)?)
    }

    #[test]
    fn one_line_end_is_cut() {
        for (given, kept) in [
            (&b"user:word"[..], &b"user:word"[..]),
            (b"user:word\n", b"user:word"),
            (b"two\nlines\n\n", b"two\nlines\n"),
            (b" \xff\0 ", b" \xff\0 "),
        ] {
            assert_eq!(read(given, false).unwrap().expose(), kept);
        }
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        for nothing in [&b""[..], b"\n"] {
            let error = read(nothing, false).unwrap_err();
            assert!(matches!(error, SecretsError::Empty));
        }
        let mut most = vec![b'x'; MAX_VALUE];
        most.push(b'\n');
        assert_eq!(read(&most, false).unwrap().expose().len(), MAX_VALUE);
        most.push(b'\n');
        let error = read(&most, false).unwrap_err();
        assert!(matches!(error, SecretsError::TooLong));
        let error = read(&vec![0; 10 * MAX_VALUE], false).unwrap_err();
        assert!(matches!(error, SecretsError::TooLong));
    }

    #[test]
    fn ctrl_c_gives_up() {
        let error = read(b"half\x03", true).unwrap_err();
        assert!(matches!(error, SecretsError::Interrupted));
    }
}
