//! One connection to whichever of several addresses answers first.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::sleep;

/// The time that an address has before the next one is tried beside it (RFC
/// 8305 section 5, "Connection Attempt Delay").
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Dials the addresses as RFC 8305 ("Happy Eyeballs") has it: families in
/// turns, each attempt a little after the one before it or at once when that
/// has failed; the first to succeed wins and the others are dropped.
///
/// # Errors
/// The error of the last attempt to fail; `NotFound` without any address.
pub(crate) async fn dial<T, E, D>(
    addresses: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> D,
) -> Result<(T, SocketAddr), E>
where
    D: Future<Output = Result<T, E>>,
    E: From<io::Error>,
{
    let mut waiting = in_turns(addresses).into_iter();
    let mut under_way = FuturesUnordered::new();
    let mut failure = None;
    loop {
        if let Some(address) = waiting.next() {
            let attempt = attempt(address);
            under_way.push(async move { (attempt.await, address) });
        } else if under_way.is_empty() {
            return Err(failure.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound).into()));
        }
        tokio::select! {
            Some((outcome, address)) = under_way.next() => match outcome {
                Ok(connected) => return Ok((connected, address)),
                Err(error) => failure = Some(error),
            },
            () = sleep(NEXT_ADDRESS), if waiting.len() > 0 => {}
        }
    }
}

/// Addresses of both families in turns, beginning with the family of the
/// first (RFC 8305 section 4); within a family the order stays.
fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else {
        return Vec::new();
    };
    let (same, other): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses
        .iter()
        .partition(|address| address.is_ipv4() == first.is_ipv4());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut turns = Vec::with_capacity(addresses.len());
    loop {
        let pair = [same.next(), other.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_first_one_begins() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(in_turns(&given), expected);
        assert_eq!(in_turns(&[]), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_does_not_hold_up_the_next() {
        let given = addresses(&["[::1]:1", "1.1.1.1:1"]);
        let begun = Instant::now();
        let (_, winner) = dial(&given, |address| async move {
            if address.is_ipv6() {
                std::future::pending::<()>().await;
            }
            Ok::<_, io::Error>(())
        })
        .await
        .unwrap();
        assert_eq!(winner, given[1]);
        assert_eq!(begun.elapsed(), NEXT_ADDRESS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_starts_the_next_attempt_at_once() {
        let given = addresses(&["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"]);
        let begun = Instant::now();
        let error = dial(&given, |_| async {
            Err::<(), io::Error>(io::ErrorKind::ConnectionRefused.into())
        })
        .await
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
