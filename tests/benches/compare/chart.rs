//! Lines in a frame, as SVG.

use std::fmt::Write as _;

use crate::statistics::short;

/// A picture of several lines over the same axes.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What lies along the bottom, with its unit.
    pub(crate) across: &'static str,
    /// What lies along the left, with its unit.
    pub(crate) up: &'static str,
    /// Whether the bottom axis has powers of ten at equal distances.
    pub(crate) logarithmic: bool,
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = [
    "#888888", "#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#000000",
];

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let points = || {
            self.lines
                .iter()
                .flat_map(|(_, points)| points.iter().copied())
        };
        let scale = |x: f64| {
            if self.logarithmic {
                x.max(1e-3).log10()
            } else {
                x
            }
        };
        let least = points()
            .map(|(x, _)| scale(x))
            .fold(f64::INFINITY, f64::min);
        let most = points().map(|(x, _)| scale(x)).fold(least + 1e-9, f64::max);
        let highest = points().map(|(_, y)| y).fold(1e-9, f64::max) * 1.05;
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let x = |value: f64| LEFT + (scale(value) - least) / (most - least) * (right - LEFT);
        let y = |value: f64| bottom - value / highest * (bottom - TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"13\">{}</text>\n\
             <path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>\n\
             <text x=\"{LEFT}\" y=\"{}\">{}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            self.title,
            TOP - 6.0,
            self.up,
            (LEFT + right) / 2.0,
            HEIGHT - 10.0,
            self.across
        );
        for part in 0..=4 {
            let value = highest * f64::from(part) / 4.0;
            let at = y(value);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#eee\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                short(value)
            );
            let along = least + (most - least) * f64::from(part) / 4.0;
            let shown = if self.logarithmic {
                10_f64.powf(along)
            } else {
                along
            };
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x(shown),
                bottom + 16.0,
                short(shown)
            );
        }
        for (place, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[place % COLOURS.len()];
            let mut path = String::new();
            for (number, (across, up)) in points.iter().enumerate() {
                let step = if number == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{step}{:.1} {:.1}", x(*across), y(*up));
            }
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
            );
            if points.len() <= 20 {
                for (across, up) in points {
                    let _ = writeln!(
                        svg,
                        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{colour}\"/>",
                        x(*across),
                        y(*up)
                    );
                }
            }
            let at = TOP + 16.0 * place as f64;
            let _ = writeln!(
                svg,
                "<path d=\"M{} {:.1}h16\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{:.1}\">{name}</text>",
                right + 12.0,
                at,
                right + 34.0,
                at + 4.0
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}
