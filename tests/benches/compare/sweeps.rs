//! What changes with the path, and with how much there is: for plots.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use alknet_ssh_policy::{Action, Host, Policy, Restrictions, Rule, RuleTarget, Subject, Switches};
use integration_tests::NODE;

use crate::chart::Chart;
use crate::link::{Link, Path};
use crate::load::{Load, dial};
use crate::measure::{RATE, timed};
use crate::peers::{Client, Peers, Way};
use crate::statistics::median;

const TRANSFER: Duration = Duration::from_secs(4);
const RATE_OF_PATHS: f64 = 100e6 / 8.0;
const ROUND_TRIPS: [u64; 4] = [5, 50, 100, 200];
const LOSSES: [f64; 5] = [0.0, 0.1, 0.5, 1.0, 2.0];
const CHANNELS: [usize; 5] = [1, 25, 50, 100, 200];
const RULES: [usize; 4] = [10, 100, 1000, 10_000];
const FILES: [usize; 4] = [1, 30, 100, 300];

/// What a plot is called, and the plot.
pub(crate) type Named = (&'static str, Chart);

/// Rate over round trip and over loss.
///
/// # Errors
/// Why there are no paths.
pub(crate) fn paths() -> Result<Vec<Named>, String> {
    let path = |milliseconds, lost: f64| Path {
        round_trip: Duration::from_millis(milliseconds),
        rate: RATE_OF_PATHS,
        lost: lost / 100.0,
    };
    let link = Link::make(path(5, 0.0))?;
    let peers = Peers::start(Some(&link));
    let rate = |path: Path, way, up| {
        link.set(path);
        std::thread::sleep(Duration::from_millis(600) + 2 * path.round_trip);
        let sample = timed(&peers, way, up, TRANSFER);
        // What failed is drawn at the bottom.
        sample.map_or(0.0, |it| it.figures.get(RATE).copied().unwrap_or(0.0))
    };
    link.congestion("cubic")?;
    let mut over_round_trips = Vec::new();
    for (way, up) in [
        (Way::Sshd, false),
        (Way::Native, false),
        (Way::Sshd, true),
        (Way::Native, true),
    ] {
        let points = ROUND_TRIPS.map(|it| (it as f64, rate(path(it, 0.0), way, up)));
        let direction = if up { "up" } else { "down" };
        over_round_trips.push((format!("{}, {direction}", way.name()), points.to_vec()));
    }
    let mut over_losses = Vec::new();
    for (way, congestion) in [
        (Way::Sshd, "cubic"),
        (Way::Sshd, "bbr"),
        (Way::Native, "cubic"),
    ] {
        if link.congestion(congestion).is_err() {
            continue;
        }
        let points = LOSSES.map(|it| (it, rate(path(50, it), way, false)));
        let name = match way {
            Way::Sshd => format!("sshd, TCP {congestion}"),
            _ => way.name().to_owned(),
        };
        over_losses.push((name, points.to_vec()));
    }
    Ok(vec![
        (
            "rate-over-rtt",
            Chart {
                title: "Rate over round trip, 100 Mbit/s, no loss".to_owned(),
                across: "round trip, ms",
                up: "MiB/s",
                logarithmic: false,
                lines: over_round_trips,
            },
        ),
        (
            "rate-over-loss",
            Chart {
                title: "Download over loss, 50 ms, 100 Mbit/s".to_owned(),
                across: "packets lost, %",
                up: "MiB/s",
                logarithmic: false,
                lines: over_losses,
            },
        ),
    ])
}

/// Growth with channels, rules and files.
///
/// # Errors
/// When nothing can be measured.
pub(crate) fn growth() -> Result<Vec<Named>, String> {
    let load = Load::start();
    let peers = Peers::start(None);
    let mut channels = Vec::new();
    let mut files = Vec::new();
    for way in Way::ALL {
        channels.push((way.name().to_owned(), echoes(&peers, &load, way)?));
        files.push((way.name().to_owned(), copies(&peers, way)?));
    }
    Ok(vec![
        (
            "growth-channels",
            Chart {
                title: "Echo on one of many forwarded connections".to_owned(),
                across: "open connections of one client",
                up: "p50, ms",
                logarithmic: false,
                lines: channels,
            },
        ),
        (
            "growth-rules",
            Chart {
                title: "A decision that none but the last rule makes".to_owned(),
                across: "rules",
                up: "microseconds",
                logarithmic: true,
                lines: vec![("policy".to_owned(), decisions()?)],
            },
        ),
        (
            "growth-files",
            Chart {
                title: "Many files of 1 KiB to the server (scp -r, alknet cp)".to_owned(),
                across: "files",
                up: "seconds",
                logarithmic: false,
                lines: files,
            },
        ),
    ])
}

fn echoes(peers: &Peers, load: &Load, way: Way) -> Result<Vec<(f64, f64)>, String> {
    let forward = peers.forward(way, load.port(), None)?;
    let mut open = Vec::new();
    let mut points = Vec::new();
    for wanted in CHANNELS {
        while open.len() < wanted {
            let mut socket = dial(forward.port)?;
            socket
                .write_all(b"E\n")
                .map_err(|error| error.to_string())?;
            echo(&mut socket)?;
            open.push(socket);
        }
        let one = open.first_mut().ok_or("no connection")?;
        let times: Result<Vec<_>, _> = (0..300).map(|_| echo(one)).collect();
        points.push((wanted as f64, median(&times?) * 1000.0));
    }
    Ok(points)
}

fn echo(socket: &mut std::net::TcpStream) -> Result<f64, String> {
    let started = Instant::now();
    let mut byte = [1];
    let echoed = socket
        .write_all(&byte)
        .and_then(|()| socket.read_exact(&mut byte));
    echoed.map_err(|error| format!("echo: {error}"))?;
    Ok(started.elapsed().as_secs_f64())
}

fn copies(peers: &Peers, way: Way) -> Result<Vec<(f64, f64)>, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut points = Vec::new();
    for wanted in FILES {
        let (from, to) = (
            directory.path().join(format!("from{wanted}")),
            directory.path().join(format!("to{wanted}")),
        );
        for made in [&from, &to] {
            fs::create_dir(made).map_err(|error| error.to_string())?;
        }
        for number in 0..wanted {
            let file = from.join(number.to_string());
            fs::write(file, [7; 1024]).map_err(|error| error.to_string())?;
        }
        let (from, to) = (from.display().to_string(), to.display().to_string());
        let run = match peers.openssh(way, "scp") {
            Some(scp) => scp.args(["-q", "-r", &from, &format!("node:{to}")]),
            None => peers.alknet(&["cp", "-q", "-r", &from, &format!("{NODE}:{to}")]),
        };
        let mut command = peers.client(run, false);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        Client::spawn(peers, command)?
            .succeeds()
            .map_err(|error| format!("{error}: {}", peers.errors()))?;
        points.push((wanted as f64, started.elapsed().as_secs_f64()));
    }
    Ok(points)
}

