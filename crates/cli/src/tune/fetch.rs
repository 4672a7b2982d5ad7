//! What is fetched, or sent, to measure a way: HTTP/1.1, one request after another.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::answer::{self, Head};
use super::ledger::Ledger;
use super::target::Target;

/// How long nothing may come.
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
    /// Neither: the time was over, or a signal came.
    Over,
}

impl fmt::Display for Trouble {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(why) => to.write_str(why),
            Self::Way(error) if error.kind() == ErrorKind::ConnectionReset => {
                to.write_str("the connection was reset")
            }
            Self::Way(error) => error.fmt(to),
            Self::Over => to.write_str("there was no time left"),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Way(error)
    }
}

/// What has come so far of what is wanted.
struct Tally<'a> {
    ledger: &'a Ledger,
    begun: Instant,
    limit: Duration,
    wanted: u64,
    /// What may be read where the server sends more than that.
    most: u64,
    bytes: u64,
}

impl<'a> Tally<'a> {
    fn new(wanted: u64, most: u64, limit: Duration, ledger: &'a Ledger) -> Self {
        Self { ledger, begun: Instant::now(), limit, wanted, most, bytes: 0 }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.ledger.count(bytes as u64);
    }

    fn is_over(&self) -> bool {
        self.bytes >= self.wanted || (self.bytes > 0 && self.begun.elapsed() >= self.limit)
    }
}

impl Target {
    /// Fetches so many bytes of it, again and again if it is shorter, through whatever listens at `from`. After `limit` it is enough.
    ///
    /// A part is asked for, so that nothing is still on its way that would be in the way of what is measured next; a server that
    /// sends all of it has it read to its end, if that is no more than `most`.
    ///
    /// # Errors
    /// When nothing good comes, or it may not go on.
    pub(super) fn fetch(
        &self,
        from: SocketAddr,
        wanted: u64,
        most: u64,
        limit: Duration,
        ledger: &Ledger,
    ) -> Result<Fetched, Trouble> {
        let mut tally = Tally::new(wanted, most, limit, ledger);
        while !tally.is_over() {
            let before = tally.bytes;
            let mut stream = connect(from)?;
            let (path, host, last) = (&self.path, &self.authority, wanted - before - 1);
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes=0-{last}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            let is_whole = read_answer(&mut stream, &mut tally, PATIENCE)?;
            let got = tally.bytes - before;
            if is_whole && got == 0 {
                return Err(Trouble::Server("the answer has no body".to_owned()));
            }
            if is_whole && got <= last {
                ledger.target_has(got);
            }
        }
        Ok(Fetched { bytes: tally.bytes, time: tally.begun.elapsed() })
    }

    /// Sends a body of so many bytes, which are those of `body` over and over, and waits until the server has answered: what is slow
    /// has all the time that is left, as nothing tells how much of it is still on its way.
    ///
    /// # Errors
    /// When no good answer comes, or it may not go on.
    pub(super) fn send(
        &self,
        to: SocketAddr,
        bytes: u64,
        body: &[u8],
        ledger: &Ledger,
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
                return Err(Trouble::Server("the server answers before it has the whole body".to_owned()));
            }
            let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK).min(body.len() - at);
            let count = patiently(ledger, Duration::MAX, || stream.write(&body[at..at + count]))?;
            ledger.count(count as u64);
            at = (at + count) % body.len();
            left -= count as u64;
        }
        read_answer(&mut stream, &mut Tally::new(u64::MAX, u64::MAX, Duration::MAX, ledger), Duration::MAX)?;
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

