//! How long a certificate is valid, as it is written on the command line.

use std::time::Duration;

/// Reads `90s`, `30m`, `16h`, `7d` or `52w`; more than nothing.
pub(super) fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number and s, m, h, d or w, such as 16h".to_owned();
    let (number, unit) = text
        .char_indices()
        .last()
        .and_then(|(at, unit)| Some((text.get(..at)?, unit)))
        .ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_with_their_unit() {
        assert_eq!(lifetime("16h"), Ok(Duration::from_secs(57600)));
        assert_eq!(lifetime("2w"), Ok(Duration::from_secs(1_209_600)));
        for wrong in [
            "",
            "h",
            "16",
            "0h",
            "-1h",
            "1.5h",
            "16 h",
            "99999999999999999w",
            "1é",
        ] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
