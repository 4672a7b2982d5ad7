//! Pools: their backends, and the names by which listeners find them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{note_absent, on, socket};
use crate::error::Mistake;
use crate::file::{self, Backend};
use crate::model::{self, Balance, Eject, Hedge, OnDown, Pool, Replay, SourceAddress};
use crate::read::{Field, Tables};
use crate::report::Report;

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

    /// The pools alone.
    pub(crate) fn into_models(self) -> Vec<Arc<Pool>> {
        self.all.into_iter().map(|found| found.pool).collect()
    }
}

/// Checks the pools of the file.
pub(crate) fn pools(field: Field<Tables<file::Pool>>, report: &mut Report) -> Pools {
    let mut pools = Pools { all: Vec::new(), by_name: HashMap::new(), complete: !report.has_lost_tables() };
    let mut places: HashMap<Arc<str>, Range<usize>> = HashMap::new();
    let Field::Given(Tables(tables), _) = field else {
        pools.complete &= field.is_absent();
        return pools;
    };
    pools.complete &= !tables.struck;
    for (shape, table) in tables.items {
        note_absent(&shape.name, ("[[pool]]", "name", "name = \"web\""), &table, report);
        note_absent(&shape.backend, ("[[pool]]", "backend", "backend = \"10.0.0.1:80\""), &table, report);
        let name = match &shape.name {
            Field::Given(name, span) => Some((Arc::<str>::from(name.0.as_str()), span.clone())),
            _ => None,
        };
        pools.complete &= name.is_some();
        let label = name.as_ref().map_or_else(|| Arc::from(""), |(name, _)| name.clone());
        let found = pool(shape, label, report);
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
    pools
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

fn pool(shape: file::Pool, name: Arc<str>, report: &mut Report) -> Found {
    let (mut backends, mut spans) = (Vec::new(), Vec::new());
    if let Field::Given(list, span) = shape.backend {
        if list.items.is_empty() && !list.struck {
            let mistake = Mistake::at(span, "this pool has no backends");
            report.absent(mistake.hint("give at least one, as in backend = [\"10.0.0.1:80\"]"));
        }
        for (item, span) in list.items {
            let (address, span) = match item {
                Backend::Address(address) => (address, span),
                Backend::Table(table) => {
                    note_absent(
                        &table.address,
                        ("backend", "address", "address = \"10.0.0.1:80\""),
                        &span,
                        report,
                    );
                    let Field::Given(address, span) = table.address else {
                        continue;
                    };
                    (address, span)
                }
            };
            backends.push(model::Backend {
                address: address.0,
                weight: 1,
                backup: false,
                max_connections: None,
                drain: false,
            });
            spans.push(span);
        }
    }
    let pool = Pool {
        name,
        balance: shape.balance.given().map_or(Balance::RoundRobin, |word| word.0),
        backends,
        backends_file: None,
        queue: 1024,
        queue_timeout: Duration::from_secs(5),
        slow_start: None,
        connect_timeout: shape.connect_timeout.given().map_or(Duration::from_secs(5), |time| time.0),
        connect_timeout_total: Duration::from_secs(15),
        hedge_after: Hedge::Auto,
        replay: Replay::Safe,
        hold: Duration::from_secs(5),
        check: None,
        eject: Some(Eject {
            failures: 3,
            time: Duration::from_secs(1),
            time_max: Duration::from_secs(60),
            max_percent: 50,
        }),
        on_down: OnDown::Keep,
        send_proxy: None,
        source: SourceAddress::Any,
        idle_timeout: on(shape.idle_timeout).map(|time| time.0),
        socket: socket(shape.nodelay, shape.keepalive, shape.user_timeout),
    };
    Found { pool: Arc::new(pool), spans }
}
