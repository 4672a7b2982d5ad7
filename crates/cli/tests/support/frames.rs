//! A client of HTTP/2, or a server, that writes its frames itself, so that they can be wrong (RFC 9113, section 4; RFC 7541, section 6.2.2).

use std::io::{Read, Write};
use std::net::TcpStream;

use super::net::{connect, read_exactly};

/// Kinds of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub(crate) const INITIAL_WINDOW: u16 = 4;

/// Flags.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The fields of a GET that nothing is wrong with.
pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/x")];

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields, each as a literal that nobody remembers.
pub(crate) fn block<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value.as_bytes()] {
            put_length(text.len(), &mut block);
            block.extend_from_slice(text);
        }
    }
    block
}

/// A number with a prefix of 7 bits (RFC 7541, section 5.1).
fn put_length(length: usize, to: &mut Vec<u8>) {
    if length < 0x7f {
        return to.push(length as u8);
    }
    to.push(0x7f);
    let mut rest = length - 0x7f;
    while rest >= 0x80 {
        to.push((rest % 0x80) as u8 | 0x80);
        rest /= 0x80;
    }
    to.push(rest as u8);
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered to its end; statuses other than these three are 0.
    Answered { status: u16, body: String },
    /// It was reset, with this code.
    Reset(u32),
    /// The connection was ended, with this code.
    GoneAway(u32),
    /// The connection was closed without a word.
    Closed,
}

/// What a client begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client, or a server.
pub(crate) struct Frames(pub(crate) TcpStream);

impl Frames {
    /// One that has said hello, with these settings.
    pub(crate) fn connect(listen: &str, settings: &[(u16, u32)]) -> Self {
        Self::greet(connect(listen), settings)
    }

    /// The same on a connection that is there.
    pub(crate) fn greet(stream: TcpStream, settings: &[(u16, u32)]) -> Self {
        let mut client = Self(stream);
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)[..]].concat());
        client
    }

    /// A server of a client that has said hello.
    pub(crate) fn welcome(mut stream: TcpStream) -> Self {
        assert_eq!(read_exactly(&mut stream, PREFACE.len()), PREFACE);
        let mut server = Self(stream);
        server.send(&frame(SETTINGS, 0, 0, &[]));
        server
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Sends a request without a body.
    pub(crate) fn get<'a>(&mut self, stream: u32, fields: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields)));
    }

    /// The next frame; `None` at the end of the connection, however that comes.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let frame_in = Frame { kind: head[3], flags: head[4], stream, payload };
        if frame_in.kind == SETTINGS && frame_in.flags & ACK == 0 {
            let _ = self.0.write_all(&frame(SETTINGS, ACK, 0, &[]));
        }
        Some(frame_in)
    }

    /// Waits for the end of a stream, or of the connection.
    pub(crate) fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body) = (0, Vec::new());
        while let Some(frame) = self.next() {
            let code = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
            match frame.kind {
                GOAWAY if code(4) != 0 => return Outcome::GoneAway(code(4)),
                RST_STREAM if frame.stream == stream => return Outcome::Reset(code(0)),
                HEADERS if frame.stream == stream && status == 0 => {
                    // The static table has these three (RFC 7541, appendix A).
                    status = match frame.payload[0] {
                        0x88 => 200,
                        0x89 => 204,
                        0x8c => 400,
                        _ => 0,
                    };
                }
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            let is_of_it = frame.stream == stream && matches!(frame.kind, HEADERS | DATA);
            if is_of_it && frame.flags & END_STREAM != 0 {
                return Outcome::Answered { status, body: String::from_utf8_lossy(&body).into_owned() };
            }
        }
        Outcome::Closed
    }
}
