//! `alknet forward` and `alknet socks`: connections carried to the node and back,
//! for as long as the user wants.

mod dialer;
mod error;
mod listen;
mod reconnect;
mod remote;
mod socks;
mod stream;
mod unopened;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::dialer::{Dialer, Opened};
use self::error::ForwardError;
use self::listen::Listener;
use self::reconnect::Supervisor;
use self::remote::Remote;
use self::stream::{BoxEnd, carry};
use crate::connection::session::Connector;
use crate::console::signals::Signals;
use crate::console::terminal::Terminal;
use crate::failure::Failure;
use crate::options::args::{ForwardArgs, SocksArgs};
use crate::options::forward_spec::{Destination, Listen, RemoteForward};

/// `alknet forward`. Returns the status to exit with.
pub(crate) async fn run(args: &ForwardArgs, terminal: Terminal) -> Result<u8, Failure> {
    let mut plan = Plan::new(args.open);
    for forward in &args.local {
        plan.listen(&forward.listen, Some(&forward.to)).await?;
    }
    for listen in &args.dynamic {
        plan.listen(listen, None).await?;
    }
    plan.remote.clone_from(&args.remote);
    let connector = Connector::new(&args.session, terminal)?;
    plan.carry_out(connector, terminal).await
}

/// `alknet socks`. Returns the status to exit with.
pub(crate) async fn run_socks(args: &SocksArgs, terminal: Terminal) -> Result<u8, Failure> {
    let mut plan = Plan::new(false);
    plan.listen(&args.listen, None).await?;
    let connector = Connector::new(&args.session, terminal)?;
    plan.carry_out(connector, terminal).await
}

/// Connections of one listener at a time, those included that wait for the node;
/// more wait in the listener's queue.
const CONNECTIONS: usize = 512;
/// The pause of a listener when the process has run out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// Everything that is to be forwarded. The listeners are open, so that a busy
/// port shows before anything else happens.
struct Plan {
    open: bool,
    local: Vec<(Listener, Option<Destination>)>,
    remote: Vec<RemoteForward>,
}

impl Plan {
    fn new(open: bool) -> Self {
        Self {
            open,
            local: Vec::new(),
            remote: Vec::new(),
        }
    }

    /// Adds a listener; without a destination it is for SOCKS clients.
    async fn listen(
        &mut self,
        listen: &Listen,
        to: Option<&Destination>,
    ) -> Result<(), ForwardError> {
        for listener in Listener::bind(listen, self.open).await? {
            self.local.push((listener, to.cloned()));
        }
        Ok(())
    }

    async fn carry_out(self, connector: Connector, terminal: Terminal) -> Result<u8, Failure> {
        let mut signals = Signals::watch().map_err(Failure::signals)?;
        let (mut supervisor, node) = tokio::select! {
            started = Supervisor::start(connector, terminal) => started?,
            ending = signals.next() => return Ok(128 + ending.number),
        };
        let mut tasks = JoinSet::new();
        for (listener, to) in self.local {
            terminal.notice(&format_args!("listening on {listener}"));
            if listener.is_open() {
                terminal.notice(&"other machines can reach it, and through it what you may reach");
            }
            let far = Dialer::Node(node.clone());
            tasks.spawn(serve(listener, to, far, terminal));
        }
        let mut refused = None;
        if let Some(session) = node.session().await {
            for forward in &self.remote {
                match Remote::start(forward, Arc::clone(&session), terminal).await {
                    Ok(remote) => {
                        tasks.spawn(remote.serve(node.clone()));
                    }
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                }
            }
        }
        let outcome = match refused {
            Some(error) => Err(error.into()),
            None => tokio::select! {
                ending = signals.next() => Ok(128 + ending.number),
                error = supervisor.keep() => Err(error.into()),
            },
        };
        tasks.shutdown().await;
        supervisor.close().await;
        outcome
    }
}

async fn serve(listener: Listener, to: Option<Destination>, far: Dialer, terminal: Terminal) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // They end with the listener.
    let mut connections = JoinSet::new();
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let client = tokio::select! {
            client = listener.accept() => client,
            Some(_) = connections.join_next() => continue,
        };
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                if is_ours(&error) {
                    terminal.notice(&format_args!("cannot take in a connection: {error}"));
                    sleep(OUT_OF_DESCRIPTORS).await;
                }
                continue;
            }
        };
        let (to, far) = (to.clone(), far.clone());
        connections.spawn(async move {
            let _place = place;
            match to {
                Some(to) => pass_on(client, &far, &to, terminal).await,
                None => {
                    if let Err(error) = socks::serve(client, &far).await {
                        terminal.detail(&error);
                    }
                }
            }
        });
    }
}

async fn pass_on(client: BoxEnd, far: &Dialer, to: &Destination, terminal: Terminal) {
    match far.open(to).await {
        Ok(Opened { end, place: _place }) => carry(client, end).await,
        Err(error) => {
            terminal.notice(&format_args!("could not pass on a connection: {error}"));
            terminal.detail(&format_args!("it was for {to}"));
            client.break_off();
        }
    }
}

/// Whether accepting failed for a reason on this machine, and not because a
/// client has gone already.
fn is_ours(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
