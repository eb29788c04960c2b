//! A monitor of the tests' own: the protocol of the node's, without its walls.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use alknet_session::{
    Answer, AsyncSocket, Control, Event, HandlerSessions, Job, JobFilter, JobId, Mode, Program,
    Request, Socket, Start,
};
use alknet_ssh::Launcher;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// What was started, and what of it is there.
#[derive(Clone, Default)]
pub struct Monitor(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    starts: Vec<Start>,
    jobs: BTreeMap<u64, (Job, Pid)>,
}

/// What the handler of a node whose peers are its owner or guests is told.
pub fn owner() -> HandlerSessions {
    HandlerSessions {
        socket: -1,
        mode: Mode::Owner,
        library: PathBuf::from("/proc/self/exe"),
        default_account: None,
        guest_homes: PathBuf::from("/guests"),
        private: Vec::new(),
        no_confinement: None,
    }
}

impl Monitor {
    /// A monitor, and a launcher that leads to it.
    pub fn launcher(context: HandlerSessions) -> (Self, Launcher) {
        let (near, far) = Socket::pair().unwrap();
        let monitor = Self::default();
        tokio::spawn(monitor.clone().run(AsyncSocket::new(far).unwrap()));
        (monitor, Launcher::new(near, context).unwrap())
    }

    /// All that it was asked to start.
    pub fn starts(&self) -> Vec<Start> {
        self.0.lock().unwrap().starts.clone()
    }

    /// The jobs it has, and which of them go on without their channel.
    pub fn jobs(&self) -> (usize, usize) {
        let state = self.0.lock().unwrap();
        let detached = state.jobs.values().filter(|(job, _)| job.detached).count();
        (state.jobs.len(), detached)
    }

    async fn run(self, socket: AsyncSocket) {
        while let Ok(Some(received)) = socket.receive::<Request>().await {
            let received = received.opened().unwrap();
            let mut descriptors = received.descriptors.into_iter();
            let answers = Socket::from(descriptors.next().unwrap());
            let answers = AsyncSocket::new(answers).unwrap();
            match received.message {
                Request::Start(start) => {
                    let ends = descriptors.map(Stdio::from).collect();
                    tokio::spawn(self.clone().keep(*start, ends, answers));
                }
                Request::Jobs(filter) => {
                    for (job, _) in self.matching(&filter) {
                        answers.send(&Answer::Job(job), &[]).await.unwrap();
                    }
                    answers.send(&Answer::Done, &[]).await.unwrap();
                }
                Request::End(filter, _) => {
                    for (_, group) in self.matching(&filter) {
                        let _ = kill_process_group(group, Signal::KILL);
                    }
                    answers.send(&Answer::Done, &[]).await.unwrap();
                }
                Request::OpenUnix(_) | Request::BindUnix(_) | Request::Enclosed => {
                    let refused = Answer::Refused {
                        reason: "not in this test".to_owned(),
                        errno: None,
                    };
                    answers.send(&refused, &[]).await.unwrap();
                }
            }
        }
    }

    fn matching(&self, filter: &JobFilter) -> Vec<(Job, Pid)> {
        let state = self.0.lock().unwrap();
        let fitting = state.jobs.values().filter(|(job, _)| filter.matches(job));
        fitting.cloned().collect()
    }

    async fn keep(self, start: Start, ends: Vec<Stdio>, socket: AsyncSocket) {
        let mut command = match &start.program {
            Program::Shell(_) => Command::new("/bin/sh"),
            Program::CommandLine { line, .. } => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(line);
                command
            }
            Program::Direct { program, arguments } => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            Program::Helper { .. } => Command::new("cat"),
        };
        let mut ends = ends.into_iter();
        command
            .stdin(ends.next().unwrap())
            .stdout(ends.next().unwrap())
            .stderr(ends.next().unwrap())
            .env_clear()
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .process_group(0);
        let mut child = command.spawn().unwrap();
        // Its pipes are its own now.
        drop(command);
        let group = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
        let id = self.enter(start, group);
        let started = Event::Started {
            job: JobId(id),
            pid: group.as_raw_nonzero().get(),
        };
        socket.send(&started, &[]).await.unwrap();
        let mut exited = false;
        loop {
            tokio::select! {
                status = child.wait(), if !exited => {
                    exited = true;
                    let status = status.unwrap();
                    let event = match status.code() {
                        Some(code) => Event::Exited(code.try_into().unwrap()),
                        None => Event::Signaled { signal: 15, core_dumped: false },
                    };
                    let _ = socket.send(&event, &[]).await;
                }
                control = socket.receive::<Control>() => match control {
                    Ok(Some(control)) => match control.message {
                        Control::Signal(signal) => {
                            let signal = Signal::from_named_raw(signal).unwrap();
                            let _ = kill_process_group(group, signal);
                        }
                        Control::Detach => {
                            self.0.lock().unwrap().jobs.get_mut(&id).unwrap().0.detached = true;
                            break;
                        }
                        Control::End(_) => {
                            let _ = kill_process_group(group, Signal::KILL);
                            let _ = child.wait().await;
                            let _ = socket.send(&Event::Empty, &[]).await;
                            self.0.lock().unwrap().jobs.remove(&id);
                            return;
                        }
                    },
                    _ => {
                        let _ = kill_process_group(group, Signal::KILL);
                        break;
                    }
                },
            }
        }
        let _ = child.wait().await;
        while rustix::process::test_kill_process_group(group).is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        self.0.lock().unwrap().jobs.remove(&id);
    }

    fn enter(&self, start: Start, group: Pid) -> u64 {
        let mut state = self.0.lock().unwrap();
        let id = state.starts.len() as u64 + 1;
        let job = Job {
            id: JobId(id),
            identity: start.identity.clone(),
            account: start.account.clone(),
            session: (start.generation, start.session),
            detached: false,
            note: start.note.clone(),
        };
        state.starts.push(start);
        state.jobs.insert(id, (job, group));
        id
    }
}
