//! A record as one JSON object on a line.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use towpath_engine::{Exchanged, Reason, Record};

use super::socket::Socket;

/// The keys of a record; times in seconds, addresses as text.
#[derive(Serialize)]
struct Line<'a> {
    start: Option<String>,
    listener: &'a str,
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<&'a str>,
    pool: Option<&'a str>,
    backend: Option<String>,
    address: Option<String>,
    duration_seconds: f64,
    connect_seconds: Option<f64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    request: Option<Request<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_socket: Option<Socket<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend_socket: Option<Socket<'a>>,
    up_bytes: u64,
    down_bytes: u64,
    stage: &'a str,
    end: Cow<'a, str>,
}

/// The keys of a request of HTTP.
#[derive(Serialize)]
struct Request<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    version: &'a str,
    status: Option<u16>,
    attempts: u32,
    first_byte_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
}

impl<'a> From<&'a Exchanged> for Request<'a> {
    fn from(exchanged: &'a Exchanged) -> Self {
        Self {
            method: &exchanged.method,
            host: &exchanged.host,
            path: &exchanged.path,
            version: exchanged.version,
            status: exchanged.status,
            attempts: exchanged.attempts,
            first_byte_seconds: exchanged.first_byte.map(|time| time.as_secs_f64()),
            referrer: exchanged.referrer.as_deref(),
            agent: exchanged.agent.as_deref(),
        }
    }
}

/// Appends the line of `record` to `to`.
pub(super) fn write(record: &Record, to: &mut Vec<u8>) {
    let backend = record.backend.as_ref();
    let line = Line {
        start: Timestamp::try_from(record.start).ok().map(|start| format!("{start:.6}")),
        listener: &record.listener.name,
        client: record.client.map(|client| super::canonical(client).to_string()),
        id: record.unique_id.as_deref(),
        user: record.user.as_deref(),
        wanted: record.wanted.as_deref(),
        pool: backend.map(|backend| &*backend.pool.name),
        backend: backend.map(|backend| backend.backend.member.target.to_string()),
        address: backend.and_then(|backend| backend.address).map(|address| address.to_string()),
        duration_seconds: record.duration.as_secs_f64(),
        connect_seconds: record.connect_time.map(|time| time.as_secs_f64()),
        request: record.request.as_deref().map(Request::from),
        client_socket: record.client_socket.as_deref().map(Socket::from),
        backend_socket: record.server_socket.as_deref().map(Socket::from),
        up_bytes: record.up_bytes,
        down_bytes: record.down_bytes,
        stage: record.stage.as_str(),
        end: match record.reason {
            Reason::BadRequest(_) | Reason::Hop(_) => Cow::Owned(record.reason.to_string()),
            reason => Cow::Borrowed(reason.as_str()),
        },
    };
    // Writing to memory cannot fail, and neither can the keys.
    if serde_json::to_writer(&mut *to, &line).is_ok() {
        to.push(b'\n');
    }
}
