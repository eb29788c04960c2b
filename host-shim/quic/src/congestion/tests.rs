//! The rate of a download over links with losses, and over long ones.

use crate::simulation::{BYTES_PER_SECOND, CLIENT, NODE, Net};

use super::*;

#[test]
fn random_losses_do_not_slow_a_connection_down() {
    let lossy = |congestion| download(congestion, Duration::from_millis(50), 1, 5);
    let cubic = lossy(Congestion::Cubic);
    let adaptive = lossy(Congestion::Adaptive);
    // Seen: 0.4 and 9 MiB/s of 11.4.
    assert!(cubic < BYTES_PER_SECOND, "{cubic}");
    assert!(adaptive > 5 * BYTES_PER_SECOND * 2 / 5, "{adaptive}");
}

#[test]
fn a_long_path_is_filled_without_breaking_the_connection() {
    let bytes = download(Congestion::Adaptive, Duration::from_millis(200), 0, 5);
    assert!(bytes > 5 * BYTES_PER_SECOND / 2, "{bytes}");
}

/// Bytes that arrive from a node in so many seconds.
fn download(congestion: Congestion, round_trip: Duration, lost_percent: u64, seconds: u64) -> u64 {
    let mut net = Net::new(congestion, round_trip, lost_percent);
    net.sides[NODE].to_write = u64::MAX;
    net.run(Duration::from_secs(seconds));
    net.sides[CLIENT].received
}
