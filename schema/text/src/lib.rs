//! Text of others, made fit for a terminal and for a line of a log.
//!
//! A peer, a server, a file name or the reason phrase of a QUIC close can hold
//! anything: escape sequences that write over what stands on the screen, line
//! breaks that forge a record, overrides that reverse what is read
//! (CVE-2021-42574). Whatever the program did not write itself passes one of
//! these functions before somebody reads it; they show such characters as
//! escapes and leave everything else as it is.
//!
//! A backslash stays a backslash, as with OpenSSH (`VIS_NOSLASH`): text that
//! passed once passes again unchanged, so that it does no harm to escape where
//! the text comes in and once more where it goes out.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::Write as _;

mod human;

pub use human::{bytes, span};

/// `text` in one line: `\n`, `\t` and `\r` for these, `\u{1b}` and the like for
/// all else that is not to reach a terminal.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe, rust_escape)
}

/// As [`visible`]; what is not UTF-8 is shown as `\xNN`, byte by byte.
pub fn visible_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&visible(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// As [`visible`], and line breaks and tabs stay: for text that may have
/// several lines, such as a banner or a message of our own that quotes others.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| is_unsafe(c) && !matches!(c, '\n' | '\t'),
        rust_escape,
    )
}

/// The text of a JSON value, whose escapes are those of JSON (RFC 8259
/// section 7): the value stays the same. Line breaks between its parts stay.
pub fn visible_json(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unsafe(c) && c != '\n', json_escape)
}

/// As [`visible`] for a line that the program has coloured: colours (SGR,
/// ECMA-48 section 8.3.117) stay. What others wrote in it must have been
/// escaped before, or they could colour it as well.
pub fn visible_coloured(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        let (before, from) = rest.split_at(at);
        out.push_str(&visible(before));
        let length = colour(from).unwrap_or(0);
        let (colour, after) = from.split_at(length);
        out.push_str(colour);
        rest = after;
        if length == 0 {
            out.push_str("\\u{1b}");
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    out.push_str(&visible(rest));
    Cow::Owned(out)
}

/// As [`visible_coloured`] for several lines.
pub fn visible_page(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_unsafe(c) && c != '\n') {
        return Cow::Borrowed(text);
    }
    let lines: Vec<_> = text.split('\n').map(visible_coloured).collect();
    Cow::Owned(lines.join("\n"))
}

/// Whether a character can steer a terminal, end a line, reorder what is read
/// or hide in it.
pub fn is_unsafe(c: char) -> bool {
    matches!(c,
        // C0, DEL and C1.
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        // Marks, embeddings, overrides and isolates of the bidirectional
        // algorithm (UAX 9), and the deprecated format characters after them.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
        // Line and paragraph separator.
        | '\u{2028}' | '\u{2029}'
        // What is not seen at all: a byte order mark, annotations, tags.
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The length of the colour that `text` begins with.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters.get(end..)?.starts_with('m').then_some(end + 3)
}

fn escaped(
    text: &str,
    is_escaped: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            escape(c, &mut out);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn rust_escape(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        c => out.extend(c.escape_unicode()),
    }
}

fn json_escape(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = write!(out, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_people_stays() {
        for text in ["", "alice", "Zoë 日本 👩‍🔧", r"C:\new \u{1b}", "نعم"] {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text));
            assert_eq!(visible_bytes(text.as_bytes()), text);
            assert_eq!(visible_lines(text), text);
            assert_eq!(visible_json(text), text);
            assert_eq!(visible_coloured(text), text);
        }
    }

    #[test]
    fn what_steers_a_terminal_or_a_reader_is_shown() {
        for (text, shown) in [
            ("\x1b]0;owned\x07", r"\u{1b}]0;owned\u{7}"),
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("gpj.\u{202e}exe", r"gpj.\u{202e}exe"),
            ("\u{9b}2J\u{2066}\u{2028}", r"\u{9b}2J\u{2066}\u{2028}"),
            ("\u{e0041}", r"\u{e0041}"),
        ] {
            assert_eq!(visible(text), shown);
            assert_eq!(visible(&visible(text)), shown, "twice is as once");
        }
        assert_eq!(visible_bytes(b"a\xff\x1b\xe2\x80"), r"a\xff\u{1b}\xe2\x80");
        assert_eq!(visible_lines("a\n\tb\r\x1b[2J"), "a\n\tb\\r\\u{1b}[2J");
    }

    #[test]
    fn a_json_text_keeps_its_value() {
        assert_eq!(
            visible_json("{\n \"a\": \"\u{202e}\u{7f}\u{e0041}\"\n}"),
            "{\n \"a\": \"\\u202e\\u007f\\udb40\\udc41\"\n}"
        );
    }

    #[test]
    fn only_colours_stay_in_a_coloured_line() {
        let line = "\x1b[1;32mINFO\x1b[0m a\nb \x1b[2J \x1b[31";
        assert_eq!(
            visible_coloured(line),
            "\x1b[1;32mINFO\x1b[0m a\\nb \\u{1b}[2J \\u{1b}[31"
        );
    }
}
