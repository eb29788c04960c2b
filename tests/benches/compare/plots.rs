//! Plots of what the rows have measured.

use crate::chart::Chart;
use crate::results::Series;
use crate::rows::Test;
use crate::run::Results;
use crate::statistics::percentile;
use crate::sweeps::Named;

/// Echo under load, fairness and memory, where they were measured.
pub(crate) fn of(results: &Results) -> Vec<Named> {
    let of = |test| results.measured.iter().find(|it| it.test == test);
    let lines = |test, points: fn(&[f64]) -> Vec<(f64, f64)>| -> Option<Vec<_>> {
        let all = of(test)?.series.iter();
        let lines =
            all.map(|series: &Series| (series.way.name().to_owned(), points(&series.last())));
        Some(lines.filter(|(_, points)| !points.is_empty()).collect())
    };
    let mut plots = Vec::new();
    if let Some(lines) = lines(Test::EchoLoaded, shares) {
        plots.push((
            "echo-under-load",
            Chart {
                title: "Echo while the same connection downloads: how many take no longer"
                    .to_owned(),
                across: "ms",
                up: "% of echoes",
                logarithmic: true,
                lines,
            },
        ));
    }
    if let Some(lines) = lines(Test::Streams, numbered) {
        plots.push((
            "fairness",
            Chart {
                title: "When each of 50 downloads of one connection was done".to_owned(),
                across: "streams done",
                up: "seconds",
                logarithmic: false,
                lines,
            },
        ));
    }
    if let Some(mut lines) = lines(Test::Memory, pairs) {
        // Twenty times as much is another picture.
        lines.retain(|(name, _)| name != crate::peers::Way::Sshd.name());
        plots.push((
            "memory",
            Chart {
                title: "Memory of a node with idle sessions".to_owned(),
                across: "sessions",
                up: "MiB (PSS)",
                logarithmic: false,
                lines,
            },
        ));
    }
    plots
}

fn shares(each: &[f64]) -> Vec<(f64, f64)> {
    if each.is_empty() {
        return Vec::new();
    }
    (1..=200)
        .map(|half| f64::from(half) / 2.0)
        .map(|share| (percentile(each, share), share))
        .collect()
}

fn numbered(each: &[f64]) -> Vec<(f64, f64)> {
    each.iter()
        .enumerate()
        .map(|(number, value)| (number as f64 + 1.0, *value))
        .collect()
}

fn pairs(each: &[f64]) -> Vec<(f64, f64)> {
    each.as_chunks::<2>()
        .0
        .iter()
        .map(|[across, up]| (*across, *up))
        .collect()
}
