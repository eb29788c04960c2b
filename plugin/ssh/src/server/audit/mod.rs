//! The audit stream: who did what, as lines of JSON in a file of its own.
//!
//! Sessions only put records into a bounded queue; a thread writes them. A
//! full or slow disk costs records and holds nobody up. What is lost is counted,
//! and noted in the file, with the span of time, as soon as that takes it.

mod destination;
mod file;
mod losses;
mod session;
mod stream;
mod time;

use std::path::PathBuf;
use std::sync::Arc;

use alknet_handler::{Capabilities, ConfigError};
use alknet_ssh_config::{Audit as Config, AuditEvent, AuditRecord};

use self::destination::Masking;
pub(crate) use self::session::{About, AuditSource, ChannelRecord, SessionAudit, millis};
use self::stream::Stream;
use super::metrics::Metrics;

/// The audit of one configuration: the file of its records, and how much they
/// say.
pub(crate) struct Audit {
    config: Config,
    stream: Option<Arc<Stream>>,
    masking: Masking,
}

impl Audit {
    /// The audit as configured. Goes on with the file of `before` where that is
    /// the same.
    ///
    /// # Errors
    /// When the file cannot be opened, or the key of the hashes was not granted.
    pub(super) fn new(
        config: &Config,
        before: Option<&Self>,
        capabilities: &Capabilities,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ConfigError> {
        let masking = Masking::new(config, capabilities)?;
        let same = before.filter(|before| before.config.file == config.file);
        let stream = match (&config.file, same) {
            (None, _) => None,
            (Some(_), Some(before)) => before.stream.clone(),
            (Some(file), None) => Some(Arc::new(
                Stream::open(PathBuf::from(file), Arc::clone(metrics)).map_err(|error| {
                    ConfigError {
                        pointer: "/audit/file".to_owned(),
                        message: error.to_string(),
                    }
                })?,
            )),
        };
        Ok(Self {
            config: config.clone(),
            stream,
            masking,
        })
    }

    /// Whether anything is recorded.
    pub(super) fn is_on(&self) -> bool {
        self.stream.is_some()
    }

    /// Waits, not for long, until what was recorded has been written.
    pub(super) fn flush(&self) {
        if let Some(stream) = &self.stream {
            stream.flush();
        }
    }

    /// The destination of a forward, as far as it may be recorded.
    pub(super) fn destination(&self, clear: &dyn Fn() -> String) -> Option<String> {
        self.stream.as_ref()?;
        self.masking.mask(clear)
    }

    /// Records an event, of one session or of none.
    pub(super) fn record(
        &self,
        generation: u64,
        session: u64,
        remote_addr: Option<String>,
        identity: Option<String>,
        event: AuditEvent,
    ) {
        let Some(stream) = &self.stream else { return };
        stream.put(&AuditRecord {
            time: time::now(),
            generation,
            session,
            remote_addr,
            identity,
            event,
        });
    }
}
