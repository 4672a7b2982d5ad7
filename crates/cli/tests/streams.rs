//! Many streams over few connections of HTTP/2: to towpath as a proxy, and from it to others.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::net::{assert_echo, connect, echo_server};
use support::ports::free_address;
use support::proc::own_memory_bytes;
use support::towpath::{Towpath, command};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

/// Streams over the one connection, and what each of them carries.
const STREAMS: usize = 1000;
const STREAM_BYTES: usize = 1_000_000;

/// What the stalled stream and all the connections may take of towpath's own memory: the windows of one connection and some
/// room for the rest.
const MEMORY_BYTES: u64 = 96 << 20;

type Client = SendRequest<Empty<Bytes>>;

fn proxy(listen: &str) -> Towpath {
    let words = ["proxy", listen, "--allow-dest", "127.0.0.0/8", "--log-format", "json"];
    Towpath::start(command(words))
}

/// A server that sends so many bytes to whoever says something, and ends.
fn source() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let bytes = vec![b'x'; STREAM_BYTES];
        for mut stream in listener.incoming().flatten() {
            let bytes = bytes.clone();
            thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || {
                    if stream.read_exact(&mut [0]).is_ok() {
                        let _ = stream.write_all(&bytes);
                    }
                })
                .unwrap();
        }
    });
    address
}

async fn client(listen: &str) -> Client {
    let socket = TcpStream::connect(listen).await.unwrap();
    let builder = http2::Builder::new(TokioExecutor::new());
    let (client, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A tunnel to `target` on a connection that others share.
async fn tunnel(client: &mut Client, target: &str) -> TokioIo<Upgraded> {
    client.ready().await.unwrap();
    let request = Request::builder().method(Method::CONNECT).uri(target).body(Empty::new()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    TokioIo::new(hyper::upgrade::on(answer).await.unwrap())
}

#[tokio::test]
async fn a_stream_that_stalls_stops_no_other_of_a_thousand() {
    let (listen, source) = (free_address(), source());
    let towpath = proxy(&listen);
    let mut client = client(&listen).await;
    let mut stalled = tunnel(&mut client, &source).await;
    stalled.write_all(b"!").await.unwrap();
    let mut others = JoinSet::new();
    for _ in 1..STREAMS {
        let mut stream = tunnel(&mut client, &source).await;
        others.spawn(async move {
            stream.write_all(b"!").await.unwrap();
            let (mut count, mut buffer) = (0, vec![0; 64 << 10]);
            while let Ok(more @ 1..) = stream.read(&mut buffer).await {
                count += more;
            }
            count
        });
    }
    while let Some(count) = timeout(support::PATIENCE * 2, others.join_next()).await.expect("no stall") {
        assert_eq!(count.unwrap(), STREAM_BYTES);
    }
    let memory = own_memory_bytes(towpath.pid());
    assert!(memory < MEMORY_BYTES, "{memory} bytes of memory");
    let mut rest = Vec::new();
    stalled.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), STREAM_BYTES);
    drop((stalled, client));
    spawn_blocking(move || towpath.stop(STREAMS)).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_each_way_on_its_own_and_resets_alone() {
    let (listen, server) = (free_address(), support::net::Server::start());
    let towpath = proxy(&listen);
    let mut client = client(&listen).await;
    let mut stream = tunnel(&mut client, &server.address()).await;
    let mut far = server.accept();
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut asked = String::new();
    far.read_to_string(&mut asked).unwrap();
    far.write_all(b"answer").unwrap();
    drop(far);
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    assert_eq!((asked.as_str(), told.as_str()), ("question", "answer"));
    // A reset of the server is one of the stream, and the connection goes on.
    let mut broken = tunnel(&mut client, &server.address()).await;
    support::net::reset(server.accept());
    assert!(broken.read(&mut [0; 8]).await.is_err(), "a cut stream must not look complete");
    let mut next = tunnel(&mut client, &server.address()).await;
    let mut far = server.accept();
    far.write_all(b"on").unwrap();
    drop(far);
    told.clear();
    next.read_to_string(&mut told).await.unwrap();
    assert_eq!(told, "on");
    drop((stream, broken, next, client));
    spawn_blocking(move || towpath.stop(3)).await.unwrap();
}

#[test]
fn many_connections_go_out_over_few() {
    let (hop, listen, echo) = (free_address(), free_address(), echo_server());
    let proxy = proxy(&hop);
    let towpath = Towpath::tcp(&listen, &echo, &["--via", &format!("h2c://{hop}"), "--workers", "1"]);
    let mut clients: Vec<_> = (0..150).map(|_| connect(listen.as_str())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_echo(client, &format!("stream {number}"));
    }
    drop(clients);
    towpath.stop(150);
    let records = proxy.records(150);
    let from: std::collections::HashSet<_> = records.iter().map(|record| record.text("client")).collect();
    assert_eq!(from.len(), 2, "a connection has room for a hundred streams");
}

#[tokio::test]
async fn a_stream_may_be_a_web_socket() {
    let (listen, server) = (free_address(), support::net::Server::start());
    let towpath = proxy(&listen);
    let mut client = client(&listen).await;
    client.ready().await.unwrap();
    let request = || {
        let uri = format!("http://{}/chat?a=b", server.address());
        Request::builder()
            .method(Method::CONNECT)
            .uri(uri)
            .header("sec-websocket-version", "13")
            .extension(hyper::ext::Protocol::from_static("websocket"))
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    let asking = tokio::spawn(client.send_request(request()));
    let mut far = spawn_blocking({
        let server = server.try_clone();
        move || server.accept()
    })
    .await
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(support::net::read_exactly(&mut far, 1));
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("get /chat?a=b http/1.1\r\n"), "{head}");
    assert_eq!(head.matches("sec-websocket-key: ").count(), 1, "{head}");
    assert!(
        head.contains("upgrade: websocket\r\n") && head.contains("sec-websocket-version: 13\r\n"),
        "{head}"
    );
    far.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    )
    .unwrap();
    let answer = asking.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let mut said = [0; 5];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"hello");
    stream.write_all(b"world").await.unwrap();
    let heard = spawn_blocking(move || support::net::read_exactly(&mut far, 5)).await.unwrap();
    assert_eq!(heard, b"world");
    drop((stream, client));
    spawn_blocking(move || towpath.stop(1)).await.unwrap();
}
