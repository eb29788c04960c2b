//! A long, thin or lossy path between two network namespaces, for QUIC and TCP
//! alike: packets go from a TUN device in one to a TUN device in the other. It
//! needs root, and no netem in the kernel.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use integration_tests::Random;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tappers::Interface;
use tappers::linux::Tun;

/// What the path is like, the same in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// There and back, without queues.
    pub(crate) round_trip: Duration,
    /// What comes out at the other end, in bytes a second.
    pub(crate) rate: f64,
    /// Of all packets, by chance.
    pub(crate) lost: f64,
}

impl Path {
    /// What waits for the line before more is dropped, in bytes: as much as is
    /// on the path when it is full.
    fn queue(&self) -> f64 {
        (self.round_trip.as_secs_f64() * self.rate).max(65_536.0)
    }
}

/// The two namespaces and what joins them; gone when dropped.
pub(crate) struct Link {
    path: Arc<Mutex<Path>>,
    over: Arc<AtomicBool>,
    lines: Vec<JoinHandle<()>>,
    names: [String; 2],
    /// What the kernel let others than root choose before.
    allowed: Mutex<Option<String>>,
}

/// Addresses of the two ends.
const ENDS: [&str; 2] = ["10.213.0.1", "10.213.0.2"];
const DEVICE: &str = "path0";
const LARGEST: usize = 2048;
/// How often a line looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);
/// Packets that are taken in before what is due goes out.
const AT_ONCE: usize = 64;
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
const CONGESTION: &str = "net.ipv4.tcp_congestion_control";

impl Link {
    /// # Errors
    /// What is missing on this machine.
    pub(crate) fn make(path: Path) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("namespaces need root".to_owned());
        }
        let id = std::process::id();
        let mut link = Self {
            path: Arc::new(Mutex::new(path)),
            over: Arc::default(),
            lines: Vec::new(),
            names: [format!("cmp{id}client"), format!("cmp{id}server")],
            allowed: Mutex::default(),
        };
        let mut ends = Vec::new();
        for (name, address) in link.names.iter().zip(ENDS) {
            run("ip", &["netns", "add", name])?;
            ends.push(Arc::new(open_inside(name)?));
            let inside = |args: &str| {
                let args: Vec<_> = ["-n", name].into_iter().chain(args.split(' ')).collect();
                run("ip", &args)
            };
            inside(&format!("addr add {address}/24 dev {DEVICE}"))?;
            inside(&format!("link set {DEVICE} mtu 1500 txqueuelen 4000 up"))?;
            inside("link set lo up")?;
            // What one connection found out of the path is not for the next.
            sysctl(name, "net.ipv4.tcp_no_metrics_save=1")?;
        }
        for (from, to, seed) in [(0, 1, 1), (1, 0, 2)] {
            let line = Line {
                from: Arc::clone(&ends[from]),
                to: Arc::clone(&ends[to]),
                path: Arc::clone(&link.path),
                over: Arc::clone(&link.over),
                random: Random::new(seed),
                on_the_way: VecDeque::new(),
                spare: Vec::new(),
                idle_at: Instant::now(),
            };
            link.lines.push(std::thread::spawn(move || line.carry()));
        }
        Ok(link)
    }

    /// Another path from now on.
    pub(crate) fn set(&self, path: Path) {
        *self.path.lock().unwrap() = path;
    }

    /// TCP's congestion control for connections to come.
    ///
    /// # Errors
    /// When the kernel does not have it.
    pub(crate) fn congestion(&self, name: &str) -> Result<(), String> {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let is_in = |text: String| text.split_whitespace().any(|it| it == name);
        if !is_in(read(AVAILABLE)) {
            // It may be a module.
            let _ = run("modprobe", &[&format!("tcp_{name}")]);
        }
        if !is_in(read(AVAILABLE)) {
            return Err(format!("the kernel has no TCP {name}"));
        }
        let allowed = read(ALLOWED);
        if !is_in(allowed.clone()) {
            // Asked for by namespaces that are not the machine's own, too.
            let more = format!("{} {name}", allowed.trim());
            fs::write(ALLOWED, more).map_err(|error| format!("{ALLOWED}: {error}"))?;
            self.allowed.lock().unwrap().get_or_insert(allowed);
        }
        let setting = format!("{CONGESTION}={name}");
        self.names.iter().try_for_each(|it| sysctl(it, &setting))
    }

    /// The namespace of the clients.
    pub(crate) fn clients(&self) -> &str {
        &self.names[0]
    }

    /// That of the servers.
    pub(crate) fn servers(&self) -> &str {
        &self.names[1]
    }

    /// The address of the servers.
    pub(crate) fn address(&self) -> &'static str {
        ENDS[1]
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        for line in self.lines.drain(..) {
            let _ = line.join();
        }
        for name in &self.names {
            let _ = run("ip", &["netns", "del", name]);
        }
        if let Some(allowed) = self.allowed.lock().unwrap().take() {
            let _ = fs::write(ALLOWED, allowed);
        }
    }
}

