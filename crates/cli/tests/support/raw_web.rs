//! HTTP balancing seen from both ends, byte by byte: towpath between clients and backends of the tests' own.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::net::{End, connect, read_to_end};
use super::ports::free_address;
use super::proc::unacknowledged;
use super::towpath::Towpath;
use super::wait_for;

/// towpath in front of `backends`; `listener` and `pool` are more lines of its file.
pub(crate) fn balancer(backends: &[&str], listener: &str, pool: &str) -> (String, Towpath) {
    let listen = free_address();
    let towpath = Towpath::file(&balancer_file(&listen, backends, listener, pool));
    (listen, towpath)
}

/// The file of such a towpath.
pub(crate) fn balancer_file(listen: &str, backends: &[&str], listener: &str, pool: &str) -> String {
    format!(
        "[[pool]]\nname = \"web\"\nbackend = {backends:?}\n{pool}\n\
         [[listener]]\nname = \"in\"\nmode = \"http\"\nbind = \"{listen}\"\npool = \"web\"\n{listener}\n"
    )
}

/// A request as a backend has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    /// Its head, with the empty line.
    pub(crate) head: String,
    /// Its body, out of its chunks.
    pub(crate) body: String,
}

impl Request {
    /// As in `GET /path`.
    pub(crate) fn asks(&self) -> &str {
        self.head.split_once(" HTTP/1.1\r\n").unwrap().0
    }

    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    /// All values of a field.
    pub(crate) fn field(&self, name: &str) -> Vec<&str> {
        values(&self.head, name)
    }

    /// Its first line and its fields, in the order of the alphabet.
    pub(crate) fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.head.trim_end().split("\r\n").collect();
        lines[1..].sort_unstable();
        lines
    }
}

fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// A backend that reads strictly and keeps all that comes.
pub(crate) struct Web {
    /// Where it listens.
    pub(crate) address: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    /// What came of requests that were cut off.
    cut: Vec<String>,
    /// What could be read in two ways.
    bad: Vec<String>,
    connections: usize,
}

/// How a backend answers: what it writes for a request; `false` ends the connection.
type Act = dyn Fn(&Request, &mut TcpStream) -> bool + Send + Sync;

impl Web {
    /// One that answers with what it was asked.
    pub(crate) fn start() -> Self {
        Self::answering(|request, stream| stream.write_all(&echo(request)).is_ok())
    }

    /// One that answers with these bytes, and goes on.
    pub(crate) fn saying(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::answering(move |_, stream| stream.write_all(answer.as_bytes()).is_ok())
    }

    /// One that does as `act` says.
    pub(crate) fn answering(act: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let (server, seen, act) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            Arc::<Mutex<Seen>>::default(),
            Arc::<Act>::from(Box::new(act) as Box<Act>),
        );
        let web = Self { address: server.local_addr().unwrap().to_string(), seen: seen.clone() };
        thread::spawn(move || {
            for connection in 0.. {
                let (stream, _) = server.accept().unwrap();
                seen.lock().unwrap().connections += 1;
                let (seen, act) = (seen.clone(), act.clone());
                thread::spawn(move || serve(stream, connection, &seen, &*act));
            }
        });
        web
    }

    /// The requests that have come since this was last asked. What has two meanings fails the test.
    pub(crate) fn take(&self) -> Vec<Request> {
        let mut seen = self.seen.lock().unwrap();
        assert_eq!(seen.bad, [""; 0], "no request has two meanings");
        std::mem::take(&mut seen.requests)
    }

    /// The same as in `GET /path`.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        self.take().iter().map(|request| request.asks().to_owned()).collect()
    }

    /// Waits for `count` requests that were cut off, and hands them out.
    pub(crate) fn take_cut(&self, count: usize) -> Vec<String> {
        wait_for(&format!("{count} requests that are cut off"), || {
            let mut seen = self.seen.lock().unwrap();
            (seen.cut.len() >= count).then(|| std::mem::take(&mut seen.cut))
        })
    }

    /// How many connections have come.
    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

