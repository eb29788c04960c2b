//! The steps of `plugins check --deep`, each of which uses the plugin as a
//! node would.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alknet_control::ControlRequest;
use alknet_document::{Document, check_schema};
use alknet_handler::{Capabilities, HandlerError, ProtocolHandler, Secret};
use alknet_loader::{
    HandlerInputs, LoadedPlugin, PluginHandler, Prepared, Trust, TrustedFile, one_line, shown_alpn,
};
use alknet_vault::Ed25519Key;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::{JoinError, JoinHandle};

use super::{Report, Verdict, report};
use crate::plugins::{InMemory, Nobody, Peer};
use crate::secrets::keys::openssh_files;

/// The time that one step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// The time that a live connection has to end by itself when the handler
/// drains.
const DRAIN: Duration = Duration::from_millis(300);
/// The time by which such a connection may outlive the drain.
const AFTER_DRAIN: Duration = Duration::from_secs(5);
const MIB: usize = 1 << 20;

/// What a step saw, or what is wrong.
type Outcome = Result<String, String>;

/// Runs all steps that can be run, reporting each.
pub(super) fn run(file: &Path, config: Option<&Path>) {
    let mut library = None;
    step("load", || {
        let loaded = load(file)?;
        let alpns: Vec<_> = loaded.alpns().map(shown_alpn).collect();
        let seen = format!(
            "{} {}, interface {}, serves {}",
            loaded.name(),
            loaded.version(),
            loaded.interface_version(),
            alpns.join(", ")
        );
        library = Some(loaded);
        Ok(seen)
    });
    let Some(library) = library else { return };
    if !step("schemas", || check_schemas(&library)) {
        return;
    }
    let mut given = None;
    let valid = step("configuration", || {
        let (value, seen) = configuration(&library, config)?;
        given = Some(value);
        Ok(seen)
    });
    let (true, Some(config)) = (valid, given) else {
        return;
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            step("create", || Err(format!("no runtime for it: {error}")));
            return;
        }
    };
    let subject = Subject {
        library: Arc::new(library),
        config,
        runtime,
    };
    subject.run();
    subject.runtime.shutdown_background();
}

fn load(file: &Path) -> Result<LoadedPlugin, String> {
    let file = TrustedFile::read_library(file, &Trust::default()).map_err(text)?;
    let prepared = Prepared::in_memory(&file).map_err(text)?;
    prepared.load().map_err(text)
}

fn check_schemas(library: &LoadedPlugin) -> Outcome {
    check_schema(library.config_schema()).map_err(|fault| format!("configuration: {fault}"))?;
    check_schema(library.capabilities_schema()).map_err(|fault| format!("secrets: {fault}"))?;
    let count = |schema: &Value| {
        let members = schema.get("properties").and_then(Value::as_object);
        members.map_or(0, Map::len)
    };
    Ok(format!(
        "valid; {} settings, {} secrets",
        count(library.config_schema()),
        count(library.capabilities_schema())
    ))
}

fn configuration(library: &LoadedPlugin, file: Option<&Path>) -> Result<(Value, String), String> {
    let (document, seen) = match file {
        Some(file) => (
            Document::read(file).map_err(text)?,
            format!("{} fits", file.display()),
        ),
        None => {
            let empty = Document::parse("{}", alknet_document::Format::Json, "{}").map_err(text)?;
            (empty, "the empty one fits".to_owned())
        }
    };
    match document.validate(library.config_schema()) {
        Ok(()) => Ok((document.value().clone(), seen)),
        Err(faults) => {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            let hint = if file.is_none() {
                "; give one with --config FILE"
            } else {
                ""
            };
            Err(format!("{}{hint}", faults.join("; ")))
        }
    }
}

/// The plugin under test.
struct Subject {
    library: Arc<LoadedPlugin>,
    config: Value,
    runtime: Runtime,
}

type Handler = Arc<dyn ProtocolHandler>;

impl Subject {
    fn run(&self) {
        let mut made = None;
        step("create", || {
            made = Some(self.create(1)?);
            Ok("the factory made a handler".to_owned())
        });
        let Some(handler) = made else { return };
        step("status", || self.status(&handler));
        step("control", || self.control(&handler));
        step("peer that leaves", || self.peer_that_leaves(&handler));
        step("peer with garbage", || self.peer_with_garbage(&handler));
        step("stream that fails", || self.connection_that_fails(&handler));
        step("many streams", || self.many_streams(&handler));
        step("reconfigure", || self.reconfigure(&handler));
        step("bad reconfigure", || self.bad_reconfigure(&handler));
        step("serves after that", || self.peer_that_leaves(&handler));
        step("second handler", || {
            let second = self.create(2)?;
            self.peer_that_leaves(&second)?;
            self.dropped(second)?;
            Ok("another one from the same library serves and goes".to_owned())
        });
        step("drain", || self.drain(&handler));
        step("drop", || {
            self.dropped(handler)?;
            Ok("the handler went".to_owned())
        });
    }

