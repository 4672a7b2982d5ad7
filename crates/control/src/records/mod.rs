//! Writing records down, away from the workers.

mod access_line;
mod json;
mod socket;
mod text;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use access_line::{Access, Asked};
use towpath_config::{LogFormat, RecordFormat};
use towpath_engine::{Record, RecordSink, RecordSource};

/// Bytes of records that are written at a time.
const BATCH_BYTES: usize = 64 * 1024;

/// At the end, a reader that has stopped holds the process up for no longer than this.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// How often trouble with the log is told.
const WARN_GAP: Duration = Duration::from_secs(60);

/// The thread that writes records to the standard output.
#[derive(Debug)]
pub(crate) struct Recorder {
    sink: RecordSink,
    thread: JoinHandle<()>,
}

impl Recorder {
    /// # Errors
    /// When the thread cannot be made.
    pub(crate) fn start(format: LogFormat) -> io::Result<Self> {
        let (hand_over, source) = std::sync::mpsc::sync_channel::<RecordSource>(1);
        let thread = thread::Builder::new().name("records".to_owned()).spawn(move || {
            if let Ok(source) = source.recv() {
                write_all(&source, format, &mut io::stdout().lock());
            }
        })?;
        let (sink, source) = RecordSink::new(thread.thread().clone());
        hand_over.send(source).map_err(|_| io::Error::other("the records thread did not start"))?;
        Ok(Self { sink, thread })
    }

    pub(crate) fn sink(&self) -> RecordSink {
        self.sink.clone()
    }

    /// Writes what waits, as far as the output takes it in time.
    pub(crate) fn finish(self) {
        self.sink.close();
        let late = Instant::now() + LAST_WRITES;
        while !self.thread.is_finished() && Instant::now() < late {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn write_all(source: &RecordSource, format: LogFormat, output: &mut impl Write) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    let (mut text, mut lines) = (text::Writer::default(), access_line::Writer::default());
    let mut lost = 0;
    let mut warned: Option<Instant> = None;
    loop {
        let mut waiting = 0;
        let more = source.wait(|record| {
            waiting += 1;
            match (access_format(&record), format) {
                (Some((access, true)), _) => lines.combined(&access, &mut batch),
                (Some((access, false)), _) => lines.common(&access, &mut batch),
                (None, LogFormat::Text) => text.write(&record, &mut batch),
                (None, LogFormat::Json) => json::write(&record, &mut batch),
            }
            if batch.len() >= BATCH_BYTES {
                lost += flush(&mut batch, &mut waiting, output);
            }
        });
        lost += flush(&mut batch, &mut waiting, output) + source.take_dropped();
        if lost > 0 && (!more || warned.is_none_or(|last| last.elapsed() >= WARN_GAP)) {
            tracing::warn!("{lost} records could not be written; is the disk full or the reader stopped?");
            warned = Some(Instant::now());
            lost = 0;
        }
        if !more {
            return;
        }
    }
}

/// A record as an access log has it, and whether in its longer form, where the listener wants that.
fn access_format(record: &Record) -> Option<(Access<'_>, bool)> {
    let is_combined = match record.listener.http.as_ref()?.record_format {
        RecordFormat::Own => return None,
        RecordFormat::Common => false,
        RecordFormat::Combined => true,
    };
    let request = record.request.as_deref();
    let access = Access {
        client: record.client.map(|client| client.ip().to_canonical()),
        user: record.user.as_deref(),
        time: record.start,
        asked: request.map(|request| Asked {
            method: &request.method,
            target: &request.path,
            version: request.version,
        }),
        status: request.and_then(|request| request.status),
        bytes: record.down_bytes,
        referrer: request.and_then(|request| Some(request.referrer.as_ref()?.as_bytes())),
        agent: request.and_then(|request| Some(request.agent.as_ref()?.as_bytes())),
    };
    Some((access, is_combined))
}

/// Writes the batch; on an error the records in it are lost, and counted, and the next batch is tried again.
fn flush(batch: &mut Vec<u8>, waiting: &mut u64, output: &mut impl Write) -> u64 {
    let result = output.write_all(batch).and_then(|()| output.flush());
    batch.clear();
    let records = std::mem::take(waiting);
    if result.is_err() { records } else { 0 }
}

/// The client's address as it is known elsewhere: a v4 client of a dual-stack socket is a v4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
