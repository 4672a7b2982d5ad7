//! What holds for the requests of a listener, at work: its pools, who may ask, and how often.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use towpath_config::{Action, Http, HttpRoute, RequestRate, Rules};

use crate::admit::Rates;
use crate::auth::{self, Authenticator};
use crate::pool::{Backend, Pool, StickyKey, Tag};

/// Most tags of backends that are kept; those of more are made anew.
const TAGS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// The rules of a listener and its routes. All workers share them.
#[derive(Debug)]
pub(crate) struct Rulebook {
    pub(crate) config: Arc<Http>,
    /// Where requests go that fit no route, if the listener has a pool for them.
    rest: RouteAtWork,
    routes: Vec<RouteAtWork>,
}

/// One route.
#[derive(Debug)]
pub(crate) struct RouteAtWork {
    /// With their weights; empty if the route goes to none.
    pub(crate) pools: Vec<(PoolAtWork, u32)>,
    pub(crate) mirror: Option<Arc<Pool>>,
    pub(crate) users: Option<Arc<Authenticator>>,
    pub(crate) rates: Option<Arc<Rates>>,
}

/// A pool, and the cookies that bring clients back to its backends.
#[derive(Clone, Debug)]
pub(crate) struct PoolAtWork {
    pub(crate) pool: Arc<Pool>,
    pub(crate) sticky: Option<Arc<StickyPool>>,
}

/// What stands for each backend of a pool in its cookie.
#[derive(Debug)]
pub(crate) struct StickyPool {
    pub(crate) key: StickyKey,
    tags: Mutex<LruCache<Arc<str>, Tag>>,
}

impl StickyPool {
    /// What stands for a backend.
    pub(crate) fn tag(&self, backend: &Backend) -> Tag {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        let target = &backend.member.target;
        *tags.get_or_insert(target.clone(), || self.key.tag(target))
    }

    /// The backend that a cookie stands for.
    pub(crate) fn find(&self, pool: &Pool, wanted: &Tag) -> Option<Arc<Backend>> {
        pool.backends().into_iter().find(|backend| self.tag(backend).is(wanted))
    }
}

impl PoolAtWork {
    fn new(pool: Arc<Pool>) -> Self {
        let of = |sticky| StickyPool { key: StickyKey::new(sticky), tags: Mutex::new(LruCache::new(TAGS)) };
        let sticky = pool.config.http.sticky.as_ref().map(|sticky| Arc::new(of(sticky)));
        Self { pool, sticky }
    }
}

impl Rulebook {
    /// `live` finds the pool at work of one of the configuration; what stays of `before` goes on with what it knows.
    pub(crate) fn new(
        config: &Arc<Http>,
        rest: Option<Arc<Pool>>,
        live: impl Fn(&Arc<towpath_config::Pool>) -> Arc<Pool>,
        before: Option<&Self>,
    ) -> Self {
        // Routes that say nothing of their own of users and rates share those of the listener.
        let general = RulesAtWork::new(&config.rules, before.map(|before| &before.rest));
        let at_work = |route: &HttpRoute, pools| {
            let rules = &route.rules;
            let own = RulesAtWork::new(rules, before.and_then(|before| before.same_route(route)));
            let has_users_of_its_own =
                (&rules.users, &rules.auth_file) != (&config.rules.users, &config.rules.auth_file);
            RouteAtWork {
                pools,
                mirror: rules.mirror.as_ref().map(&live),
                users: if has_users_of_its_own { own.users } else { general.users.clone() },
                rates: if rules.rate == config.rules.rate { general.rates.clone() } else { own.rates },
            }
        };
        let routes = config.routes.iter().map(|route| {
            let pools = match &route.action {
                Action::Pools(pools) => {
                    pools.iter().map(|(pool, weight)| (PoolAtWork::new(live(pool)), *weight)).collect()
                }
                Action::Redirect { .. } | Action::Answer { .. } => Vec::new(),
            };
            at_work(route, pools)
        });
        let routes = routes.collect();
        let rest = RouteAtWork {
            pools: rest.map(|pool| (PoolAtWork::new(pool), 1)).into_iter().collect(),
            mirror: config.rules.mirror.as_ref().map(&live),
            users: general.users.clone(),
            rates: general.rates.clone(),
        };
        Self { config: config.clone(), rest, routes }
    }

    /// The route for the same requests.
    fn same_route(&self, wanted: &HttpRoute) -> Option<&RouteAtWork> {
        let place = self.config.routes.iter().position(|route| route.is_for_same(wanted))?;
        self.routes.get(place)
    }

    /// The route at a place of the configuration, or what holds for the rest.
    pub(crate) fn route(&self, place: Option<usize>) -> &RouteAtWork {
        place.map_or(&self.rest, |place| &self.routes[place])
    }

    /// All pools that its requests go to, some more than once.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let routes = self.routes.iter().chain([&self.rest]);
        routes.flat_map(|route| route.pools.iter().map(|(pool, _)| &pool.pool).chain(&route.mirror))
    }

    /// Whether its requests go to the same pools as those of another.
    pub(crate) fn goes_where(&self, other: &Self) -> bool {
        self.pools().map(Arc::as_ptr).eq(other.pools().map(Arc::as_ptr))
    }
}

/// Who may ask, and how often.
struct RulesAtWork {
    users: Option<Arc<Authenticator>>,
    rates: Option<Arc<Rates>>,
}

impl RulesAtWork {
    fn new(rules: &Rules, before: Option<&RouteAtWork>) -> Self {
        let users = auth::of_rules(&rules.users, rules.auth_file.as_ref()).map(|new| {
            let known = before.and_then(|before| before.users.as_ref());
            Arc::new(match known {
                Some(known) => known.renewed(&new),
                None => new,
            })
        });
        let rates = rules.rate.map(|rate: RequestRate| {
            let new = Rates::new(rate);
            let known = before.and_then(|before| before.rates.as_ref());
            known.filter(|known| known.has_limits_of(&new)).cloned().unwrap_or_else(|| Arc::new(new))
        });
        Self { users, rates }
    }
}
