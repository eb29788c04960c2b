//! `alknet cp`: files and directories to a node and back.

mod copy;
mod file_system;
mod part;
mod path;
mod plan;
mod progress;

use std::collections::HashSet;
use std::time::Duration;

use alknet_ssh::client::{Files, FilesError};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep};

use self::copy::{Copier, CopyError};
use self::file_system::{FileSystem, Local, Remote};
use self::path::{Ends, PathsError};
use self::plan::{Plan, PlanError, plan};
use self::progress::Progress;
use crate::connection::backoff::Backoff;
use crate::connection::session::{Connector, Session, SessionError};
use crate::console::signals::Signals;
use crate::console::terminal::Terminal;
use crate::failure::Failure;
use crate::options::address::NodeName;
use crate::options::args::{CpArgs, NodeArgs, SessionArgs};

/// Copies what was named. Returns the status to exit with: 1 if something was
/// left out, 128 + N after a signal.
pub(crate) async fn run(args: &CpArgs, terminal: Terminal) -> Result<u8, Failure> {
    let mut signals = Signals::watch().map_err(Failure::signals)?;
    let (node, ends) = Ends::parse(&args.paths).map_err(CpError::from)?;
    let mut copying = Copying::new(args, node, ends, terminal)?;
    tokio::select! {
        outcome = copying.run() => outcome,
        ending = signals.next() => {
            copying.progress.finish();
            if copying.has_begun() {
                terminal.notice(&"interrupted; the same command goes on where this one stopped");
            }
            Ok(128 + ending.number)
        }
    }
}

/// Why a copy cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CpError {
    #[error(transparent)]
    Paths(#[from] PathsError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(
        "gave up: nothing was copied for {} ({last}). The same command goes on where this one stopped",
        alknet_text::span(GIVE_UP)
    )]
    GaveUp { last: String },
}

/// The time that the node may be away before the copy is given up.
const GIVE_UP: Duration = Duration::from_secs(300);
/// The pause after a connection over which nothing was copied.
const LATER: Duration = Duration::from_secs(5);
/// The most files that are copied at a time. Small ones wait for the network
/// most of the time.
const AT_A_TIME: usize = 32;

/// The files to copy, and how far the copy has come.
struct Copying {
    connector: Connector,
    ends: Ends,
    recursive: bool,
    preserve: bool,
    plan: Option<Plan>,
    /// The files that are done, by their index in the plan.
    done: HashSet<usize>,
    failed: bool,
    progress: Progress,
    terminal: Terminal,
}

impl Copying {
    fn new(
        args: &CpArgs,
        node: NodeName,
        ends: Ends,
        terminal: Terminal,
    ) -> Result<Self, SessionError> {
        let session = SessionArgs {
            node: NodeArgs {
                node,
                port: args.port,
                reach: args.reach.clone(),
            },
            login: args.login.clone(),
        };
        Ok(Self {
            connector: Connector::new(&session, terminal)?.for_command(),
            ends,
            recursive: args.recursive,
            preserve: args.preserve,
            plan: None,
            done: HashSet::new(),
            failed: false,
            progress: Progress::new(terminal),
            terminal,
        })
    }

    fn has_begun(&self) -> bool {
        self.plan.is_some()
    }

    /// Copies all files, over as many connections as it takes.
    async fn run(&mut self) -> Result<u8, Failure> {
        let mut session = self.connector.connect().await?;
        let mut moved_at = Instant::now();
        loop {
            let before = self.progress.moved();
            let reason = match self.copy(&session).await {
                Ok(()) => {
                    session.close().await;
                    self.progress.finish();
                    return Ok(u8::from(self.failed));
                }
                Err(error) if !is_lost(&error) => {
                    session.close().await;
                    self.progress.finish();
                    return Err(error.into());
                }
                Err(_) => session.client.end(),
            };
            drop(session);
            let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
            self.progress.aside(|| {
                self.terminal.notice(&format_args!(
                    "lost the connection to the node{reason}; connecting again"
                ));
            });
            let moved = self.progress.moved() > before;
            if moved {
                moved_at = Instant::now();
            } else if moved_at.elapsed() >= GIVE_UP {
                self.progress.finish();
                let last = "the connection is lost again and again".to_owned();
                return Err(CpError::GaveUp { last }.into());
            }
            session = self.connect_again(moved).await?;
        }
    }

    /// Connects again after a pause.
    async fn connect_again(&mut self, moved: bool) -> Result<Session, Failure> {
        let mut backoff = Backoff::default();
        let until = Instant::now() + GIVE_UP;
        if !moved {
            // Whatever is wrong, asking at once does not help.
            sleep(LATER).await;
        }
        loop {
            sleep(backoff.next(getrandom::u32().unwrap_or_default())).await;
            match self.connector.connect().await {
                Ok(session) => return Ok(session),
                Err(error) if error.is_for_good() => {
                    self.progress.finish();
                    return Err(error.into());
                }
                Err(error) if Instant::now() >= until => {
                    self.progress.finish();
                    let last = error.to_string();
                    return Err(CpError::GaveUp { last }.into());
                }
                Err(error) => self.progress.aside(|| self.terminal.detail(&error)),
            }
        }
    }

    /// Copies what is left, over one connection.
    async fn copy(&mut self, session: &Session) -> Result<(), CpError> {
        let files = Files::start(&session.client).await?;
        let (local, remote) = (Local, Remote::new(files.clone()));
        if self.ends.to_node {
            self.copy_between(&files, &local, &remote).await
        } else {
            self.copy_between(&files, &remote, &local).await
        }
    }

    async fn copy_between(
        &mut self,
        files: &Files,
        from: &impl FileSystem,
        to: &impl FileSystem,
    ) -> Result<(), CpError> {
        if self.plan.is_none() {
            let plan = plan(from, to, &self.ends, self.recursive).await?;
            for problem in &plan.left_out {
                self.failed = true;
                self.terminal.error(problem);
            }
            self.progress.start(&plan);
            self.plan = Some(plan);
        }
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        for folder in &plan.folders {
            to.make_directory(&folder.to, folder.attributes.permissions)
                .await?;
        }
        let copier = &Copier::new(
            files,
            self.ends.to_node,
            self.preserve,
            &self.progress,
            self.terminal,
        );
        let left = plan
            .files
            .iter()
            .enumerate()
            .filter(|(number, _)| !self.done.contains(number));
        let at_a_time = files
            .limits()
            .handles
            .and_then(|handles| usize::try_from(handles / 2).ok())
            .map_or(AT_A_TIME, |most| most.clamp(1, AT_A_TIME));
        let mut copies = futures_util::stream::iter(left.collect::<Vec<_>>())
            .map(|(number, file)| async move { (number, copier.copy(file).await) })
            .buffer_unordered(at_a_time);
        while let Some((number, outcome)) = copies.next().await {
            match outcome {
                Ok(()) => {}
                Err(CopyError::Lost) => return Err(FilesError::Lost.into()),
                Err(error) => {
                    self.failed = true;
                    self.progress.aside(|| self.terminal.error(&error));
                }
            }
            self.done.insert(number);
            self.progress.one_more();
        }
        drop(copies);
        if self.preserve {
            // Last, since what is made in a directory changes its times.
            for folder in plan.folders.iter().rev() {
                to.preserve(&folder.to, &folder.attributes).await?;
            }
        }
        Ok(())
    }
}

fn is_lost(error: &CpError) -> bool {
    match error {
        CpError::Files(error) | CpError::Plan(PlanError::Files { error, .. }) => error.is_lost(),
        _ => false,
    }
}
