//! The node's logs: to standard error, for people or as JSON lines. Nobody who
//! logs waits for whoever reads them.

mod queue;

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use alknet_text::{visible, visible_coloured, visible_json};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::{Layer, Registry};

use crate::config::log_filter::parse_filter;
use crate::config::{LogConfig, LogFormat};
use crate::metrics::counters::{self, Origin};

use self::queue::{Gap, Queue};

/// Records on their way to standard error, once [`install`] was called.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// The time that the end of the process waits for records not written yet.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The filter of this process's events, once [`install`] has put one in force.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Sends this process's events to standard error. Only the first call of a
/// process has an effect.
pub(crate) fn install(config: &LogConfig) {
    // The filter was checked with the rest of the configuration.
    let targets = parse_filter(&config.filter).unwrap_or_default();
    let (targets, handle) = reload::Layer::new(targets);
    let form = match config.format {
        LogFormat::Human if io::stderr().is_terminal() => Form::Coloured,
        LogFormat::Human => Form::Plain,
        LogFormat::Json => Form::Json,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(move || RecordWriter(form));
    let layer = match config.format {
        LogFormat::Human => layer
            .with_ansi(form == Form::Coloured)
            .with_filter(targets)
            .boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_filter(targets)
            .boxed(),
    };
    let subscriber = Registry::default().with(layer).with(PanicCount.with_filter(
        // Every panic is logged as an error, by the hook of its side.
        LevelFilter::ERROR,
    ));
    // An embedding program may have installed its own; that one counts.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let _ = FILTER.set(handle);
        // Without a thread for it each record is written where it is made.
        if let Ok(queue) = Queue::start(
            rustix::stdio::stderr(),
            gap_record,
            counters::log_record_dropped,
        ) {
            let _ = QUEUE.set(queue);
        }
    }
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        let message = info.payload_as_str().unwrap_or("without a message");
        tracing::error!(target: "panic", location = place.as_deref(), "panic: {message}");
    }));
}

/// Waits until the records so far are written, a bounded time.
pub(crate) fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_TIMEOUT);
    }
}

/// Flushes when it is dropped.
pub(crate) struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        flush();
    }
}

/// The form of records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// Lines for people with colours, for a terminal.
    Coloured,
    Json,
}

impl Form {
    /// The record on one line, whatever others wrote in it.
    fn line(self, record: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(record);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let visible = match self {
            Self::Plain => visible(text),
            Self::Coloured => visible_coloured(text),
            Self::Json => visible_json(text),
        };
        let mut line = visible.into_owned().into_bytes();
        line.push(b'\n');
        line
    }
}

/// The writer that the formatter gives each record to, in one piece.
struct RecordWriter(Form);

thread_local! {
    /// The records of this thread, where they do not go to the queue: for the
    /// thread that empties the queue.
    static CAPTURED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

impl Write for RecordWriter {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let line = self.0.line(record);
        let captured = CAPTURED.with_borrow_mut(|captured| match captured {
            Some(captured) => {
                captured.extend_from_slice(&line);
                true
            }
            None => false,
        });
        match QUEUE.get() {
            _ if captured => {}
            Some(queue) => queue.put(&line),
            None => io::stderr()
                .write_all(&line)
                .inspect_err(|_| counters::log_record_dropped())?,
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The record that stands for those that are missing.
fn gap_record(gap: Gap) -> Vec<u8> {
    CAPTURED.set(Some(Vec::new()));
    tracing::error!(
        dropped = gap.count,
        seconds = gap.since.elapsed().as_secs(),
        "log records were dropped: standard error did not take them"
    );
    CAPTURED.take().unwrap_or_default()
}

/// Counts panics, whose records come from the hook of the node or of a plugin.
struct PanicCount;

impl<S: Subscriber> Layer<S> for PanicCount {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        if target == "panic" {
            counters::panic(Origin::Node);
        } else if target.starts_with("plugin::") && target.ends_with("::panic") {
            counters::panic(Origin::Plugin);
        }
    }
}

/// Puts another filter in force for this process's events. Without effect
/// where an embedding program has its own subscriber.
pub(crate) fn set_filter(targets: &Targets) {
    if let Some(filter) = FILTER.get() {
        // It fails only when the subscriber is gone.
        let _ = filter.reload(targets.clone());
    }
}
