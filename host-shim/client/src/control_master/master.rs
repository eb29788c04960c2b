//! The master: the background process that keeps a connection for others.

use std::convert::Infallible;
use std::fs::{File, Permissions};
use std::future::pending;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::error::ShareError;
use super::lock::Lock;
use super::message::Message;
use super::serve::{Event, Serving, serve};
use super::settings::Sharing;
use super::spawn::READY;
use super::wire::FrameWriter;
use crate::connection::connection_pool::ConnectionPool;
use crate::connection::session::{Connector, Session};
use crate::console::signals::Signals;
use crate::console::stdio::Output;
use crate::console::terminal::Terminal;
use crate::failure::Failure;
use crate::options::args::SessionArgs;
use crate::options::sharing::Persist;

/// `alknet connection-master`: connects and logs in for the exec that started
/// it, goes to the background, and runs commands for whoever asks at the
/// socket. Returns the status to exit with.
pub(crate) async fn keep(args: &SessionArgs, terminal: Terminal) -> Result<u8, Failure> {
    let sharing = Sharing::required(args)?;
    let lock = Lock::inherited(&sharing.socket)?;
    let mut signals = Signals::watch().map_err(Failure::signals)?;
    let mut connector = match Connector::new(args, terminal) {
        Ok(connector) => connector,
        Err(error) => {
            lock.release(&sharing.socket);
            return Err(error.into());
        }
    };
    let starter = Output::stdout().map_err(Failure::stdio)?;
    let session = tokio::select! {
        session = connector.connect() => session.map_err(Failure::from),
        ending = signals.next() => {
            lock.release(&sharing.socket);
            return Ok(128 + ending.number);
        }
        () = starter.reader_gone() => Err(Failure::signal()),
    };
    let session = match session {
        Ok(session) => session,
        Err(error) => {
            lock.release(&sharing.socket);
            return Err(error);
        }
    };
    let may_log_in_again = connector.forget_unlocked();
    let door = Door::open(&sharing.socket, lock)?;
    detach().map_err(ShareError::Detach)?;
    let ready = starter.write_all(&mut [Bytes::from_static(READY)]).await;
    drop(starter);
    if ready.is_err() {
        door.close();
        session.close().await;
        return Err(Failure::signal());
    }
    let patience = args.node.reach.timeout;
    let master = Master::new(sharing, session, door, patience);
    if !may_log_in_again {
        master.pool.add(None);
    }
    master.run(&mut connector, &mut signals).await;
    Ok(0)
}

/// The time that the user who had it started may take to connect.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// The time that users of a connection that was lost may take to hear of it.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The most users at a time.
const MOST_USERS: usize = 512;
/// The most users in all: the node keeps some KiB for each command until the
/// connection ends (known-limits.md). The next one starts another master.
const MOST_EVER: usize = 4096;

struct Master {
    persist: Persist,
    pool: Arc<ConnectionPool>,
    serving: Serving,
    events: mpsc::Receiver<Event>,
    door: Option<Door>,
    users: JoinSet<()>,
    served: usize,
    /// The time at which it ends if nobody comes.
    until: Option<Instant>,
}

impl Master {
    fn new(sharing: Sharing, session: Session, door: Door, patience: Duration) -> Self {
        let pool = Arc::new(ConnectionPool::new(session));
        let (sender, events) = mpsc::channel(16);
        Self {
            serving: Serving {
                peer: sharing.peer,
                patience,
                pool: Arc::clone(&pool),
                events: sender,
            },
            pool,
            events,
            door: Some(door),
            users: JoinSet::new(),
            served: 0,
            until: match sharing.persist {
                Persist::For(time) => Some(Instant::now() + time.max(FIRST_WITHIN)),
                Persist::Forever => None,
            },
            persist: sharing.persist,
        }
    }

    /// Serves until it is told to end, is idle for too long, or has lost the
    /// node.
    async fn run(mut self, connector: &mut Connector, signals: &mut Signals) {
        let pool = Arc::clone(&self.pool);
        // Closed when all is over.
        let teller = self.serve(&pool, connector, signals).await;
        self.shut();
        self.users.shutdown().await;
        drop(self);
        // Unless some task still has it.
        if let Ok(pool) = Arc::try_unwrap(pool) {
            pool.close().await;
        }
        drop(teller);
    }

    /// Serves users. Returns the user who asked for the end, if that is the
    /// reason.
    async fn serve(
        &mut self,
        pool: &ConnectionPool,
        connector: &mut Connector,
        signals: &mut Signals,
    ) -> Option<FrameWriter> {
        let lost = pool.ended();
        let growing = grow(pool, connector);
        tokio::pin!(lost, growing);
        loop {
            tokio::select! {
                user = next(self.door.as_ref()), if self.users.len() < MOST_USERS => {
                    self.users.spawn(serve(user, self.serving.clone()));
                    self.served += 1;
                    if self.served == MOST_EVER {
                        self.shut();
                    }
                }
                Some(_) = self.users.join_next() => {
                    if self.users.is_empty() && self.door.is_none() {
                        return None;
                    }
                    self.until = match self.persist {
                        Persist::For(time) => Some(Instant::now() + time),
                        Persist::Forever => None,
                    };
                }
                () = reached(self.until), if self.users.is_empty() => return None,
                Some(event) = self.events.recv() => match event {
                    Event::Exit(writer) => {
                        self.shut();
                        // Who does not wait for the answer need not have it.
                        let _ = timeout(LAST_WORDS, writer.send(&Message::Done)).await;
                        return Some(writer);
                    }
                    Event::Stop(writer) => {
                        self.shut();
                        let _ = timeout(LAST_WORDS, writer.send(&Message::Done)).await;
                    }
                    Event::Silent => self.shut(),
                },
                _ = &mut lost => {
                    self.shut();
                    let all = async { while self.users.join_next().await.is_some() {} };
                    let _ = timeout(LAST_WORDS, all).await;
                    return None;
                }
                never = &mut growing => match never {},
                _ = signals.next() => return None,
            }
        }
    }

    /// Accepts no more users.
    fn shut(&mut self) {
        if let Some(door) = self.door.take() {
            door.close();
        }
    }
}

/// Opens another SSH connection whenever one would be of use.
async fn grow(pool: &ConnectionPool, connector: &mut Connector) -> Infallible {
    loop {
        pool.wanted().await;
        pool.add(connector.log_in(pool.link()).await.ok());
    }
}

async fn reached(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

/// The socket we listen at.
struct Door {
    listener: UnixListener,
    path: PathBuf,
    lock: Lock,
}

impl Door {
    /// Takes the place of a socket that nobody listens at: whoever has the lock
    /// knows that.
    fn open(path: &Path, lock: Lock) -> Result<Self, ShareError> {
        let failed = |source| ShareError::Listen {
            path: path.to_owned(),
            source,
        };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            lock,
        })
    }

    fn close(self) {
        self.lock.release(&self.path);
    }
}

/// Waits for the next user; never completes once no more are accepted.
async fn next(door: Option<&Door>) -> UnixStream {
    let Some(door) = door else {
        return pending().await;
    };
    loop {
        match door.listener.accept().await {
            Ok((stream, _)) => return stream,
            // No descriptors are left, say: some will be free again.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Leaves the terminal, the directory and the standard streams of whoever started
/// this process.
fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    std::env::set_current_dir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
