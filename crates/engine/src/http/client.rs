//! A client of HTTP: its requests one after another, or as streams of HTTP/2.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, StatusCode, Version};
use tokio::time::timeout;

use super::clock::Clock;
use super::head::{self, Asked, Request};
use super::own_answer::Own;
use super::respond::ourselves;
use super::server::Server;
use super::side::{Coming, Fault, H1Side, Side};
use super::{Behind, By, Requester, serve_request, streams};
use crate::conn;
use crate::error::{Misasked, Reason};
use crate::first_flight::FirstFlight;
use crate::flow::{Flow, Stage};
use crate::pool::Lease;
use crate::proxied::part;
use crate::rulebook::Rulebook;
use crate::stream::Stream;
use crate::worker::Worker;

/// What a client of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client that rests in a drain may have sent its next request just now: it has so long to come, and is the last.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// Serves all requests of a client, of which `first` was read already.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    mut flow: Flow,
    mut client: Stream,
    mut first: FirstFlight,
    book: Arc<Rulebook>,
) {
    let http = &book.config;
    let waiting = async {
        while first.0.len() < PREFACE.len()
            && PREFACE.starts_with(&first.0)
            && first.wait_for_more(&mut client, &worker.buffers).await
        {}
    };
    // Who has said nothing is not waited for in a drain.
    tokio::select! {
        waited = timeout(http.header_timeout, waiting) => drop(waited),
        () = worker.draining() => {}
    }
    if first.is_empty() {
        flow.turned_away(Stage::Ask, Reason::ClientClosed);
        flow.speaks_for_others();
        client.finish().into_iter().for_each(drop);
        return;
    }
    let requester = Requester::new(&worker, &flow, book);
    flow.speaks_for_others();
    match first.0.starts_with(PREFACE) {
        true => Box::pin(streams::serve(&requester, client, first)).await,
        false => serve_h1(&requester, flow, client, first).await,
    }
}

async fn serve_h1(requester: &Rc<Requester>, mut flow: Flow, client: Stream, first: FirstFlight) {
    let worker = &requester.worker;
    let mut draining = pin!(worker.draining());
    let mut client = Side::H1(H1Side::new(client, first.0));
    let mut clock = Clock::new();
    let bytes_max = requester.http().header_bytes_max;
    let mut is_leaving = false;
    loop {
        let Side::H1(side) = &mut client else { return };
        clock.set_end(None);
        let mut waits_for_head = side.has_ahead();
        clock.set(Some(match waits_for_head {
            true => requester.http().header_timeout,
            false => requester.http().keepalive_timeout,
        }));
        let next = poll_fn(|cx| {
            if let Poll::Ready(asked) =
                side.poll_head(cx, &worker.buffers, false, |input| head::request(input, bytes_max))
            {
                return Poll::Ready(asked.map_err(Next::Fault));
            }
            if side.has_ahead() && !waits_for_head {
                waits_for_head = true;
                clock.set(Some(requester.http().header_timeout));
            }
            if !side.has_ahead() && !is_leaving && draining.as_mut().poll(cx).is_ready() {
                is_leaving = true;
                clock.set(Some(LAST_REQUEST));
            }
            clock.poll(cx).map(|_| if waits_for_head { Err(Next::Late) } else { Ok(None) })
        });
        let behind = match next.await {
            Ok(None) => break,
            Ok(Some(Asked { request, framing, is_last })) => {
                side.expect(Coming::from(framing));
                // What a request takes is had while there is one: most clients rest. Made where it stays, it is not copied there.
                let serving = Box::new_uninit();
                let serving =
                    Box::write(serving, serve_request(requester, &mut clock, request, &mut client, is_last));
                Box::into_pin(serving).await
            }
            // It has gone between two requests.
            Err(Next::Fault(Fault::Broken(_))) if !side.has_ahead() => return,
            Err(fault) => {
                flow.speaks_for_itself();
                Box::pin(turn_away(&mut flow, &mut client, fault)).await
            }
        };
        match behind {
            Behind::Next => {}
            Behind::Close => {
                let Side::H1(side) = client else { return };
                let (stream, _) = side.into_parts();
                return Box::pin(part(stream, b"")).await;
            }
            Behind::Cut(_) => {
                let Side::H1(side) = client else { return };
                return Box::pin(crate::relay::deliver(side.into_parts().0)).await;
            }
            Behind::Over(over) => return Box::pin(go_over(worker.clone(), client, over)).await,
        }
    }
    let Side::H1(side) = client else { return };
    if let Some(finishing) = side.into_parts().0.finish() {
        Box::pin(finishing).await;
    }
}

/// Carries what a client and a server have gone over to.
async fn go_over(worker: Rc<Worker>, mut client: Side, over: Box<(Flow, Lease, Box<Server>)>) {
    let _ = poll_fn(|cx| client.poll_flush(cx)).await;
    let (mut flow, lease, server) = *over;
    let (Side::H1(client), Side::H1(server)) = (client, server.side) else { return };
    flow.goes_over();
    flow.connected(lease, true);
    let ((client, unread), (server, early)) = (client.into_parts(), server.into_parts());
    let (client, server) = (client.unread(&unread), server.unread(&early));
    conn::carry(worker, flow, client, server, FirstFlight::default()).await;
}

/// Why there is no next request.
enum Next {
    Fault(Fault),
    Late,
}

/// Tells a client that what it sent is no request.
async fn turn_away(flow: &mut Flow, client: &mut Side, why: Next) -> Behind {
    let (why, status) = match why {
        Next::Late => (Misasked::Late, StatusCode::REQUEST_TIMEOUT),
        Next::Fault(Fault::Http(fault)) => {
            let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST);
            (Misasked::Http(fault), status)
        }
        Next::Fault(Fault::Ended) => (Misasked::Ended, StatusCode::BAD_REQUEST),
        Next::Fault(_) => {
            flow.turned_away(Stage::Ask, Reason::ClientReset);
            return Behind::Cut(By::Client);
        }
    };
    flow.turned_away(Stage::Ask, Reason::BadRequest(why));
    ourselves(client, &nameless(), &Own::new(status, why.to_string()), true).await
}

/// A request of which nothing is known.
fn nameless() -> Request {
    Request {
        method: Method::GET,
        path: String::new(),
        authority: String::new(),
        version: Version::HTTP_11,
        fields: http::HeaderMap::new(),
        upgrade: None,
        length: None,
        has_body: false,
        takes_trailers: false,
    }
}
