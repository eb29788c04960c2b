//! The logging bridge. The plugin has its own copy of tracing, of log and of
//! the panic hook: what they get goes to the node's event sink.
//!
//! Targets within the plugin's own crate lose the crate's name on the way, so that
//! `alknet_ssh::auth` is `auth` to the node, which puts the plugin's name in
//! front. A filter directive for `auth` works on both spellings.

use std::cell::Cell;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use alknet_plugin_interface::abi_stable::std_types::RStr;
use alknet_plugin_interface::{EventSinkObject, Level, panic_message};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_log::{LogTracer, NormalizeEvent};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, reload};

/// How the log records of a plugin are named.
#[derive(Clone, Copy, Debug)]
pub struct LogRules {
    /// The crate whose name is left out of targets.
    pub own_crate: &'static str,
    /// Crates that say less than asked for: at most warnings unless a filter names
    /// them, and never what is below `info`.
    pub quiet_crates: &'static [&'static str],
}

impl LogRules {
    /// The rules of a plugin in a crate of that name.
    pub const fn of_crate(own_crate: &'static str) -> Self {
        Self {
            own_crate,
            quiet_crates: &[],
        }
    }
}

/// The rules of this library, and the plugin's name.
static RULES: OnceLock<(&'static str, LogRules)> = OnceLock::new();

static SINK: RwLock<Option<Arc<EventSinkObject>>> = RwLock::new(None);
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

thread_local! {
    /// The generation that this thread works for.
    static GENERATION: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Has the events of this thread name a generation. Two may live in one
/// library, so the sink alone does not tell.
pub(crate) fn work_for(generation: u64) {
    GENERATION.set(Some(generation));
}

/// Sends all events to `sink` from now on. The subscriber and the panic hook
/// are installed at the first call; later calls replace sink and filter.
pub(crate) fn install(
    plugin: &'static str,
    rules: &LogRules,
    sink: EventSinkObject,
    filter: &str,
) -> Result<(), String> {
    RULES.get_or_init(|| (plugin, *rules));
    let targets = parse_filter(filter)?;
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(sink));
    FILTER.get_or_init(|| {
        let (layer, handle) = reload::Layer::new(targets.clone());
        let subscriber = Registry::default().with(SinkLayer.with_filter(layer));
        // Fails only if somebody in this library was first; nobody is.
        let _ = tracing::subscriber::set_global_default(subscriber);
        let _ = LogTracer::init();
        install_panic_hook();
        handle
    });
    apply(targets)
}

/// Changes which events are sent.
pub(crate) fn set_filter(filter: &str) -> Result<(), String> {
    apply(parse_filter(filter)?)
}

fn apply(targets: Targets) -> Result<(), String> {
    // Records of the `log` crate are dropped as cheaply as tracing's.
    let most = targets.iter().map(|(_, level)| level).max();
    let most = most
        .max(targets.default_level())
        .unwrap_or(LevelFilter::OFF);
    tracing_log::log::set_max_level(tracing_log::AsLog::as_log(&most));
    match FILTER.get() {
        Some(handle) => handle
            .reload(targets)
            .map_err(|error| format!("cannot change the log filter: {error}")),
        None => Ok(()),
    }
}

fn parse_filter(filter: &str) -> Result<Targets, String> {
    let given =
        Targets::from_str(filter).map_err(|error| format!("log filter {filter:?}: {error}"))?;
    let Some((plugin, rules)) = RULES.get() else {
        return Ok(given);
    };
    Ok(by_rules(plugin, rules, given))
}

fn by_rules(plugin: &str, rules: &LogRules, given: Targets) -> Targets {
    let own = rules.own_crate;
    let of_own = given.iter().map(|(target, level)| match target {
        target if target == plugin => (own.to_owned(), level),
        target => (format!("{own}::{target}"), level),
    });
    let mut filter = given.clone().with_targets(of_own);
    for quiet in rules.quiet_crates {
        let named: Vec<_> = given
            .iter()
            .filter(|(target, _)| target.starts_with(quiet))
            .map(|(target, level)| (target, level.min(LevelFilter::INFO)))
            .collect();
        if named.is_empty() {
            let most = given.default_level().unwrap_or(LevelFilter::OFF);
            filter = filter.with_target(*quiet, most.min(LevelFilter::WARN));
        }
        filter = filter.with_targets(named);
    }
    filter
}

/// The number of panics so far, in all handlers of this library.
pub(crate) fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

static PANICS: AtomicU64 = AtomicU64::new(0);

fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        let place = info.location().map(ToString::to_string);
        let mut fields = Map::new();
        fields.insert("location".into(), place.unwrap_or_default().into());
        let thread = std::thread::current().name().unwrap_or("?").to_owned();
        fields.insert("thread".into(), thread.into());
        let message = format!("panic: {}", panic_message(info.payload()));
        send(Level::Error, "panic", &message, fields);
    }));
}

/// The longest text of a record, in bytes. A part of it may be a peer's choice.
const LONGEST_TEXT: usize = 4096;

fn cut(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push('…');
    }
}

fn send(level: Level, target: &str, message: &str, mut fields: Map<String, Value>) {
    let mut message = message.to_owned();
    cut(&mut message);
    for value in fields.values_mut() {
        if let Value::String(text) = value {
            cut(text);
        }
    }
    if let Some(generation) = GENERATION.get() {
        fields.insert("generation".into(), generation.into());
    }
    let sink = SINK.read().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(sink) = sink {
        let fields = if fields.is_empty() {
            "{}".to_owned()
        } else {
            Value::Object(fields).to_string()
        };
        sink.log(
            level,
            RStr::from_str(target),
            RStr::from_str(&message),
            RStr::from_str(&fields),
        );
    }
}

/// Sends every event, with the fields of the spans around it.
struct SinkLayer;

impl<S> Layer<S> for SinkLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(of_span) = span.extensions().get::<Fields>() {
                    fields.map.extend(of_span.map.clone());
                }
            }
        }
        event.record(&mut fields);
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        fields.map.retain(|name, _| !name.starts_with("log."));
        send(
            level(metadata),
            short_target(metadata.target()),
            &fields.message,
            fields.map,
        );
    }
}

fn level(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

fn short_target(target: &str) -> &str {
    let Some((plugin, rules)) = RULES.get() else {
        return target;
    };
    match target.strip_prefix(rules.own_crate) {
        Some("") => plugin,
        Some(rest) => rest.strip_prefix("::").unwrap_or(target),
        None => target,
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    map: Map<String, Value>,
}

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        self.map.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.insert(field, value.into());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.insert(field, text.into());
        }
    }
}
