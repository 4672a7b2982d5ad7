//! How a client of a proxy is told what has come of its wish.

use towpath_wire::socks::{Reply, v4, v5};

use crate::error::{HopError, HopFault, Reason, far};

/// The way in which a client waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// HTTP/1.1, after CONNECT.
    Http,
    /// SOCKS 5.
    Socks5,
    /// SOCKS 4.
    Socks4,
    /// A stream of a tunnel.
    Tunnel,
}

impl Answer {
    /// Its connection is there.
    pub(crate) fn granted(self) -> Vec<u8> {
        match self {
            Self::Http => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
            Self::Socks5 => {
                let mut bytes = Vec::with_capacity(10);
                v5::write_reply(Reply::Granted, None, &mut bytes);
                bytes
            }
            Self::Socks4 => {
                let mut bytes = Vec::with_capacity(8);
                v4::write_reply(true, &mut bytes);
                bytes
            }
            Self::Tunnel => vec![0],
        }
    }

    /// There is none; `told` says more than `reason`, for people.
    pub(crate) fn refused(self, reason: Reason, told: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Http => return http_answer(status(reason), told, Some(reason)),
            Self::Socks5 => v5::write_reply(reply(reason), None, &mut bytes),
            Self::Socks4 => v4::write_reply(false, &mut bytes),
            Self::Tunnel => bytes.push(code(reason)),
        }
        bytes
    }
}

/// The status of HTTP for a connection that did not come about.
pub(crate) fn status(reason: Reason) -> u16 {
    match reason {
        Reason::Denied(_) => 403,
        Reason::ConnectTimedOut | Reason::AnswerTimedOut | Reason::QueueTimedOut => 504,
        Reason::Hop(error) => match error.fault {
            HopFault::TimedOut | HopFault::Code(6) | HopFault::Far(far::TIMED_OUT) => 504,
            HopFault::Far(far::DENIED) => 403,
            HopFault::Far(far::NO_PLACE) => 503,
            HopFault::Status(status) if status.code() == 504 => 504,
            _ => 502,
        },
        Reason::NoDescriptors
        | Reason::NoPlace
        | Reason::NoSourceAddress
        | Reason::NoSourcePort
        | Reason::QueueFull
        | Reason::Shutdown => 503,
        _ => 502,
    }
}

/// The status of SOCKS 5 for it.
fn reply(reason: Reason) -> Reply {
    match reason {
        Reason::Denied(_) => Reply::NotAllowed,
        Reason::ConnectRefused => Reply::Refused,
        Reason::ConnectTimedOut | Reason::Unreachable | Reason::NoSuchHost | Reason::ResolveFailed => {
            Reply::HostUnreachable
        }
        Reason::Hop(error) => match error.fault {
            HopFault::Far(far::DENIED) => Reply::NotAllowed,
            HopFault::Code(5) | HopFault::Far(far::REFUSED) => Reply::Refused,
            HopFault::Code(3) | HopFault::Far(far::NO_NETWORK) => Reply::NetworkUnreachable,
            HopFault::Code(4 | 6)
            | HopFault::TimedOut
            | HopFault::Far(far::UNREACHABLE | far::TIMED_OUT | far::NO_SUCH_HOST) => Reply::HostUnreachable,
            HopFault::Status(status) if status.code() != 503 && error.fault.is_behind() => {
                Reply::HostUnreachable
            }
            _ => Reply::General,
        },
        _ => Reply::General,
    }
}

/// The code of the far end of a tunnel for it.
fn code(reason: Reason) -> u8 {
    match reason {
        Reason::ConnectTimedOut | Reason::AnswerTimedOut | Reason::QueueTimedOut => far::TIMED_OUT,
        Reason::NoSuchHost => far::NO_SUCH_HOST,
        Reason::NoPlace | Reason::NoDescriptors => far::NO_PLACE,
        Reason::Hop(HopError { fault: HopFault::Far(code), .. }) => code,
        reason => reply(reason) as u8,
    }
}

/// The error type of RFC 9209, section 2.3.
fn proxy_status(reason: Reason) -> &'static str {
    match reason {
        Reason::Denied(_) => "destination_ip_prohibited",
        Reason::ConnectRefused => "connection_refused",
        Reason::ConnectTimedOut => "connection_timeout",
        Reason::NoSuchHost | Reason::ResolveFailed => "dns_error",
        Reason::Unreachable => "destination_ip_unroutable",
        Reason::QueueFull | Reason::QueueTimedOut | Reason::NoPlace => "connection_limit_reached",
        Reason::Hop(_) => "proxy_internal_response",
        _ => "proxy_internal_error",
    }
}

/// A whole answer of HTTP/1.1 after which the connection closes; `told` is a line for people.
pub(crate) fn http_answer(status: u16, told: &str, reason: Option<Reason>) -> Vec<u8> {
    let phrase = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        414 => "URI Too Long",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Bad Gateway",
    };
    let mut fields = String::new();
    if status == 407 {
        fields.push_str("Proxy-Authenticate: Basic realm=\"towpath\", charset=\"UTF-8\"\r\n");
    }
    if let Some(reason) = reason {
        fields.push_str(&format!("Proxy-Status: towpath; error={}\r\n", proxy_status(reason)));
    }
    let length = told.len() + 1;
    format!(
        "HTTP/1.1 {status} {phrase}\r\n{fields}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{told}\n"
    )
    .into_bytes()
}
