//! The queue of audit records and the thread that writes them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use alknet_ssh_config::AuditRecord;
use alknet_text::visible_json;

use super::file::{AuditFile, AuditFileError};
use super::losses::Losses;
use crate::server::metrics::{AuditOutcome, Metrics};

/// The most records that may wait to be written; further ones are dropped.
const QUEUE: usize = 8192;
/// The most records that are written at once.
const BATCH: usize = 256;
/// The least time between two complaints about the file.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(60);
/// The time for which the end of a handler waits for the last records.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The pause between two tries to note a loss.
const NOTE_RETRY: Duration = Duration::from_secs(1);
/// The time for which a handler that has ended goes on trying to note a loss.
const NOTE_TIMEOUT: Duration = Duration::from_secs(600);

/// The way of records into their file. Its thread ends with it, once all that
/// was put in has been written.
pub(super) struct Stream {
    queue: SyncSender<Item>,
    losses: Arc<Losses>,
    metrics: Arc<Metrics>,
}

impl Stream {
    pub(super) fn open(path: PathBuf, metrics: Arc<Metrics>) -> Result<Self, AuditFileError> {
        let file = AuditFile::open(path.clone())?;
        let (queue, records) = sync_channel(QUEUE);
        let losses = Arc::new(Losses::default());
        let mut writer = Writer {
            file,
            losses: Arc::clone(&losses),
            metrics: Arc::clone(&metrics),
            complained: None,
        };
        let thread = std::thread::Builder::new().name("ssh-audit".to_owned());
        thread
            .spawn(move || writer.run(&records))
            .map_err(|source: io::Error| AuditFileError::Open { path, source })?;
        Ok(Self {
            queue,
            losses,
            metrics,
        })
    }

    /// Puts a record into the queue; never waits.
    pub(super) fn put(&self, record: &AuditRecord) {
        let put = line(record).and_then(|line| self.queue.try_send(Item::Line(line)).ok());
        if put.is_none() {
            self.losses.add(1);
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
    /// Asks for an answer once everything before it has been written.
    Flush(SyncSender<()>),
}

struct Writer {
    file: AuditFile,
    losses: Arc<Losses>,
    metrics: Arc<Metrics>,
    complained: Option<Instant>,
}

impl Writer {
    fn run(&mut self, items: &Receiver<Item>) {
        while let Some(first) = self.next(items) {
            let mut batch = Vec::new();
            let mut waiting = Vec::new();
            let mut next = Some(first);
            while let Some(item) = next {
                match item {
                    Item::Line(line) => batch.push(line),
                    Item::Flush(done) => waiting.push(done),
                }
                next = (batch.len() < BATCH)
                    .then(|| items.try_recv().ok())
                    .flatten();
            }
            self.write(&batch);
            for done in waiting {
                let _ = done.try_send(());
            }
        }
        self.end();
    }

    /// The next item. While there is a loss to note, its end is not waited for.
    fn next(&mut self, items: &Receiver<Item>) -> Option<Item> {
        loop {
            if self.losses.is_empty() {
                return items.recv().ok();
            }
            match items.recv_timeout(NOTE_RETRY) {
                Ok(item) => return Some(item),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.write(&[]),
            }
        }
    }

    /// Notes a last loss when nobody puts records in any more.
    fn end(&mut self) {
        let until = Instant::now() + NOTE_TIMEOUT;
        loop {
            self.write(&[]);
            let Some(loss) = self.losses.take() else {
                return;
            };
            if Instant::now() >= until {
                tracing::error!(
                    target: "alknet_ssh::audit",
                    count = loss.count,
                    "audit records were lost, and the file takes no record of that"
                );
                return;
            }
            self.losses.put_back(loss);
            std::thread::sleep(NOTE_RETRY);
        }
    }

    /// Writes lines, after a record of those that are missing before them.
    fn write(&mut self, batch: &[String]) {
        let loss = self.losses.take();
        let note = loss.and_then(|loss| line(&loss.record()));
        let text: String = note.iter().chain(batch).map(String::as_str).collect();
        if text.is_empty() {
            return;
        }
        let outcome = self.file.append(text.as_bytes());
        let noted = usize::from(note.is_some());
        let written = match &outcome {
            Ok(()) => noted + batch.len(),
            Err(error) => error.written,
        };
        if let Some(loss) = loss.filter(|_| written < noted) {
            self.losses.put_back(loss);
        }
        let (written, all) = (written.saturating_sub(noted) as u64, batch.len() as u64);
        if written > 0 {
            self.metrics.audit(AuditOutcome::Written, written);
        }
        if let Err(error) = outcome {
            if written < all {
                self.losses.add(all - written);
                self.metrics.audit(AuditOutcome::Failed, all - written);
            }
            self.complain(&error.error);
        }
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
    let line = serde_json::to_string(record).ok()?;
    let mut line = visible_json(&line).into_owned();
    line.push('\n');
    Some(line)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use alknet_ssh_config::AuditEvent;

    use super::*;
    use crate::server::audit::time::now;

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
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
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

    fn writer(file: AuditFile) -> (Writer, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        let writer = Writer {
            file,
            losses: Arc::default(),
            metrics: Arc::clone(&metrics),
            complained: None,
        };
        (writer, metrics)
    }

    #[test]
    fn a_disk_that_is_full_costs_records_and_no_time() {
        let (mut writer, metrics) = writer(AuditFile::full());
        writer.losses.add(3);
        writer.write(&[line(&record()).unwrap()]);
        let told = metrics.to_json().to_string();
        assert!(
            told.contains(r#"{"labels":{"result":"failed"},"value":1}"#),
            "{told}"
        );
        let loss = writer.losses.take().unwrap();
        assert_eq!(loss.count, 4, "those before, and the one that failed");
    }

    #[test]
    fn a_loss_is_noted_without_a_record_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let (mut writer, _) = writer(AuditFile::open(path.clone()).unwrap());
        writer.losses.add(117);
        let (queue, items) = sync_channel::<Item>(1);
        drop(queue);
        writer.run(&items);
        let text = fs::read_to_string(path).unwrap();
        let noted: AuditRecord = serde_json::from_str(&text).unwrap();
        assert!(
            matches!(noted.event, AuditEvent::Dropped { count: 117, .. }),
            "{text}"
        );
    }
}
