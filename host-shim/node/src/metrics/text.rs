//! The text exposition format of Prometheus, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// The media type of [`Page::to_text`].
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// One value of a family.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: Number,
}

/// The value of a [`Sample`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
    Histogram(Histogram),
}

/// Counts up to each bound, the one below included.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) sum: f64,
    pub(super) count: u64,
}

/// All families, by name.
#[derive(Default)]
pub(super) struct Page(BTreeMap<String, Family>);

struct Family {
    kind: Kind,
    help: String,
    samples: Vec<Sample>,
}

impl Page {
    /// Adds samples to a family; false if there is one of that name that is
    /// something else.
    pub(super) fn add(
        &mut self,
        name: impl Into<String>,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = Sample>,
    ) -> bool {
        let family = self.0.entry(name.into()).or_insert_with(|| Family {
            kind,
            help: help.to_owned(),
            samples: Vec::new(),
        });
        if family.kind != kind {
            return false;
        }
        family.samples.extend(samples);
        true
    }

    /// Adds a family of one sample without labels.
    pub(super) fn add_one(&mut self, name: &str, kind: Kind, help: &str, value: Number) {
        self.add(name, kind, help, [sample([], value)]);
    }

    /// The page in the exposition format:
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, family) in &self.0 {
            // Writing to a String cannot fail.
            let _ = family.write(name, &mut text);
        }
        text
    }
}

/// Makes a sample with these labels.
pub(super) fn sample<const N: usize>(labels: [(&str, &str); N], value: Number) -> Sample {
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Sample {
        labels: labels.into(),
        value,
    }
}

impl Family {
    fn write(&self, name: &str, text: &mut String) -> fmt::Result {
        let help = self.help.replace('\\', "\\\\").replace('\n', "\\n");
        writeln!(text, "# HELP {name} {help}")?;
        writeln!(text, "# TYPE {name} {}", self.kind)?;
        for sample in &self.samples {
            let labels = &sample.labels;
            match &sample.value {
                Number::Whole(value) => line(text, name, labels, None, value)?,
                Number::Real(value) => line(text, name, labels, None, value)?,
                Number::Histogram(histogram) => {
                    let bucket = format!("{name}_bucket");
                    for (bound, count) in &histogram.buckets {
                        line(text, &bucket, labels, Some(&bound.to_string()), count)?;
                    }
                    line(text, &bucket, labels, Some("+Inf"), &histogram.count)?;
                    line(text, &format!("{name}_sum"), labels, None, &histogram.sum)?;
                    line(
                        text,
                        &format!("{name}_count"),
                        labels,
                        None,
                        &histogram.count,
                    )?;
                }
            }
        }
        Ok(())
    }
}

fn line(
    text: &mut String,
    name: &str,
    labels: &[(String, String)],
    bound: Option<&str>,
    value: &dyn fmt::Display,
) -> fmt::Result {
    text.push_str(name);
    let labels = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let mut between = '{';
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        write!(text, "{between}{name}=\"{value}\"")?;
        between = ',';
    }
    if between == ',' {
        text.push('}');
    }
    writeln!(text, " {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.add(
            "b_total",
            Kind::Counter,
            "One\nline, one \\.",
            [sample([("who", "a\"b\\c\nd")], Number::Whole(3))],
        );
        assert!(page.add(
            "b_total",
            Kind::Counter,
            "Another help is not shown.",
            [sample([("who", "e"), ("x", "y")], Number::Whole(4))],
        ));
        assert!(!page.add("b_total", Kind::Gauge, "", []));
        let histogram = Histogram {
            buckets: vec![(0.005, 1), (2.5, 2)],
            sum: 3.25,
            count: 3,
        };
        page.add_one(
            "a_seconds",
            Kind::Histogram,
            "A.",
            Number::Histogram(histogram),
        );
        page.add_one("c", Kind::Gauge, "C.", Number::Real(0.5));
        let expected = r##"# HELP a_seconds A.
# TYPE a_seconds histogram
a_seconds_bucket{le="0.005"} 1
a_seconds_bucket{le="2.5"} 2
a_seconds_bucket{le="+Inf"} 3
a_seconds_sum 3.25
a_seconds_count 3
# HELP b_total One\nline, one \\.
# TYPE b_total counter
b_total{who="a\"b\\c\nd"} 3
b_total{who="e",x="y"} 4
# HELP c C.
# TYPE c gauge
c 0.5
"##;
        assert_eq!(page.to_text(), expected);
    }
}
