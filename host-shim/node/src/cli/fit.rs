//! What fits a terminal: text that is broken into lines, and columns.

use std::iter::repeat_n;

/// The terminal's columns, where standard output is one.
pub(super) fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// How many columns a text takes. A colour takes none.
pub(super) fn width(text: &str) -> usize {
    let mut in_colour = false;
    let visible = |c: &char| {
        let was_in_colour = in_colour;
        match c {
            '\x1b' => in_colour = true,
            'm' => in_colour = false,
            _ => {}
        }
        !was_in_colour && *c != '\x1b'
    };
    text.chars().filter(visible).count()
}

/// The longest word's width.
pub(super) fn longest_word(text: &str) -> usize {
    text.split(' ').map(width).max().unwrap_or(0)
}

/// Breaks a text between words into lines of at most `columns`; a word that is
/// longer is broken as well. Never empty.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let long = width(word);
        let space = usize::from(used > 0);
        if used > 0 && used + space + long > columns {
            lines.push(String::new());
            used = 0;
        } else if space > 0
            && let Some(line) = lines.last_mut()
        {
            line.push(' ');
            used += 1;
        }
        if long <= columns {
            if let Some(line) = lines.last_mut() {
                line.push_str(word);
            }
            used += long;
            continue;
        }
        for c in word.chars() {
            if used == columns {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
            used += 1;
        }
    }
    lines
}

/// A line for standard output: on a terminal broken so that it fits, with what
/// follows the first line `indent` columns in.
pub(super) fn line(text: &str, indent: usize) -> String {
    match terminal_width() {
        Some(columns) => indented(text, indent, columns),
        None => text.to_owned(),
    }
}

fn indented(text: &str, indent: usize, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    // What keeps its columns keeps its spaces.
    let head: String = text.chars().take(indent).collect();
    let rest: String = text.chars().skip(indent).collect();
    let margin: String = repeat_n(' ', indent).collect();
    let lines = wrap(&rest, columns.saturating_sub(indent));
    format!("{head}{}", lines.join(&format!("\n{margin}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_where_they_can() {
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("ab abcdefghi j", 4), ["ab", "abcd", "efgh", "i j"]);
        assert_eq!(wrap("\x1b[1mab\x1b[0m cd", 5), ["\x1b[1mab\x1b[0m cd"]);
        assert_eq!(wrap("a", 0), ["a"]);
    }

    #[test]
    fn what_follows_is_indented() {
        assert_eq!(indented("key  a b c", 5, 8), "key  a b\n     c");
        assert_eq!(indented("key  a", 5, 8), "key  a");
    }
}
