//! Small pieces of TCP: a server to accept from, resets, half-closes, and reading until a stream ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use socket2::{Domain, Socket, Type};

use super::{PATIENCE, wait_for};

/// A server under the test's control.
pub(crate) struct Server(TcpListener);

impl Server {
    /// On a port of 127.0.0.1 that the kernel picks.
    pub(crate) fn start() -> Self {
        Self::on("127.0.0.1:0")
    }

    /// On `address`.
    pub(crate) fn on(address: &str) -> Self {
        let listener =
            TcpListener::bind(address).unwrap_or_else(|error| panic!("server on {address}: {error}"));
        sockopt::set_socket_timeout(&listener, Timeout::Recv, Some(PATIENCE)).unwrap();
        Self(listener)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// The same server, to accept from on another thread.
    pub(crate) fn try_clone(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> TcpStream {
        let (stream, _) = self.0.accept().expect("a connection of towpath's in time");
        patient(stream)
    }

    /// Answers every connection with its own bytes, for as long as the test runs.
    pub(crate) fn echo(self) {
        thread::spawn(move || {
            loop {
                match self.0.accept() {
                    Ok((stream, _)) => {
                        thread::spawn(move || echo(stream));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("the echo server cannot accept: {error}"),
                }
            }
        });
    }

    /// Sends `name` to every connection and closes it, for as long as the test runs.
    pub(crate) fn tell(self, name: &str) {
        let name = name.to_owned();
        thread::spawn(move || {
            loop {
                match self.0.accept() {
                    Ok((mut stream, _)) => {
                        let _ = stream.write_all(name.as_bytes());
                        let _ = stream.shutdown(Shutdown::Write);
                        // Closing with unread bytes would reset, and take the name with it.
                        let _ = stream.read_to_end(&mut Vec::new());
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("the server {name} cannot accept: {error}"),
                }
            }
        });
    }
}

/// An echo server on a port that the kernel picks; returns its address.
pub(crate) fn echo_server() -> String {
    let server = Server::start();
    let address = server.address();
    server.echo();
    address
}

/// A server that sends `name`; returns its address.
pub(crate) fn telling_server(name: &str) -> String {
    let server = Server::start();
    let address = server.address();
    server.tell(name);
    address
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A client with little room for what comes.
pub(crate) fn narrow(listen: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(&listen.parse::<SocketAddr>().unwrap().into()).unwrap();
    patient(TcpStream::from(socket))
}

/// A connection to `address` whose calls have a deadline.
pub(crate) fn connect(address: impl ToSocketAddrs + std::fmt::Debug) -> TcpStream {
    try_connect(&address).unwrap_or_else(|error| panic!("cannot connect to {address:?}: {error}"))
}

/// The same where it may be refused.
pub(crate) fn try_connect(address: impl ToSocketAddrs) -> std::io::Result<TcpStream> {
    let address: SocketAddr = address.to_socket_addrs()?.next().expect("an address");
    TcpStream::connect_timeout(&address, PATIENCE).map(patient)
}

/// A client of towpath at `listen` and the server's end of its connection.
pub(crate) fn pair(listen: &str, server: &Server) -> (TcpStream, TcpStream) {
    let client = connect(listen);
    (client, server.accept())
}

/// Closes with a reset.
pub(crate) fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

/// Closes with a reset once all that was written has reached the other end's kernel: a reset takes the rest along.
pub(crate) fn reset_after_delivery(stream: TcpStream) {
    wait_for("acknowledgement", || (super::proc::unacknowledged(&stream) == Some(0)).then_some(()));
    reset(stream);
}

/// Ends the stream that is written.
pub(crate) fn end_writes(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Fin,
    /// With ECONNRESET.
    Reset,
}

/// Reads until the stream ends.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    let end = read_with(stream, |chunk| bytes.extend_from_slice(chunk));
    (bytes, end)
}

/// Hands everything that comes to `take`, and tells how the stream ended.
pub(crate) fn read_with(stream: &mut impl Read, mut take: impl FnMut(&[u8])) -> End {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return End::Fin,
            Ok(count) => take(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return End::Reset,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the stream neither goes on nor ends: {error}"),
        }
    }
}

/// Reads `count` bytes.
pub(crate) fn read_exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap_or_else(|error| panic!("{count} bytes expected: {error}"));
    bytes
}

/// Sends `text` and expects it back.
pub(crate) fn assert_echo(stream: &mut (impl Read + Write), text: &str) {
    stream.write_all(text.as_bytes()).unwrap_or_else(|error| panic!("cannot send {text:?}: {error}"));
    assert_eq!(String::from_utf8(read_exactly(stream, text.len())).unwrap(), text);
}

/// Tells how the connection ended that `listen` does not serve: on the way in, or reset later.
pub(crate) fn assert_reset_or_refused(listen: &str) {
    match try_connect(listen) {
        Ok(mut client) => assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset)),
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset),
            "{error}"
        ),
    }
}

/// Expects the kernel to refuse a connection to `listen`.
pub(crate) fn assert_refused(listen: &str) {
    let refused = try_connect(listen).map(|_| ()).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
}
