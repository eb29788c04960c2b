//! A monitor in a directory of its own, and the jobs that the tests start
//! through it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alknet_monitor::NodeLink;
use alknet_session::{
    Answer, Confinement, Control, Event, JobFilter, JobId, Program, Request, Socket, Start, Tree,
};

/// A node's directories, its monitor and a handler's socket to that.
pub(crate) struct World {
    pub(crate) root: PathBuf,
    pub(crate) link: NodeLink,
    pub(crate) handler: Socket,
}

impl UnwindSafe for World {}
impl RefUnwindSafe for World {}

impl World {
    pub(crate) fn new(
        root: &Path,
        start: impl FnOnce(Vec<PathBuf>) -> std::io::Result<NodeLink>,
    ) -> Self {
        let root = root.canonicalize().unwrap();
        for directory in ["state", "srv", "www"] {
            std::fs::create_dir(root.join(directory)).unwrap();
        }
        std::fs::write(root.join("state/mnemonic"), "secret words").unwrap();
        std::fs::write(root.join("www/index.html"), "hello").unwrap();
        let link = start(vec![root.join("state")]).unwrap();
        let handler = Socket::from(link.connect_handler().unwrap());
        Self {
            root,
            link,
            handler,
        }
    }

    /// What a guest of that name may do: write to `srv`, read `www`, run this
    /// program.
    pub(crate) fn guest(&self, name: &str) -> Confinement {
        let own = std::env::current_exe().unwrap();
        let tree = |path: PathBuf, write| Tree { path, write };
        Confinement {
            home: self.root.join("guests").join(name),
            trees: vec![
                tree(self.root.join("srv"), true),
                tree(self.root.join("www"), false),
                tree(own, false),
            ],
            network: false,
        }
    }

    pub(crate) fn ask(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Socket {
        let (near, far) = Socket::pair().unwrap();
        let mut all = vec![far.as_fd()];
        all.extend(descriptors);
        self.handler.send_request(request, &all).unwrap();
        near
    }

    pub(crate) fn start(&self, start: Start) -> Job {
        self.start_with(start, None)
    }

    pub(crate) fn start_with(&self, start: Start, library: Option<OwnedFd>) -> Job {
        let (input, far_input) = rustix::pipe::pipe().unwrap();
        let (output, far_output) = rustix::pipe::pipe().unwrap();
        let mut descriptors = vec![input.as_fd(), far_output.as_fd(), far_output.as_fd()];
        descriptors.extend(library.as_ref().map(AsFd::as_fd));
        let socket = self.ask(&Request::Start(Box::new(start)), &descriptors);
        Job {
            socket,
            output: output.into(),
            _input: far_input.into(),
        }
    }

    /// What is asked for, without a terminal and unconfined.
    pub(crate) fn shell(&self, line: &str) -> Start {
        Start {
            identity: "alice".into(),
            generation: 1,
            session: 1,
            account: None,
            program: Program::CommandLine {
                shell: Some("/bin/sh".into()),
                line: line.into(),
            },
            terminal: false,
            environment: Vec::new(),
            umask: None,
            confinement: None,
            remote: None,
            note: "note".into(),
        }
    }

    pub(crate) fn jobs(&self, filter: JobFilter) -> Vec<alknet_session::Job> {
        let socket = self.ask(&Request::Jobs(filter), &[]);
        let mut jobs = Vec::new();
        loop {
            match socket.receive().unwrap().unwrap().message {
                Answer::Job(job) => jobs.push(job),
                Answer::Done => return jobs,
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn end(&self, filter: JobFilter, grace: u32) {
        let socket = self.ask(&Request::End(filter, grace), &[]);
        let answer = socket.receive::<Answer>().unwrap().unwrap().message;
        assert_eq!(answer, Answer::Done);
    }
}

pub(crate) struct Job {
    socket: Socket,
    pub(crate) output: File,
    _input: File,
}

impl Job {
    pub(crate) fn event(&self) -> Option<Event> {
        Some(self.socket.receive().unwrap()?.message)
    }

    pub(crate) fn started(&self) -> (JobId, i32) {
        match self.event() {
            Some(Event::Started { job, pid }) => (job, pid),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn tell(&self, control: Control) {
        self.socket.send(&control, &[]).unwrap();
    }

    /// Everything it writes, then how it ended.
    pub(crate) fn finish(mut self) -> (String, Event) {
        self.started();
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        (text, self.event().unwrap())
    }

    /// A line that it writes.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.output.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

/// Waits for something, 20 seconds at most.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned());
    state.is_some_and(|rest| !rest.starts_with('Z'))
}

/// Stands for a loader: what it is given is a file that says what to answer.
pub(crate) fn enter(library: &Path, request: &str) -> Result<u8, String> {
    let text = std::fs::read_to_string(library).map_err(|error| error.to_string())?;
    println!("{text} {request}");
    match std::env::var_os("FAIL") {
        Some(_) => Err("it does not work".into()),
        None => Ok(7),
    }
}

pub(crate) fn direct(program: &Path, arguments: &[&str]) -> Program {
    Program::Direct {
        program: program.into(),
        arguments: arguments.iter().map(OsString::from).collect(),
    }
}