/// One direction.
struct Line {
    from: Arc<Tun>,
    to: Arc<Tun>,
    path: Arc<Mutex<Path>>,
    over: Arc<AtomicBool>,
    random: Random,
    /// With when they arrive, in order.
    on_the_way: VecDeque<(Instant, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    /// When the line has sent all that waits for it.
    idle_at: Instant,
}

impl Line {
    fn carry(mut self) {
        while !self.over.load(Ordering::Relaxed) {
            let now = Instant::now();
            let next = self.on_the_way.front().map(|(due, _)| *due);
            let wait = next.map_or(LOOK, |due| due.saturating_duration_since(now).min(LOOK));
            if !wait.is_zero() {
                let limit = Timespec::try_from(wait).ok();
                let _ = poll(
                    &mut [PollFd::new(&*self.from, PollFlags::IN)],
                    limit.as_ref(),
                );
            }
            self.take_in();
            self.give_out();
        }
    }

    fn take_in(&mut self) {
        let path = *self.path.lock().unwrap();
        for _ in 0..AT_ONCE {
            let mut packet = self.spare.pop().unwrap_or_default();
            packet.resize(LARGEST, 0);
            // The device does not block.
            let Ok(length) = self.from.recv(&mut packet) else {
                self.spare.push(packet);
                return;
            };
            packet.truncate(length);
            let now = Instant::now();
            let waits = self.idle_at.saturating_duration_since(now);
            let is_full = waits.as_secs_f64() * path.rate > path.queue();
            if is_full {
                self.spare.push(packet);
                continue;
            }
            let takes = Duration::from_secs_f64(length as f64 / path.rate);
            self.idle_at = self.idle_at.max(now) + takes;
            let dice = self.random.number() as f64 / u64::MAX as f64;
            if dice < path.lost {
                self.spare.push(packet);
                continue;
            }
            let last = self.on_the_way.back().map(|(due, _)| *due);
            let due = self.idle_at + path.round_trip / 2;
            let due = last.map_or(due, |last| last.max(due));
            self.on_the_way.push_back((due, packet));
        }
    }

    fn give_out(&mut self) {
        let now = Instant::now();
        while self.on_the_way.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, packet)) = self.on_the_way.pop_front() {
                // A full device loses it, as any network may.
                let _ = self.to.send(&packet);
                self.spare.push(packet);
            }
        }
    }
}

/// A TUN device in a namespace; the calling thread stays where it is.
fn open_inside(name: &str) -> Result<Tun, String> {
    let path = format!("/run/netns/{name}");
    let opened = std::thread::spawn(move || {
        let namespace = File::open(path).map_err(|error| error.to_string())?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| error.to_string())?;
        let device = Interface::new(DEVICE).and_then(Tun::create_named);
        let device = device.map_err(|error| format!("TUN: {error}"))?;
        device
            .set_nonblocking(true)
            .map_err(|error| format!("TUN: {error}"))?;
        Ok(device)
    });
    opened
        .join()
        .unwrap_or_else(|_| Err("TUN: panicked".to_owned()))
}

fn sysctl(namespace: &str, setting: &str) -> Result<(), String> {
    run(
        "ip",
        &["netns", "exec", namespace, "sysctl", "-qw", setting],
    )
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program} {}: {said}", args.join(" ")))
}
