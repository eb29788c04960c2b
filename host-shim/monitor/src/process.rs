//! The processes of the system, as /proc shows them (proc_pid_stat(5)).

use std::collections::{HashMap, HashSet};
use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, test_kill_process};

/// A process, told apart from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    /// The time at which it was started, in clock ticks since boot.
    started: u64,
}

/// The fields of /proc/PID/stat that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    started: u64,
    lives: bool,
}

/// The living descendants of a process, without those of `others` and what
/// descends from them.
pub(crate) fn descendants(root: Pid, others: &HashSet<Pid>) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<(Pid, Stat)>> = HashMap::new();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push((pid, stat));
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let of_parent = children.remove(&parent.as_raw_nonzero().get());
        for (pid, stat) in of_parent.into_iter().flatten() {
            if others.contains(&pid) {
                continue;
            }
            parents.push(pid);
            if stat.lives {
                let started = stat.started;
                found.push(Process { pid, started });
            }
        }
    }
    found
}

/// What is known of a process's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    Process(Pid),
    /// The first process of the system, or of what is seen of it.
    None,
    /// The process is there, but not for us to see (`hidepid`, proc(5)).
    Hidden,
    /// The process has ended.
    Ended,
}

/// The parent of a process.
pub(crate) fn parent(pid: Pid) -> Parent {
    match stat(pid) {
        Some(stat) => Pid::from_raw(stat.parent).map_or(Parent::None, Parent::Process),
        None if test_kill_process(pid) == Err(Errno::SRCH) => Parent::Ended,
        None => Parent::Hidden,
    }
}

impl Process {
    /// Sends a signal to this process and to no other that has got its number
    /// since.
    pub(crate) fn signal(self, signal: Signal) -> Result<(), Errno> {
        let descriptor = pidfd_open(self.pid, PidfdFlags::empty())?;
        // Read after the descriptor was opened: it is this process's.
        match stat(self.pid) {
            Some(stat) if stat.started == self.started => pidfd_send_signal(descriptor, signal),
            _ => Err(Errno::SRCH),
        }
    }
}

/// Kills a process's descendants, whatever they do against it: all of them are
/// stopped first, in passes, until a pass finds none that runs, so that none
/// can fork while the others are killed. Who called this goes on reaping.
pub(crate) fn kill_descendants(root: Pid, others: &HashSet<Pid>) {
    // A bound for processes that cannot be signalled and fork on.
    const PASSES: usize = 64;
    let mut stopped = HashSet::new();
    for _ in 0..PASSES {
        let running: Vec<_> = descendants(root, others)
            .into_iter()
            .filter(|process| !stopped.contains(process))
            .collect();
        if running.is_empty() {
            break;
        }
        for process in running {
            let _ = process.signal(Signal::STOP);
            stopped.insert(process);
        }
    }
    for process in descendants(root, others) {
        let _ = process.signal(Signal::KILL);
    }
}

fn stat(pid: Pid) -> Option<Stat> {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    read(&fs::read(path).ok()?)
}

fn read(text: &[u8]) -> Option<Stat> {
    // The name in parentheses may hold anything.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = fields.next()?;
    Some(Stat {
        lives: !matches!(state, "Z" | "X"),
        parent: fields.next()?.parse().ok()?,
        // Field 22; the parent was field 4.
        started: fields.nth(17)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_shift_the_fields() {
        let text = b"7 (a) S 1 (\xff) R 42 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9876 10";
        let stat = read(text).unwrap();
        assert_eq!((stat.parent, stat.started, stat.lives), (42, 9876, true));
        assert!(read(b"7 (x) S").is_none());
    }

    #[test]
    fn a_child_is_found_until_it_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn();
        let child = child.as_mut().unwrap();
        let own = rustix::process::getpid();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let is_found = || {
            descendants(own, &HashSet::new())
                .into_iter()
                .find(|process| process.pid == pid)
        };
        let process = is_found().unwrap();
        assert_eq!(parent(pid), Parent::Process(own));
        assert!(!descendants(own, &HashSet::from([pid])).contains(&process));
        process.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(is_found().is_none());
        assert_eq!(process.signal(Signal::KILL), Err(Errno::SRCH));
    }
}
