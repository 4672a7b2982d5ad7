//! Clients of a CONNECT proxy, and the server that they ask for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use super::load::Load;

/// Clients at a time that connect, ask and close.
const CLIENTS: usize = 16;

/// How long an answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one client reads at a time.
const CHUNK: usize = 256 * 1024;

/// Connects through the proxy at `proxy` to the HTTP server at `server`, asks it once and closes, again and again.
///
/// # Errors
///
/// When the proxy refuses, or a connection breaks.
pub(super) fn connect(proxy: Way, server: SocketAddrV4, seconds: u32) -> Result<Load> {
    let end = Instant::now() + Duration::from_secs(seconds.into());
    let start = Instant::now();
    let results: Vec<Result<Histogram<u64>>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(move || client(proxy, server, end))).collect();
        let join = |client: thread::ScopedJoinHandle<'_, Result<Histogram<u64>>>| {
            client.join().unwrap_or_else(|_| bail!("a client panicked"))
        };
        clients.into_iter().map(join).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut all = Histogram::<u64>::new(3)?;
    for result in results {
        all.add(result?).context("cannot add histograms")?;
    }
    let quantile = |at| Some(all.value_at_quantile(at) as f64 / 1e3);
    Ok(Load { units: all.len() as f64, seconds, p50_us: quantile(0.5), p99_us: quantile(0.99), errors: 0 })
}

/// How a client gets to a server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// By CONNECT to the proxy there.
    Connect(SocketAddrV4),
    /// By a forwarder there, or straight.
    Straight(SocketAddrV4),
}

impl Way {
    fn open(self, server: SocketAddrV4) -> Result<TcpStream> {
        let (Way::Connect(address) | Way::Straight(address)) = self;
        let mut stream = TcpStream::connect(address).context("cannot connect to the proxy")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        if let Way::Connect(_) = self {
            stream.write_all(format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n").as_bytes())?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0; 1];
                stream.read_exact(&mut byte).context("the proxy ends early")?;
                head.push(byte[0]);
            }
            if !head.starts_with(b"HTTP/1.1 200") && !head.starts_with(b"HTTP/1.0 200") {
                bail!("the proxy says {}", String::from_utf8_lossy(&head).trim_end());
            }
        }
        Ok(stream)
    }
}

fn client(way: Way, server: SocketAddrV4, end: Instant) -> Result<Histogram<u64>> {
    let mut took = Histogram::<u64>::new(3)?;
    let mut answer = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        let mut stream = way.open(server)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        answer.clear();
        stream.read_to_end(&mut answer).context("no whole answer")?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            bail!("the server says {:?}", String::from_utf8_lossy(&answer[..answer.len().min(80)]));
        }
        took.record(u64::try_from(begun.elapsed().as_nanos())?)?;
    }
    Ok(took)
}

/// Reads from `source` through the proxy as fast as it goes.
///
/// # Errors
///
/// When the proxy refuses, or the connection breaks.
pub(super) fn bulk(way: Way, source: SocketAddrV4, seconds: u32) -> Result<Load> {
    let mut stream = way.open(source)?;
    stream.write_all(b"go")?;
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds.into());
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    while Instant::now() < end {
        match stream.read(&mut chunk)? {
            0 => bail!("the stream ends early"),
            count => bytes += count,
        }
    }
    let load = Load { units: bytes as f64 / 1e9, seconds: start.elapsed().as_secs_f64(), ..Load::default() };
    let _ = stream.shutdown(Shutdown::Both);
    Ok(load)
}

/// A server that sends without end to whoever connects and says something, on a port of every loopback address.
///
/// # Errors
///
/// When it cannot listen.
pub(super) fn source() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                // It goes on until its client has had enough.
                let _ = send(stream);
            });
        }
    });
    Ok(port)
}

fn send(mut stream: TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 2])?;
    let chunk = vec![b'x'; CHUNK];
    loop {
        stream.write_all(&chunk)?;
    }
}
