//! What is left of a connection, and its way to whoever writes it down, which never makes a worker wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Thread};
use std::time::{Duration, SystemTime};

use towpath_config::{Listener, Pool};
pub use towpath_sys::segments::SocketFacts;

use crate::error::Reason;
use crate::pool::Backend;

/// Records that may wait to be written; more are dropped and counted.
const WAITING_RECORDS: usize = 16_384;

/// How long a woken writer lets records gather, so that one wake-up serves many.
const GATHER: Duration = Duration::from_millis(20);

/// The part of a connection's way in which it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// While it said who it is.
    Identify,
    /// At the rules of who may come in.
    Admit,
    /// While it said where it wants to go.
    Ask,
    /// At the rules of where it may go.
    Route,
    /// On the way to a server.
    Connect,
    /// While its request was answered.
    Answer,
    /// While bytes were carried.
    Relay,
}

impl Stage {
    /// The word for it in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Admit => "admit",
            Self::Ask => "ask",
            Self::Route => "route",
            Self::Connect => "connect",
            Self::Answer => "answer",
            Self::Relay => "relay",
        }
    }
}

/// What is left of a connection when it has ended: exactly one of these.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// The client's address; a unix client has none.
    pub client: Option<SocketAddr>,
    /// The unique id that came or went in a PROXY header.
    pub unique_id: Option<String>,
    /// Where a client of a proxy wants to go.
    pub wanted: Option<String>,
    /// The user that a client of a proxy is.
    pub user: Option<Arc<str>>,
    /// The server that was tried last.
    pub backend: Option<Picked>,
    /// When it was accepted.
    pub start: SystemTime,
    /// From accept to end.
    pub duration: Duration,
    /// What connecting took, all attempts together; `None` if none succeeded.
    pub connect_time: Option<Duration>,
    /// What was asked and answered, if it is a request of HTTP.
    pub request: Option<Box<Exchanged>>,
    /// What the kernel has made of the client's socket, if anything was asked of it.
    pub client_socket: Option<Arc<SocketFacts>>,
    /// The same of the server's, or that of the first proxy on the way.
    pub server_socket: Option<Arc<SocketFacts>>,
    /// Bytes from client to server.
    pub up_bytes: u64,
    /// Bytes from server to client.
    pub down_bytes: u64,
    /// Where it ended.
    pub stage: Stage,
    /// Why it ended.
    pub reason: Reason,
}

/// A request of HTTP and its answer.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// The method.
    pub method: String,
    /// The host that it is for, with its port if it was told.
    pub host: String,
    /// The path and the query, as the client wrote them.
    pub path: String,
    /// `HTTP/1.1` and so on.
    pub version: &'static str,
    /// The page that led to it, as the client says.
    pub referrer: Option<String>,
    /// The program that asks, as it says.
    pub agent: Option<String>,
    /// The status of the answer; `None` if there was none.
    pub status: Option<u16>,
    /// Backends that were asked.
    pub attempts: u32,
    /// From the head of the request to that of the answer.
    pub first_byte: Option<Duration>,
}

/// The server of a connection.
#[derive(Clone, Debug)]
pub struct Picked {
    /// The pool.
    pub pool: Arc<Pool>,
    /// Which of its backends.
    pub backend: Arc<Backend>,
    /// The address that was connected to; a unix socket has none.
    pub address: Option<SocketAddr>,
}

/// Where workers put records.
#[derive(Clone, Debug)]
pub struct RecordSink {
    queue: SyncSender<Record>,
    shared: Arc<Shared>,
}

/// Where the one writer takes them from.
#[derive(Debug)]
pub struct RecordSource {
    queue: Receiver<Record>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    asleep: AtomicBool,
    closed: AtomicBool,
    dropped: AtomicU64,
    writer: Thread,
}

impl RecordSink {
    /// A queue of records whose source the thread `writer` reads.
    pub fn new(writer: Thread) -> (Self, RecordSource) {
        let (sender, receiver) = sync_channel(WAITING_RECORDS);
        let shared = Arc::new(Shared {
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            writer,
        });
        (Self { queue: sender, shared: shared.clone() }, RecordSource { queue: receiver, shared })
    }

    /// Queues a record, or counts it as dropped when the writer is too slow (a full disk, a stopped terminal).
    pub(crate) fn send(&self, record: Record) {
        if self.queue.try_send(record).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if self.shared.asleep.load(Ordering::SeqCst) && self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.shared.writer.unpark();
        }
    }

    /// Says that no more records come; the writer writes those that wait and ends.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.writer.unpark();
    }
}

impl RecordSource {
    /// Waits for records and hands over those that have gathered; false when the sink was closed and none is left.
    pub fn wait(&self, mut write: impl FnMut(Record)) -> bool {
        while !self.hand_over(&mut write) {
            if self.shared.closed.load(Ordering::SeqCst) {
                return self.hand_over(&mut write);
            }
            self.shared.asleep.store(true, Ordering::SeqCst);
            if self.hand_over(&mut write) {
                break; // it came before a sink could know that we sleep
            }
            thread::park();
            if !self.shared.closed.load(Ordering::SeqCst) {
                thread::sleep(GATHER);
            }
        }
        true
    }

    /// Records dropped since this was last asked.
    pub fn take_dropped(&self) -> u64 {
        self.shared.dropped.swap(0, Ordering::Relaxed)
    }

    fn hand_over(&self, write: &mut impl FnMut(Record)) -> bool {
        let mut count = 0;
        for record in self.queue.try_iter().take(WAITING_RECORDS) {
            count += 1;
            write(record);
        }
        count > 0
    }
}
