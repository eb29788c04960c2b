//! The escape sequences that a user types to end a session (ssh(1), ESCAPE
//! CHARACTERS).

/// Finds `~.` at the beginning of a line, which ends the connection as in ssh.
/// `~~` sends one `~`.
#[derive(Debug)]
pub(crate) struct Escapes {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    Tilde,
    InLine,
}

impl Escapes {
    pub(crate) fn new() -> Self {
        Self {
            state: State::LineStart,
        }
    }

    /// The bytes to send of those typed, and whether the connection is to end
    /// then.
    pub(crate) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut sent = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            match (self.state, byte) {
                (State::LineStart, b'~') => {
                    self.state = State::Tilde;
                    continue;
                }
                (State::Tilde, b'.') => return (sent, true),
                (State::Tilde, b'~') => {}
                (State::Tilde, _) => sent.push(b'~'),
                _ => {}
            }
            sent.push(byte);
            self.state = match byte {
                b'\r' | b'\n' => State::LineStart,
                _ => State::InLine,
            };
        }
        (sent, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_counts_at_the_beginning_of_a_line_alone() {
        for (typed, sent, ends) in [
            ("~.", "", true),
            ("a\r~.b", "a\r", true),
            ("a~.", "a~.", false),
            ("~~.", "~.", false),
            ("~x~.", "~x~.", false),
            ("~\r~.", "~\r", true),
        ] {
            let whole = Escapes::new().filter(typed.as_bytes());
            assert_eq!(whole, (sent.as_bytes().to_vec(), ends), "{typed:?}");
            let mut escapes = Escapes::new();
            let mut pieces = Vec::new();
            let mut ended = false;
            for byte in typed.bytes() {
                let (sent, now) = escapes.filter(&[byte]);
                pieces.extend(sent);
                ended |= now;
                if ended {
                    break;
                }
            }
            assert_eq!((pieces, ended), whole, "{typed:?}");
        }
    }
}
