//! Median, percentile and spread of a few samples.

/// The value below which so many in a hundred are; NaN of none.
pub(crate) fn percentile(values: &[f64], of_100: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (of_100 / 100.0 * sorted.len() as f64).ceil() as usize;
    let place = rank.saturating_sub(1).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// The middle one, or the mean of the middle two; NaN of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (1, Some(it)) => *it,
        (0, Some(it)) => sorted
            .get(middle - 1)
            .map_or(f64::NAN, |before| (before + it) / 2.0),
        _ => f64::NAN,
    }
}

/// The least and the greatest.
pub(crate) fn spread(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (least, most)
}

/// With three digits.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".to_owned(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
