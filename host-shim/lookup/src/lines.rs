//! Lines of bounded length.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// A line, or what there is of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole line without its end; at the end of the stream also one without.
    Whole(Vec<u8>),
    /// The beginning of a line that is longer than allowed. What follows was
    /// not read yet.
    TooLong(Vec<u8>),
}

/// The next line of at most `most` bytes. `None` at the end.
///
/// Not safe to cancel: what was read of a line is lost then.
pub(crate) async fn next_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    most: usize,
) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok((!line.is_empty()).then_some(Line::Whole(line)));
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        let part = available.get(..end.unwrap_or(available.len()));
        let room = most - line.len();
        let part = part.unwrap_or_default();
        if part.len() > room {
            line.extend_from_slice(part.get(..room).unwrap_or_default());
            reader.consume(room);
            return Ok(Some(Line::TooLong(line)));
        }
        line.extend_from_slice(part);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(Line::Whole(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded() {
        let mut text: &[u8] = b"one\n\nseventeen\nend";
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut text, 4).await.unwrap() {
            lines.push(line);
        }
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        let long = |text: &str| Line::TooLong(text.as_bytes().to_vec());
        assert_eq!(
            lines,
            [
                whole("one"),
                whole(""),
                long("seve"),
                long("ntee"),
                whole("n"),
                whole("end")
            ]
        );
    }
}
