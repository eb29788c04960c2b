//! Aligned columns, relative times, and colour where somebody looks.

use std::io::IsTerminal;
use std::time::{SystemTime, UNIX_EPOCH};

use alknet_text::visible;

/// How a cell looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Good,
    Waning,
    Bad,
    Heading,
}

impl Look {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Waning => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Heading => "\x1b[1m",
        }
    }
}

/// Text that is coloured on a terminal (https://no-color.org is honoured).
pub(super) fn painted(text: &str, look: Look) -> String {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match look.code() {
        code if colour && !code.is_empty() => format!("{code}{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}

/// One cell of a table.
pub(super) struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    pub(super) fn looking(text: impl Into<String>, look: Look) -> Self {
        Self {
            // What a peer or a plugin calls itself cannot steer the terminal.
            text: visible(&text.into()).into_owned(),
            look,
        }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::looking(text.to_string(), Look::Plain)
    }
}

/// Rows under headings, each column as wide as it needs to be.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: Vec<[Cell; N]>) -> String {
    let headings = headings.map(|heading| Cell::looking(heading, Look::Heading));
    let rows: Vec<[Cell; N]> = std::iter::once(headings).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.text.chars().count().max(*width);
        }
    }
    let line = |row: &[Cell; N]| {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            line.push_str(&painted(&cell.text, cell.look));
            let missing = width.saturating_sub(cell.text.chars().count());
            line.extend(std::iter::repeat_n(' ', missing));
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The time since then, for people.
pub(super) fn since(unix_ms: u64) -> String {
    span(now().saturating_sub(unix_ms))
}

/// The time until then, for people.
pub(super) fn until(unix_ms: u64) -> String {
    span(unix_ms.saturating_sub(now()))
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// A span of time in its two largest units.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let two = |large: u64, unit: &str, small: u64, of: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {of}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86400, "d", seconds / 3600 % 24, "h"),
    }
}

/// A number of bytes as a person says it.
pub(super) fn bytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

/// The start of a digest, enough to tell files apart.
pub(super) fn short(digest: &str) -> String {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    digits.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![
            [Cell::from("ssh"), Cell::from(3), Cell::from("a\u{1b}b")],
            [Cell::from("longer"), Cell::from(12), Cell::from("")],
        ];
        assert_eq!(
            table(["PLUGIN", "N", "X"], rows),
            "PLUGIN  N   X\nssh     3   a\\u{1b}b\nlonger  12"
        );
    }

    #[test]
    fn spans_are_told_in_two_units() {
        for (ms, said) in [
            (999, "0 s"),
            (59_000, "59 s"),
            (60_000, "1 min"),
            (125_000, "2 min 5 s"),
            (7_260_000, "2 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(span(ms), said);
        }
    }
}
