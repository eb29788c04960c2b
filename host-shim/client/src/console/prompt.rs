//! Questions on the terminal, whatever standard input and output are.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;

use alknet_ssh::client::AskPassphrase;
use alknet_text::visible_lines;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The terminal, if there is one and questions are welcome.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prompt {
    /// Whether to ask nothing, as for scripts.
    pub(crate) batch: bool,
}

impl Prompt {
    /// The answer to a question, without the line feed.
    pub(crate) async fn line(self, question: &str) -> Option<String> {
        let answer = self.ask(question, Echo::On).await?;
        Some(answer.as_str().to_owned())
    }

    async fn ask(self, question: &str, echo: Echo) -> Option<Zeroizing<String>> {
        if self.batch {
            return None;
        }
        let mut tty = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        // Held here, not by the thread that reads: whoever gives up waiting
        // for the answer puts the terminal right.
        let silence = match echo {
            Echo::On => None,
            Echo::Off => Some(Silence::on(&tty).ok()?),
        };
        tty.write_all(visible_lines(question).as_bytes()).ok()?;
        let source = tty.try_clone().ok()?;
        let answer = tokio::task::spawn_blocking(move || read_line(source))
            .await
            .ok()?
            .ok()?;
        if silence.is_some() {
            let _ = tty.write_all(b"\n");
        }
        Some(answer)
    }
}

impl AskPassphrase for Prompt {
    fn ask<'a>(
        &'a self,
        question: &'a str,
    ) -> Pin<Box<dyn Future<Output = Option<Zeroizing<String>>> + Send + 'a>> {
        Box::pin(Prompt::ask(*self, question, Echo::Off))
    }
}

#[derive(Clone, Copy)]
enum Echo {
    On,
    Off,
}

/// Switches the terminal's echo off while it lives.
struct Silence {
    tty: File,
    before: Termios,
}

impl Silence {
    fn on(tty: &File) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO;
        tcsetattr(tty, OptionalActions::Flush, &silent)?;
        Ok(Self {
            tty: tty.try_clone()?,
            before,
        })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // There is nothing to be done about a failure.
        let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before);
    }
}

/// Reads a line byte by byte, so that no buffer keeps what was typed.
fn read_line(mut tty: File) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE));
    let mut byte = Zeroizing::new([0]);
    loop {
        if tty.read(byte.as_mut_slice())? == 0 && line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match byte.first() {
            Some(b'\n' | b'\r') | None => break,
            // Longer than a terminal lets anybody type.
            Some(_) if line.len() == LINE => return Err(io::ErrorKind::InvalidInput.into()),
            Some(byte) => line.push(*byte),
        }
    }
    let text = std::str::from_utf8(&line).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The most bytes that a terminal takes in one line (termios(3), canonical
/// mode).
const LINE: usize = 4096;
