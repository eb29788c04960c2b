//! `alknet ping`: the round trips to a node, and its versions.

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use alknet_text::{is_unsafe, visible};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use crate::connection::dial::dial_verified;
use crate::connection::link::VerifiedLink;
use crate::console::terminal::Terminal;
use crate::failure::Failure;
use crate::options::args::PingArgs;

/// `alknet ping`: measures round trips and prints the node's versions. Nobody
/// logs in.
pub(crate) async fn run(args: &PingArgs, terminal: Terminal) -> Result<(), Failure> {
    let mut settings = args.node.settings();
    // QUIC's own pings are what is measured.
    settings.transport.keep_alive_interval = INTERVAL;
    let link = dial_verified(&args.node.node()?, &settings, terminal).await?;
    let version = timeout(settings.timeout, version(&link)).await;
    let version = version.ok().flatten();
    let said = say(&format_args!(
        "{} {} handshake {}, {}",
        link.way(),
        link.node_key(),
        shown(link.handshake()),
        version.as_deref().unwrap_or("no SSH server answers"),
    ));
    let outcome = match said {
        Ok(()) => round_trips(&link, args.count).await,
        Err(error) => Err(error),
    };
    link.close().await;
    outcome
}

const INTERVAL: Duration = Duration::from_secs(1);

async fn round_trips(link: &VerifiedLink, count: u32) -> Result<(), Failure> {
    let mut at = Instant::now();
    let mut heard = 0;
    let mut times = Vec::new();
    let mut way = link.way();
    for number in 1..=count {
        if number > 1 {
            at += INTERVAL;
            tokio::select! {
                () = sleep_until(at) => {}
                end = link.closed() => return Err(Failure::lost(Some(end))),
            }
        }
        let (acknowledged, time) = link.heard();
        if acknowledged == heard {
            say(&format_args!("round trip {number}: no answer"))?;
            continue;
        }
        heard = acknowledged;
        times.push(time);
        let present = link.way();
        if present != way {
            say(&format_args!("the connection goes {present} now"))?;
            way.clone_from(&present);
        }
        match link.may_change_its_way() {
            true => say(&format_args!("round trip {number}: {} {way}", shown(time)))?,
            false => say(&format_args!("round trip {number}: {}", shown(time)))?,
        }
    }
    if let (Some(least), Some(most)) = (times.iter().min(), times.iter().max())
        && count > 1
    {
        let lost = usize::try_from(count).map_or(0, |count| count - times.len());
        say(&format_args!(
            "{} to {}, {lost} of {count} unanswered",
            shown(*least),
            shown(*most)
        ))?;
    }
    Ok(())
}

fn say(line: &dyn fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{}", visible(&line.to_string())).map_err(Failure::stdio)
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// The version line of the SSH server (RFC 4253 section 4.2), if there is one.
async fn version(link: &VerifiedLink) -> Option<String> {
    let mut stream = link.open().await.ok()?;
    stream.write_all(GREETING).await.ok()?;
    let mut line = Vec::new();
    while line.len() < LONGEST && !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.ok()?);
    }
    let line = String::from_utf8_lossy(&line);
    let line = line.trim_end();
    (line.starts_with("SSH-") && !line.contains(is_unsafe)).then(|| line.to_owned())
}

const GREETING: &[u8] = b"SSH-2.0-alknet_ping\r\n";
/// The longest version line, in bytes.
const LONGEST: usize = 255;
