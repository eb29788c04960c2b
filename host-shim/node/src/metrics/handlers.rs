//! What a handler's status says, as families. Handlers are not trusted to keep
//! to bounds.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::text::{Histogram, Kind, Number, Page, Sample};

/// The most families of one handler; further ones are left out.
const MAX_FAMILIES: usize = 64;
/// The most samples of one family; further ones are left out.
const MAX_SAMPLES: usize = 256;
const MAX_LABELS: usize = 8;
const MAX_BUCKETS: usize = 64;
/// The longest name, label value and help text, in bytes.
const MAX_TEXT: usize = 200;

/// A family as handlers declare it.
#[derive(Deserialize)]
struct Declared {
    name: String,
    #[serde(rename = "type")]
    kind: DeclaredKind,
    #[serde(default)]
    help: String,
    samples: Vec<DeclaredSample>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DeclaredKind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Deserialize)]
struct DeclaredSample {
    #[serde(default)]
    labels: Map<String, Value>,
    value: Option<serde_json::Number>,
    buckets: Option<Vec<(f64, u64)>>,
    #[serde(default)]
    sum: f64,
    #[serde(default)]
    count: u64,
}

/// Adds the metrics in a handler's status to a page: the families it declares
/// in `metrics`, and its other members that are numbers. Gives the number of
/// families and samples that were left out.
pub(super) fn collect(
    page: &mut Page,
    plugin: &str,
    generation: &str,
    status: Map<String, Value>,
) -> usize {
    let mut families = Vec::new();
    let mut left_out = 0;
    let mut numbers = Vec::new();
    for (name, value) in status {
        match value {
            Value::Array(declared) if name == "metrics" => {
                for declared in declared {
                    match serde_json::from_value::<Declared>(declared) {
                        Ok(declared) => families.push(declared),
                        Err(_) => left_out += 1,
                    }
                }
            }
            Value::Number(value) => numbers.push((name, value)),
            _ => {}
        }
    }
    for (name, value) in numbers {
        if !families.iter().any(|family| family.name == name) {
            families.push(plain(name, value));
        }
    }
    left_out += families.len().saturating_sub(MAX_FAMILIES);
    let prefix = format!("alknet_{}_", plugin.replace('-', "_"));
    for family in families.into_iter().take(MAX_FAMILIES) {
        left_out += add(page, &prefix, generation, family);
    }
    left_out
}

/// A member of the status that is a number.
fn plain(name: String, value: serde_json::Number) -> Declared {
    let counts = name.ends_with("_total");
    Declared {
        help: format!("{name:?} in the status of the plugin."),
        name,
        kind: if counts {
            DeclaredKind::Counter
        } else {
            DeclaredKind::Gauge
        },
        samples: vec![DeclaredSample {
            labels: Map::new(),
            value: Some(value),
            buckets: None,
            sum: 0.0,
            count: 0,
        }],
    }
}

/// Adds a family. Returns how much was left out.
fn add(page: &mut Page, prefix: &str, generation: &str, family: Declared) -> usize {
    let (kind, fits) = match family.kind {
        DeclaredKind::Counter => (Kind::Counter, family.name.ends_with("_total")),
        DeclaredKind::Gauge => (Kind::Gauge, !is_reserved(&family.name)),
        DeclaredKind::Histogram => (Kind::Histogram, !is_reserved(&family.name)),
    };
    if !fits || !is_name(&family.name) {
        return 1;
    }
    let mut left_out = family.samples.len().saturating_sub(MAX_SAMPLES);
    let mut samples = Vec::new();
    for declared in family.samples.into_iter().take(MAX_SAMPLES) {
        match sample(declared, kind, generation) {
            Some(sample) => samples.push(sample),
            None => left_out += 1,
        }
    }
    let help = cut(&family.help);
    let name = format!("{prefix}{}", family.name);
    if page.add(name, kind, &help, samples) {
        left_out
    } else {
        1
    }
}

fn sample(declared: DeclaredSample, kind: Kind, generation: &str) -> Option<Sample> {
    let mut labels = vec![("generation".to_owned(), generation.to_owned())];
    if declared.labels.len() > MAX_LABELS {
        return None;
    }
    for (name, value) in declared.labels {
        let (true, Value::String(value)) = (is_label(&name), value) else {
            return None;
        };
        labels.push((name, cut(&value)));
    }
    let value = match (kind, declared.value, declared.buckets) {
        (Kind::Histogram, None, Some(buckets)) => histogram(buckets, declared.sum, declared.count)?,
        (Kind::Counter | Kind::Gauge, Some(value), None) => number(&value)?,
        _ => return None,
    };
    Some(Sample { labels, value })
}

