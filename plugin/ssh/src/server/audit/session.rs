//! The audit records of one SSH connection and its channels.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alknet_ssh_config::{AuditEvent, AuditVerdict};

use super::Audit;
use crate::server::display::shown;
use crate::server::metrics::{AuthError, ChannelKind, Verdict};
use crate::server::traffic::Traffic;

/// Gives the audit in force: the configuration may change under a session.
pub(crate) trait AuditSource: Send + Sync {
    /// The audit in force, and the handler's generation.
    fn in_force(&self) -> (Arc<Audit>, u64);
}

/// The audit of one SSH connection.
#[derive(Clone)]
pub(crate) struct SessionAudit(Arc<State>);

struct State {
    source: Arc<dyn AuditSource>,
    id: u64,
    peer: Option<SocketAddr>,
    identity: OnceLock<String>,
    channels: AtomicU64,
}

/// A channel that is or was asked for.
pub(crate) struct About<'a> {
    pub(crate) kind: ChannelKind,
    /// The destination, for channels that have one.
    pub(crate) destination: Option<&'a (dyn Fn() -> String + Sync)>,
}

/// An open channel; its end is recorded when this is dropped.
pub(crate) struct ChannelRecord {
    audit: SessionAudit,
    channel: u64,
    kind: ChannelKind,
    traffic: Arc<Traffic>,
}

impl SessionAudit {
    pub(crate) fn new(source: Arc<dyn AuditSource>, id: u64, peer: Option<SocketAddr>) -> Self {
        Self(Arc::new(State {
            source,
            id,
            peer,
            identity: OnceLock::new(),
            channels: AtomicU64::new(0),
        }))
    }

    /// Sets the identity that the connection belongs to, for all records after
    /// this.
    pub(crate) fn identity(&self, id: &str) {
        let _ = self.0.identity.set(id.to_owned());
    }

    pub(crate) fn record(&self, event: impl FnOnce() -> AuditEvent) {
        let State {
            source, id, peer, ..
        } = &*self.0;
        let (audit, generation) = source.in_force();
        if audit.is_on() {
            audit.record(
                generation,
                *id,
                peer.map(|peer| peer.to_string()),
                self.0.identity.get().cloned(),
                event(),
            );
        }
    }

    /// Records an attempt to log in; `refused` is the reason if it failed.
    pub(crate) fn auth(&self, user: &str, key: &str, refused: Option<AuthError>) {
        self.record(|| AuditEvent::Auth {
            user: shown(user),
            key_fingerprint: (!key.is_empty()).then(|| key.to_owned()),
            verdict: match refused {
                None => AuditVerdict::Granted,
                Some(_) => AuditVerdict::Denied,
            },
            reason: refused.map(|refusal| refusal.to_string()),
        });
    }

    /// Records a request within the connection.
    pub(crate) fn request(&self, kind: &str, verdict: Verdict, reason: Option<&dyn Display>) {
        self.record(|| AuditEvent::Request {
            kind: kind.to_owned(),
            verdict: verdict.into(),
            reason: reason.map(ToString::to_string),
        });
    }

    /// Records that a channel was opened.
    pub(crate) fn opened(&self, about: &About<'_>, traffic: Arc<Traffic>) -> ChannelRecord {
        let channel = self.0.channels.fetch_add(1, Ordering::Relaxed) + 1;
        self.channel(channel, about, Verdict::Granted, None);
        ChannelRecord {
            audit: self.clone(),
            channel,
            kind: about.kind,
            traffic,
        }
    }

    /// Records that a channel was not opened.
    pub(crate) fn not_opened(&self, about: &About<'_>, verdict: Verdict, why: &dyn Display) {
        self.channel(0, about, verdict, Some(why));
    }

    fn channel(
        &self,
        channel: u64,
        about: &About<'_>,
        verdict: Verdict,
        reason: Option<&dyn Display>,
    ) {
        let (audit, _) = self.0.source.in_force();
        self.record(|| AuditEvent::ChannelOpened {
            channel,
            kind: about.kind.name().to_owned(),
            verdict: verdict.into(),
            destination: about
                .destination
                .and_then(|destination| audit.destination(destination)),
            reason: reason.map(ToString::to_string),
        });
    }
}

impl Drop for ChannelRecord {
    fn drop(&mut self) {
        self.audit.record(|| AuditEvent::ChannelClosed {
            channel: self.channel,
            kind: self.kind.name().to_owned(),
            bytes_received: self.traffic.bytes_received(),
            bytes_sent: self.traffic.bytes_sent(),
            duration_ms: millis(self.traffic.age()),
        });
    }
}

impl From<Verdict> for AuditVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Granted => Self::Granted,
            Verdict::Denied => Self::Denied,
            Verdict::Failed => Self::Failed,
        }
    }
}

/// A duration in milliseconds, as records give it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
