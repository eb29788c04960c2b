//! The child process that tries a plugin out, so that a plugin that crashes or
//! hangs does not take the node with it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alknet_document::{Document, Format, check_schema};
use alknet_handler::{ProtocolHandler, Secret};
use alknet_loader::{HandlerInputs, LoadedPlugin, PluginHandler, shown_alpn, try_out as open};
use alknet_vault::Ed25519Key;
use rustix::fs::{Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::limits;
use super::protocol::{Assignment, Description, MAGIC, Report, Said, Settings, Step};
use crate::plugins::in_memory::{InMemory, Nobody};
use crate::secrets::keys::openssh_files;

/// The time that the handler may take for the peer's bytes, and again for
/// ending once the peer has left. A handler that takes longer is not refused
/// for it.
const HANDLER_TIMEOUT: Duration = Duration::from_millis(500);

/// Tries a library out, if that is what this process was started for.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    if !asked(io::stdin().as_fd()) {
        return None;
    }
    // It has no purpose without the node.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // Status 0 alone says nothing: the node goes by what was reported as well.
    Some(match Channel::take_over().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// Whether the words that ask for a trial wait on standard input. They are not
/// read, and the call does not wait.
fn asked(stdin: BorrowedFd<'_>) -> bool {
    let mut start = [0; MAGIC.len()];
    match recv(stdin, &mut start[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, length)) => length == MAGIC.len() && start == MAGIC,
        Err(_) => false,
    }
}

fn run(mut channel: Channel) -> io::Result<()> {
    let assignment = channel.assignment()?;
    limits::begin();
    channel.begins(Step::Load)?;
    let plugin = match open(&assignment.copy, &assignment.source) {
        Ok(plugin) => plugin,
        Err(refusal) => return channel.says(Said::Refused(refusal.to_string())),
    };
    limits::opened();
    channel.begins(Step::Factory)?;
    let description = describe(&plugin);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let handler = make(&plugin, &assignment.settings, &runtime);
    channel.begins(Step::Handler)?;
    if let Some(handler) = handler {
        serve(
            &runtime,
            &handler,
            plugin.alpns().next().unwrap_or_default(),
        );
        drop(handler);
    }
    runtime.shutdown_timeout(Duration::from_millis(100));
    channel.begins(Step::End)?;
    channel.says(Said::Passed(description))
}

fn describe(plugin: &LoadedPlugin) -> Description {
    Description {
        name: plugin.name().to_owned(),
        version: plugin.version().to_string(),
        interface: plugin.interface_version(),
        rustc: plugin.rustc(),
        target: plugin.target(),
        alpns: plugin.alpns().map(shown_alpn).collect(),
    }
}

/// A handler with keys and secrets that nobody else has. `None` where the
/// configuration does not fit or the factory says no: those are answers, which
/// the node gets to hear itself and can tell with their place in its file.
fn make(plugin: &LoadedPlugin, settings: &Settings, runtime: &Runtime) -> Option<PluginHandler> {
    let config = settings.config(plugin.name());
    check_schema(plugin.config_schema()).ok()?;
    let document = Document::parse(&config.to_string(), Format::Json, "trial").ok()?;
    document.validate(plugin.config_schema()).ok()?;
    let seed = *random().first_chunk()?;
    let host_key = openssh_files(&Ed25519Key::from_seed(&seed), "trial").ok()?;
    let secrets = settings.secrets(plugin.name()).iter();
    let inputs = HandlerInputs {
        config,
        host_keys: vec![Secret::new(host_key.private().as_bytes().to_vec())],
        capabilities: secrets
            .map(|name| {
                (
                    name.clone(),
                    Secret::new(hex::encode(random()).into_bytes()),
                )
            })
            .collect(),
        identities: Arc::new(Nobody),
        log_filter: "off".to_owned(),
        generation: 0,
        config_generation: Arc::default(),
        more: serde_json::json!({ "trial": true }),
    };
    PluginHandler::create(plugin, inputs, runtime.handle().clone()).ok()
}

/// Plays a peer that connects, sends something, reads the answer, and leaves.
fn serve(runtime: &Runtime, handler: &PluginHandler, alpn: &[u8]) {
    runtime.block_on(async {
        let (connection, peer) = InMemory::new(alpn);
        let auth = connection.auth();
        let handled = tokio::spawn(handler.handle(Arc::new(connection), auth));
        let mut stream = peer.open();
        let said = async {
            stream.write_all(b"alknet trial\r\n").await?;
            let mut answer = [0; 256];
            stream.read(&mut answer).await
        };
        let _ = timeout(HANDLER_TIMEOUT, said).await;
        drop((stream, peer));
        let _ = timeout(HANDLER_TIMEOUT, handled).await;
    });
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    // Made up is good enough, if there is nothing better.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

/// The socket to the node.
struct Channel {
    stream: BufReader<UnixStream>,
    /// The token that the node sent last.
    token: String,
}

impl Channel {
    /// Takes the channel off standard input, to a descriptor of no fixed
    /// number that no process of the library inherits.
    fn take_over() -> io::Result<Self> {
        let [number, ..] = random();
        let moved = fcntl_dupfd_cloexec(io::stdin(), 100 + i32::from(number))?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(null)?;
        let mut stream = BufReader::new(UnixStream::from(moved));
        stream.read_exact(&mut [0; MAGIC.len()])?;
        Ok(Self {
            stream,
            token: String::new(),
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line)
    }

    fn assignment(&mut self) -> io::Result<Assignment> {
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn begins(&mut self, step: Step) -> io::Result<()> {
        self.says(Said::Begins(step))?;
        self.token = self.line()?.trim_end().to_owned();
        Ok(())
    }

    fn says(&mut self, said: Said) -> io::Result<()> {
        let report = Report {
            token: self.token.clone(),
            said,
        };
        let line = serde_json::to_string(&report)?;
        self.stream
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
    }
}
