//! Where each value of a document stands in its text.

use std::collections::HashMap;

use crate::fault::Position;
use crate::pointer;

/// The place of a value, and those of the values inside it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The byte offset of the key, if the value is a member.
    pub(crate) key: Option<usize>,
    /// The byte offset of the value.
    pub(crate) start: usize,
    pub(crate) inside: Inside,
}

#[derive(Clone, Debug)]
pub(crate) enum Inside {
    Scalar,
    Items(Vec<Place>),
    Members(HashMap<String, Place>),
}

impl Place {
    /// The value at `pointer`, or the innermost one that exists on the way to it, and whether it is the former.
    pub(crate) fn find(&self, pointer: &str) -> (&Self, bool) {
        let mut place = self;
        for segment in pointer::segments(pointer) {
            let next = match &place.inside {
                Inside::Scalar => None,
                Inside::Items(items) => segment
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index)),
                Inside::Members(members) => members.get(&segment),
            };
            match next {
                Some(next) => place = next,
                None => return (place, false),
            }
        }
        (place, true)
    }
}

/// The text, by lines.
#[derive(Debug)]
pub(crate) struct Lines {
    text: String,
    /// The byte offset at which each line starts.
    starts: Vec<usize>,
}

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        Self {
            text: text.to_owned(),
            starts: std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    /// The line and column of a byte offset.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or_default();
        let column = rest
            .char_indices()
            .take_while(|(at, _)| start + at < offset)
            .count();
        Position {
            line: bounded(line.max(1)),
            column: bounded(column + 1),
        }
    }
}

/// A line or column as `u32`, which no document of allowed size exceeds.
fn bounded(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
