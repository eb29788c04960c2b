//! "Did you mean".

/// The candidate that `name` is most likely a misspelling of, if one is close.
pub(crate) fn closest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(name);
    candidates
        .into_iter()
        .map(|candidate| {
            let length = candidate.chars().count().max(name.chars().count());
            let distance = strsim::damerau_levenshtein(&name, &plain(candidate));
            (distance, length, candidate)
        })
        // A third of the letters may be wrong; in a short word, one.
        .filter(|(distance, length, _)| *distance <= (length / 3).max(1) && distance < length)
        .min_by_key(|(distance, _, _)| *distance)
        .map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_found_and_far_ones_are_not() {
        let names = ["max_channels", "listen", "tls", "uid"];
        for (name, expected) in [
            ("maxchannels", Some("max_channels")),
            ("max-channels", Some("max_channels")),
            ("maxChannels", Some("max_channels")),
            ("lisetn", Some("listen")),
            ("tlss", Some("tls")),
            ("banner", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(name, names), expected, "{name}");
        }
    }
}
