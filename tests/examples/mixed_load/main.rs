//! A mixed load on one node, for as long as one likes: sessions, forwards and
//! file transfers go on while versions are swapped, configurations reloaded,
//! the node killed, its disk filled and its log left unread, at random. The
//! same seed gives the same sequence.
//!
//!     cargo run --release -p integration-tests --example mixed_load -- \
//!         --minutes 20 --seed 1 --plot mixed-load.svg
//!
//! Every transfer is compared with what was sent, every end that no kill
//! explains is a failure, and in the end memory and descriptors must be back.

mod node;
mod plan;
mod plot;
mod records;
mod samples;
mod tally;
mod users;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use integration_tests::{Random, eventually};

use node::Served;
use plan::{Event, plan};
use samples::Samples;
use tally::Tally;

/// What the node may have more of its own memory (not pages of files, which the
/// system takes back) at the end than when it was started last: in per cent of all
/// that it had then, and in KiB for each library that it has loaded since.
const MEMORY_GROWTH_PERCENT: usize = 20;
const MEMORY_GROWTH_A_LIBRARY_KIB: usize = 3 << 10;
/// The version to go back to has a copy, which is open.
const DESCRIPTOR_GROWTH: usize = 4;
/// tokio's pipe for signals, of which each library has its own.
const DESCRIPTOR_GROWTH_A_LIBRARY: usize = 2;
/// From the end of the load to the look at what is left. Memory is given back
/// two seconds after its reason.
const SETTLING: Duration = Duration::from_secs(8);

struct Options {
    minutes: f64,
    seed: u64,
    plot: Option<String>,
}

fn main() -> ExitCode {
    let options = options();
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let events = plan(options.seed, length);
    println!(
        "seed {}, {} minutes, {} events",
        options.seed,
        options.minutes,
        events.len()
    );
    let tally = Arc::new(Tally::default());
    let mut served = Served::start(options.seed, Arc::clone(&tally));
    served.warm_up();
    let samples = Samples::begin(Arc::clone(&tally));
    samples.life_begins(served.pid());
    let users = users::arrive(&served, options.seed, &tally);
    run(&mut served, &samples, &tally, &events);
    let outcome = finish(served, &samples, &tally, users);
    if let Some(path) = &options.plot {
        let title = format!("seed {}, {} minutes", options.seed, options.minutes);
        std::fs::write(path, plot::svg(&title, &samples.all(), &tally.marks())).unwrap();
    }
    println!("{}", tally.summary());
    for line in &outcome {
        println!("{line}");
    }
    let failures = tally.failures();
    for failure in &failures {
        println!("FAILURE {failure}");
    }
    if !failures.is_empty() {
        println!("{}", tally.last_log_lines());
    }
    let verdict = if failures.is_empty() {
        "passed"
    } else {
        "failed"
    };
    println!("{verdict}: seed {}", options.seed);
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Has everything happen at its time, one after the other.
fn run(served: &mut Served, samples: &Samples, tally: &Tally, events: &[Event]) {
    let began = Instant::now();
    for event in events {
        std::thread::sleep(event.at.saturating_sub(began.elapsed()));
        println!("{:>7.1} s  {:?}", began.elapsed().as_secs_f64(), event.what);
        tally.mark(event.what.name());
        served.happen(event.what, samples);
        served.lets_somebody_in(&format!("{:?}", event.what));
    }
}

/// Ends the load, and sees what is left of it.
fn finish(
    served: Served,
    samples: &Samples,
    tally: &Arc<Tally>,
    users: users::Users,
) -> Vec<String> {
    let logins = users.leave();
    std::thread::sleep(SETTLING);
    let end = eventually("the node has settled", || {
        served.is_idle().then(|| samples.now(served.pid()))
    });
    let start = samples.start_of_life();
    let libraries = served.libraries();
    let most_kib = start.anonymous_kib
        + start.kib * MEMORY_GROWTH_PERCENT / 100
        + libraries.saturating_sub(1) * MEMORY_GROWTH_A_LIBRARY_KIB;
    let most_descriptors = start.descriptors
        + DESCRIPTOR_GROWTH
        + libraries.saturating_sub(1) * DESCRIPTOR_GROWTH_A_LIBRARY;
    let mut lines = vec![
        format!(
            "memory: {} KiB ({} of it anonymous) at its start, {} KiB ({}) in the end with {libraries} libraries; at most {most_kib} anonymous",
            start.kib, start.anonymous_kib, end.kib, end.anonymous_kib
        ),
        format!(
            "descriptors: {} at its start, {} in the end; at most {most_descriptors}",
            start.descriptors, end.descriptors
        ),
    ];
    tally.check(end.anonymous_kib <= most_kib, || {
        "memory did not come back".to_owned()
    });
    tally.check(end.descriptors <= most_descriptors, || {
        format!(
            "descriptors stayed open: {}",
            served.descriptors().join(", ")
        )
    });
    samples.end();
    lines.extend(served.stop(logins));
    lines
}

fn options() -> Options {
    let mut options = Options {
        minutes: 2.0,
        seed: Random::new(u64::from(std::process::id())).number() % 1_000_000,
        plot: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let mut value = || {
            args.next()
                .unwrap_or_else(|| panic!("{name} needs a value"))
        };
        match name.as_str() {
            "--minutes" => options.minutes = value().parse().unwrap(),
            "--seed" => options.seed = value().parse().unwrap(),
            "--plot" => options.plot = Some(value()),
            _ => panic!("usage: mixed_load [--minutes N] [--seed N] [--plot FILE.svg]"),
        }
    }
    options
}
