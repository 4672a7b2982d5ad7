//! Pools: their backends, and the names by which listeners find them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use towpath_wire::addr::Target;

use super::{note_absent, on, socket, via};
use crate::error::Mistake;
use crate::file::{self, Backend};
use crate::model::{self, Balance, Eject, Hedge, OnDown, Pool, Replay, SourceAddress};
use crate::read::{Field, OneOrMany, OrOff, Shape, Tables};
use crate::report::Report;
use crate::words::{BalanceWord, HashKeyWord, SourceWord, Timespan, ViaWord};

/// The pools of the file.
pub(crate) struct Pools {
    all: Vec<Found>,
    by_name: HashMap<Arc<str>, usize>,
    /// Whether every name is known: else a name that is not there may be one that could not be read.
    complete: bool,
}

/// A pool and where its addresses are in the text.
pub(crate) struct Found {
    /// The pool.
    pub(crate) pool: Arc<Pool>,
    /// The bytes of the address of each backend.
    pub(crate) spans: Vec<Range<usize>>,
    /// Its bytes, if it has no backends: only a proxy can use it then.
    pub(crate) no_backends: Option<Range<usize>>,
    /// The bytes of its hash key, if that is of requests.
    pub(crate) request_key: Option<Range<usize>>,
    /// What it says of requests, each with its bytes.
    pub(crate) http_keys: Vec<(&'static str, Range<usize>)>,
    /// What it says of connections that requests cannot share, each with its bytes.
    pub(crate) unshared: Vec<(&'static str, Range<usize>)>,
}

impl Pools {
    /// The place of the pool of a name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The pool at a place of the file.
    pub(crate) fn at(&self, index: usize) -> &Found {
        &self.all[index]
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Every name, in the order of the file.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|found| &*found.pool.name)
    }

    /// Whether every name of the file is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The pools alone, those of proxies before those that go through them.
    pub(crate) fn into_models(self) -> Vec<Arc<Pool>> {
        let Self { all, by_name, .. } = self;
        let (straight, through): (Vec<_>, Vec<_>) =
            all.into_iter().map(|found| found.pool).partition(|pool| pool.via.is_empty());
        let hops: Vec<_> = through.iter().flat_map(|pool| &pool.via).map(|hop| hop.pool.clone()).collect();
        let unnamed = hops.into_iter().filter(|pool| !by_name.contains_key(&pool.name));
        straight.into_iter().chain(unnamed).chain(through).collect()
    }

    /// Notes pools without backends, but for those at the places `of_proxies`, whose clients say where they go.
    pub(crate) fn note_empty(&self, of_proxies: &[usize], report: &mut Report) {
        let pools = self.all.iter().enumerate().filter(|(place, _)| !of_proxies.contains(place));
        for table in pools.filter_map(|(_, found)| found.no_backends.as_ref()) {
            let absent = Field::<()>::Absent;
            note_absent(&absent, ("[[pool]]", "backend", "backend = \"10.0.0.1:80\""), table, report);
        }
    }
}

/// Checks the pools of the file.
pub(crate) fn pools(field: Field<Tables<file::Pool>>, commands: bool, report: &mut Report) -> Pools {
    let mut pools = Pools { all: Vec::new(), by_name: HashMap::new(), complete: !report.has_lost_tables() };
    let mut places: HashMap<Arc<str>, Range<usize>> = HashMap::new();
    let Field::Given(Tables(tables), _) = field else {
        pools.complete &= field.is_absent();
        return pools;
    };
    pools.complete &= !tables.struck;
    let mut vias = Vec::with_capacity(tables.items.len());
    for (mut shape, table) in tables.items {
        note_absent(&shape.name, ("[[pool]]", "name", "name = \"web\""), &table, report);
        let no_backends = (shape.backends_file.is_absent() && shape.backend.is_absent()).then_some(table);
        let name = match &shape.name {
            Field::Given(name, span) => Some((Arc::<str>::from(name.0.as_str()), span.clone())),
            _ => None,
        };
        pools.complete &= name.is_some();
        let label = name.as_ref().map_or_else(|| Arc::from(""), |(name, _)| name.clone());
        let via = shape.via.take();
        let found = Found { no_backends, ..pool(shape, label, !via.is_absent(), commands, report) };
        vias.push(via);
        if let Some((name, span)) = name {
            match places.entry(name.clone()) {
                Entry::Occupied(first) => note_twice("pool", &name, span, first.get(), report),
                Entry::Vacant(place) => {
                    place.insert(span);
                    pools.by_name.insert(name, pools.all.len());
                }
            }
        }
        pools.all.push(found);
    }
    find_ways(&mut pools, vias, report);
    pools
}

/// Puts the proxies into the pools that go through some, which may be other pools of the file.
fn find_ways(pools: &mut Pools, vias: Vec<Field<OneOrMany<ViaWord>>>, report: &mut Report) {
    let straight: Vec<_> = pools.all.iter().zip(&vias).filter(|(_, via)| via.is_absent()).collect();
    let known: via::Known =
        straight.into_iter().map(|(found, _)| (found.pool.name.clone(), found.pool.clone())).collect();
    for (found, via) in pools.all.iter_mut().zip(vias).filter(|(_, via)| !via.is_absent()) {
        let via = via::hops(via, &found.pool, &known, report);
        let leaves_names = via.last().is_some_and(|hop| hop.protocol.takes_names());
        found.pool = Arc::new(Pool { via, leaves_names, ..found.pool.as_ref().clone() });
    }
}

/// Notes that a name is taken.
pub(crate) fn note_twice(
    what: &str,
    name: &str,
    span: Range<usize>,
    first: &Range<usize>,
    report: &mut Report,
) {
    let mistake = Mistake::at(span, format!("there already is a {what} named `{name}`"));
    report.push(mistake.also(first.clone(), "the first one").hint("give each its own name"));
}

fn pool(shape: file::Pool, name: Arc<str>, has_via: bool, commands: bool, report: &mut Report) -> Found {
    let has_file = !shape.backends_file.is_absent();
    let http_keys = shape.http.spans();
    let unshared = unshared(&shape);
    let (hash, request_key) = match &shape.hash_key {
        Field::Given(HashKeyWord((_, Some(key))), span) => (Some(key.clone()), Some(span.clone())),
        _ => (None, None),
    };
    let (backends, spans) = backends(shape.backend, has_file, report);
    let is_way_out = !has_file && backends.is_empty();
    let connect_timeout = timespan(&shape.connect_timeout, Duration::from_secs(5));
    note_order(
        ("connect_timeout_total", &shape.connect_timeout_total),
        ("connect_timeout", connect_timeout),
        report,
    );
    let eject_time = timespan(&shape.eject_time, Duration::from_secs(1));
    note_order(("eject_time_max", &shape.eject_time_max), ("eject_time", eject_time), report);
    let failures = match shape.eject_after.given() {
        Some(OrOff::Off) => None,
        Some(OrOff::On(count)) => Some(count.number()),
        None => Some(3),
    };
    // Where proxies are on the way, it is they who have sockets.
    let has_tcp = has_file
        || has_via
        || backends.is_empty()
        || backends.iter().any(|backend| !matches!(backend.address, Target::Unix(_)));
    let socket =
        socket(shape.nodelay, shape.keepalive, shape.user_timeout, (shape.segments, has_tcp), report);
    let pool = Pool {
        http: super::http::out(shape.http, hash, report),
        via: Vec::new(),
        leaves_names: false,
        tls: super::tls::client(shape.tls, report),
        name,
        balance: balance(shape.balance, shape.hash_key, report),
        backends,
        backends_file: shape.backends_file.given().map(|path| path.0),
        queue: shape.queue.given().map_or(1024, |count| count.number() as usize),
        queue_timeout: timespan(&shape.queue_timeout, Duration::from_secs(5)),
        slow_start: on(shape.slow_start).map(|time| time.0),
        connect_timeout,
        connect_timeout_total: timespan(
            &shape.connect_timeout_total,
            Duration::from_secs(15).max(connect_timeout),
        ),
        hedge_after: shape.hedge_after.given().map_or(Hedge::Auto, |word| word.0),
        replay: shape.replay.given().map_or(Replay::Safe, |word| word.0),
        hold: match shape.hold.given() {
            Some(OrOff::Off) => Duration::ZERO,
            Some(OrOff::On(time)) => time.0,
            // A client of a proxy may have asked for anything: it is told at once that it is not there.
            None if is_way_out => Duration::ZERO,
            None => Duration::from_secs(5),
        },
        check: super::check::check(shape.check, commands, report),
        eject: failures.map(|failures| Eject {
            failures,
            time: eject_time,
            time_max: timespan(&shape.eject_time_max, Duration::from_secs(60).max(eject_time)),
            max_percent: shape.max_ejected.given().map_or(50, |percent| percent.number() as u8),
        }),
        on_down: shape.on_down.given().map_or(OnDown::Keep, |word| word.0),
        send_proxy: shape.send_proxy.given().and_then(|word| word.0),
        source: source(shape.source, report),
        idle_timeout: on(shape.idle_timeout).map(|time| time.0),
        socket,
    };
    Found { pool: Arc::new(pool), spans, no_backends: None, request_key, http_keys, unshared }
}

/// What is of one client's connection alone: those of a pool for requests serve one client after another.
fn unshared(shape: &file::Pool) -> Vec<(&'static str, Range<usize>)> {
    let mut found = Vec::new();
    if let Field::Given(word, span) = &shape.send_proxy
        && word.0.is_some()
    {
        found.push(("send_proxy", span.clone()));
    }
    if let Field::Given(word, span) = &shape.on_down
        && word.0 == OnDown::Reset
    {
        found.push(("on_down", span.clone()));
    }
    if let Field::Given(list, span) = &shape.source
        && list.items.iter().any(|(word, _)| word.0.is_none())
    {
        found.push(("source", span.clone()));
    }
    found
}

/// How the connections of a proxy named `name` go out that says nothing of it.
pub(crate) fn way_out(name: Arc<str>) -> Pool {
    pool(file::Pool::default(), name, false, false, &mut Report::default()).pool.as_ref().clone()
}

/// The backends, each with the bytes of its address.
fn backends(
    field: Field<OneOrMany<Backend>>,
    has_file: bool,
    report: &mut Report,
) -> (Vec<model::Backend>, Vec<Range<usize>>) {
    let (mut backends, mut spans) = (Vec::new(), Vec::new());
    let Field::Given(list, span) = field else { return (backends, spans) };
    if list.items.is_empty() && !list.struck && !has_file {
        let mistake = Mistake::at(span.clone(), "this pool has no backends");
        report.absent(mistake.hint("give at least one, as in backend = [\"10.0.0.1:80\"]"));
    }
    let mut seen: HashMap<Target, Range<usize>> = HashMap::new();
    for (item, span) in list.items {
        let (backend, span) = match item {
            Backend::Address(address) => (plain(address.0), span),
            Backend::Table(table) => {
                let example = ("backend", "address", "address = \"10.0.0.1:80\"");
                note_absent(&table.address, example, &span, report);
                let Field::Given(address, span) = table.address else {
                    continue;
                };
                let backend = model::Backend {
                    weight: table.weight.given().map_or(1, |weight| weight.number()),
                    backup: table.backup.given().is_some_and(|switch| switch.0),
                    max_connections: table.max_connections.given().map(|count| count.number() as usize),
                    drain: table.drain.given().is_some_and(|switch| switch.0),
                    ..plain(address.0)
                };
                (backend, span)
            }
        };
        match seen.entry(backend.address.clone()) {
            Entry::Occupied(first) => {
                let mistake =
                    Mistake::at(span.clone(), format!("`{}` is in this pool already", backend.address));
                let hint = "give it a weight if it is to have more than others";
                report.push(mistake.also(first.get().clone(), "the first one").hint(hint));
            }
            Entry::Vacant(place) => drop(place.insert(span.clone())),
        }
        backends.push(backend);
        spans.push(span);
    }
    if !backends.is_empty() && backends.iter().all(|backend| backend.backup) && !list.struck && !has_file {
        let mistake = Mistake::at(span, "every backend of this pool is a backup");
        report.push(mistake.hint("take `backup` from those that are to be used first"));
    }
    (backends, spans)
}

pub(crate) fn plain(address: Target) -> model::Backend {
    model::Backend { address, weight: 1, backup: false, max_connections: None, drain: false }
}

fn balance(word: Field<BalanceWord>, key: Field<HashKeyWord>, report: &mut Report) -> Balance {
    match (word, key) {
        (Field::Given(BalanceWord(Balance::Hash(_)), _), Field::Given(key, _)) => Balance::Hash(key.0.0),
        (Field::Given(BalanceWord(Balance::Hash(default)), span), key) => {
            if key.is_absent() {
                let mistake = Mistake::at(span, "balance `hash` needs a key");
                report.push(mistake.hint(
                    "add hash_key = \"source\", \"source_and_port\" or \"sni\"; in mode http also \"path\"",
                ));
            }
            Balance::Hash(default)
        }
        (Field::Struck, _) => Balance::RoundRobin,
        (word, key) => {
            if let Field::Given(_, span) = key {
                let mistake = Mistake::at(span, "`hash_key` goes with balance `hash` alone");
                report.push(mistake.hint("add balance = \"hash\", or leave `hash_key` out"));
            }
            word.given().map_or(Balance::RoundRobin, |word| word.0)
        }
    }
}

fn source(field: Field<OneOrMany<SourceWord>>, report: &mut Report) -> SourceAddress {
    let Field::Given(list, span) = field else { return SourceAddress::Any };
    let addresses: Vec<_> = list.items.iter().filter_map(|(word, _)| word.0).collect();
    match (addresses.is_empty(), addresses.len() == list.items.len()) {
        (false, true) => SourceAddress::These(addresses),
        (true, false) => SourceAddress::Client,
        _ => {
            if !list.struck {
                let mistake = Mistake::at(span, "`source` is addresses, or \"client\" alone");
                report.push(mistake.hint("give at least one address, or only \"client\""));
            }
            SourceAddress::Any
        }
    }
}

fn timespan(field: &Field<Timespan>, default: Duration) -> Duration {
    match field {
        Field::Given(time, _) => time.0,
        Field::Absent | Field::Struck => default,
    }
}

/// Notes that a time is shorter than one that it must not be shorter than.
fn note_order((key, field): (&str, &Field<Timespan>), (other, least): (&str, Duration), report: &mut Report) {
    if let Field::Given(time, span) = field
        && time.0 < least
    {
        let mistake = Mistake::at(span.clone(), format!("`{key}` is shorter than `{other}`, {least:?}"));
        report.push(mistake.hint(format!("give at least {least:?}, or make `{other}` shorter")));
    }
}