/// Writes, and waits until the other end's kernel has it, or the connection is gone.
pub(crate) fn deliver(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
    wait_for("delivery", || unacknowledged(stream).is_none_or(|count| count == 0).then_some(()));
}

/// An answer with what was asked.
pub(crate) fn echo(request: &Request) -> Vec<u8> {
    let body = format!("{} {}", request.asks(), request.body);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    if request.head.starts_with("HEAD ") { head.into_bytes() } else { (head + &body).into_bytes() }
}

fn serve(stream: TcpStream, connection: usize, seen: &Mutex<Seen>, act: &Act) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = Kept { reader: BufReader::new(stream), bytes: Vec::new() };
    loop {
        match read_request(&mut reader, connection) {
            Ok(Some(request)) => {
                reader.bytes.clear();
                seen.lock().unwrap().requests.push(request.clone());
                if !act(&request, &mut writer) {
                    return;
                }
            }
            Ok(None) if reader.bytes.is_empty() => return,
            Ok(None) => return seen.lock().unwrap().cut.push(reader.text()),
            Err(why) => return seen.lock().unwrap().bad.push(format!("{why}: {}", reader.text())),
        }
    }
}

/// A reader that keeps the bytes of a request.
struct Kept {
    reader: BufReader<TcpStream>,
    bytes: Vec<u8>,
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// A line with its end; `None` at the end of the stream.
    fn line(&mut self) -> Result<Option<String>, String> {
        let at = self.bytes.len();
        let count = self.reader.read_until(b'\n', &mut self.bytes).unwrap_or(0);
        let line = String::from_utf8(self.bytes[at..].to_vec()).map_err(|_| "not UTF-8")?;
        if count == 0 || !line.ends_with('\n') {
            return Ok(None);
        }
        let line = line.strip_suffix("\r\n").ok_or("a bare LF")?;
        if line.contains(['\r', '\0']) {
            Err("a bare CR, or NUL".to_owned())
        } else {
            Ok(Some(line.to_owned()))
        }
    }

    fn exactly(&mut self, count: usize) -> Option<String> {
        let at = self.bytes.len();
        let read = self.reader.by_ref().take(count as u64).read_to_end(&mut self.bytes);
        let is_whole = read.is_ok() && self.bytes.len() == at + count;
        is_whole.then(|| String::from_utf8_lossy(&self.bytes[at..]).into_owned())
    }
}

/// Reads a request with no patience for anything odd; `None` where the stream ends first.
fn read_request(reader: &mut Kept, connection: usize) -> Result<Option<Request>, String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let Some(line) = reader.line()? else { return Ok(None) };
        let is_field = line.split_once(':').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        });
        if head.is_empty() && (line.split(' ').count() != 3 || !line.ends_with(" HTTP/1.1")) {
            return Err("the first line".to_owned());
        }
        if !head.is_empty() && !line.is_empty() && !is_field {
            return Err(format!("the field {line:?}"));
        }
        head += &line;
        head += "\r\n";
    }
    if values(&head, "host").len() != 1 {
        return Err("not one Host".to_owned());
    }
    let (lengths, codings) = (values(&head, "content-length"), values(&head, "transfer-encoding"));
    let body = match (&lengths[..], &codings[..]) {
        ([], []) => Some(String::new()),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            reader.exactly(length.parse().map_err(|_| "the length")?)
        }
        ([], ["chunked"]) => read_chunks(reader)?,
        _ => return Err("the framing".to_owned()),
    };
    Ok(body.map(|body| Request { connection, head, body }))
}

/// A body in chunks, with its trailers behind a bar.
fn read_chunks(reader: &mut Kept) -> Result<Option<String>, String> {
    let mut body = String::new();
    loop {
        let Some(size) = reader.line()? else { return Ok(None) };
        if !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("the size of a chunk {size:?}"));
        }
        let size = usize::from_str_radix(&size, 16).map_err(|_| "the size of a chunk")?;
        if size == 0 {
            break;
        }
        let Some(chunk) = reader.exactly(size + 2) else { return Ok(None) };
        body += chunk.strip_suffix("\r\n").ok_or("no end of a chunk")?;
    }
    loop {
        match reader.line()?.as_deref() {
            None => return Ok(None),
            Some("") => return Ok(Some(body)),
            Some(trailer) => body += &format!("|{trailer}"),
        }
    }
}

