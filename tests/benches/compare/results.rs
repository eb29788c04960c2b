//! What was measured, and whether it is what a row is to reach.

use crate::measure::Sample;
use crate::peers::Way;
use crate::rows::{Reach, Row};
use crate::statistics::{median, short, spread};

/// The samples of one test on one way, one for each round; why there is none.
pub(crate) struct Series {
    pub(crate) way: Way,
    pub(crate) rounds: Vec<Result<Sample, String>>,
}

impl Series {
    fn figure(&self, round: usize, figure: &str) -> Option<f64> {
        let sample = self.rounds.get(round)?.as_ref().ok()?;
        sample
            .figures
            .get(figure)
            .copied()
            .filter(|it| it.is_finite())
    }

    fn figures(&self, figure: &str) -> Vec<f64> {
        (0..self.rounds.len())
            .filter_map(|round| self.figure(round, figure))
            .collect()
    }

    /// The single values of the last round.
    pub(crate) fn last(&self) -> Vec<f64> {
        let last = self.rounds.iter().flatten().next_back();
        last.map(|sample| sample.each.clone()).unwrap_or_default()
    }

    /// Why a round failed.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.rounds
            .iter()
            .find_map(|it| it.as_ref().err())
            .map(String::as_str)
    }
}

/// What a row says of a way.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// The median of the figure.
    pub(crate) value: f64,
    /// Its least and greatest.
    pub(crate) spread: (f64, f64),
    /// The median of what counts: the ratio to sshd's of the same round, or
    /// the figure itself.
    pub(crate) counts: f64,
    pub(crate) counts_spread: (f64, f64),
    pub(crate) verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Reached,
    /// The median is not, but some round was.
    Close,
    Missed,
}

impl Verdict {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Close => "missed, within the spread",
            Self::Missed => "missed",
        }
    }
}

/// # Errors
/// Why there is nothing to say.
pub(crate) fn cell(row: &Row, all: &[Series], way: Way) -> Result<Cell, String> {
    let of = |way| all.iter().find(|it| it.way == way);
    let ours = of(way).ok_or_else(|| "not measured".to_owned())?;
    let values = ours.figures(row.figure);
    if values.is_empty() {
        return Err(ours.failure().unwrap_or("not measured").to_owned());
    }
    let ratios = || {
        let stock = of(Way::Sshd)?;
        let both = |round| {
            Some((
                ours.figure(round, row.figure)?,
                stock.figure(round, row.figure)?,
            ))
        };
        let ratios: Vec<_> = (0..ours.rounds.len())
            .filter_map(both)
            .map(|(a, b)| a / b)
            .collect();
        (!ratios.is_empty()).then_some(ratios)
    };
    let counts = match row.beside_sshd {
        true => ratios().ok_or_else(|| "sshd was not measured".to_owned())?,
        false => values.clone(),
    };
    Ok(Cell {
        value: median(&values),
        spread: spread(&values),
        counts: median(&counts),
        counts_spread: spread(&counts),
        verdict: row.reach(way).map(|reach| verdict(reach, &counts)),
    })
}

fn verdict(reach: Reach, counts: &[f64]) -> Verdict {
    // To the two digits that are printed.
    let is_reached = |value: f64| match reach {
        Reach::AtLeast(least) => value >= least - 0.005,
        Reach::AtMost(most) => value <= most + 0.005,
    };
    if is_reached(median(counts)) {
        Verdict::Reached
    } else if counts.iter().copied().any(is_reached) {
        Verdict::Close
    } else {
        Verdict::Missed
    }
}

impl Reach {
    pub(crate) fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
        }
    }
}

impl Cell {
    /// The value and its spread.
    pub(crate) fn value_text(&self) -> String {
        match self.spread.0 == self.spread.1 {
            true => short(self.value),
            false => format!(
                "{} ({} to {})",
                short(self.value),
                short(self.spread.0),
                short(self.spread.1)
            ),
        }
    }
}
