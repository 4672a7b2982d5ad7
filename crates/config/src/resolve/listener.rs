//! Listeners: where they bind and which pool they name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use towpath_wire::addr::Listen;

use super::pool::{Pools, note_twice};
use super::{EXAMPLE, note_absent, on, proxy, socket};
use crate::error::Mistake;
use crate::file::{self, Speed};
use crate::model::{
    Admission, Bandwidth, Dns, Flows, Http, Listener, Mode, Pool, Proxy, ProxyHeaderIn, Route, TunnelIn,
};
use crate::near::near;
use crate::read::{Field, OneOrMany, Tables};
use crate::report::Report;
use crate::words::{ModeWord, Name, Network, ProxyInWord, Timespan};

/// A listener of the file, as far as it could be understood.
pub(crate) struct Found {
    /// The listener; `None` if there is no pool of the name that it gives.
    pub(crate) listener: Option<Arc<Listener>>,
    /// Its binds and their bytes in the text.
    pub(crate) binds: Vec<(Listen, Range<usize>)>,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// What it takes the first bytes for, if that could be read.
    pub(crate) mode: Option<Mode>,
    /// The place of its pool in the file.
    pool: Option<usize>,
    /// The places of the pools that its routes name.
    of_routes: Vec<usize>,
}

impl Found {
    /// The places of all pools where its connections or requests may go.
    pub(crate) fn pools(&self) -> impl Iterator<Item = usize> {
        self.pool.into_iter().chain(self.of_routes.iter().copied())
    }
}

/// Checks the listeners of the file.
pub(crate) fn listeners(
    field: Field<Tables<file::Listener>>,
    pools: &Pools,
    dns: &Dns,
    report: &mut Report,
) -> Vec<Found> {
    let Field::Given(Tables(tables), span) = field else {
        if field.is_absent() && !report.has_lost_tables() {
            report.push(Mistake::of_the_file("there is no [[listener]]").hint(EXAMPLE));
        }
        return Vec::new();
    };
    if tables.items.is_empty() && !tables.struck {
        report.push(Mistake::at(span, "there is no [[listener]]").hint(EXAMPLE));
    }
    let mut places: HashMap<Arc<str>, Range<usize>> = HashMap::new();
    let mut all = Vec::with_capacity(tables.items.len());
    for (shape, table) in tables.items {
        note_absent(&shape.name, ("[[listener]]", "name", "name = \"web\""), &table, report);
        note_absent(&shape.bind, ("[[listener]]", "bind", "bind = \":8080\""), &table, report);
        let example = ("[[listener]]", "pool", "pool = \"web\", the name of a [[pool]]");
        let has_routes = match &shape.route {
            Field::Given(Tables(tables), _) => !tables.items.is_empty() || tables.struck,
            Field::Struck => true,
            Field::Absent => false,
        };
        if !matches!(&shape.mode, Field::Given(ModeWord(Mode::Proxy | Mode::Tunnel), _)) && !has_routes {
            note_absent(&shape.pool, example, &table, report);
        }
        if let Field::Given(name, span) = &shape.name {
            match places.entry(Arc::from(name.0.as_str())) {
                Entry::Occupied(first) => note_twice("listener", &name.0, span.clone(), first.get(), report),
                Entry::Vacant(place) => {
                    place.insert(span.clone());
                }
            }
        }
        all.push(listener(shape, pools, dns, report));
    }
    all
}

