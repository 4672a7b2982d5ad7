//! The demo's clients: requests over a few connections, and a strict look at each answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::backend::{BACKEND, body};
use super::figures::Tally;

/// Clients; each has one connection at a time and one request at a time.
pub(super) const CLIENTS: u32 = 16;

/// A client begins a request this often: 3,200 requests a second in all.
const PACE: Duration = Duration::from_millis(5);
/// A connection carries so many requests, then the client makes a new one.
const REQUESTS_PER_CONNECTION: u32 = 100;
/// Without its whole answer after so long, a request has failed.
const PATIENCE: Duration = Duration::from_secs(10);

type Sender = SendRequest<Empty<Bytes>>;

/// Sends requests to `front` until `stop`, and waits for the answers to all of them. Nothing is tried twice: whatever goes
/// wrong is a failed request in `tally`.
pub(super) async fn run(front: SocketAddr, tally: Arc<Tally>, stop: watch::Receiver<bool>) -> io::Result<()> {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client { number, front, tally: tally.clone(), stop: stop.clone() };
            spawn_local(client.run())
        })
        .collect();
    for client in clients {
        client.await.map_err(io::Error::other)?;
    }
    Ok(())
}

struct Client {
    number: u32,
    front: SocketAddr,
    tally: Arc<Tally>,
    stop: watch::Receiver<bool>,
}

/// A right answer.
struct Answer {
    /// Place of the backend that gave it.
    backend: usize,
    /// The connection takes another request.
    goes_on: bool,
}

impl Client {
    async fn run(self) {
        // Spread evenly, so that requests do not wait for each other.
        sleep(PACE * self.number / CLIENTS).await;
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut first = 0;
        while !*self.stop.borrow() {
            if let Err(error) = self.connection(first, &mut pace).await {
                self.tally.failed(&format!("client {}: {error:#}", self.number));
                pace.tick().await;
            }
            first += REQUESTS_PER_CONNECTION;
        }
    }

    /// The life of one connection, whose requests are numbered from `first`.
    async fn connection(&self, first: u32, pace: &mut Interval) -> anyhow::Result<()> {
        let mut sender = timeout(PATIENCE, connect(self.front)).await.context("connect")??;
        for number in first..first + REQUESTS_PER_CONNECTION {
            pace.tick().await;
            let last = number + 1 == first + REQUESTS_PER_CONNECTION || *self.stop.borrow();
            let path = format!("/client/{}/request/{number}", self.number);
            let start = Instant::now();
            let answer = timeout(PATIENCE, ask(&mut sender, &path, last)).await;
            let answer = answer.unwrap_or_else(|late| Err(late.into())).with_context(|| path)?;
            self.tally.answered(answer.backend, start.elapsed());
            if !answer.goes_on {
                break;
            }
        }
        Ok(())
    }
}

async fn connect(front: SocketAddr) -> anyhow::Result<Sender> {
    let stream = TcpStream::connect(front).await.context("connect")?;
    stream.set_nodelay(true).context("connect")?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // An error of the connection is told to the request that waits.
    spawn_local(connection);
    Ok(sender)
}

/// Asks for `path`; a `last` request ends the connection.
async fn ask(sender: &mut Sender, path: &str, last: bool) -> anyhow::Result<Answer> {
    let mut request = Request::get(path).header(HOST, "demo");
    if last {
        request = request.header(CONNECTION, "close");
    }
    sender.ready().await?;
    let response = sender.send_request(request.body(Empty::new())?).await?;
    ensure!(response.status() == StatusCode::OK, "status {}", response.status());
    let (head, rest) = response.into_parts();
    let got = rest.collect().await?.to_bytes();
    ensure!(got == body(path), "another body than asked for");
    let backend = backend(&head.headers).ok_or_else(|| anyhow!("no backend named"))?;
    let goes_on = !last && head.headers.get(CONNECTION).is_none_or(|value| value != "close");
    Ok(Answer { backend, goes_on })
}

fn backend(headers: &HeaderMap) -> Option<usize> {
    headers.get(BACKEND)?.to_str().ok()?.parse().ok()
}
