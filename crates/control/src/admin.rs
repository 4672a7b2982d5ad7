//! The socket on which a running instance takes orders: HTTP/1.1 over a unix socket that only its owner may use.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::timeout;
use towpath_config::Admin;
use towpath_engine::PrivateSocket;

use crate::explain::Question;
use crate::instance::StartError;

/// Clients that are served at a time.
const CLIENTS: usize = 16;

/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer may take; a reload binds and looks names up.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// The orders that come in.
#[derive(Debug)]
pub(crate) struct Orders {
    queue: mpsc::Receiver<Order>,
    _socket: PrivateSocket,
}

/// An order, to be answered.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) wants: Wants,
    answer: oneshot::Sender<Result<String, String>>,
}

/// What an order wants.
#[derive(Debug)]
pub(crate) enum Wants {
    /// The configuration is to be loaded again.
    Reload,
    /// Where a client would go.
    Explain(Question),
}

impl Order {
    pub(crate) fn reply(self, answer: Result<String, String>) {
        // Who asked may be gone.
        let _ = self.answer.send(answer);
    }
}

impl Orders {
    /// Takes orders for as long as it lives and `runtime` runs.
    pub(crate) fn start(admin: &Admin, runtime: &LocalRuntime) -> Result<Self, StartError> {
        let refused = |error| StartError::Admin { path: admin.socket.clone(), error };
        let socket = PrivateSocket::bind(&admin.socket).map_err(refused)?;
        let (sender, queue) = mpsc::channel(CLIENTS);
        let listener = {
            let _inside = runtime.enter();
            UnixListener::from_std(socket.listener().map_err(refused)?).map_err(refused)?
        };
        runtime.spawn_local(accept(listener, sender));
        Ok(Self { queue, _socket: socket })
    }

    pub(crate) async fn next(&mut self) -> Order {
        match self.queue.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }
}

async fn accept(listener: UnixListener, orders: mpsc::Sender<Order>) {
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(CLIENTS));
    loop {
        let Ok(seat) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, _)) => {
                let orders = orders.clone();
                spawn_local(async move {
                    serve(client, orders).await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::warn!("admin socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(client: UnixStream, orders: mpsc::Sender<Order>) {
    let service = service_fn(|request| {
        let orders = orders.clone();
        async move { Ok::<_, Infallible>(respond(&request, &orders).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 * 1024)
        .keep_alive(false)
        .serve_connection(TokioIo::new(client), service);
    match timeout(PATIENCE + ANSWER_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("admin socket: {error}"),
        Err(_) => tracing::debug!("admin socket: a client takes no answer"),
    }
}

async fn respond(request: &Request<Incoming>, orders: &mpsc::Sender<Order>) -> Response<Full<Bytes>> {
    let wants = match (request.method(), request.uri().path()) {
        (&Method::POST, "/reload") => Wants::Reload,
        (&Method::GET, "/explain") => match Question::from_query(request.uri().query().unwrap_or("")) {
            Ok(question) => Wants::Explain(question),
            Err(mistake) => return text(StatusCode::BAD_REQUEST, mistake),
        },
        (_, "/reload" | "/explain") => {
            return text(StatusCode::METHOD_NOT_ALLOWED, "wrong method\n".to_owned());
        }
        _ => return text(StatusCode::NOT_FOUND, "there are POST /reload and GET /explain\n".to_owned()),
    };
    let (answer, told) = oneshot::channel();
    if orders.send(Order { wants, answer }).await.is_err() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "this instance is ending\n".to_owned());
    }
    match timeout(ANSWER_TIME, told).await {
        Ok(Ok(Ok(told))) => text(StatusCode::OK, told),
        Ok(Ok(Err(error))) => text(StatusCode::UNPROCESSABLE_ENTITY, error),
        Ok(Err(_)) => text(StatusCode::SERVICE_UNAVAILABLE, "this instance is ending\n".to_owned()),
        Err(_) => {
            let told = format!("no answer within {ANSWER_TIME:?}; what was asked may still be done\n");
            text(StatusCode::GATEWAY_TIMEOUT, told)
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Why a running instance did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// It cannot be reached.
    #[error("no towpath answers at {}: {reason}; is it running, with [admin] socket, as this user? \
             If [admin] socket has changed since it was started, name the old one with --socket", path.display())]
    Unreachable {
        /// Its socket.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// It refused: its words.
    #[error("{0}")]
    Refused(String),
}

/// Has the instance whose socket is at `path` do something, and returns what it says.
///
/// # Errors
/// When it cannot be reached or refuses.
pub fn order(path: &std::path::Path, method: &str, target: &str) -> Result<String, OrderError> {
    let unreachable = |reason: String| OrderError::Unreachable { path: path.to_owned(), reason };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| unreachable(error.to_string()))?;
    let exchange = async {
        let stream = UnixStream::connect(path).await.map_err(|error| unreachable(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "towpath")
            .body(Empty::<Bytes>::new())
            .map_err(|error| unreachable(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| unreachable(error.to_string()))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| unreachable(error.to_string()))?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if status.is_success() { Ok(body) } else { Err(OrderError::Refused(body.trim_end().to_owned())) }
    };
    let late = |_| Err(unreachable("no answer in time".to_owned()));
    runtime.block_on(async { timeout(PATIENCE + ANSWER_TIME, exchange).await.unwrap_or_else(late) })
}
