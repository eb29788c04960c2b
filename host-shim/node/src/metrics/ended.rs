//! Counters of versions that have ended. A sum over all generations of a plugin never falls.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

/// The sums of counters by plugin, in the form of a handler's status.
static ENDED: Mutex<BTreeMap<String, Map<String, Value>>> = Mutex::new(BTreeMap::new());

/// Keeps the counters in the last status of a version of a plugin.
pub(crate) fn keep(plugin: &str, status: &Value) {
    if let Value::Object(status) = status {
        add(lock().entry(plugin.to_owned()).or_default(), status);
    }
}

/// The counters that were kept, by plugin.
pub(crate) fn all() -> BTreeMap<String, Map<String, Value>> {
    lock().clone()
}

fn lock() -> MutexGuard<'static, BTreeMap<String, Map<String, Value>>> {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds the counters and histograms of one status to another.
pub(crate) fn add(sums: &mut Map<String, Value>, status: &Map<String, Value>) {
    for (name, value) in status {
        match value {
            Value::Number(_) if name.ends_with("_total") => {
                add_number(sums.entry(name.clone()).or_insert_with(|| 0.into()), value);
            }
            Value::Array(families) if name == "metrics" => {
                let known = sums.entry("metrics").or_insert_with(|| json!([]));
                if let Value::Array(known) = known {
                    families.iter().for_each(|family| add_family(known, family));
                }
            }
            _ => {}
        }
    }
}

fn add_family(known: &mut Vec<Value>, family: &Value) {
    if !["counter", "histogram"]
        .iter()
        .any(|kind| family["type"] == *kind)
    {
        return;
    }
    let same = |one: &&mut Value| one["name"] == family["name"] && one["type"] == family["type"];
    let Some(sums) = known.iter_mut().find(same) else {
        known.push(family.clone());
        return;
    };
    let (Some(sums), Some(samples)) = (
        sums.get_mut("samples").and_then(Value::as_array_mut),
        family.get("samples").and_then(Value::as_array),
    ) else {
        return;
    };
    for sample in samples {
        let same = |one: &&mut Value| {
            one.get("labels") == sample.get("labels") && bounds(one) == bounds(sample)
        };
        match sums.iter_mut().find(same) {
            Some(sum) => add_sample(sum, sample),
            None => sums.push(sample.clone()),
        }
    }
}

fn add_sample(sum: &mut Value, sample: &Value) {
    for name in ["value", "sum", "count"] {
        if let (Some(sum), Some(value)) = (sum.get_mut(name), sample.get(name)) {
            add_number(sum, value);
        }
    }
    let buckets = sum.get_mut("buckets").and_then(Value::as_array_mut);
    let more = sample.get("buckets").and_then(Value::as_array);
    for (bucket, more) in buckets
        .into_iter()
        .flatten()
        .zip(more.into_iter().flatten())
    {
        if let (Some(count), Some(more)) = (bucket.get_mut(1), more.get(1)) {
            add_number(count, more);
        }
    }
}

/// The upper bounds of a histogram's buckets.
fn bounds(sample: &Value) -> Option<Vec<&Value>> {
    let buckets = sample.get("buckets")?.as_array()?;
    Some(buckets.iter().filter_map(|bucket| bucket.get(0)).collect())
}

fn add_number(sum: &mut Value, value: &Value) {
    *sum = match (sum.as_u64(), value.as_u64()) {
        (Some(one), Some(other)) => one.saturating_add(other).into(),
        _ => (sum.as_f64().unwrap_or_default() + value.as_f64().unwrap_or_default()).into(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_and_gauges_are_not() {
        let status = |total: u64| {
            json!({
                "sessions": 3,
                "sessions_total": total,
                "metrics": [
                    {"name": "auth_total", "type": "counter", "samples": [
                        {"labels": {"result": "accepted"}, "value": total},
                        {"labels": {"result": "refused"}, "value": 1},
                    ]},
                    {"name": "login_seconds", "type": "histogram", "samples": [
                        {"labels": {}, "buckets": [[0.1, 1], [1.0, total]], "sum": 0.5, "count": total},
                    ]},
                    {"name": "memory", "type": "gauge", "samples": [{"value": 9}]},
                ],
            })
        };
        let mut sums = Map::new();
        for total in [10, 3] {
            add(&mut sums, status(total).as_object().unwrap());
        }
        assert_eq!(
            Value::Object(sums),
            json!({
                "sessions_total": 13,
                "metrics": [
                    {"name": "auth_total", "type": "counter", "samples": [
                        {"labels": {"result": "accepted"}, "value": 13},
                        {"labels": {"result": "refused"}, "value": 2},
                    ]},
                    {"name": "login_seconds", "type": "histogram", "samples": [
                        {"labels": {}, "buckets": [[0.1, 2], [1.0, 13]], "sum": 1.0, "count": 13},
                    ]},
                ],
            })
        );
    }
}
