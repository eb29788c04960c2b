//! The check of the audit file: no record is missing without being counted.

use serde_json::Value;

use crate::tally::Tally;

/// Looks for what the audit file lacks. Of all lives: each line is a record,
/// or the start of one that a kill or a full disk cut off. Of the last life:
/// for so many log-ins there is a record, or it is noted how many are missing;
/// and nothing begins twice or ends without a begin.
pub(crate) fn check(all: &[u8], last_life: &[u8], logins: u64, tally: &Tally) -> Vec<String> {
    let (read, torn) = records(all);
    let (of_life, _) = records(last_life);
    let count = |event: &str| of_life.iter().filter(|one| one["event"] == event).count() as u64;
    let noted = |records: &[Value]| -> u64 {
        let dropped = records.iter().filter(|one| one["event"] == "dropped");
        dropped.filter_map(|one| one["count"].as_u64()).sum()
    };
    let granted = of_life
        .iter()
        .filter(|one| one["event"] == "auth" && one["verdict"] == "granted");
    let (granted, missing) = (granted.count() as u64, noted(&of_life));
    let (opened, closed) = (count("session_opened"), count("session_closed"));
    tally.check(granted + missing >= logins, || {
        format!("{logins} log-ins, {granted} records of them, {missing} noted as missing")
    });
    tally.check(opened.abs_diff(closed) <= missing, || {
        format!("{opened} sessions opened, {closed} closed, {missing} records noted as missing")
    });
    vec![
        format!(
            "records: {} in all, {torn} cut off, {} noted as missing",
            read.len(),
            noted(&read)
        ),
        format!(
            "records of the last life: {logins} log-ins known, {granted} recorded; {opened} sessions \
             opened, {closed} closed; {missing} noted as missing"
        ),
    ]
}

/// The records, and how many lines are none.
fn records(text: &[u8]) -> (Vec<Value>, usize) {
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let (mut records, mut torn) = (Vec::new(), 0);
    for line in lines {
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(_) => torn += 1,
        }
    }
    (records, torn)
}
