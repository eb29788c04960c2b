//! Runs a node and its clients beside a stock sshd and prints, row by row, the
//! ratio, what it is to reach, and whether it does.
//!
//!     cargo bench -p alknet-benches --bench compare -- [options] [rows]

#![forbid(unsafe_code)]

mod accounting;
mod chart;
mod link;
mod load;
mod machine;
mod measure;
mod options;
mod peers;
mod plots;
mod report;
mod results;
mod rows;
mod run;
mod statistics;
mod sweeps;

use std::process::ExitCode;

use crate::options::Options;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(options) => match run::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("compare: {error}");
                ExitCode::FAILURE
            }
        },
        Err(text) => {
            eprint!("{text}");
            ExitCode::from(2)
        }
    }
}
