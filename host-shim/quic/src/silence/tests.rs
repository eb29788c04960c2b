//! Absences of up to an hour, between two ends of QUIC in a time of their own.

use super::*;
use crate::Congestion;
use crate::simulation::{CLIENT, NODE, Net};

#[test]
fn only_an_open_question_makes_silence() {
    let start = Instant::now();
    let mut silence = Silence::default();
    let mut next = |heard, asked, millis| {
        let now = start + Duration::from_millis(millis);
        silence.next(&Traffic { heard, asked }, now, Duration::ZERO)
    };
    assert_eq!(next(1, 1, 0), Step::Wait);
    assert_eq!(next(1, 1, 100_000), Step::Wait, "nothing was asked");
    assert_eq!(next(1, 2, 101_000), Step::Wait);
    assert_eq!(next(2, 2, 101_300), Step::Wait, "it was answered");
    assert_eq!(next(2, 3, 200_000), Step::Wait);
    assert_eq!(next(2, 4, 200_500), Step::Ask);
    assert_eq!(next(2, 4, 200_750), Step::Wait, "it has just been asked");
    assert_eq!(next(2, 4, 201_000), Step::Ask);
    assert_eq!(next(2, 5, 203_000), Step::Move);
    assert_eq!(next(2, 5, 203_250), Step::Wait);
    assert_eq!(next(2, 5, 203_500), Step::Ask);
    let lasted = Duration::from_secs(4);
    assert_eq!(next(3, 6, 204_000), Step::GoOn(lasted));
    assert_eq!(next(3, 6, 300_000), Step::Wait);
}

const ROUND_TRIP: Duration = Duration::from_millis(20);
const GAPS: [u64; 3] = [40, 600, 3600];
const LARGE: u64 = 100_000_000;

#[test]
fn after_an_absence_an_upload_goes_on_at_its_rate() {
    for seconds in GAPS {
        let took = transfer(CLIENT, seconds);
        // Its 100 MB take 8 s of an empty link.
        assert!(took < Duration::from_secs(16), "{seconds}: {took:?}");
    }
}

#[test]
fn after_an_absence_a_download_goes_on_at_its_rate() {
    for seconds in GAPS {
        let took = transfer(NODE, seconds);
        assert!(took < Duration::from_secs(16), "{seconds}: {took:?}");
    }
}

#[test]
fn after_an_absence_the_first_byte_takes_less_than_a_second() {
    for seconds in GAPS {
        for writer in [CLIENT, NODE] {
            let mut net = Net::new(Congestion::default(), ROUND_TRIP, 0);
            net.run(Duration::from_secs(1));
            absence(&mut net, seconds, |net| net.sides[writer].to_write += 1);
            let before = net.sides[1 - writer].received;
            let took = net.run_until(Duration::from_secs(60), |net| {
                net.sides[1 - writer].received > before
            });
            assert!(
                took.is_some_and(|took| took < Duration::from_secs(1)),
                "{seconds}: {took:?}"
            );
        }
    }
}

/// How long 100 MB take after an absence in the midst of a transfer.
fn transfer(writer: usize, seconds: u64) -> Duration {
    let mut net = Net::new(Congestion::default(), ROUND_TRIP, 0);
    net.sides[writer].to_write = u64::MAX;
    net.run(Duration::from_secs(2));
    absence(&mut net, seconds, |_| ());
    let before = net.sides[1 - writer].received;
    assert!(before > LARGE / 10, "{before}");
    let all = |net: &Net| net.sides[1 - writer].received >= before + LARGE;
    let took = net.run_until(Duration::from_secs(600), all);
    took.unwrap_or(Duration::MAX)
}

/// The network goes, and comes back; half-way, somebody does something.
fn absence(net: &mut Net, seconds: u64, meanwhile: impl Fn(&mut Net)) {
    let half = Duration::from_secs(seconds) / 2;
    net.is_cut = true;
    net.run(half);
    meanwhile(net);
    net.run(half);
    net.is_cut = false;
}
