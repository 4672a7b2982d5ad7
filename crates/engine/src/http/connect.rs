//! CONNECT as a stream of HTTP/2 (RFC 9113, section 8.5), and for WebSocket (RFC 8441).

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::PROXY_AUTHORIZATION;
use hyper::{Request, Response};
use tokio::task::spawn_local;
use towpath_config::Proxy;
use towpath_wire::destination::Destination;

use super::body::Down;
use super::request::{Answer, Refused, log_in};
use super::{Requester, upgraded};
use crate::conn;
use crate::error::{Misasked, Reason};
use crate::first_flight::FirstFlight;
use crate::flow::{Flow, Stage};
use crate::proxied::find_way;

pub(super) async fn serve(
    requester: &Rc<Requester>,
    proxy: &Proxy,
    mut flow: Flow,
    mut request: Request<Incoming>,
) -> Result<Answer, Refused> {
    let login = request.headers_mut().remove(PROXY_AUTHORIZATION);
    log_in(requester, &mut flow, login).await?;
    let misasked = |flow: &mut Flow, why| {
        flow.turned_away(Stage::Ask, Reason::BadRequest(why));
        Refused::from(why)
    };
    let Some(authority) = request.uri().authority() else {
        return Err(misasked(&mut flow, Misasked::NotForProxy));
    };
    let destination = Destination::parse(authority.as_str(), None)
        .map_err(|error| misasked(&mut flow, Misasked::Destination(error)))?;
    flow.guest().wanted = Some(destination.clone());
    match find_way(&requester.worker, &flow, proxy, &destination).await {
        Ok(pool) => flow.guest().pool = Some(pool),
        Err(reason) => {
            flow.turned_away(Stage::Route, reason);
            return Err(Refused::of(reason, &destination));
        }
    }
    let Some((lease, server)) = conn::reach(&mut flow, None, false).await else {
        return Err(Refused::of(flow.reason(), &destination));
    };
    flow.connected(lease, false);
    let worker = requester.worker.clone();
    let client_side = hyper::upgrade::on(&mut request);
    spawn_local(async move {
        let Ok(client) = client_side.await else { return };
        if let Ok(client) = upgraded::into_stream(client) {
            conn::carry(worker, flow, client, server, FirstFlight::default()).await;
        }
    });
    Ok(Response::new(Down::Own(None)))
}
