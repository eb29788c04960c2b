//! Aligned columns, relative times, and colour where somebody looks.

use std::io::IsTerminal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alknet_text::{bytes, span, visible};

use super::fit::{longest_word, terminal_width, width, wrap};
use crate::metrics::traffic::Traffic;

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

/// Rows under headings, each column as wide as it needs to be. On a terminal it
/// fits: cells are broken into lines, or else each row becomes a list.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: Vec<[Cell; N]>) -> String {
    fitted(headings, rows, terminal_width())
}

fn fitted<const N: usize>(
    headings: [&str; N],
    rows: Vec<[Cell; N]>,
    columns: Option<usize>,
) -> String {
    let headings = headings.map(|heading| Cell::looking(heading, Look::Heading));
    let rows: Vec<[Cell; N]> = std::iter::once(headings).chain(rows).collect();
    let most = |measure: fn(&str) -> usize| {
        let mut most = [0; N];
        for row in &rows {
            for (most, cell) in most.iter_mut().zip(row) {
                *most = measure(&cell.text).max(*most);
            }
        }
        most
    };
    let natural = most(width);
    let widths = match columns {
        Some(columns) => squeezed(natural, most(longest_word), columns),
        None => Some(natural),
    };
    match (widths, columns) {
        (Some(widths), _) => rows
            .iter()
            .map(|row| side_by_side(row, &widths))
            .collect::<Vec<_>>()
            .join("\n"),
        (None, columns) => lists(&rows, columns.unwrap_or(usize::MAX)),
    }
}

/// The widths of columns that fit, if cells are broken between words; `None`
/// where words would have to be broken.
fn squeezed<const N: usize>(
    natural: [usize; N],
    least: [usize; N],
    columns: usize,
) -> Option<[usize; N]> {
    let room = columns.checked_sub(BETWEEN * N.saturating_sub(1))?;
    let mut widths = natural;
    while widths.iter().sum::<usize>() > room {
        // The widest of those that can be narrower gives.
        let can = widths.iter_mut().zip(least);
        let (widest, _) = can
            .filter(|(width, least)| **width > *least)
            .max_by_key(|(width, _)| **width)?;
        *widest -= 1;
    }
    Some(widths)
}

/// Columns between two cells.
const BETWEEN: usize = 2;

fn side_by_side(row: &[Cell], widths: &[usize]) -> String {
    let cells: Vec<Vec<String>> = row
        .iter()
        .zip(widths)
        .map(|(cell, columns)| wrap(&cell.text, *columns))
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let line = |number: usize| {
        let mut line = String::new();
        let mut missing = 0;
        for ((cell, lines), columns) in row.iter().zip(&cells).zip(widths) {
            line.extend(std::iter::repeat_n(' ', missing));
            let text = lines.get(number).map_or("", String::as_str);
            line.push_str(&painted(text, cell.look));
            missing = columns.saturating_sub(width(text)) + BETWEEN;
        }
        line.trim_end().to_owned()
    };
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

/// Each row as a list of what its cells are, under its first.
fn lists<const N: usize>(rows: &[[Cell; N]], columns: usize) -> String {
    let Some((headings, rows)) = rows.split_first() else {
        return String::new();
    };
    let named = headings.iter().skip(1).map(|heading| width(&heading.text));
    let indent = named.max().unwrap_or(0) + 2 * BETWEEN;
    let mut lines = Vec::new();
    for row in rows {
        for (number, (heading, cell)) in headings.iter().zip(row).enumerate() {
            if number == 0 {
                lines.extend(
                    wrap(&cell.text, columns)
                        .iter()
                        .map(|line| painted(line, Look::Heading)),
                );
                continue;
            }
            if cell.text.is_empty() {
                continue;
            }
            let mut name = format!("{:BETWEEN$}{}", "", heading.text.to_lowercase());
            for text in wrap(&cell.text, columns.saturating_sub(indent)) {
                lines.push(format!("{name:indent$}{}", painted(&text, cell.look)));
                name.clear();
            }
        }
    }
    lines.join("\n")
}

/// The time since then, for people.
pub(super) fn since(unix_ms: u64) -> String {
    span(Duration::from_millis(now().saturating_sub(unix_ms)))
}

/// The time until then, for people.
pub(super) fn until(unix_ms: u64) -> String {
    span(Duration::from_millis(unix_ms.saturating_sub(now())))
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// What came from a peer and what went to it.
pub(super) fn both_ways(traffic: Option<Traffic>) -> String {
    match traffic {
        Some(traffic) => format!(
            "{} in, {} out",
            bytes(traffic.received),
            bytes(traffic.sent)
        ),
        None => "none".to_owned(),
    }
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
    fn a_terminal_is_not_overrun() {
        let rows = || {
            vec![[
                Cell::from("alice"),
                Cell::from("ssh:exec ssh:shell ssh:sftp"),
                Cell::from(""),
            ]]
        };
        let at = |columns| fitted(["PEER", "SCOPES", "CONDITIONS"], rows(), Some(columns));
        assert_eq!(
            at(46),
            "PEER   SCOPES                       CONDITIONS\nalice  ssh:exec ssh:shell ssh:sftp"
        );
        assert_eq!(
            at(40),
            "PEER   SCOPES                 CONDITIONS\nalice  ssh:exec ssh:shell\n       ssh:sftp"
        );
        assert_eq!(
            at(24),
            "alice\n  scopes      ssh:exec\n              ssh:shell\n              ssh:sftp"
        );
        assert_eq!(
            at(20),
            "alice\n  scopes      ssh:ex\n              ec\n              ssh:sh\n              ell\n              ssh:sf\n              tp"
        );
    }
}
