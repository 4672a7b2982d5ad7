//! Whether a request may go on, and where to.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use http::{StatusCode, Version};
use towpath_config::{Action, Rules};
use towpath_wire::http1::{HeadFault, path};

use super::edits::{self, Placeholders};
use super::head::Request;
use super::own_answer::Own;
use super::routing;
use super::{Requester, forwarded};
use crate::error::{Misasked, Reason};
use crate::flow::{Flow, Stage};
use crate::inbound;
use crate::rulebook::{PoolAtWork, RouteAtWork};

/// What is known of a request before it goes on, as it came.
#[derive(Debug)]
pub(super) struct Facts {
    /// Whose it is: the client's, or that of whom a trusted peer speaks for.
    pub(super) ip: Option<IpAddr>,
    pub(super) is_trusted: bool,
    /// The host, in lower case and without port.
    pub(super) host: String,
    /// The path and the query, if they were written anew.
    pub(super) path: Option<String>,
    pub(super) request_id: String,
}

impl Facts {
    pub(super) fn new(requester: &Requester, request: &Request) -> Self {
        let http = requester.http();
        let peer = requester.client.map(|client| client.ip().to_canonical());
        let is_trusted = peer.is_some_and(|peer| http.trusted.iter().any(|network| network.contains(&peer)));
        let told = forwarded::client_told(&request.fields, is_trusted, &http.trusted);
        Self {
            ip: told.or(peer),
            is_trusted,
            host: host_of(&request.authority).to_ascii_lowercase(),
            path: None,
            request_id: String::new(),
        }
    }

    pub(super) fn placeholders<'a>(&'a self, scheme: &'static str, request: &'a Request) -> Placeholders<'a> {
        let (path, query) = split(self.path.as_ref().unwrap_or(&request.path));
        let (client, host, request_id) = (self.ip, self.host.as_str(), self.request_id.as_str());
        Placeholders { client, scheme, host, path, query, request_id }
    }
}

/// The host of an authority, without its port.
fn host_of(authority: &str) -> &str {
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    // Servers take a name with the dot of the root for the same.
    host.strip_suffix('.').unwrap_or(host)
}

/// A path and its query.
fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)))
}

/// A request that may go on.
pub(super) struct Admitted<'a> {
    pub(super) rules: &'a Rules,
    pub(super) route: &'a RouteAtWork,
    pub(super) to: To<'a>,
}

/// What becomes of it.
pub(super) enum To<'a> {
    /// It goes to this pool.
    Pool(&'a PoolAtWork),
    /// It is answered here.
    Here(StatusCode, HeaderMap, Bytes),
}

/// Lets a request in as the rules say.
///
/// # Errors
/// What its client is told otherwise.
pub(super) async fn admit<'a>(
    requester: &'a Requester,
    flow: &mut Flow,
    request: &Request,
    facts: &Facts,
) -> Result<Admitted<'a>, Own> {
    let (http, book) = (requester.http(), requester.book());
    let (asked, _) = split(&request.path);
    let plain = match asked {
        "*" => Some(Cow::Borrowed(asked)),
        asked => path::plain(asked),
    };
    let plain = plain.ok_or_else(|| {
        turned_away(flow, Reason::BadRequest(Misasked::Http(HeadFault::Target)));
        Own::new(StatusCode::BAD_REQUEST, "the path leads out of the root, or has characters of two meanings")
    })?;
    if let (Some(tls), Some(name)) = (&requester.source.tls, &requester.server_name)
        && *name != facts.host
        && !tls.has_shown(name, &facts.host)
    {
        turned_away(flow, Reason::NoRoute);
        return Err(Own::new(StatusCode::MISDIRECTED_REQUEST, "not on this connection"));
    }
    let found = routing::find(http, &request.method, &facts.host, &plain, &request.fields);
    let route = book.route(found.map(|(place, _)| place));
    let rules = found.map_or(&http.rules, |(_, route)| &route.rules);
    if !routing::is_rewritten_alike(rules, asked, &plain) {
        turned_away(flow, Reason::BadRequest(Misasked::Http(HeadFault::Target)));
        // It would be written anew in one way and read in another.
        return Err(Own::new(StatusCode::BAD_REQUEST, "the path is not written plainly"));
    }
    may_ask(rules, route, flow, request, facts).await?;
    let to = match found.map(|(_, route)| &route.action) {
        Some(Action::Redirect { status, to }) => {
            let mut fields = HeaderMap::new();
            fields.insert(LOCATION, edits::location(to, &facts.placeholders(requester.scheme(), request)));
            To::Here(status_of(*status), fields, Bytes::new())
        }
        Some(Action::Answer { status, content_type, body }) => {
            let mut fields = HeaderMap::new();
            fields.extend(HeaderValue::from_str(content_type).ok().map(|kind| (CONTENT_TYPE, kind)));
            To::Here(status_of(*status), fields, Bytes::copy_from_slice(body.as_bytes()))
        }
        Some(Action::Pools(_)) | None => {
            let pool = match route.pools.as_slice() {
                [(pool, _)] => Some(pool),
                pools => routing::choose(pools, fastrand::u32(..)),
            };
            To::Pool(pool.ok_or_else(|| {
                turned_away(flow, Reason::NoRoute);
                Own::new(StatusCode::NOT_FOUND, "nothing is served there")
            })?)
        }
    };
    Ok(Admitted { rules, route, to })
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn turned_away(flow: &mut Flow, reason: Reason) {
    flow.turned_away(Stage::Route, reason);
}

async fn may_ask(
    rules: &Rules,
    route: &RouteAtWork,
    flow: &mut Flow,
    request: &Request,
    facts: &Facts,
) -> Result<(), Own> {
    let is_in = |networks: &[ipnet::IpNet]| {
        facts.ip.is_some_and(|ip| networks.iter().any(|network| network.contains(&ip)))
    };
    if is_in(&rules.deny) || (!rules.allow.is_empty() && !is_in(&rules.allow)) {
        turned_away(flow, Reason::Refused);
        return Err(Own::new(StatusCode::FORBIDDEN, "not from here"));
    }
    if let Some(rates) = &route.rates
        && let Err(wait) = rates.take(facts.ip, Instant::now())
    {
        turned_away(flow, Reason::TooOften);
        let own = Own::new(StatusCode::TOO_MANY_REQUESTS, "too many requests");
        return Err(Own { retry_after: Some(wait), ..own });
    }
    if let Some(users) = &route.users {
        let field = request.fields.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        match inbound::log_in(users, facts.ip, field).await {
            Ok(user) => flow.guest().user = Some(user),
            Err(why) => {
                flow.turned_away(Stage::Ask, Reason::BadRequest(why));
                let own = match why {
                    Misasked::BusyLogin => Own::new(StatusCode::SERVICE_UNAVAILABLE, ""),
                    _ => Own { wants_login: true, ..Own::new(StatusCode::UNAUTHORIZED, "") },
                };
                return Err(own);
            }
        }
    }
    if request.length.zip(rules.body_bytes_max).is_some_and(|(length, most)| length > most) {
        flow.turned_away(Stage::Ask, Reason::TooLarge);
        return Err(Own::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
    }
    Ok(())
}

/// The name of a version, as `Via` has it.
pub(super) fn version_of(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
