//! The process groups of a session (setsid(2)), found in /proc.

use std::collections::HashSet;
use std::fs;

use rustix::process::Pid;

/// The process groups of a session (setsid(2)) that have a live member. Empty
/// where the system has no `/proc`.
pub(super) fn groups(session: Pid) -> HashSet<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashSet::new();
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_process = entry
                .file_name()
                .as_encoded_bytes()
                .first()?
                .is_ascii_digit();
            is_process.then_some(())?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            group_in(&stat, session)
        })
        .collect()
}

/// The group of a process that lives in this session, by its `stat`
/// (proc_pid_stat(5)).
fn group_in(stat: &str, session: Pid) -> Option<Pid> {
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let mut numbers = fields.skip(1).map(|field| field.parse::<i32>().ok());
    let group = Pid::from_raw(numbers.next()??)?;
    let its_session = numbers.next()??;
    let lives = !matches!(state, "Z" | "X");
    (lives && its_session == session.as_raw_nonzero().get()).then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_living_of_the_session_count() {
        let pid = |raw| Pid::from_raw(raw).unwrap();
        let stat = |state: &str| format!("7 (a) b) 1 (x) {state} 1 20 30 34816 20 4194304 0");
        assert_eq!(group_in(&stat("S"), pid(30)), Some(pid(20)));
        assert_eq!(group_in(&stat("S"), pid(20)), None);
        assert_eq!(group_in(&stat("Z"), pid(30)), None);
        assert_eq!(group_in("", pid(30)), None);
    }

    #[test]
    fn this_process_is_found() {
        let own = rustix::process::getsid(None).unwrap();
        let group = rustix::process::getpgid(None).unwrap();
        assert!(groups(own).contains(&group));
    }
}
