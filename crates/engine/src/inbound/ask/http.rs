//! What a client asks by HTTP/1: CONNECT (RFC 9110, section 9.3.6), or requests to be passed on.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;
use towpath_wire::destination::Destination;
use towpath_wire::http1::{framing, head};

use super::answer::http_answer;
use super::{Answer, Asked, Asking, Refusal, Tunnel};
use crate::auth::{Authenticator, Verdict, basic};
use crate::error::Misasked;

/// How a client of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a head asks for, once it is whole.
enum Heard {
    /// CONNECT: its destination, or what is wrong with it; the login that it brings, and the length of the head.
    Connect(Result<Destination, Misasked>, Option<Vec<u8>>, usize),
    /// Another method.
    Other,
}

pub(super) async fn ask(asking: &mut Asking<'_>) -> Result<Asked, Refusal> {
    while PREFACE.starts_with(&asking.first.0) {
        if asking.first.0.len() == PREFACE.len() {
            break;
        }
        asking.more().await.map_err(unless_gone)?;
    }
    if asking.first.0.starts_with(PREFACE) {
        return Ok(Asked::Streams);
    }
    let heard = loop {
        match hear(&asking.first.0).map_err(refusal)? {
            Some(heard) => break heard,
            None => asking.more().await.map_err(unless_gone)?,
        }
    };
    let Heard::Connect(destination, login, length) = heard else { return Ok(Asked::Requests) };
    asking.take(length);
    let user = match asking.users {
        None => None,
        Some(users) => {
            let ip = asking.address.map(|address| address.ip());
            let begun = Instant::now();
            let user = log_in(users, ip, login.as_deref()).await.map_err(refusal)?;
            asking.until += begun.elapsed();
            Some(user)
        }
    };
    let destination = destination.map_err(refusal)?;
    Ok(Asked::Tunnel(Tunnel { destination, user, answer: Answer::Http }))
}

/// A client that has gone is told nothing.
fn unless_gone(why: Misasked) -> Refusal {
    if why == Misasked::Ended { why.into() } else { refusal(why) }
}

fn hear(input: &[u8]) -> Result<Option<Heard>, Misasked> {
    let Some((head, length)) = head::parse(input).map_err(Misasked::Http)? else { return Ok(None) };
    framing::of(&head).map_err(Misasked::Http)?;
    if head.method != "CONNECT" {
        return Ok(Some(Heard::Other));
    }
    let login = head.field("proxy-authorization").next().map(<[u8]>::to_vec);
    let destination = Destination::parse(head.target, None).map_err(Misasked::Destination);
    Ok(Some(Heard::Connect(destination, login, length)))
}

/// Who a client at `ip` is by the value of its `Proxy-Authorization` field.
pub(crate) async fn log_in(
    users: &Authenticator,
    ip: Option<IpAddr>,
    field: Option<&[u8]>,
) -> Result<Arc<str>, Misasked> {
    let login = field.and_then(basic).ok_or(Misasked::NoLogin)?;
    match users.check(ip, &login.name, &login.password).await {
        Verdict::Welcome(user) => Ok(user),
        Verdict::Wrong => Err(Misasked::WrongLogin),
        Verdict::Busy => Err(Misasked::BusyLogin),
    }
}

/// The status of HTTP for a request that is not understood, or of somebody who is not known.
pub(crate) fn status(why: Misasked) -> u16 {
    match why {
        Misasked::Late => 408,
        Misasked::Http(fault) => fault.status(),
        Misasked::NoLogin | Misasked::WrongLogin => 407,
        Misasked::BusyLogin => 429,
        _ => 400,
    }
}

/// What a client is told whose HTTP is not understood, or who is not known.
pub(crate) fn refusal(why: Misasked) -> Refusal {
    Refusal { why, parting: http_answer(status(why), &why.to_string(), None) }
}
