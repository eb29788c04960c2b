//! The command line of the benchmark.

use std::path::PathBuf;

use crate::measure::Effort;
use crate::rows;

/// What the caller wants.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Fewer and shorter samples, and not all paths.
    pub(crate) quick: bool,
    /// Rounds of every row in place of its own number.
    pub(crate) rounds: Option<usize>,
    /// Where all samples are written.
    pub(crate) json: Option<PathBuf>,
    /// Whether RESULTS.md and its plots are written.
    pub(crate) results: bool,
    /// Parts of the rows' ids; all rows where there is none.
    pub(crate) rows: Vec<String>,
}

const USAGE: &str = "\
usage: cargo bench -p alknet-benches --bench compare -- [--quick] [--rounds N] [--json FILE] [--results] [ROW]...

Measures the node and its clients beside a stock sshd. A ROW is a part of an id;
without one, all rows are measured.

  --quick      fewer and shorter samples, about three minutes
  --rounds N   so many rounds of each row
  --json FILE  write all samples
  --results    write tests/benches/RESULTS.md and its plots
  --list       name the rows
";

impl Options {
    /// # Errors
    /// What to print instead.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| USAGE.to_owned());
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--results" => options.results = true,
                "--json" => options.json = Some(value()?.into()),
                "--rounds" => {
                    let number = value()?.parse().map_err(|_| USAGE.to_owned())?;
                    options.rounds = Some(number);
                }
                // Said by cargo.
                "--bench" => {}
                "--list" => return Err(list()),
                row if !row.starts_with('-') => options.rows.push(row.to_owned()),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }

    /// Whether something of this id is measured.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| id.contains(part))
    }

    /// How much is done for one sample.
    pub(crate) fn effort(&self) -> Effort {
        const MIB: u64 = 1 << 20;
        if self.quick {
            return Effort {
                bulk: 128 * MIB,
                streams: 256 * MIB,
                pings: 500,
                opens: 150,
                log_ins: 6,
                crowd: 30,
                idle: 100,
            };
        }
        Effort {
            bulk: 256 * MIB,
            streams: 512 * MIB,
            pings: 2000,
            opens: 500,
            log_ins: 15,
            crowd: 80,
            idle: 500,
        }
    }
}

fn list() -> String {
    let lines = rows::all()
        .into_iter()
        .map(|row| format!("{:<18} {}\n", row.id, row.what));
    lines.collect()
}