fn listener(mut shape: file::Listener, pools: &Pools, dns: &Dns, report: &mut Report) -> Found {
    let mut binds = Vec::new();
    if let Field::Given(list, span) = shape.bind.take() {
        if list.items.is_empty() && !list.struck {
            let mistake = Mistake::at(span, "this listener binds nowhere");
            report.absent(mistake.hint("give at least one address, as in bind = [\":8080\"]"));
        }
        binds = list.items.into_iter().map(|(word, span)| (word.0, span)).collect();
    }
    let name: Arc<str> = shape.name.take().given().map_or_else(|| Arc::from(""), |name| Arc::from(name.0));
    let has_pool = !shape.pool.is_absent();
    let pool = named_pool(shape.pool.take(), pools, report);
    let mode = match shape.mode.take() {
        Field::Given(word, _) => Some(word.0),
        Field::Absent => Some(Mode::Tcp),
        Field::Struck => None,
    };
    if let Some(mode) = mode {
        super::modes::note_foreign(mode, &shape, report);
    }
    let trusted = shape.trusted.clone();
    let (kind, of_routes) = kind(mode, &mut shape, &binds, pools, dns, report);
    let tls = super::tls::server(shape.tls.take(), report);
    let way = match pool {
        Some(index) => Some(Arc::clone(&pools.at(index).pool)),
        None if has_pool => None,
        None => kind.way(&name),
    };
    let refuses_rest = !has_pool && !matches!(mode, Some(Mode::Proxy | Mode::Tunnel));
    let Kind { routes, proxy, http, tunnel } = kind;
    let proxy_header = proxy_header(
        shape.proxy_protocol,
        trusted,
        shape.proxy_protocol_timeout,
        mode.is_none() || http.is_some(),
        report,
    );
    let has_tcp = binds.is_empty() || binds.iter().any(|(listen, _)| matches!(listen, Listen::Tcp { .. }));
    let socket =
        socket(shape.nodelay, shape.keepalive, shape.user_timeout, (shape.segments, has_tcp), report);
    let listener = way.map(|pool| Listener {
        name: name.clone(),
        bind: binds.iter().map(|(listen, _)| listen.clone()).collect(),
        mode: mode.unwrap_or(Mode::Tcp),
        pool,
        tls,
        refuses_rest,
        routes,
        first_bytes_timeout: shape
            .first_bytes_timeout
            .given()
            .map_or(Duration::from_millis(500), |time| time.0),
        proxy,
        tunnel,
        http,
        max_connections: shape.max_connections.given().map(|count| count.number() as usize),
        accept_rate: shape.accept_rate.given().map(|rate| rate.0),
        idle_timeout: on(shape.idle_timeout).map(|time| time.0),
        socket,
        admission: Admission {
            allow: allowed(shape.allow, report),
            deny: networks(shape.deny),
            max_connections_per_client: shape
                .max_connections_per_client
                .given()
                .map(|count| count.number() as usize),
            rate_per_client: shape.rate_per_client.given().map(|rate| rate.0),
        },
        bandwidth: Bandwidth {
            per_connection: flows(shape.bandwidth_per_connection),
            per_client: flows(shape.bandwidth_per_client),
            in_all: flows(shape.bandwidth),
        },
        proxy_header,
    });
    Found { listener: listener.map(Arc::new), binds, name, mode, pool, of_routes }
}

/// What the mode of a listener gives it.
#[derive(Default)]
struct Kind {
    routes: Vec<Route>,
    proxy: Option<Proxy>,
    http: Option<Arc<Http>>,
    tunnel: Option<TunnelIn>,
}

impl Kind {
    /// The pool of a listener of this name that gives none: where its last route leads, or none of the file.
    fn way(&self, name: &Arc<str>) -> Option<Arc<Pool>> {
        let of_none = || Arc::new(super::pool::way_out(name.clone()));
        match (&self.http, &self.proxy) {
            (Some(http), _) => Some(http.pools().last().cloned().unwrap_or_else(of_none)),
            (None, Some(_)) => Some(of_none()),
            (None, None) => self.routes.last().map(|route| route.pool.clone()),
        }
    }
}

/// What the mode of a listener gives it, and the places of the pools that its routes name.
fn kind(
    mode: Option<Mode>,
    shape: &mut file::Listener,
    binds: &[(Listen, Range<usize>)],
    pools: &Pools,
    dns: &Dns,
    report: &mut Report,
) -> (Kind, Vec<usize>) {
    match mode {
        None => (Kind::default(), Vec::new()),
        Some(Mode::Tcp) => {
            let (routes, used) = super::route::routes(shape.route.take(), pools, report);
            (Kind { routes, ..Kind::default() }, used)
        }
        Some(Mode::Http) => {
            let (http, used) = super::http::http(shape, pools, report);
            (Kind { http: Some(Arc::new(http)), ..Kind::default() }, used)
        }
        Some(Mode::Proxy | Mode::Tunnel) => {
            if let Some(span) = shape.route.take().span() {
                let mistake = Mistake::at(span, "routes go with mode \"tcp\" or \"http\"");
                report.push(mistake.hint("a proxy has its destinations from its clients; leave `route` out"));
            }
            if mode == Some(Mode::Tunnel) {
                let listener = binds.first().map(|(_, span)| span.clone());
                let tunnel = super::tunnel::tunnel_in(shape.tunnel.take(), listener, report);
                let proxy = Some(proxy::destinations(shape, dns));
                return (Kind { proxy, tunnel, ..Kind::default() }, Vec::new());
            }
            let proxy = proxy::proxy(shape, binds, dns, report);
            (Kind { proxy: Some(proxy), ..Kind::default() }, Vec::new())
        }
    }
}