/// An answer as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether it came to its end.
    pub(crate) is_whole: bool,
}

impl Answer {
    /// All values of a field.
    pub(crate) fn field(&self, name: &str) -> Vec<&str> {
        values(&self.head, name)
    }
}

/// Reads an answer to a request of this method, interim ones too; `None` at the end of the stream.
pub(crate) fn read_answer(reader: &mut impl BufRead, method: &str) -> Option<Answer> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        // Some end with a reset.
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            assert_eq!(head, "", "a head that is cut off");
            return None;
        }
    }
    assert!(head.starts_with("HTTP/1."), "{head:?}");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let (lengths, codings) = (values(&head, "content-length"), values(&head, "transfer-encoding"));
    let is_bodiless = method == "HEAD" || matches!(status, 100..200 | 204 | 304);
    let (body, is_whole) = match (&lengths[..], &codings[..]) {
        _ if is_bodiless => (Vec::new(), true),
        ([length], []) => {
            let length: usize = length.parse().unwrap();
            let mut body = Vec::new();
            let _ = reader.take(length as u64).read_to_end(&mut body);
            let is_whole = body.len() == length;
            (body, is_whole)
        }
        ([], ["chunked"]) => read_answer_chunks(reader),
        ([], []) => {
            let mut body = Vec::new();
            let is_whole = reader.read_to_end(&mut body).is_ok();
            (body, is_whole)
        }
        _ => panic!("an answer with two meanings: {head:?}"),
    };
    Some(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned(), is_whole })
}

fn read_answer_chunks(reader: &mut impl BufRead) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        let is_line = reader.read_line(&mut line).is_ok() && line.ends_with("\r\n");
        let Some(size) = is_line.then(|| usize::from_str_radix(line.trim_end(), 16).unwrap()) else {
            return (body, false);
        };
        if size == 0 {
            break;
        }
        let before = body.len();
        let mut end = [0; 2];
        let is_read = reader.take(size as u64).read_to_end(&mut body).is_ok() && body.len() == before + size;
        if !is_read || reader.read_exact(&mut end).is_err() {
            return (body, false);
        }
        assert_eq!(end, *b"\r\n", "the end of a chunk");
    }
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return (body, false),
            Ok(_) if line == "\r\n" => return (body, true),
            Ok(_) => body.extend_from_slice(format!("|{}", line.trim_end()).as_bytes()),
        }
    }
}

/// A client that asks byte by byte.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(listen: &str) -> Self {
        Self(BufReader::new(connect(listen)))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The same where it may be sent away before it has said everything.
    pub(crate) fn send_as_far_as_it_goes(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.get_mut().write_all(bytes.as_ref());
    }

    /// The next answer to a GET; `None` where the connection ends instead.
    pub(crate) fn next_answer(&mut self) -> Option<Answer> {
        read_answer(&mut self.0, "GET")
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The next answer, to a request of this method.
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        read_answer(&mut self.0, method).expect("an answer")
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask(&mut self, request: &str) -> Answer {
        self.send(request);
        self.answer_to(request.split(' ').next().unwrap())
    }

    /// Asks for a path.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
    }

    /// Fails if the connection has anything more, or does not end now in order.
    pub(crate) fn assert_closed(self) {
        let (rest, mut stream) = (self.0.buffer().to_vec(), self.0.into_inner());
        let (more, end) = read_to_end(&mut stream);
        let rest = String::from_utf8_lossy(&[rest, more].concat()).into_owned();
        assert_eq!((rest.as_str(), end), ("", End::Fin));
    }

    /// Reads to the end, however that comes, and returns what there was.
    pub(crate) fn rest(mut self) -> String {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it ends"),
        }
        String::from_utf8_lossy(&rest).into_owned()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }
}
