//! Tables, for people and programs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::peers::Way;
use crate::results::{Cell, Verdict, cell};
use crate::rows::Row;
use crate::run::{Measured, Results};
use crate::statistics::short;
use crate::sweeps::Named;

pub(crate) fn print_machine(machine: &[(&'static str, String)]) {
    for (name, value) in machine {
        println!("{name:<12} {value}");
    }
}

/// Prints the rows of a test.
pub(crate) fn print(measured: &Measured) {
    for row in &measured.rows {
        println!("\n{} [{}], {}", row.what, row.id, row.figure);
        for way in measured.series.iter().map(|series| series.way) {
            match cell(row, &measured.series, way) {
                Ok(cell) => println!("  {:<20} {}", way.name(), line(row, way, &cell)),
                Err(why) => println!("  {:<20} SKIPPED: {why}", way.name()),
            }
        }
    }
}

fn line(row: &Row, way: Way, cell: &Cell) -> String {
    let mut line = format!("{:<26}", cell.value_text());
    if way == Way::Sshd {
        return line.trim_end().to_owned();
    }
    let counts = match row.beside_sshd {
        true => format!("×{}", short(cell.counts)),
        false => String::new(),
    };
    let _ = write!(line, " {counts:<7}");
    if let (Some(reach), Some(verdict)) = (row.reach(way), cell.verdict) {
        let _ = write!(line, " {:<8} {}", reach.text(), verdict.text());
    }
    line
}

/// How many are reached, and what is not.
pub(crate) fn summary(results: &Results) -> String {
    let (mut reached, mut all, mut missed) = (0, 0, String::new());
    for (row, series) in rows(results) {
        for way in Way::OURS {
            let Ok(cell) = cell(row, series, way) else {
                continue;
            };
            let Some((verdict, reach)) = cell.verdict.zip(row.reach(way)) else {
                continue;
            };
            all += 1;
            if verdict == Verdict::Reached {
                reached += 1;
            } else {
                let _ = writeln!(
                    missed,
                    "  {:<44} {:<20} {} of {}, {}",
                    row.what,
                    way.name(),
                    short(cell.counts),
                    reach.text(),
                    verdict.text()
                );
            }
        }
    }
    let minutes = results.took.as_secs_f64() / 60.0;
    format!("{reached} of {all} figures reached, in {minutes:.1} minutes.\n{missed}")
}

fn rows(results: &Results) -> impl Iterator<Item = (&Row, &[crate::results::Series])> {
    let all = results.measured.iter();
    all.flat_map(|it| it.rows.iter().map(|row| (row, it.series.as_slice())))
}

/// Writes all samples.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_json(results: &Results, file: &Path) -> Result<(), String> {
    let rows: Vec<Value> = rows(results)
        .map(|(row, series)| {
            let ways: serde_json::Map<_, _> = series
                .iter()
                .map(|it| {
                    let rounds: Vec<Value> = it
                        .rounds
                        .iter()
                        .map(|round| match round {
                            Ok(sample) => json!(sample.figures),
                            Err(error) => json!({ "failed": error }),
                        })
                        .collect();
                    let cell = cell(row, series, it.way).ok();
                    let value = json!({
                        "median": cell.as_ref().map(|it| it.value),
                        "counts": cell.as_ref().map(|it| it.counts),
                        "counts_spread": cell.as_ref().map(|it| it.counts_spread),
                        "reach": row.reach(it.way).map(|it| it.text()),
                        "verdict": cell.as_ref().and_then(|it| it.verdict).map(|it| it.text()),
                        "rounds": rounds,
                    });
                    (it.way.name().to_owned(), value)
                })
                .collect();
            json!({ "id": row.id, "what": row.what, "figure": row.figure, "ways": ways })
        })
        .collect();
    let machine: serde_json::Map<_, _> = results
        .machine
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let text = json!({ "machine": machine, "rows": rows });
    write(file, &format!("{text:#}\n"))
}

/// Writes RESULTS.md.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_markdown(results: &Results, plots: &[Named]) -> Result<(), String> {
    let mut text = String::from(
        "# Beside sshd\n\nWritten by `cargo bench -p alknet-benches --bench compare -- --results`. Medians, in brackets the least \
         and the greatest; × is the median ratio to sshd of the same round. A row is reached by its ratio, or, where \
         none is given, by the figure itself.\n\n",
    );
    for (name, value) in &results.machine {
        let _ = writeln!(text, "- {name}: {value}");
    }
    let names = Way::ALL.map(Way::name).join(" | ");
    let _ = writeln!(
        text,
        "\n| row | figure | {names} |\n|---|---|---|---|---|---|"
    );
    for (row, series) in rows(results) {
        let cells: Vec<_> = Way::ALL
            .into_iter()
            .map(|way| markdown_cell(row, series, way))
            .collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            row.what,
            row.figure,
            cells.join(" | ")
        );
    }
    let _ = writeln!(
        text,
        "\n{}",
        summary(results).replace("\n  ", "\n- ").replacen(
            "minutes.\n",
            "minutes. What is not:\n\n",
            1
        )
    );
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !plots.is_empty() {
        let _ = fs::create_dir(directory.join("plots"));
        text.push_str("\n## Plots\n\n");
    }
    for (name, chart) in plots {
        write(&directory.join(format!("plots/{name}.svg")), &chart.svg())?;
        let _ = writeln!(text, "![{}](plots/{name}.svg)\n", chart.title);
    }
    write(
        &directory.join("RESULTS.md"),
        &format!("{}\n", text.trim_end()),
    )
}

fn markdown_cell(row: &Row, series: &[crate::results::Series], way: Way) -> String {
    let cell = match cell(row, series, way) {
        Ok(cell) => cell,
        Err(_) if !series.iter().any(|it| it.way == way) => return "-".to_owned(),
        Err(why) => return format!("skipped: {}", why.replace('|', "/")),
    };
    let mut text = cell.value_text();
    if way != Way::Sshd && row.beside_sshd {
        let _ = write!(text, " ×{}", short(cell.counts));
    }
    if let Some((reach, verdict)) = row.reach(way).zip(cell.verdict) {
        let _ = match verdict {
            Verdict::Reached => write!(text, ", {}: reached", reach.text()),
            _ => write!(text, ", {}: **{}**", reach.text(), verdict.text()),
        };
    }
    text
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