pub(crate) fn networks(field: Field<OneOrMany<Network>>) -> Vec<IpNet> {
    let items = field.given().map(|list| list.items).unwrap_or_default();
    items.into_iter().map(|(network, _)| network.0).collect()
}

/// An empty list would read as if nobody might come in, and let everybody in.
pub(crate) fn allowed(field: Field<OneOrMany<Network>>, report: &mut Report) -> Vec<IpNet> {
    if let Field::Given(list, span) = &field
        && list.items.is_empty()
        && !list.struck
    {
        let mistake = Mistake::at(span.clone(), "`allow` lets nobody in");
        report.push(mistake.hint("give the networks that may come in, or leave it out to let in all"));
    }
    networks(field)
}

fn flows(field: Field<Speed>) -> Flows {
    match field.given() {
        None => Flows::default(),
        Some(Speed::Both(rate)) => Flows { up: Some(rate.0), down: Some(rate.0) },
        Some(Speed::Each(table)) => {
            Flows { up: table.up.given().map(|rate| rate.0), down: table.down.given().map(|rate| rate.0) }
        }
    }
}

fn proxy_header(
    versions: Field<ProxyInWord>,
    trusted: Field<OneOrMany<Network>>,
    timeout: Field<Timespan>,
    is_http: bool,
    report: &mut Report,
) -> Option<ProxyHeaderIn> {
    let is_on = matches!(&versions, Field::Given(word, _) if word.0 != (false, false));
    match (&versions, &trusted) {
        (Field::Given(_, span), Field::Absent) if is_on => {
            let mistake = Mistake::at(span.clone(), "nobody is trusted to send a PROXY header");
            report.push(
                mistake.hint("add trusted = \"10.0.0.0/8\", the networks of the load balancers in front"),
            );
        }
        (Field::Given(..), Field::Given(list, span)) if is_on && list.items.is_empty() && !list.struck => {
            let mistake = Mistake::at(span.clone(), "nobody is trusted to send a PROXY header");
            report.push(mistake.hint("give the networks of the load balancers in front"));
        }
        (versions, Field::Given(_, span)) if !is_on && !is_http && !matches!(versions, Field::Struck) => {
            let mistake = Mistake::at(span.clone(), "`trusted` goes with `proxy_protocol`");
            report.push(
                mistake.hint(
                    "add proxy_protocol = \"any\", or leave `trusted` out; `allow` says who may come in",
                ),
            );
        }
        _ => {}
    }
    let (v1, v2) = versions.given()?.0;
    (v1 || v2).then(|| ProxyHeaderIn {
        v1,
        v2,
        trusted: networks(trusted),
        timeout: timeout.given().map_or(Duration::from_secs(5), |time| time.0),
    })
}

pub(crate) fn named_pool(field: Field<Name>, pools: &Pools, report: &mut Report) -> Option<usize> {
    let Field::Given(Name(name), span) = field else {
        return None;
    };
    if let Some(index) = pools.find(&name) {
        return Some(index);
    }
    // A pool whose name could not be read may be the one that is meant.
    if pools.is_complete() && !report.is_full() {
        let hint = match (near(&name, pools.names()), pools.names().count()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, 0) => format!("add [[pool]] with name = \"{name}\" and backend = \"10.0.0.1:80\""),
            (None, 1..=8) => format!("the pools are {}", pools.names().collect::<Vec<_>>().join(", ")),
            (None, _) => format!("add a [[pool]] with name = \"{name}\""),
        };
        report.push(Mistake::at(span, format!("there is no pool named `{name}`")).hint(hint));
    }
    None
}
