//! What is fetched, or sent, to measure a way: HTTP/1.1, one request after another.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::target::Target;

/// How long nothing may come, or be taken.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a read or a write may hold up whoever wants it to end.
const LOOKS: Duration = Duration::from_millis(100);

/// The longest head of an answer.
const HEAD_BYTES: usize = 64 * 1024;

/// What is read or written at a time.
const CHUNK: usize = 256 * 1024;

/// What a transfer came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fetched {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

impl Fetched {
    /// Bytes a second.
    pub(super) fn rate(self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64().max(1e-6)
    }
}

/// Why a transfer has come to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server does not do what it should, in whatever way one comes to it.
    Server(String),
    /// The way there is at fault, as far as that can be told.
    Way(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(why) => to.write_str(why),
            Self::Way(error) if error.kind() == ErrorKind::ConnectionReset => {
                to.write_str("the connection was reset")
            }
            Self::Way(error) => error.fmt(to),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Way(error)
    }
}

/// What has come so far of what is wanted.
struct Tally {
    begun: Instant,
    limit: Duration,
    wanted: u64,
    bytes: u64,
}

impl Tally {
    fn new(wanted: u64, limit: Duration) -> Self {
        Self { begun: Instant::now(), limit, wanted, bytes: 0 }
    }

    fn is_over(&self) -> bool {
        self.bytes >= self.wanted || self.begun.elapsed() >= self.limit
    }
}

impl Target {
    /// Fetches so many bytes of it, again and again if it is shorter, through whatever listens at `from`. After `limit` it is enough.
    ///
    /// A part is asked for, so that nothing is still on its way that would be in the way of what is measured next.
    ///
    /// # Errors
    /// When nothing good comes, or it may not go on.
    pub(super) fn fetch(
        &self,
        from: SocketAddr,
        wanted: u64,
        limit: Duration,
        may_go_on: impl Fn() -> bool,
    ) -> Result<Fetched, Trouble> {
        let mut tally = Tally::new(wanted, limit);
        while !tally.is_over() {
            let before = tally.bytes;
            let mut stream = connect(from)?;
            let (path, host, last) = (&self.path, &self.authority, wanted - before - 1);
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes=0-{last}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            read_answer(&mut stream, &mut tally, &may_go_on)?;
            if tally.bytes == before {
                return Err(Trouble::Server("the answer has no body: name something larger".to_owned()));
            }
        }
        Ok(Fetched { bytes: tally.bytes, time: tally.begun.elapsed() })
    }

    /// Sends a body of so many bytes, which are those of `body` over and over, and waits until the server has answered.
    ///
    /// # Errors
    /// When no good answer comes, or it may not go on.
    pub(super) fn send(
        &self,
        to: SocketAddr,
        bytes: u64,
        body: &[u8],
        may_go_on: impl Fn() -> bool,
    ) -> Result<Fetched, Trouble> {
        let begun = Instant::now();
        let mut stream = connect(to)?;
        write!(
            stream,
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {bytes}\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n",
            self.path, self.authority
        )?;
        let (mut left, mut at) = (bytes, 0);
        while left > 0 {
            if left <= CHUNK as u64 && has_answer(&stream)? {
                let why = "the server answers before it has the whole body: name one that reads it";
                return Err(Trouble::Server(why.to_owned()));
            }
            let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK).min(body.len() - at);
            let count = patiently(&may_go_on, || stream.write(&body[at..at + count]))?;
            at = (at + count) % body.len();
            left -= count as u64;
        }
        read_answer(&mut stream, &mut Tally::new(u64::MAX, PATIENCE), &may_go_on)?;
        Ok(Fetched { bytes, time: begun.elapsed() })
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(LOOKS))?;
    stream.set_write_timeout(Some(LOOKS))?;
    Ok(stream)
}

/// Whether something has come by now.
fn has_answer(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(peeked.is_ok_and(|count| count > 0))
}

/// Bytes that do not shrink: what is sent should not be faster than what is real.
pub(super) fn noise() -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let next = || {
        // Xorshift, by Marsaglia.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(CHUNK / 8).flatten().collect()
}

/// Reads an answer to its end, or until the time is over, and counts its body.
fn read_answer(
    stream: &mut TcpStream,
    tally: &mut Tally,
    may_go_on: &impl Fn() -> bool,
) -> Result<(), Trouble> {
    let (mut head, mut chunk) = (Vec::new(), vec![0; CHUNK]);
    let body = loop {
        let count = patiently(may_go_on, || stream.read(&mut chunk))?;
        if count == 0 || head.len() > HEAD_BYTES {
            return Err(Trouble::Server("what comes is no answer of HTTP".to_owned()));
        }
        head.extend_from_slice(&chunk[..count]);
        if let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") {
            break head.len() - end - 4;
        }
    };
    let line = String::from_utf8_lossy(&head[..head.iter().position(|byte| *byte == b'\r').unwrap_or(0)])
        .into_owned();
    let status = line.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    if !line.starts_with("HTTP/1.") || !status.is_some_and(|status| (200..300).contains(&status)) {
        return Err(Trouble::Server(format!("the server answers `{line}`")));
    }
    tally.bytes += body as u64;
    while !tally.is_over() {
        match patiently(may_go_on, || stream.read(&mut chunk))? {
            0 => break,
            count => tally.bytes += count as u64,
        }
    }
    Ok(())
}

/// Reads or writes what can be, for as long as there is patience and it may go on.
fn patiently(
    may_go_on: &impl Fn() -> bool,
    mut transfer: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    let begun = Instant::now();
    loop {
        if !may_go_on() {
            return Err(io::Error::new(ErrorKind::Interrupted, "ended by a signal"));
        }
        match transfer() {
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {
                if begun.elapsed() >= PATIENCE {
                    let why = format!("nothing went on for {} s", PATIENCE.as_secs());
                    return Err(io::Error::new(ErrorKind::TimedOut, why));
                }
            }
            result => return result,
        }
    }
}
