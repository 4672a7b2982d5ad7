//! Asking an HTTP proxy to connect on: CONNECT (RFC 9110, section 9.3.6).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::AsyncReadExt;
use towpath_config::Login;
use towpath_wire::destination::Destination;
use towpath_wire::http1::response;

use crate::error::{HopFault, HttpStatus};
use crate::stream::Stream;

pub(super) async fn ask(
    login: Option<&Login>,
    wanted: &Destination,
    mut stream: Stream,
) -> Result<Stream, HopFault> {
    let mut request = format!("CONNECT {wanted} HTTP/1.1\r\nHost: {wanted}\r\n");
    if let Some(Login { name, password }) = login {
        let credentials = BASE64_STANDARD.encode(format!("{name}:{}", password.reveal()));
        request.push_str(&format!("Proxy-Authorization: Basic {credentials}\r\n"));
    }
    request.push_str("\r\n");
    stream.send_all(request.as_bytes(), false).await.map_err(|_| HopFault::Closed)?;
    let mut answer = Vec::new();
    loop {
        match response::parse(&answer).map_err(|_| HopFault::BadAnswer)? {
            // An interim answer (RFC 9110, section 15.2).
            Some((head, length)) if head.status < 200 => drop(answer.drain(..length)),
            Some((head, length)) => {
                return match head.status {
                    // What came behind it is the server's.
                    200..=299 => Ok(stream.unread(&answer[length..])),
                    407 => Err(HopFault::Login),
                    status => Err(HttpStatus::new(status).map_or(HopFault::BadAnswer, HopFault::Status)),
                };
            }
            None => {
                if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                    return Err(HopFault::Closed);
                }
            }
        }
    }
}
