//! A way between two ends that the test can cut.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::net::reset;

/// Passes connections on, until they are cut.
pub(crate) struct Middle {
    /// Where it listens.
    pub(crate) address: String,
    live: Arc<Mutex<Vec<TcpStream>>>,
    is_cut: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    /// Where those come from that are open.
    open: Arc<Mutex<HashMap<usize, IpAddr>>>,
    /// Bytes that came from either side.
    carried: Arc<AtomicUsize>,
    /// So many connections, the first ones, carry nothing any more.
    silent: Arc<AtomicUsize>,
}

impl Middle {
    /// A way to `target`.
    pub(crate) fn to(target: &str) -> Self {
        Self::with_delay(target, Duration::ZERO)
    }

    /// The same with so long a time for each way, once the connection is there.
    pub(crate) fn with_delay(target: &str, delay: Duration) -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let middle = Self {
            address: server.local_addr().unwrap().to_string(),
            live: Arc::default(),
            is_cut: Arc::default(),
            count: Arc::default(),
            open: Arc::default(),
            carried: Arc::default(),
            silent: Arc::default(),
        };
        let (target, live) = (target.to_owned(), middle.live.clone());
        let (is_cut, count) = (middle.is_cut.clone(), middle.count.clone());
        let (silent, open) = (middle.silent.clone(), middle.open.clone());
        let carried = middle.carried.clone();
        thread::spawn(move || {
            for client in server.incoming() {
                let Ok(client) = client else { continue };
                let server = if is_cut.load(SeqCst) { None } else { TcpStream::connect(&target).ok() };
                let Some(server) = server else {
                    reset(client);
                    continue;
                };
                for socket in [&client, &server] {
                    socket.set_nodelay(true).unwrap();
                }
                let place = count.fetch_add(1, SeqCst);
                live.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                open.lock().unwrap().insert(place, client.peer_addr().unwrap().ip());
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                for (from, to) in [(from, to), (server, client)] {
                    let (silent, open, carried) = (silent.clone(), open.clone(), carried.clone());
                    thread::spawn(move || {
                        let is_silent = || place < silent.load(SeqCst);
                        pass(from, to, delay, &carried, is_silent);
                        open.lock().unwrap().remove(&place);
                    });
                }
            }
        });
        middle
    }

    /// How many connections have come through in all.
    pub(crate) fn count(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// How many bytes have come through, of both sides.
    pub(crate) fn carried(&self) -> usize {
        self.carried.load(SeqCst)
    }

    /// Where those come from that are open now, in order.
    pub(crate) fn open(&self) -> Vec<IpAddr> {
        let mut open: Vec<_> = self.open.lock().unwrap().values().copied().collect();
        open.sort();
        open
    }

    /// Cuts one connection, the oldest that lives.
    pub(crate) fn cut_one(&self) {
        let mut live = self.live.lock().unwrap();
        let count = live.len().min(2);
        for socket in live.drain(..count) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Has those that there are carry nothing any more, without a word to either end: as where a way has vanished.
    pub(crate) fn silence(&self) {
        self.silent.store(self.count(), SeqCst);
    }

    /// Cuts all, and lets none through until [`Self::heal`].
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, SeqCst);
        for socket in self.live.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub(crate) fn heal(&self) {
        self.is_cut.store(false, SeqCst);
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    delay: Duration,
    carried: &AtomicUsize,
    is_silent: impl Fn() -> bool,
) {
    let (sender, parts) = mpsc::sync_channel::<(Instant, Vec<u8>)>(1024);
    let writes = thread::spawn(move || {
        for (due, part) in parts {
            // sleep: that is how long the way is.
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&part).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        carried.fetch_add(count, SeqCst);
        while is_silent() {
            // Both sockets stay open, until the test is over.
            thread::park();
        }
        if sender.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = writes.join();
}
