//! A program that runs beside the test, whose output is followed.

use std::io::Write;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};

use crate::node::Tail;
use crate::process::line_with;
use crate::{Ended, Run, eventually};

/// A program in the background that is watched and talked to. Killed when
/// dropped.
pub struct Background {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Tail,
    stderr: Tail,
}

impl Background {
    /// Starts it.
    pub fn spawn(run: Run) -> Self {
        let mut child = run
            .into_command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: Tail::follow(child.stdout.take().unwrap()),
            stderr: Tail::follow(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error.
    pub fn err(&self) -> String {
        self.stderr.text()
    }

    /// What it has written to standard output.
    pub fn out(&self) -> String {
        self.stdout.text()
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until a line of standard error has all of `words`. `None` when
    /// the program ends without it.
    pub fn says(&mut self, words: &[&str]) -> Option<String> {
        self.says_so_often(1, words)
    }

    /// Waits until so many lines have all of `words`, and gives the last.
    pub fn says_so_often(&mut self, times: usize, words: &[&str]) -> Option<String> {
        let found = |text: &str| {
            text.lines()
                .filter(|line| words.iter().all(|word| line.contains(word)))
                .nth(times - 1)
                .map(str::to_owned)
        };
        eventually(&format!("a program says {words:?}"), || {
            if let Some(line) = found(&self.err()) {
                return Some(Some(line));
            }
            self.status().is_some().then(|| found(&self.stderr.end()))
        })
    }

    /// Writes to its standard input.
    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Writes a line to its standard input and waits until it comes back.
    pub fn echoes(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        eventually(&format!("{line:?} comes back"), || {
            if self.child.try_wait().unwrap().is_some() {
                panic!("it has ended: {}", self.stderr.end());
            }
            self.stdout
                .text()
                .lines()
                .any(|said| said == line)
                .then_some(())
        });
    }

    /// The line of standard error with all of `words` in it.
    pub fn line_with(&self, words: &[&str]) -> String {
        line_with(&self.err(), words)
    }

    /// Asks it to end, as from a keyboard.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }

    /// Waits for its end, without anything more to read.
    pub fn ended(mut self) -> Ended {
        drop(self.stdin.take());
        self.ended_by_itself()
    }

    /// Waits for its end, although there may be more to read.
    pub fn ended_by_itself(mut self) -> Ended {
        let status = eventually("a program ends", || self.child.try_wait().unwrap());
        Ended {
            status,
            stdout: self.stdout.end().into_bytes(),
            stderr: self.stderr.end().into_bytes(),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
