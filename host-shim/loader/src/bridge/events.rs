//! Re-emits a plugin's log records as events of the node, under the target
//! `plugin::<name>::<target>` and with their own field names, so that filters
//! and the JSON format treat them like the node's own.
//!
//! tracing wants a static callsite for each event. Here one is made for every
//! distinct level, target and set of field names, and kept for good; their
//! number is bounded, since a plugin's are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use alknet_plugin_interface::abi_stable::std_types::RStr;
use alknet_plugin_interface::{EventSink, Level, guard};
use alknet_text::visible;
use serde_json::{Map, Value};
use tracing::callsite::Callsite;
use tracing::field::{FieldSet, Value as FieldValue};
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata};

/// The most callsites that are made: more than any well-behaved set of plugins
/// needs.
const MAX_CALLSITES: usize = 2048;
/// The most fields of one event, which is tracing's own limit.
const MAX_FIELDS: usize = 31;

/// The sink of one plugin's events.
pub(super) struct NodeEvents {
    plugin: String,
    /// The handler's generation, added to each event that does not name one.
    generation: u64,
    /// The number of the node's configuration that the handler has at the time,
    /// added likewise.
    config: Arc<AtomicU64>,
}

impl NodeEvents {
    pub(super) fn new(plugin: &str, generation: u64, config: Arc<AtomicU64>) -> Self {
        Self {
            plugin: plugin.to_owned(),
            generation,
            config,
        }
    }
}

impl EventSink for NodeEvents {
    fn log(&self, level: Level, target: RStr<'_>, message: RStr<'_>, fields: RStr<'_>) {
        guard(
            || {
                let mut fields = match serde_json::from_str(fields.as_str()) {
                    Ok(Value::Object(fields)) => fields,
                    _ => Map::new(),
                };
                fields
                    .entry("generation")
                    .or_insert_with(|| self.generation.into());
                fields
                    .entry("config")
                    .or_insert_with(|| self.config.load(Ordering::Relaxed).into());
                emit(
                    &self.plugin,
                    level,
                    target.as_str(),
                    message.as_str(),
                    fields,
                );
            },
            |_| (),
        );
    }

    /// Ignores the event: this node collects no others than log records.
    fn event(&self, _kind: RStr<'_>, _json: RStr<'_>) {}
}

fn emit(plugin: &str, level: Level, target: &str, message: &str, fields: Map<String, Value>) {
    let target = format!("plugin::{plugin}::{target}");
    let message = visible(message);
    let message: &str = &message;
    let names: Vec<&str> = fields
        .keys()
        .map(|name| own_name(name))
        .take(MAX_FIELDS)
        .collect();
    let metadata = metadata(level, &target, &names);
    tracing::dispatcher::get_default(|dispatch| {
        if !dispatch.enabled(metadata) {
            return;
        }
        let mut values: Vec<Option<&dyn FieldValue>> = Vec::with_capacity(fields.len() + 1);
        values.push(Some(&message));
        let shown: Vec<Shown<'_>> = fields.values().take(MAX_FIELDS).map(Shown::new).collect();
        values.extend(shown.iter().map(|value| Some(value.as_field())));
        // The fallback callsite has no fields of its own beyond the message.
        values.truncate(metadata.fields().len());
        let values = metadata.fields().value_set_all(&values);
        dispatch.event(&Event::new(metadata, &values));
    });
}

/// A field's name, changed where every log line has a field of that name.
fn own_name(name: &str) -> &str {
    match name {
        "message" => "field_message",
        "level" => "field_level",
        "target" => "field_target",
        "timestamp" => "field_timestamp",
        name => name,
    }
}

/// A JSON value as a field: strings, numbers and booleans keep their type.
enum Shown<'a> {
    Text(&'a str),
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Other(String),
}

impl<'a> Shown<'a> {
    fn new(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => number
                .as_u64()
                .map(Self::Unsigned)
                .or_else(|| number.as_i64().map(Self::Signed))
                .or_else(|| number.as_f64().map(Self::Float))
                .unwrap_or_else(|| Self::Other(number.to_string())),
            other => Self::Other(other.to_string()),
        }
    }

    fn as_field(&self) -> &dyn FieldValue {
        match self {
            Self::Text(text) => text,
            Self::Bool(flag) => flag,
            Self::Unsigned(number) => number,
            Self::Signed(number) => number,
            Self::Float(number) => number,
            Self::Other(text) => text,
        }
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    level: tracing::Level,
    target: String,
    names: Vec<String>,
}

struct PluginCallsite {
    metadata: OnceLock<Metadata<'static>>,
}

static FALLBACK: PluginCallsite = PluginCallsite {
    metadata: OnceLock::new(),
};

impl Callsite for PluginCallsite {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.known()
    }
}

impl PluginCallsite {
    /// The callsite's metadata, or those of the fallback, which are made here.
    fn known(&self) -> &Metadata<'static> {
        self.metadata.get().unwrap_or_else(|| {
            FALLBACK
                .metadata
                .get_or_init(|| build(&FALLBACK, tracing::Level::WARN, "plugin", &["message"]))
        })
    }
}

fn metadata(level: Level, target: &str, names: &[&str]) -> &'static Metadata<'static> {
    static KNOWN: OnceLock<Mutex<HashMap<Key, &'static PluginCallsite>>> = OnceLock::new();
    let level = match level {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
        Level::Trace => tracing::Level::TRACE,
    };
    let key = Key {
        level,
        target: target.to_owned(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
    };
    let mut known = KNOWN
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(callsite) = known.get(&key) {
        return callsite.known();
    }
    if known.len() >= MAX_CALLSITES {
        return FALLBACK.known();
    }
    let callsite: &'static PluginCallsite = Box::leak(Box::new(PluginCallsite {
        metadata: OnceLock::new(),
    }));
    let fields: Vec<&'static str> = std::iter::once("message")
        .chain(names.iter().map(|&name| leak(name)))
        .collect();
    let target = leak(target);
    callsite.metadata.get_or_init(|| {
        build(
            callsite,
            level,
            target,
            Box::leak(fields.into_boxed_slice()),
        )
    });
    known.insert(key, callsite);
    drop(known);
    tracing::callsite::register(callsite);
    callsite.known()
}

fn build(
    callsite: &'static PluginCallsite,
    level: tracing::Level,
    target: &'static str,
    fields: &'static [&'static str],
) -> Metadata<'static> {
    Metadata::new(
        "plugin event",
        target,
        level,
        None,
        None,
        None,
        FieldSet::new(fields, tracing::callsite::Identifier(callsite)),
        Kind::EVENT,
    )
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}
