//! The plot of a run, as SVG.

use std::fmt::Write as _;

use crate::samples::Sample;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 20.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 40.0;
const ROW: f64 = 16.0;

/// What of a sample is drawn.
type Value = fn(&Sample) -> f64;

/// Draws what the node took, and what happened when.
pub(crate) fn svg(title: &str, samples: &[Sample], marks: &[(f64, &'static str)]) -> String {
    let last = samples.last().map_or(1.0, |sample| sample.at.max(1.0));
    let x = |at: f64| LEFT + at / last * (WIDTH - LEFT - RIGHT);
    let mut kinds: Vec<&str> = marks.iter().map(|(_, kind)| *kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let panels: [(&str, Value); 3] = [
        ("memory (RSS), MiB", |one| one.kib as f64 / 1024.0),
        ("descriptors", |one| one.descriptors as f64),
        ("users busy", |one| one.busy as f64),
    ];
    let rows = GAP + panels.len() as f64 * (PANEL + GAP);
    let height = rows + kinds.len() as f64 * ROW + 2.0 * GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"18\" font-size=\"13\">Mixed load: {title}</text>\n"
    );
    for (index, (name, value)) in panels.iter().enumerate() {
        let top = GAP + index as f64 * (PANEL + GAP);
        let most = samples.iter().map(value).fold(1.0, f64::max);
        let bottom = top + PANEL;
        let y = |value: f64| bottom - value / most * PANEL;
        let _ = write!(
            svg,
            "<text x=\"{LEFT}\" y=\"{}\">{name}</text>\n<path d=\"M{LEFT} {top}V{bottom}H{}\" \
             fill=\"none\" stroke=\"#888\"/>\n",
            top - 5.0,
            WIDTH - RIGHT
        );
        for part in [0.0, 0.5, 1.0] {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\">{:.0}</text>",
                LEFT - 6.0,
                y(most * part) + 4.0,
                most * part
            );
        }
        let mut path = String::new();
        let mut before = f64::NEG_INFINITY;
        for one in samples {
            // The node was not there for a while.
            let step = if one.at - before > 2.5 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", x(one.at), y(value(one)));
            before = one.at;
        }
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"#06c\"/>");
    }
    for (row, kind) in kinds.iter().enumerate() {
        let y = rows + row as f64 * ROW;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\">{kind}</text>",
            LEFT - 6.0,
            y + 4.0
        );
        for (at, _) in marks.iter().filter(|(_, other)| other == kind) {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{y:.0}\" r=\"3\" fill=\"#c40\"/>",
                x(*at)
            );
        }
    }
    let y = rows + kinds.len() as f64 * ROW + 10.0;
    for part in 0..=4 {
        let at = last * f64::from(part) / 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{y:.0}\" text-anchor=\"middle\">{:.1} min</text>",
            x(at),
            at / 60.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}
