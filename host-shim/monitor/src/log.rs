//! Lines on standard error. The monitor has no logger of its own: systemd and
//! whoever runs the node in a terminal read the same stream.

use std::fmt::Display;
use std::io::Write;

/// Writes one line, with everything that is not printable escaped.
pub(crate) fn line(text: impl Display) {
    let mut line = String::from("alknet-monitor: ");
    line.extend(text.to_string().chars().flat_map(printable));
    line.push('\n');
    // One write, so that lines of several processes do not mix.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn printable(character: char) -> impl Iterator<Item = char> {
    let plain = character == '"' || character == '\'' || character == '\\';
    let escaped = (!plain).then(|| character.escape_debug());
    let as_it_is = plain.then_some(character);
    escaped.into_iter().flatten().chain(as_it_is)
}