/// Reads an answer to its end, or until there is enough, and counts its body; whether it was all of it.
fn read_answer(stream: &mut TcpStream, tally: &mut Tally<'_>, patience: Duration) -> Result<bool, Trouble> {
    let (mut begin, mut chunk) = (Vec::new(), vec![0; CHUNK]);
    let (Head { is_part, length }, head_bytes) = loop {
        let count = patiently(tally.ledger, patience, || stream.read(&mut chunk))?;
        begin.extend_from_slice(&chunk[..count]);
        match answer::head(&begin).map_err(Trouble::Server)? {
            Some(found) => break found,
            None if count > 0 && begin.len() <= HEAD_BYTES => {}
            None => return Err(Trouble::Server("what comes is no answer of HTTP".to_owned())),
        }
    };
    let already = begin.len() - head_bytes;
    let end = length.map_or(u64::MAX, |length| tally.bytes.saturating_add(length));
    if !is_part && end <= tally.most {
        tally.wanted = tally.wanted.max(end);
    }
    tally.add(already);
    while tally.bytes < end {
        if tally.is_over() {
            // A little more does no harm.
            if !is_part && end - tally.bytes > CHUNK as u64 {
                tally.ledger.server_ignores_ranges();
            }
            return Ok(false);
        }
        match patiently(tally.ledger, patience, || stream.read(&mut chunk))? {
            0 if length.is_some() => {
                let why = "the answer was cut off before its end";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, why).into());
            }
            0 => break,
            count => tally.add(count),
        }
    }
    Ok(true)
}

/// Reads or writes what can be, for as long as there is patience and it may go on.
fn patiently(
    ledger: &Ledger,
    patience: Duration,
    mut transfer: impl FnMut() -> io::Result<usize>,
) -> Result<usize, Trouble> {
    let begun = Instant::now();
    loop {
        if !ledger.may_go_on() {
            return Err(Trouble::Over);
        }
        match transfer() {
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {
                if begun.elapsed() >= patience {
                    let why = format!("nothing went on for {} s", patience.as_secs());
                    return Err(io::Error::new(ErrorKind::TimedOut, why).into());
                }
            }
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::super::ledger::tests::rich;
    use super::*;

    /// A server that answers each request with these bytes, and keeps the connection open.
    fn server(answer: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answer) = (stream.unwrap(), answer.clone());
                thread::spawn(move || {
                    assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                    let _ = stream.write_all(&answer);
                    let _ = stream.read(&mut [0; 1]);
                });
            }
        });
        address
    }

    fn answer(status: &str, length: usize) -> Vec<u8> {
        let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        answer.extend(vec![b'a'; length]);
        answer
    }

    fn fetched(answer: Vec<u8>, wanted: u64) -> (Result<Fetched, Trouble>, Ledger) {
        let (target, ledger) = (Target::parse("a.example").unwrap(), rich());
        let fetched = target.fetch(server(answer), wanted, 2 * wanted, Duration::from_secs(60), &ledger);
        (fetched, ledger)
    }

    #[test]
    fn a_server_without_ranges_is_read_to_its_end_or_told_of() {
        let (all, ledger) = fetched(answer("200 OK", 1_500_000), 1_000_000);
        assert_eq!((all.unwrap().bytes, ledger.carried()), (1_500_000, 1_500_000));
        assert_eq!(ledger.notes(), [""; 0], "nothing is left of it");
        let (some, ledger) = fetched(answer("200 OK", 5_000_000), 1_000_000);
        let bytes = some.unwrap().bytes;
        assert!((1_000_000..2_000_000).contains(&bytes) && ledger.carried() == bytes, "{bytes}");
        assert!(ledger.notes()[0].contains("knows no Range"), "{:?}", ledger.notes());
        let (part, ledger) = fetched(answer("206 Partial Content", 1_000_000), 1_000_000);
        assert_eq!((part.unwrap().bytes, ledger.notes()), (1_000_000, Vec::new()));
    }

    #[test]
    fn a_short_target_is_fetched_again_and_told_of() {
        let (fetched, ledger) = fetched(answer("200 OK", 12), 36);
        assert_eq!((fetched.unwrap().bytes, ledger.carried()), (36, 36));
        assert!(ledger.notes()[0].contains("The target has 12 bytes"), "{:?}", ledger.notes());
        let (target, ledger) = (Target::parse("a.example").unwrap(), rich());
        let late = target.fetch(server(answer("200 OK", 12)), 36, 36, Duration::ZERO, &ledger).unwrap();
        assert!(late.bytes > 0 && ledger.notes().len() <= 1, "{late:?} {:?}", ledger.notes());
    }

    #[test]
    fn what_breaks_off_is_no_measurement() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
        });
        let (target, ledger) = (Target::parse("a.example").unwrap(), rich());
        let trouble = target.fetch(address, 10, 10, Duration::from_secs(60), &ledger).unwrap_err();
        assert_eq!(
            (trouble.to_string().as_str(), ledger.carried()),
            ("the answer was cut off before its end", 4)
        );
    }
}
