use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use alknet_ssh_config::{AuditEvent, AuditRecord};

use super::file::{AuditFile, AuditFileError};
use super::now;
use crate::metrics::{AuditOutcome, Metrics};

/// Records that may wait to be written; what comes beyond is dropped.
const QUEUE: usize = 8192;
/// Records written at once.
const BATCH: usize = 256;
/// The least time between two complaints about the file.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(60);
/// How long the end of a handler waits for the last records.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The way of records into their file. Its thread ends with it, once all that
/// was put in has been written.
pub(super) struct Stream {
    queue: SyncSender<Item>,
    /// Records dropped since the file was last told.
    dropped: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl Stream {
    pub(super) fn open(path: PathBuf, metrics: Arc<Metrics>) -> Result<Self, AuditFileError> {
        let file = AuditFile::open(path.clone())?;
        let (queue, records) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            file,
            dropped: Arc::clone(&dropped),
            metrics: Arc::clone(&metrics),
            complained: None,
        };
        let thread = std::thread::Builder::new().name("ssh-audit".to_owned());
        thread
            .spawn(move || writer.run(&records))
            .map_err(|source: io::Error| AuditFileError::Open { path, source })?;
        Ok(Self {
            queue,
            dropped,
            metrics,
        })
    }

    /// Never waits.
    pub(super) fn put(&self, record: &AuditRecord) {
        let put = line(record).and_then(|line| self.queue.try_send(Item::Line(line)).ok());
        if put.is_none() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.metrics.audit(AuditOutcome::Dropped, 1);
        }
    }

    /// Waits, not for long, until all that was put in has been written.
    pub(super) fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        // A queue that is full is with a disk that takes nothing.
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(LAST_WORDS);
        }
    }
}

enum Item {
    Line(String),
    /// Everything before this is to have been written.
    Flush(SyncSender<()>),
}

struct Writer {
    file: AuditFile,
    dropped: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    complained: Option<Instant>,
}

impl Writer {
    fn run(&mut self, items: &Receiver<Item>) {
        while let Ok(first) = items.recv() {
            let mut batch = self.gap().unwrap_or_default();
            let mut count = 0;
            let mut waiting = Vec::new();
            let mut next = Some(first);
            while let Some(item) = next {
                match item {
                    Item::Line(line) => {
                        batch.push_str(&line);
                        count += 1;
                    }
                    Item::Flush(done) => waiting.push(done),
                }
                next = (count < BATCH).then(|| items.try_recv().ok()).flatten();
            }
            self.write(&batch, count as u64);
            for done in waiting {
                let _ = done.try_send(());
            }
        }
    }

    fn write(&mut self, batch: &str, count: u64) {
        if batch.is_empty() {
            return;
        }
        match self.file.append(batch.as_bytes()) {
            Ok(()) => self.metrics.audit(AuditOutcome::Written, count),
            Err(error) => {
                self.metrics.audit(AuditOutcome::Failed, count);
                self.complain(&error);
            }
        }
    }

    /// A record of those that were dropped.
    fn gap(&self) -> Option<String> {
        let count = self.dropped.swap(0, Ordering::Relaxed);
        if count == 0 {
            return None;
        }
        line(&AuditRecord {
            time: now(),
            generation: 0,
            session: 0,
            remote_addr: None,
            identity: None,
            event: AuditEvent::Dropped { count },
        })
    }

    fn complain(&mut self, error: &AuditFileError) {
        let recently = self
            .complained
            .is_some_and(|last| last.elapsed() < BETWEEN_COMPLAINTS);
        if !recently {
            self.complained = Some(Instant::now());
            tracing::error!(target: "alknet_ssh::audit", reason = %error, "audit records are lost");
        }
    }
}

fn line(record: &AuditRecord) -> Option<String> {
    let mut line = serde_json::to_string(record).ok()?;
    line.push('\n');
    Some(line)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn record() -> AuditRecord {
        AuditRecord {
            time: now(),
            generation: 7,
            session: 1,
            remote_addr: Some("192.0.2.1:22".to_owned()),
            identity: None,
            event: AuditEvent::SessionOpened,
        }
    }

    #[test]
    fn records_are_written_in_order_one_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let metrics = Arc::new(Metrics::default());
        let stream = Stream::open(path.clone(), metrics).unwrap();
        for session in 0..1000 {
            stream.put(&AuditRecord {
                session,
                ..record()
            });
        }
        stream.flush();
        let text = fs::read_to_string(&path).unwrap();
        let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
        assert!(
            records
                .map(|record: AuditRecord| record.session)
                .eq(0..1000)
        );
    }

    #[test]
    fn a_disk_that_is_full_costs_records_and_no_time() {
        let metrics = Arc::new(Metrics::default());
        let mut writer = Writer {
            file: AuditFile::full(),
            dropped: Arc::new(AtomicU64::new(3)),
            metrics: Arc::clone(&metrics),
            complained: None,
        };
        let (queue, records) = sync_channel(10);
        let line = Item::Line(line(&record()).unwrap());
        queue.try_send(line).unwrap();
        drop(queue);
        writer.run(&records);
        let told = metrics.to_json().to_string();
        assert!(
            told.contains(r#"{"labels":{"result":"failed"},"value":1}"#),
            "{told}"
        );
    }
}
