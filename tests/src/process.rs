//! Programs run to their end, with their output and a guard against hanging;
//! and the loud skip of a test.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The time after which something counts as hanging: far more than anything
/// takes on a busy machine.
pub const HANG: Duration = Duration::from_secs(120);

/// A program to be run to its end, with a guard against hanging.
pub struct Run {
    command: Command,
    input: Input,
    output: Option<File>,
}

enum Input {
    Nothing,
    Bytes(Vec<u8>),
    File(File),
}

/// A program that has ended.
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Run {
    /// A program with empty standard input.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::from(Command::new(program))
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Has another program run this one, which it takes as its last arguments;
    /// none where the wrapper is empty.
    pub fn under(self, wrapper: &[&str]) -> Self {
        let Some((program, args)) = wrapper.split_first() else {
            return self;
        };
        let mut command = Command::new(program);
        command.args(args).arg(self.command.get_program());
        command.args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { command, ..self }
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the directory it runs in.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets the bytes of its standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Sets the file of its standard input.
    pub fn stdin_file(mut self, path: &Path) -> Self {
        self.input = Input::File(File::open(path).unwrap());
        self
    }

    /// Sets the file that its standard output goes to.
    pub fn stdout_file(mut self, path: &Path) -> Self {
        self.output = Some(File::create(path).unwrap());
        self
    }

    /// The command, for what cannot be said here; the streams are not set.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Starts it and leaves it running.
    pub fn spawn(self) -> Running {
        let Self {
            mut command,
            input,
            output,
        } = self;
        let shown = format!("{command:?}");
        let mut bytes = None;
        command.stdin(match input {
            Input::Nothing => Stdio::null(),
            Input::File(file) => file.into(),
            Input::Bytes(given) => {
                bytes = Some(given);
                Stdio::piped()
            }
        });
        command.stdout(output.map_or_else(Stdio::piped, Stdio::from));
        command.stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        if let (Some(bytes), Some(mut stdin)) = (bytes, child.stdin.take()) {
            // Who does not want to read all of it need not.
            std::thread::spawn(move || stdin.write_all(&bytes));
        }
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Running {
            child,
            shown,
            stdout,
            stderr,
        }
    }

    /// Runs it to its end.
    pub fn ended(self) -> Ended {
        self.spawn().ended()
    }

    /// Runs it to its end, which must be success; gives its standard output.
    pub fn output(self) -> String {
        let ended = self.ended();
        assert!(ended.status.success(), "{ended}");
        String::from_utf8(ended.stdout).unwrap()
    }
}

impl From<Command> for Run {
    fn from(command: Command) -> Self {
        Self {
            command,
            input: Input::Nothing,
            output: None,
        }
    }
}

/// A program that runs. Killed if it is dropped before its end.
pub struct Running {
    child: Child,
    shown: String,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ended {
        let deadline = Instant::now() + HANG;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                panic!("this hangs: {}", self.shown);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let taken = |pipe: Option<JoinHandle<Vec<u8>>>| {
            pipe.map(|thread| thread.join().unwrap())
                .unwrap_or_default()
        };
        Ended {
            status,
            stdout: taken(self.stdout.take()),
            stderr: taken(self.stderr.take()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

impl Ended {
    /// The exit code; panics if a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{self}"))
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The line of standard error with all of `words` in it.
    pub fn line_with(&self, words: &[&str]) -> String {
        line_with(&self.err(), words)
    }
}

/// The line of `text` with all of `words` in it; panics if there is none.
pub(crate) fn line_with(text: &str, words: &[&str]) -> String {
    text.lines()
        .find(|line| words.iter().all(|word| line.contains(word)))
        .unwrap_or_else(|| panic!("no line has all of {words:?}:\n{text}"))
        .to_owned()
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = self.status.signal();
        writeln!(f, "code {:?}, signal {signal:?}", self.status.code())?;
        writeln!(f, "--- stdout\n{}--- stderr\n{}", self.out(), self.err())
    }
}

/// Whether a process of this id runs. One that has ended and was not yet
/// waited for does not.
pub fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

/// Whether all these programs are installed. If not, the test says so and
/// should return; in CI (where `CI` is set) that is a failure.
pub fn requires(programs: &[&str]) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| !std::env::split_paths(&paths).any(|dir| dir.join(program).is_file()))
        .collect();
    requires_that(&format!("{missing:?}"), missing.is_empty())
}

/// As [`requires`], for what is not a program.
pub fn requires_that(what: &str, there: bool) -> bool {
    // What a run of the tests is to do without (`tests/absences`).
    let lacks = std::env::var("ALKNET_TESTS_LACK").unwrap_or_default();
    if there && (lacks.is_empty() || !what.contains(&lacks)) {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{what} must be installed here"
    );
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    // Past the capture of the test harness: nobody should miss it.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {test} needs {what}, which is not installed"
    );
    false
}