/// A histogram whose bounds rise and whose counts do not fall.
fn histogram(buckets: Vec<(f64, u64)>, sum: f64, count: u64) -> Option<Number> {
    let rises = buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1);
    let last = buckets.last().map_or(0, |(_, count)| *count);
    (rises && last <= count && buckets.len() <= MAX_BUCKETS).then_some(Number::Histogram(
        Histogram {
            buckets,
            sum,
            count,
        },
    ))
}

fn number(value: &serde_json::Number) -> Option<Number> {
    match value.as_u64() {
        Some(whole) => Some(Number::Whole(whole)),
        None => value.as_f64().map(Number::Real),
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.len() <= MAX_TEXT && name.bytes().all(fits)
}

fn is_label(name: &str) -> bool {
    is_name(name)
        && !name.starts_with("__")
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name != "generation"
        && name != "le"
}

/// Whether a name has an ending that the format gives a meaning.
fn is_reserved(name: &str) -> bool {
    ["_total", "_bucket", "_sum", "_count"]
        .iter()
        .any(|end| name.ends_with(end))
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(status: Value) -> (String, usize) {
        let mut page = Page::default();
        let Value::Object(status) = status else {
            panic!("no object")
        };
        let left_out = collect(&mut page, "my-plugin", "7", status);
        (page.to_text(), left_out)
    }

    #[test]
    fn numbers_become_gauges_and_counters() {
        let (text, left_out) = page(json!({
            "sessions": 2, "bytes_total": 10, "load": 0.25, "draining": true,
            "name": "x", "auth": {"accepted": 1}
        }));
        assert_eq!(left_out, 0);
        for line in [
            "# TYPE alknet_my_plugin_sessions gauge",
            "alknet_my_plugin_sessions{generation=\"7\"} 2",
            "# TYPE alknet_my_plugin_bytes_total counter",
            "alknet_my_plugin_bytes_total{generation=\"7\"} 10",
            "alknet_my_plugin_load{generation=\"7\"} 0.25",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(
            !text.contains("accepted") && !text.contains("draining"),
            "{text}"
        );
    }

    #[test]
    fn declared_families_have_labels_and_win() {
        let (text, left_out) = page(json!({
            "channels_total": 5,
            "metrics": [
                {"name": "channels_total", "type": "counter", "help": "Channels.",
                 "samples": [{"labels": {"kind": "a"}, "value": 3}]},
                {"name": "login_seconds", "type": "histogram",
                 "samples": [{"buckets": [[0.5, 1], [1.0, 2]], "sum": 1.5, "count": 2}]},
            ]
        }));
        assert_eq!(left_out, 0);
        assert!(text.contains("alknet_my_plugin_channels_total{generation=\"7\",kind=\"a\"} 3\n"));
        assert!(!text.contains(" 5\n"), "{text}");
        assert!(
            text.contains("alknet_my_plugin_login_seconds_bucket{generation=\"7\",le=\"0.5\"} 1\n")
        );
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_counted() {
        let sample = json!({"value": 1});
        let family = |name: &str, kind: &str, samples: Value| json!({"name": name, "type": kind, "samples": samples});
        for (family, expected) in [
            (family("Upper", "gauge", json!([sample])), 1),
            (family("a b", "gauge", json!([sample])), 1),
            (family("no_ending", "counter", json!([sample])), 1),
            (family("x_total", "gauge", json!([sample])), 1),
            (family("x", "summary", json!([sample])), 1),
            (
                family(
                    "x",
                    "gauge",
                    json!([{"labels": {"generation": "1"}, "value": 1}]),
                ),
                1,
            ),
            (
                family("x", "gauge", json!([{"labels": {"le": "1"}, "value": 1}])),
                1,
            ),
            (
                family("x", "gauge", json!([{"labels": {"a": 1}, "value": 1}])),
                1,
            ),
            (family("x", "gauge", json!([{}])), 1),
            (
                family(
                    "x",
                    "histogram",
                    json!([{"buckets": [[1.0, 2], [0.5, 3]], "count": 3}]),
                ),
                1,
            ),
            (
                family(
                    "x",
                    "histogram",
                    json!([{"buckets": [[0.5, 3], [1.0, 2]], "count": 3}]),
                ),
                1,
            ),
            (
                family("x", "gauge", json!(vec![sample.clone(); MAX_SAMPLES + 9])),
                9,
            ),
        ] {
            let (text, left_out) = page(json!({"metrics": [family]}));
            assert_eq!(left_out, expected, "{family}\n{text}");
        }
        let many: Vec<_> = (0..100)
            .map(|n| family(&format!("x{n}"), "gauge", json!([sample])))
            .collect();
        assert_eq!(page(json!({"metrics": many})).1, 36);
    }
}
