//! `alknet connect`: the ProxyCommand of stock ssh (ssh_config(5)).

use std::io;
use std::time::Duration;

use alknet_text::{bytes, visible};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::connection::bridge::{self, BridgeError};
use crate::connection::dial::dial;
use crate::connection::link::Link;
use crate::console::stdio::{Input, Output};
use crate::console::terminal::Terminal;
use crate::failure::Failure;
use crate::options::args::{ConnectArgs, Settings};

/// `alknet connect`: standard input and output become a stream to the node.
pub(crate) async fn run(args: &ConnectArgs, terminal: Terminal) -> Result<(), Failure> {
    let mut ending = Ending::watch().map_err(Failure::signals)?;
    let node = args.node.node()?;
    let settings = Settings {
        alpn: args.alpn.clone().into(),
        ..args.node.settings()
    };
    let link = tokio::select! {
        link = dial(&node, &settings, terminal) => link?,
        () = ending.requested() => return Err(Failure::signal()),
    };
    let outcome = tokio::select! {
        outcome = carry(&link) => outcome,
        () = ending.due() => Err(Failure::signal()),
    };
    let traffic = match &link {
        Link::Quic(link) => {
            let stats = link.connection.stats();
            Some((stats.udp_tx.bytes, stats.udp_rx.bytes))
        }
        Link::Iroh(link) => Some(link.traffic()),
        Link::Tcp(_) => None,
    };
    if let Some((sent, received)) = traffic {
        terminal.detail(&format_args!(
            "connection ended, {} sent and {} received",
            bytes(sent),
            bytes(received)
        ));
    }
    link.close().await;
    outcome
}

async fn carry(link: &Link) -> Result<(), Failure> {
    // Dropped in reverse order: if both are one open file, its flags are
    // those of before in the end.
    let input = Input::stdin().map_err(Failure::stdio)?;
    let output = Output::stdout().map_err(Failure::stdio)?;
    match link {
        Link::Quic(link) => {
            let stream = link.connection.open_bi().await;
            let (send, recv) = stream.map_err(|error| BridgeError::from_read(error.into()))?;
            let outcome = bridge::run(&input, &output, send, recv).await;
            outcome.map_err(failed)?;
        }
        Link::Iroh(link) => {
            let (send, recv) = link.halves().await.map_err(BridgeError::Iroh)?;
            let lost = |error: io::Error| {
                let why = link.end();
                BridgeError::Iroh(why.unwrap_or_else(|| visible(&error.to_string()).into_owned()))
            };
            bridge::run_halves(&input, &output, send, recv, lost)
                .await
                .map_err(failed)?;
        }
        Link::Tcp(link) => {
            let stream = link.stream().await.map_err(BridgeError::Tcp)?;
            let (recv, send) = stream.into_split();
            bridge::run_halves(&input, &output, send, recv, BridgeError::Tcp)
                .await
                .map_err(failed)?;
        }
    }
    Ok(())
}

/// Who no longer reads what we write need not be told so.
fn failed(error: BridgeError) -> Failure {
    match error {
        BridgeError::ReaderGone => Failure::quiet(error),
        error => error.into(),
    }
}

/// The signals that ask this process to end.
struct Ending {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Ending {
    fn watch() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Completes with the first of the signals.
    async fn requested(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Completes a moment after the first of the signals. ssh writes its
    /// goodbye and sends SIGHUP at once; the goodbye is to reach the node
    /// first.
    async fn due(&mut self) {
        self.requested().await;
        tokio::time::sleep(GOODBYE_WITHIN).await;
    }
}

const GOODBYE_WITHIN: Duration = Duration::from_millis(300);