fn decisions() -> Result<Vec<(f64, f64)>, String> {
    let mut points = Vec::new();
    for wanted in RULES {
        let rule = |number: usize| {
            let text = format!(
                "10.{}.{}.0/24:{}",
                number / 256,
                number % 256,
                1000 + number % 5000
            );
            Ok(Rule {
                target: RuleTarget::parse(&text).map_err(|error| error.to_string())?,
                action: Action::Allow,
                principals: Vec::new(),
            })
        };
        let rules: Result<Vec<_>, String> = (0..wanted).map(rule).collect();
        let switches = Switches {
            forward: true,
            ..Switches::default()
        };
        let policy = Policy::new(switches, rules?, Vec::new());
        let subject = Subject {
            id: "somebody",
            scopes: &[],
            restrictions: Restrictions::none(),
        };
        let last = wanted - 1;
        let address: std::net::IpAddr = [10, (last / 256) as u8, (last % 256) as u8, 7].into();
        let (host, port) = (Host::Address(address), 1000 + (last % 5000) as u16);
        let times = 2_000_000 / wanted.max(100);
        let started = Instant::now();
        for _ in 0..times {
            std::hint::black_box(policy.forward(&subject, &host, port, address))
                .map_err(|error| error.to_string())?;
        }
        points.push((
            wanted as f64,
            started.elapsed().as_secs_f64() * 1e6 / times as f64,
        ));
    }
    Ok(points)
}
