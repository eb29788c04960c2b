//! Measures the rows that the options ask for, over every path, and reports
//! them.

use std::time::{Duration, Instant};

use crate::link::Link;
use crate::load::Load;
use crate::machine;
use crate::measure::{Bench, Sample, timed};
use crate::options::Options;
use crate::peers::{Peers, Way};
use crate::plots;
use crate::report;
use crate::results::Series;
use crate::rows::{self, Direction, PathName, Row, Test};
use crate::sweeps;

/// What was measured for the rows of one test.
pub(crate) struct Measured {
    pub(crate) test: Test,
    pub(crate) rows: Vec<Row>,
    pub(crate) series: Vec<Series>,
}

/// Everything of a run.
pub(crate) struct Results {
    pub(crate) machine: Vec<(&'static str, String)>,
    pub(crate) measured: Vec<Measured>,
    pub(crate) took: Duration,
}

/// Between a transfer over a path and the next, for what is still on the way.
const DRAIN: Duration = Duration::from_millis(600);
/// After servers were started and used.
const SETTLE: Duration = Duration::from_secs(2);
const QUICK: Duration = Duration::from_secs(4);

/// Measures and reports what the options ask for.
///
/// # Errors
/// When nothing can be measured, or a report cannot be written.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    raise_files();
    let started = Instant::now();
    let machine = machine::describe();
    report::print_machine(&machine);
    let chosen: Vec<Row> = rows::all()
        .into_iter()
        .filter(|row| options.wants(row.id))
        .collect();
    if chosen.is_empty() {
        return Err("no row has such an id; --list names them".to_owned());
    }
    let mut tests: Vec<Test> = Vec::new();
    for row in &chosen {
        if !tests.contains(&row.test) {
            tests.push(row.test);
        }
    }
    let (over_paths, here): (Vec<_>, Vec<_>) = tests.into_iter().partition(|it| is_timed(*it));
    let mut measured = Vec::new();
    let mut keep = |test: Test, series: Vec<Series>| {
        let rows = chosen
            .iter()
            .filter(|row| row.test == test)
            .cloned()
            .collect();
        let it = Measured { test, rows, series };
        report::print(&it);
        measured.push(it);
    };
    if !here.is_empty() {
        let load = Load::start();
        let peers = Peers::start(None);
        let effort = options.effort();
        let bench = Bench {
            peers: &peers,
            load: &load,
            effort,
        };
        if !peers.is_exact() {
            println!("no cgroup can be made: the CPU of clients is not complete");
        }
        settle(&bench)?;
        for test in here {
            let series = rounds(options, test, |way| on_loopback(&bench, test, way));
            keep(test, series);
        }
    }
    if !over_paths.is_empty() {
        over(options, &over_paths, &mut keep)?;
    }
    let results = Results {
        machine,
        measured,
        took: started.elapsed(),
    };
    println!("\n{}", report::summary(&results));
    if let Some(file) = &options.json {
        report::write_json(&results, file)?;
    }
    if options.results {
        let mut plots = plots::of(&results);
        if options.rows.is_empty() {
            for more in [sweeps::paths(), sweeps::growth()] {
                match more {
                    Ok(more) => plots.extend(more),
                    Err(error) => println!("SKIPPED: plots: {error}"),
                }
            }
        }
        report::write_markdown(&results, &plots)?;
    }
    Ok(())
}

/// What a server does once, at its start or for its first peer, is not counted.
fn settle(bench: &Bench<'_>) -> Result<(), String> {
    for way in Way::ALL {
        bench.settle(way)?;
    }
    std::thread::sleep(SETTLE);
    Ok(())
}

/// The tests over emulated paths.
fn over(
    options: &Options,
    tests: &[Test],
    keep: &mut impl FnMut(Test, Vec<Series>),
) -> Result<(), String> {
    let link = match Link::make(PathName::Long.path()) {
        Ok(link) => link,
        Err(error) => {
            println!("\nSKIPPED: long and lossy paths: {error}");
            return Ok(());
        }
    };
    let peers = Peers::start(Some(&link));
    for test in tests {
        let Test::Timed(name, direction) = *test else {
            continue;
        };
        if options.quick && matches!(name, PathName::LongFast | PathName::VeryLongFast) {
            continue;
        }
        if let Err(error) = link.congestion(name.congestion()) {
            println!("\nSKIPPED: {test:?}: {error}");
            continue;
        }
        link.set(name.path());
        let long = if options.quick { QUICK } else { name.long() };
        let series = rounds(options, *test, |way| {
            std::thread::sleep(DRAIN + 2 * name.path().round_trip);
            timed(&peers, way, direction == Direction::Up, long)
        });
        keep(*test, series);
    }
    Ok(())
}

/// The ways take turns, so that what happens on the machine happens to all.
fn rounds(
    options: &Options,
    test: Test,
    mut measure: impl FnMut(Way) -> Result<Sample, String>,
) -> Vec<Series> {
    let ways = Way::ALL
        .into_iter()
        .filter(|way| test != Test::Memory || *way != Way::Native);
    let mut all: Vec<Series> = ways
        .map(|way| Series {
            way,
            rounds: Vec::new(),
        })
        .collect();
    for _ in 0..options.rounds.unwrap_or_else(|| how_many(options, test)) {
        for series in &mut all {
            series.rounds.push(measure(series.way));
        }
    }
    all
}

fn how_many(options: &Options, test: Test) -> usize {
    match test {
        _ if options.quick => 1,
        Test::Memory => 1,
        Test::Timed(..) | Test::Crowd => 2,
        Test::ExecDown | Test::ExecUp | Test::ForwardDown | Test::ForwardUp => 4,
        _ => 3,
    }
}

fn on_loopback(bench: &Bench<'_>, test: Test, way: Way) -> Result<Sample, String> {
    let measured = match test {
        Test::EchoLoaded => bench.echo_loaded(way),
        Test::Streams => bench.streams(way),
        Test::ForwardUp => bench.forward_up(way),
        Test::ForwardDown => bench.forward_down(way),
        Test::ExecDown => bench.exec_down(way),
        Test::ExecUp => bench.exec_up(way),
        Test::Echo => bench.echo(way),
        Test::NewForward => bench.new_forward(way),
        Test::Unread => bench.unread(way),
        Test::LogIn => bench.log_in(way),
        Test::Crowd => bench.crowd(way),
        Test::Memory => bench.memory(way),
        Test::Timed(..) => Err("needs a path".to_owned()),
    };
    bench.peers.clear();
    measured.map_err(|error| match bench.peers.errors() {
        said if said.is_empty() => error,
        said => format!("{error} ({said})"),
    })
}

fn is_timed(test: Test) -> bool {
    matches!(test, Test::Timed(..))
}

/// Hundreds of clients have pipes.
fn raise_files() {
    let limit = rustix::process::Rlimit {
        current: Some(8192),
        maximum: Some(8192),
    };
    // Fewer may do.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}