    fn create(&self, generation: u64) -> Result<Handler, String> {
        let library = Arc::clone(&self.library);
        let runtime = self.runtime.handle().clone();
        let config = self.config.clone();
        let key = openssh_files(&Ed25519Key::from_seed(&[7; 32]), "check");
        let key = key.map_err(|error| error.to_string())?;
        self.call("the factory", move || {
            let inputs = HandlerInputs {
                config,
                host_keys: vec![Secret::new(key.private().as_bytes().to_vec())],
                capabilities: Capabilities::default(),
                identities: Arc::new(Nobody),
                log_filter: "error".to_owned(),
                generation,
                config_generation: Arc::default(),
                more: serde_json::json!({ "trial": true }),
            };
            PluginHandler::create(&library, inputs, runtime)
        })?
        .map(|handler| Arc::new(handler) as Handler)
        .map_err(|fault| format!("the factory refuses the configuration: {fault}"))
    }

    fn status(&self, handler: &Handler) -> Outcome {
        let status = self.status_of(handler)?;
        Ok(format!("a JSON object with {} members", status.len()))
    }

    fn status_of(&self, handler: &Handler) -> Result<Map<String, Value>, String> {
        let handler = Arc::clone(handler);
        let text = self.call("status", move || handler.status())?;
        contained(&text)?;
        match serde_json::from_str(&text) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Err(format!("not a JSON object: {}", one_line(&text))),
            Err(error) => Err(format!("not JSON ({error}): {}", one_line(&text))),
        }
    }

    fn control(&self, handler: &Handler) -> Outcome {
        let none = json!({ "command": "no-command-of-any-plugin" }).to_string();
        for request in [&*none, "{}", "[]", "not JSON", ""] {
            match self.ask(handler, request)? {
                Err(message) => contained(&message)?,
                Ok(answer) => {
                    let answer = one_line(&answer);
                    return Err(format!(
                        "{request:?} is answered with {answer}, not refused"
                    ));
                }
            }
        }
        let mut unknown = Vec::new();
        let filter = "error".to_owned();
        for (command, request) in [
            ("set_log_filter", ControlRequest::SetLogFilter { filter }),
            ("identities_changed", ControlRequest::IdentitiesChanged {}),
        ] {
            match self.ask(handler, &request.to_json())? {
                Ok(answer) if serde_json::from_str::<Map<_, _>>(&answer).is_ok() => {}
                Ok(answer) => return Err(format!("not a JSON object: {}", one_line(&answer))),
                Err(message) => {
                    contained(&message)?;
                    unknown.push(command);
                }
            }
        }
        Ok(match unknown.is_empty() {
            true => "what it does not know is refused".to_owned(),
            false => format!(
                "what it does not know is refused; nor does it know {}",
                unknown.join(", ")
            ),
        })
    }

    fn ask(&self, handler: &Handler, request: &str) -> Result<Result<String, String>, String> {
        let (handler, request) = (Arc::clone(handler), request.to_owned());
        let answer = self.call("control", move || handler.control(&request))?;
        Ok(answer.map_err(|error| error.to_string()))
    }

    fn peer_that_leaves(&self, handler: &Handler) -> Outcome {
        let (peer, serving) = self.connect(handler)?;
        drop(peer);
        let without = self.ended(serving)?;
        let (peer, serving) = self.connect(handler)?;
        drop(peer.open());
        drop(peer);
        self.ended(serving)?;
        Ok(format!(
            "without a stream, and after opening one: {without}"
        ))
    }

    fn peer_with_garbage(&self, handler: &Handler) -> Outcome {
        let (peer, serving) = self.connect(handler)?;
        let mut stream = peer.open();
        self.runtime.spawn(async move {
            let _peer = peer;
            let (mut read, mut write) = tokio::io::split(&mut stream);
            let answer = async {
                let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
            };
            let speak = async {
                let _ = write.write_all(&noise(MIB)).await;
                let _ = write.shutdown().await;
            };
            tokio::join!(answer, speak)
        });
        self.ended(serving).map(|how| format!("1 MiB of it: {how}"))
    }

    fn connection_that_fails(&self, handler: &Handler) -> Outcome {
        let (peer, serving) = self.connect(handler)?;
        let stream = peer.open();
        peer.fail();
        drop(stream);
        drop(peer);
        self.ended(serving)
    }

    fn many_streams(&self, handler: &Handler) -> Outcome {
        let (peer, serving) = self.connect(handler)?;
        let streams: Vec<_> = (0..200).map(|_| peer.open()).collect();
        drop(streams);
        drop(peer);
        self.ended(serving)
            .map(|how| format!("200 that end at once: {how}"))
    }

    fn reconfigure(&self, handler: &Handler) -> Outcome {
        let given = self.given(handler, &self.config.to_string())?;
        given.map_err(|message| format!("the configuration it has is refused: {message}"))?;
        Ok("takes the configuration it has".to_owned())
    }

    fn bad_reconfigure(&self, handler: &Handler) -> Outcome {
        for bad in ["not JSON", "", "{\"no-setting-of-any-plugin\": tru"] {
            match self.given(handler, bad)? {
                Ok(()) => return Err(format!("{bad:?} is taken for a configuration")),
                Err(message) => contained(&message)?,
            }
        }
        self.reconfigure(handler)?;
        Ok("refuses one that is not valid, and takes the good one again".to_owned())
    }

    fn given(&self, handler: &Handler, config: &str) -> Result<Result<(), String>, String> {
        let (handler, config) = (Arc::clone(handler), config.to_owned());
        let answer = self.call("reconfigure", move || handler.reconfigure(&config))?;
        Ok(answer.map_err(|error| error.to_string()))
    }

    fn drain(&self, handler: &Handler) -> Outcome {
        let (peer, serving) = self.connect(handler)?;
        let mut stream = peer.open();
        // Taken, it is surely live; a plugin that takes none is asked all the same.
        let _ = self.bounded("accept_bi", AFTER_DRAIN, peer.taken());
        // It stays, and takes what it is sent.
        let stays = self.runtime.spawn(async move {
            let _ = stream.write_all(b"x").await;
            let mut answer = [0; 1024];
            while stream.read(&mut answer).await.is_ok_and(|read| read > 0) {}
            std::future::pending::<()>().await;
            drop(peer);
        });
        self.within("drain", handler.drain(DRAIN))?;
        let ended = self.bounded("a live connection", AFTER_DRAIN, serving);
        let how = ended.map_err(|what| format!("drain is over, yet {what}"))?;
        let how = how_it_ended(how)?;
        stays.abort();
        Ok(format!("a connection that stays is ended: {how}"))
    }

    fn dropped(&self, handler: Handler) -> Result<(), String> {
        self.call("dropping the handler", move || drop(handler))
    }

    fn connect(&self, handler: &Handler) -> Result<(Peer, Serving), String> {
        let alpn = self.library.alpns().next().unwrap_or_default().to_vec();
        let (connection, peer) = InMemory::new(&alpn);
        let handler = Arc::clone(handler);
        let auth = connection.auth();
        let handled = self.call("handle", move || handler.handle(Arc::new(connection), auth))?;
        Ok((peer, self.runtime.spawn(handled)))
    }

    /// How a connection ended.
    fn ended(&self, serving: Serving) -> Outcome {
        how_it_ended(self.within("handle", serving)?)
    }

    /// Calls into the plugin, on a thread that may be lost.
    fn call<T: Send + 'static>(
        &self,
        what: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let runtime = self.runtime.handle();
        match self.within(what, runtime.spawn_blocking(body))? {
            Ok(value) => Ok(value),
            Err(error) => Err(format!("{what} panicked: {error}")),
        }
    }

    fn within<F: Future>(&self, what: &str, future: F) -> Result<F::Output, String> {
        self.bounded(what, STEP_TIMEOUT, future)
    }

    fn bounded<F: Future>(
        &self,
        what: &str,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, String> {
        let bounded = async { tokio::time::timeout(limit, future).await };
        let outcome = self.runtime.block_on(bounded);
        outcome.map_err(|_| format!("{what} did not end within {} s", limit.as_secs()))
    }
}

type Serving = JoinHandle<Result<(), HandlerError>>;

fn how_it_ended(handled: Result<Result<(), HandlerError>, JoinError>) -> Outcome {
    match handled {
        Ok(Ok(())) => Ok("ended well".to_owned()),
        Ok(Err(error)) => {
            let text = error.to_string();
            contained(&text)?;
            Ok(format!("ended with {:?}", one_line(&text)))
        }
        Err(error) => Err(format!("handle panicked: {error}")),
    }
}

/// Runs a step. Returns whether it went well.
fn step(name: &str, body: impl FnOnce() -> Outcome) -> bool {
    report(&Report::Begin(name.to_owned()));
    let outcome = body();
    let fine = outcome.is_ok();
    let (Ok(seen) | Err(seen)) = outcome;
    report(&Report::End(Verdict {
        step: name.to_owned(),
        fine,
        seen: one_line(&seen),
    }));
    fine
}

/// An error that tells of a panic: contained, but a fault all the same.
fn contained(message: &str) -> Result<(), String> {
    match message.contains("panicked") {
        true => Err(format!(
            "a panic, which was contained: {}",
            one_line(message)
        )),
        false => Ok(()),
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Bytes that are not a protocol, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}
