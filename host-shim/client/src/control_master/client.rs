//! The user's side of a shared connection: finds or starts the master, and
//! runs a command over it.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use alknet_ssh::client::SessionRequest;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::command::{Command, CommandControl, CommandEnd, CommandInput, CommandOutput};
use super::ended::Ended;
use super::error::ShareError;
use super::lock::Lock;
use super::message::{Hello, Message, VERSION};
use super::settings::Sharing;
use super::spawn::spawn;
use super::wire::{FrameReader, FrameWriter, wire};
use crate::console::stdio::{Input, Output};
use crate::console::terminal::Terminal;
use crate::failure::Failure;
use crate::options::args::SessionArgs;
use crate::options::sharing::{Masters, Order};

/// Runs a command over a shared connection. `None` if it is to have a
/// connection of its own; the user is told the reason.
pub(crate) async fn start(
    sharing: &Sharing,
    args: &SessionArgs,
    request: &SessionRequest,
    terminal: Terminal,
) -> Result<Option<Command>, Failure> {
    let why = match master(sharing, args, terminal).await? {
        Found::Master(master) => {
            terminal.detail(&format_args!(
                "using the connection of process {} at {}",
                master.hello.pid,
                sharing.socket.display()
            ));
            match master.run(request).await? {
                Ok(command) => return Ok(Some(command)),
                Err(why) => why,
            }
        }
        Found::Nobody => return Ok(None),
        Found::Unfit(why) => why,
    };
    terminal.notice(&format_args!(
        "the shared connection at {} is of no use here ({why}): connecting without it",
        sharing.socket.display()
    ));
    Ok(None)
}

/// Gives the process that keeps the connection an order, and prints the
/// outcome.
pub(crate) async fn give(order: Order, args: &SessionArgs) -> Result<(), Failure> {
    let sharing = Sharing::required(args)?;
    let path = || sharing.socket.clone();
    let mut master = match reach(&sharing.socket).await {
        Found::Master(master) => master,
        Found::Nobody => {
            return Err(ShareError::NoMaster {
                node: sharing.node,
                path: sharing.socket,
            }
            .into());
        }
        Found::Unfit(why) => return Err(ShareError::Unfit { path: path(), why }.into()),
    };
    let unfit = |error: io::Error| ShareError::Unfit {
        path: path(),
        why: error.to_string(),
    };
    let said = match order {
        Order::Check => format!("Master running (pid={})", master.hello.pid),
        Order::Exit => {
            master.order(&Message::Exit).await.map_err(unfit)?;
            // Until it has gone.
            let _ = timeout(PATIENCE, master.reader.next()).await;
            "Exit request sent.".to_owned()
        }
        Order::Stop => {
            master.order(&Message::Stop).await.map_err(unfit)?;
            "Stop listening request sent.".to_owned()
        }
    };
    // As ssh says it, and where.
    let _ = writeln!(io::stderr(), "{said}");
    Ok(())
}

/// The time that a master may take to answer what it need not ask the node.
const PATIENCE: Duration = Duration::from_secs(5);
/// The interval at which it is checked whether another process has started a
/// master.
const LOOK: Duration = Duration::from_millis(20);
/// The time after which the user is told what is waited for.
const TELL_AFTER: Duration = Duration::from_secs(3);
/// The most masters that are started in a row, where each ends at once.
const STARTS: usize = 3;

enum Found {
    Master(Master),
    Nobody,
    /// A master that cannot be used, with the reason.
    Unfit(String),
}

/// A process that keeps a connection and has greeted us.
struct Master {
    hello: Hello,
    reader: FrameReader,
    writer: FrameWriter,
}

/// The master to use, started if need be.
async fn master(
    sharing: &Sharing,
    args: &SessionArgs,
    terminal: Terminal,
) -> Result<Found, Failure> {
    match reach(&sharing.socket).await {
        Found::Nobody if sharing.masters == Masters::No => return Ok(Found::Nobody),
        Found::Nobody => {}
        Found::Master(_) if sharing.masters == Masters::Yes => {
            let why = "ControlMaster=yes, and there is a master already".to_owned();
            return Ok(Found::Unfit(why));
        }
        found => return Ok(found.only_for(sharing)),
    }
    let since = Instant::now();
    let mut told = false;
    let mut starts = 0;
    while starts < STARTS {
        let lock = Lock::take(&sharing.socket)?;
        // Another process may have got ready meanwhile.
        match (reach(&sharing.socket).await, lock) {
            (Found::Nobody, Some(lock)) => {
                starts += 1;
                spawn(lock, args, terminal).await?;
            }
            (Found::Nobody, None) => {
                if since.elapsed() >= TELL_AFTER && !told {
                    told = true;
                    terminal.notice(&"another alknet is connecting to the node: waiting for it");
                }
                sleep(LOOK).await;
            }
            (found, _) => return Ok(found.only_for(sharing)),
        }
    }
    Ok(match reach(&sharing.socket).await {
        Found::Nobody => Found::Unfit("it ends as soon as it is there".to_owned()),
        found => found.only_for(sharing),
    })
}

