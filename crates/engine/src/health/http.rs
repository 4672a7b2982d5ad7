//! A check by an HTTP/1.1 GET.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::{ANSWER_BYTES_MAX, CheckError, Door, Wire};

/// What is asked for and what is good.
pub(super) struct Wanted<'a> {
    pub(super) path: &'a str,
    pub(super) host: Option<&'a str>,
    pub(super) status: &'a [(u16, u16)],
    pub(super) body: Option<&'a str>,
}

pub(super) async fn ask(wire: Wire, door: Door<'_>, wanted: Wanted<'_>) -> Result<(), CheckError> {
    let failed = |error: hyper::Error| CheckError::Bad(format!("no answer of HTTP: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(ANSWER_BYTES_MAX)
        .handshake(TokioIo::new(wire))
        .await
        .map_err(failed)?;
    let connection = spawn_local(connection);
    let host = wanted.host.map_or_else(|| own_host(door), str::to_owned);
    let request = Request::get(wanted.path)
        .header("host", host)
        .header("user-agent", "towpath")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| CheckError::Bad(format!("the request cannot be made: {error}")))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status().as_u16();
    if !wanted.status.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
        return Err(CheckError::Bad(format!("HTTP status {status}")));
    }
    let Some(text) = wanted.body else { return Ok(()) };
    let (mut body, mut read) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        read.extend(frame.map_err(failed)?.into_data().unwrap_or_default());
        if read.windows(text.len()).any(|part| part == text.as_bytes()) {
            connection.abort();
            return Ok(());
        }
        if read.len() >= ANSWER_BYTES_MAX {
            break;
        }
    }
    connection.abort();
    Err(CheckError::bad("the body is not the one expected", &read))
}

fn own_host(door: Door<'_>) -> String {
    match door {
        Door::Tcp(address) => address.to_string(),
        Door::Unix(_) => "localhost".to_owned(),
        Door::Name(name, port) => format!("{name}:{port}"),
    }
}
