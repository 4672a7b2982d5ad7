//! A relay between two pairs of real sockets, whose outer ends the tests hold.

use std::cell::Cell;
use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use towpath_config::{Pieces, Pool, Relay as RelaySettings, Segments};
use towpath_sys::options::reset_on_close;

use crate::buffers::Buffers;
use crate::first_flight::FirstFlight;
use crate::flow::{End, Meter};
use crate::relay::Relay;
use crate::stream::Stream;

/// Any test is over by then, or has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// The same in virtual time, which jumps as soon as nothing moves.
const VIRTUAL_LIMIT: Duration = Duration::from_secs(100_000);

/// How bytes are moved.
pub(super) const METHODS: [(&str, Settings); 5] = [
    ("as shipped", settings(256 * 1024, Some(128 * 1024))),
    ("copied", settings(256 * 1024, None)),
    ("copied in small pieces", settings(4096, None)),
    ("spliced at once", settings(4096, Some(0))),
    ("cut into segments", settings(256 * 1024, Some(0)).cut(1448, None)),
];

/// How a relay moves bytes, and how both its sockets are written.
pub(super) struct Settings {
    relay: RelaySettings,
    pieces: Option<Pieces>,
}

impl Settings {
    /// The same in pieces of so many bytes.
    pub(super) const fn cut(self, bytes: usize, gap: Option<Duration>) -> Self {
        Self { pieces: Some(Pieces { bytes, gap }), ..self }
    }
}

pub(super) const fn settings(buffer_bytes: usize, splice_after_bytes: Option<u64>) -> Settings {
    let relay = RelaySettings { buffer_bytes, splice_after_bytes, pipe_bytes: 1024 * 1024 };
    Settings { relay, pieces: None }
}

/// One outer end.
pub(super) trait Peer: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + AsFd + Sized {
    /// The outer end, and the socket that towpath has.
    async fn pair() -> (Self, OwnedFd);

    /// That socket as a stream.
    fn stream(socket: OwnedFd) -> Stream;
}

impl Peer for TcpStream {
    async fn pair() -> (Self, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let inner = listener.accept().await.unwrap().0.into_std().unwrap();
        reset_on_close(&inner, true).unwrap();
        (outer, inner.into())
    }

    fn stream(socket: OwnedFd) -> Stream {
        Stream::tcp(socket)
    }
}

impl Peer for UnixStream {
    async fn pair() -> (Self, OwnedFd) {
        let (outer, inner) = UnixStream::pair().unwrap();
        (outer, inner.into_std().unwrap().into())
    }

    fn stream(socket: OwnedFd) -> Stream {
        Stream::unix(socket)
    }
}

/// Bytes that the relay says it carried.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) up: Cell<u64>,
    pub(super) down: Cell<u64>,
}

impl Meter for Count {
    fn lasts(&self) {}

    fn up(&self, count: u64) {
        self.up.set(self.up.get() + count);
    }

    fn down(&self, count: u64) {
        self.down.set(self.down.get() + count);
    }
}

/// Runs `scene` with the outer ends while a relay with `settings` is between them; returns what the scene returns, how
/// the relay ended and what it counted.
pub(super) async fn play<P: Peer, T>(
    settings: &Settings,
    idle: Option<Duration>,
    scene: impl AsyncFnOnce(P, P) -> T,
) -> (T, End, Count) {
    let (client, client_inner) = P::pair().await;
    let (server, server_inner) = P::pair().await;
    let buffers = Buffers::new(&settings.relay, 8);
    let segments = Segments { pieces: settings.pieces, ..Segments::default() };
    let count = Count::default();
    let mut relay = Relay::new(
        P::stream(client_inner).cut(Some(&segments)),
        P::stream(server_inner).cut(Some(&segments)),
        FirstFlight::default(),
        idle,
        None,
        &pool(),
    );
    let carry = async {
        let end = poll_fn(|cx| relay.poll(cx, &buffers, &count)).await;
        if let Some(last_bytes) = relay.close(end) {
            last_bytes.await;
        }
        end
    };
    let both = async { tokio::join!(scene(client, server), carry) };
    let before = tokio::time::Instant::now();
    std::thread::yield_now();
    let is_virtual = before == tokio::time::Instant::now();
    let limit = if is_virtual { VIRTUAL_LIMIT } else { LIMIT };
    let (result, end) = tokio::time::timeout(limit, both).await.expect("the relay hangs");
    (result, end, count)
}

/// Bytes that tell their place, so that a gap, a repeat or a swap shows.
pub(super) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// Reads to the end of the stream: the bytes, and the error if the end was one.
pub(super) async fn read_all(
    peer: &mut (impl tokio::io::AsyncRead + Unpin),
) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let mut bytes = Vec::new();
    let error = peer.read_to_end(&mut bytes).await.err().map(|error| error.kind());
    (bytes, error)
}

/// Writes all of `bytes` and ends the stream.
pub(super) async fn write_all(peer: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) {
    peer.write_all(bytes).await.unwrap();
    peer.shutdown().await.unwrap();
}

/// Resets the connection of an outer end once all it wrote has arrived at the relay's socket.
pub(super) async fn reset(peer: TcpStream) {
    while towpath_sys::stream::unacknowledged(peer.as_fd()).unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await; // no event tells of it
    }
    reset_on_close(&peer, true).unwrap();
    drop(peer);
}

fn pool() -> Arc<Pool> {
    let text = "[[listener]]\nname='a'\nbind=':1'\npool='p'\n[[pool]]\nname='p'\nbackend='127.0.0.1:2'";
    towpath_config::parse(text, "test").unwrap().pools[0].clone()
}
