//! Processor time and memory of a group of processes, by cgroup (cgroups(7))
//! or by /proc (proc(5)).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Programs whose processor time and memory are counted together with those of
/// all that they start: in a cgroup, or, where none can be made, as a tree of
/// processes, which loses children that nobody waited for.
pub(crate) struct Group {
    cgroup: Option<PathBuf>,
    roots: Mutex<Vec<u32>>,
}

/// Where a cgroup can be made, and which file of it tells processor time.
const PLACES: [(&str, &str); 3] = [
    ("/sys/fs/cgroup/unified", "cpu.stat"),
    ("/sys/fs/cgroup", "cpu.stat"),
    ("/sys/fs/cgroup/cpuacct", "cpuacct.usage"),
];

impl Group {
    /// An empty one.
    pub(crate) fn new(role: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("compare-{}-{role}-{number}", std::process::id());
        let cgroup = PLACES.iter().find_map(|(place, file)| {
            let path = Path::new(place).join(&name);
            fs::create_dir(&path).ok()?;
            if path.join(file).exists() {
                return Some(path);
            }
            let _ = fs::remove_dir(path);
            None
        });
        Self {
            cgroup,
            roots: Mutex::default(),
        }
    }

    /// Whether all is counted.
    pub(crate) fn is_exact(&self) -> bool {
        self.cgroup.is_some()
    }

    /// What a program is run by in order to be counted.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        match &self.cgroup {
            Some(path) => {
                let enter = "echo 0 > \"$0/cgroup.procs\" && exec \"$@\"";
                let path = path.display().to_string();
                vec!["sh".to_owned(), "-c".to_owned(), enter.to_owned(), path]
            }
            None => Vec::new(),
        }
    }

    /// A program that was started by the [`wrapper`](Self::wrapper).
    pub(crate) fn started(&self, pid: u32) {
        self.roots.lock().unwrap().push(pid);
    }

    /// All processes of it.
    pub(crate) fn pids(&self) -> Vec<u32> {
        if let Some(path) = &self.cgroup {
            let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            return text.lines().filter_map(|line| line.parse().ok()).collect();
        }
        let mut children: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for pid in all_pids() {
            if let Some(fields) = stat(pid) {
                children.entry(fields[1]).or_default().push(pid);
            }
        }
        let mut todo = self.roots.lock().unwrap().clone();
        let mut found = Vec::new();
        while let Some(pid) = todo.pop() {
            if stat(pid).is_some() {
                found.push(pid);
                todo.extend(children.get(&u64::from(pid)).into_iter().flatten());
            }
        }
        found
    }

    /// Processor time so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        if let Some(path) = &self.cgroup {
            if let Ok(text) = fs::read_to_string(path.join("cpuacct.usage")) {
                return text.trim().parse::<f64>().unwrap_or_default() / 1e9;
            }
            let text = fs::read_to_string(path.join("cpu.stat")).unwrap_or_default();
            let usage = text
                .lines()
                .find_map(|line| line.strip_prefix("usage_usec "));
            return usage
                .and_then(|it| it.parse::<f64>().ok())
                .unwrap_or_default()
                / 1e6;
        }
        let pids = self.pids();
        let ticks: u64 = pids
            .into_iter()
            .filter_map(stat)
            .map(|fields| fields[11..15].iter().sum::<u64>())
            .sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// Memory of all of it, of what it shares with others its part, in KiB.
    pub(crate) fn pss_kib(&self) -> f64 {
        let of = |pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        self.pids().into_iter().filter_map(of).sum()
    }

    /// Ends what still runs.
    pub(crate) fn clear(&self) {
        for (signal, tries) in [(Signal::TERM, 50), (Signal::KILL, 200)] {
            for _ in 0..tries {
                let pids = self.pids();
                if pids.is_empty() {
                    return;
                }
                for pid in pids.into_iter().filter_map(|pid| Pid::from_raw(pid as i32)) {
                    let _ = kill_process(pid, signal);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.clear();
        if let Some(path) = &self.cgroup {
            for _ in 0..50 {
                if fs::remove_dir(path).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Processor time of a server and its clients from one moment to another.
pub(crate) struct Clock<'g> {
    server: &'g Group,
    clients: &'g Group,
    from: (f64, f64),
    started: Instant,
}

/// What a [`Clock`] measured, all in seconds.
pub(crate) struct Taken {
    /// On the wall.
    pub(crate) wall: f64,
    /// Of the server.
    pub(crate) server: f64,
    /// Of the clients.
    pub(crate) clients: f64,
}

impl<'g> Clock<'g> {
    /// Starts.
    pub(crate) fn start(server: &'g Group, clients: &'g Group) -> Self {
        Self {
            server,
            clients,
            from: (server.cpu(), clients.cpu()),
            started: Instant::now(),
        }
    }

    /// Reads it.
    pub(crate) fn read(&self) -> Taken {
        Taken {
            wall: self.started.elapsed().as_secs_f64(),
            server: self.server.cpu() - self.from.0,
            clients: self.clients.cpu() - self.from.1,
        }
    }
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The numbers of proc_pid_stat(5) from the state on (as 0).
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let numbers = rest.split_whitespace();
    Some(numbers.map(|it| it.parse().unwrap_or_default()).collect())
}