impl Found {
    /// Refuses a master of another user or node: a socket path of the user's
    /// own choice may serve several connections.
    fn only_for(self, sharing: &Sharing) -> Self {
        match self {
            Self::Master(master) if master.hello.peer != sharing.peer => {
                Self::Unfit("it is for another node, another key of it, or another user".to_owned())
            }
            found => found,
        }
    }
}

async fn reach(socket: &Path) -> Found {
    let greeted = async {
        let stream = UnixStream::connect(socket).await?;
        let (mut reader, writer) = wire(stream)?;
        let greeting = reader.next().await?;
        Ok((greeting, reader, writer))
    };
    let greeted: io::Result<_> = match timeout(PATIENCE, greeted).await {
        Ok(greeted) => greeted,
        Err(_) => return Found::Unfit("it does not answer".to_owned()),
    };
    match greeted {
        Ok((Some(Message::Hello(hello)), reader, writer)) => Found::Master(Master {
            hello,
            reader,
            writer,
        }),
        Ok((Some(Message::OtherVersion(version)), ..)) => Found::Unfit(format!(
            "it is another version of alknet, which speaks version {version} where this one speaks {VERSION}"
        )),
        Ok((Some(_), ..)) => Found::Unfit("it is not a master of ours".to_owned()),
        // It was about to end.
        Ok((None, ..)) => Found::Nobody,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset => Found::Nobody,
            _ => Found::Unfit(error.to_string()),
        },
    }
}

impl Master {
    async fn order(&mut self, order: &Message) -> io::Result<()> {
        let answer = async {
            self.writer.send(order).await?;
            self.reader.next().await
        };
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Some(Message::Done) | None)) => Ok(()),
            Ok(Ok(Some(_))) => Err(io::ErrorKind::InvalidData.into()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Has the master run a command. The inner error says why the node was not
    /// asked.
    async fn run(mut self, request: &SessionRequest) -> Result<Result<Command, String>, Failure> {
        let (ours, theirs) = pipes().map_err(ShareError::Pipes)?;
        let run = Message::Run(request.clone());
        let descriptors = theirs.each_ref().map(|fd| fd.as_fd());
        if let Err(error) = self.writer.send_with(&run, &descriptors).await {
            return Ok(Err(error.to_string()));
        }
        drop(theirs);
        let has_terminal = match self.reader.next().await {
            Ok(Some(Message::Started { has_terminal })) => has_terminal,
            Ok(Some(Message::NotOpened(why))) => return Ok(Err(why)),
            Ok(Some(Message::Refused(why))) => return Err(ShareError::Refused(why).into()),
            _ => return Err(ShareError::Lost.into()),
        };
        let (messages, for_master) = mpsc::channel(16);
        let (ended, end) = oneshot::channel();
        tokio::spawn(converse(self, for_master, ended));
        let [input, output, errors] = ours;
        let input = Output::of(input).map_err(Failure::stdio)?;
        let output = Input::of(output).map_err(Failure::stdio)?;
        let errors = Input::of(errors).map_err(Failure::stdio)?;
        Ok(Ok(Command {
            input: CommandInput::Pipe(input),
            output: CommandOutput::Pipe(output),
            errors: CommandOutput::Pipe(errors),
            end: CommandEnd::Told(end),
            control: CommandControl::Master(messages),
            has_terminal,
        }))
    }
}

/// Passes signals and window sizes to the master, and reads how the command
/// ended. Completes early when nothing more can be passed on.
async fn converse(
    mut master: Master,
    mut messages: mpsc::Receiver<Message>,
    end: oneshot::Sender<Ended>,
) {
    loop {
        tokio::select! {
            heard = master.reader.next() => match heard {
                Ok(Some(Message::Ended(ended))) => {
                    let _ = end.send(ended);
                    return;
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            },
            message = messages.recv() => match message {
                Some(message) if master.writer.send(&message).await.is_ok() => {}
                _ => return,
            },
        }
    }
}

/// Our ends of the pipes for standard input, output and error, and the master's.
fn pipes() -> io::Result<([OwnedFd; 3], [OwnedFd; 3])> {
    let (their_input, input) = pipe_with(PipeFlags::CLOEXEC)?;
    let (output, their_output) = pipe_with(PipeFlags::CLOEXEC)?;
    let (errors, their_errors) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((
        [input, output, errors],
        [their_input, their_output, their_errors],
    ))
}
