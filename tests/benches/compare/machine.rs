//! The machine and the programs of a run, described for the results page.

use std::fs;
use std::process::Command;

/// Lines about the machine and the programs of a run.
pub(crate) fn describe() -> Vec<(&'static str, String)> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of_cpu = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(|| "?".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|it| it.parse::<f64>().ok());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<_> = load.split_whitespace().take(1).collect();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        ("commit", commit()),
        (
            "processors",
            format!("{processors}, {}", of_cpu("model name")),
        ),
        (
            "memory",
            format!("{:.0} GiB", kib.unwrap_or_default() / 1_048_576.0),
        ),
        ("kernel", kernel.trim().to_owned()),
        ("OpenSSH", said("ssh", &["-V"])),
        ("load before", load.join(" ")),
        ("date (UTC)", said("date", &["-u", "+%Y-%m-%d %H:%M"])),
    ]
}

fn commit() -> String {
    let inside = integration_tests::workspace().display().to_string();
    let hash = said("git", &["-C", &inside, "rev-parse", "--short", "HEAD"]);
    match said("git", &["-C", &inside, "status", "--porcelain", "-uno"]).is_empty() {
        true => hash,
        false => format!("{hash} and changes"),
    }
}

fn said(program: &str, args: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(args).output() else {
        return "?".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).trim().to_owned()
}
