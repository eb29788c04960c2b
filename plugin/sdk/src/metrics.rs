//! Metrics of a plugin: declared once by type, exported by the node as
//! `alknet_<plugin>_<name>`.
//!
//! Let every label take its values from a fixed list: the node leaves out what a
//! handler declares beyond 64 families or 256 samples of a family.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alknet_handler::ConfigError;
use serde_json::{Map, Value, json};

/// The metrics of a handler, declared when it is made.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Vec<Family>>>);

#[derive(Debug)]
struct Family {
    name: String,
    kind: &'static str,
    help: String,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    labels: Map<String, Value>,
    value: Metric,
}

#[derive(Clone, Debug)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Metrics {
    /// Declares a counter; its name ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.labelled_counter(name, help, &[])
    }

    /// Declares a counter of those of one name that differ by their labels.
    pub fn labelled_counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Counter {
        let counter = Counter::default();
        self.declare(name, help, labels, Metric::Counter(counter.clone()));
        counter
    }

    /// Declares a gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.labelled_gauge(name, help, &[])
    }

    /// Declares a gauge of those of one name that differ by their labels.
    pub fn labelled_gauge(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Gauge {
        let gauge = Gauge::default();
        self.declare(name, help, labels, Metric::Gauge(gauge.clone()));
        gauge
    }

    /// Declares a histogram with these upper bounds, which rise; infinity is left
    /// out.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let histogram = Histogram::new(bounds);
        self.declare(name, help, &[], Metric::Histogram(histogram.clone()));
        histogram
    }

    fn declare(&self, name: &str, help: &str, labels: &[(&str, &str)], value: Metric) {
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).into()));
        let sample = Sample {
            labels: labels.collect(),
            value,
        };
        let mut families = self.families();
        if let Some(family) = families.iter_mut().find(|family| family.name == name) {
            family.samples.push(sample);
            return;
        }
        families.push(Family {
            name: name.to_owned(),
            kind: sample.value.kind(),
            help: help.to_owned(),
            samples: vec![sample],
        });
    }

    /// Fails for metrics that the node would leave out.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for family in &*self.families() {
            if let Some(fault) = family.fault() {
                let message = format!("the plugin declares the metric {:?}: {fault}", family.name);
                return Err(ConfigError::new(message));
            }
        }
        Ok(())
    }

    /// The metrics as the member `metrics` of a status.
    pub(crate) fn to_json(&self) -> Value {
        let families = self.families();
        families.iter().map(Family::to_json).collect()
    }

    fn families(&self) -> MutexGuard<'_, Vec<Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Family {
    fn fault(&self) -> Option<&'static str> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if self.name.is_empty() || self.name.len() > 200 || !self.name.bytes().all(fits) {
            return Some("its name is not 1 to 200 lower-case letters, digits and '_'");
        }
        let is_total = self.name.ends_with("_total");
        if self.kind == "counter" && !is_total {
            return Some("the name of a counter ends in _total");
        }
        let endings = ["_total", "_bucket", "_sum", "_count"];
        if self.kind != "counter" && endings.iter().any(|end| self.name.ends_with(end)) {
            return Some("only a counter ends in _total, and nothing in _bucket, _sum or _count");
        }
        let same = |sample: &Sample| sample.value.kind() == self.kind;
        (!self.samples.iter().all(same)).then_some("it is declared with two types")
    }

    fn to_json(&self) -> Value {
        let samples: Value = self.samples.iter().map(Sample::to_json).collect();
        json!({ "name": self.name, "type": self.kind, "help": self.help, "samples": samples })
    }
}

impl Sample {
    fn to_json(&self) -> Value {
        let mut sample = match &self.value {
            Metric::Counter(counter) => json!({ "value": counter.get() }),
            Metric::Gauge(gauge) => json!({ "value": gauge.get() }),
            Metric::Histogram(histogram) => histogram.to_json(),
        };
        if let Value::Object(members) = &mut sample {
            members.insert("labels".to_owned(), self.labels.clone().into());
        }
        sample
    }
}

impl Metric {
    fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A number that rises only.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds a number to the counter.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The counter's value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets the gauge.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds a number to the gauge, which may be negative.
    pub fn add(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The gauge's value.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A distribution of values over buckets.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Mutex<Observed>>);

#[derive(Debug)]
struct Observed {
    /// The upper bounds, with the number of values within each.
    buckets: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
}

impl Histogram {
    fn new(bounds: &[f64]) -> Self {
        Self(Arc::new(Mutex::new(Observed {
            buckets: bounds.iter().map(|bound| (*bound, 0)).collect(),
            sum: 0.0,
            count: 0,
        })))
    }

    /// Counts a value.
    pub fn observe(&self, value: f64) {
        let mut observed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let within = observed.buckets.iter_mut();
        for (_, count) in within.filter(|(bound, _)| value <= *bound) {
            *count += 1;
        }
        observed.sum += value;
        observed.count += 1;
    }

    /// Counts a duration, in seconds.
    pub fn observe_duration(&self, took: Duration) {
        self.observe(took.as_secs_f64());
    }

    fn to_json(&self) -> Value {
        let observed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "buckets": observed.buckets, "sum": observed.sum, "count": observed.count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_declared_as_the_node_reads_them() {
        let metrics = Metrics::default();
        let sent = [("direction", "sent")];
        let bytes = metrics.labelled_counter("bytes_total", "Bytes.", &sent);
        metrics.labelled_counter("bytes_total", "Bytes.", &[("direction", "received")]);
        let seconds = metrics.histogram("login_seconds", "Log-ins.", &[0.5, 1.0]);
        bytes.add(7);
        seconds.observe_duration(Duration::from_millis(700));
        metrics.check().unwrap();
        assert_eq!(
            metrics.to_json(),
            json!([
                { "name": "bytes_total", "type": "counter", "help": "Bytes.", "samples": [
                    { "labels": { "direction": "sent" }, "value": 7 },
                    { "labels": { "direction": "received" }, "value": 0 } ] },
                { "name": "login_seconds", "type": "histogram", "help": "Log-ins.", "samples": [
                    { "labels": {}, "buckets": [[0.5, 0], [1.0, 1]], "sum": 0.7, "count": 1 } ] },
            ])
        );
    }

    #[test]
    fn what_the_node_would_leave_out_is_named() {
        for (declare, word) in [
            ((|m| drop(m.counter("bytes", ""))) as fn(&Metrics), "_total"),
            (|m| drop(m.gauge("Upper", "")), "lower-case"),
            (|m| drop(m.gauge("x_sum", "")), "_sum"),
        ] {
            let metrics = Metrics::default();
            declare(&metrics);
            let message = metrics.check().unwrap_err().message;
            assert!(message.contains(word), "{message}");
        }
    }
}
