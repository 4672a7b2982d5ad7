//! Where a client would go, and why: told without its having to come.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use towpath_config::{Balance, Config, Hedge, Listener, SourceAddress};
use towpath_engine::{Pool, Pools, Reckoned};

use crate::admin::OrderError;
use crate::prepare::find_all;

/// A client that might come.
#[derive(Clone, Debug)]
pub struct Question {
    /// The listener that it comes to.
    pub listener: String,
    /// Its address.
    pub client: SocketAddr,
    /// The server name of its TLS ClientHello.
    pub sni: Option<String>,
}

impl Question {
    /// A client of `client`, an address with or without a port.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(listener: &str, client: &str, sni: Option<&str>) -> Result<Self, String> {
        let bare = client.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(client);
        let client = client
            .parse::<SocketAddr>()
            .or_else(|_| bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
            .map_err(|_| {
                format!(
                    "`{client}` is no address of a client; write it as in 10.1.2.3 or [2001:db8::1]:5000\n"
                )
            })?;
        Ok(Self { listener: listener.to_owned(), client, sni: sni.map(str::to_ascii_lowercase) })
    }

    /// From `listener=…&client=…&sni=…`, percent-encoded.
    pub(crate) fn from_query(query: &str) -> Result<Self, String> {
        let value = |key: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
        };
        let needed = |key: &str| value(key).ok_or_else(|| format!("`{key}` is missing\n"));
        Self::new(&needed("listener")?, &needed("client")?, value("sni").as_deref())
    }

    /// The form of [`Question::from_query`].
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("listener", &self.listener).append_pair("client", &self.client.to_string());
        if let Some(sni) = &self.sni {
            query.append_pair("sni", sni);
        }
        query.finish()
    }
}

/// What would become of a client under a configuration that does not run: its backends are found first.
///
/// # Errors
/// What is wrong with the configuration or the question.
pub fn explain_file(config: &Config, question: &Question) -> Result<String, OrderError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| OrderError::Refused(error.to_string()))?;
    let pools = runtime.block_on(find_all(config)).map_err(|error| OrderError::Refused(error.to_string()))?;
    let told = explain(config, &pools, question);
    told.map(|told| told + "backends were not asked how they are; a running instance knows: --socket\n")
        .map_err(|mistake| OrderError::Refused(mistake.trim_end().to_owned()))
}

/// What would become of a client: the rule that lets it in or not, its pool, the order of backends, and the times.
pub(crate) fn explain(config: &Config, pools: &Pools, question: &Question) -> Result<String, String> {
    let listener =
        config.listeners.iter().find(|listener| *listener.name == *question.listener).ok_or_else(|| {
            let names: Vec<_> = config.listeners.iter().map(|listener| &*listener.name).collect();
            format!("there is no listener `{}`; there are {}\n", question.listener, names.join(", "))
        })?;
    let mut text = String::new();
    // Writing to a string cannot fail, here and below.
    let client = match question.client.port() {
        0 => question.client.ip().to_string(),
        _ => question.client.to_string(),
    };
    let _ = writeln!(text, "client {client} at listener {}", listener.name);
    let admitted = admission(listener, question.client.ip(), &mut text);
    let own = Arc::new(Pool::new(listener.pool.clone()));
    let pool = match pools.get(&listener.pool.name) {
        None if listener.proxy.is_none() && !listener.refuses_rest => {
            return Err("its pool does not run\n".to_owned());
        }
        pool => pool.unwrap_or(&own),
    };
    if admitted && listener.proxy.is_some() {
        let _ = writeln!(text, "a proxy: it says where it wants to go; pool {} is how", pool.config.name);
        times(listener, pool, &mut text);
    } else if admitted {
        let has_routes = listener.http.as_ref().map(|http| !http.routes.is_empty());
        let (routes, rest) = match has_routes {
            Some(_) => ("routes of requests", "gets 404"),
            None => ("routes by first bytes", "is refused"),
        };
        if listener.refuses_rest {
            let _ = writeln!(text, "{routes} decide; what fits none {rest}");
        } else if has_routes.unwrap_or(!listener.routes.is_empty()) {
            let _ = writeln!(text, "{routes} come before; without one of them:");
        }
        if listener.refuses_rest {
            return Ok(text);
        }
        route(pool, question, &mut text);
        times(listener, pool, &mut text);
    }
    Ok(text)
}

fn admission(listener: &Listener, client: IpAddr, text: &mut String) -> bool {
    let client = client.to_canonical();
    let rules = &listener.admission;
    let denied = rules.deny.iter().find(|network| network.contains(&client));
    let allowed = rules.allow.iter().find(|network| network.contains(&client));
    let (told, admitted) = match (denied, allowed) {
        (Some(network), _) => (format!("refused: `deny` has {network}"), false),
        (None, None) if !rules.allow.is_empty() => {
            ("refused: no network of `allow` has it".to_owned(), false)
        }
        (None, Some(network)) => (format!("let in: `allow` has {network}"), true),
        (None, None) => ("let in: nothing keeps it out".to_owned(), true),
    };
    let _ = writeln!(text, "{told}");
    if let Some(header) = &listener.proxy_header {
        let trusted: Vec<_> = header.trusted.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "PROXY header: names this client, and comes from {}", trusted.join(" or "));
    }
    admitted
}

fn route(pool: &Pool, question: &Question, text: &mut String) {
    let balance = match pool.config.balance {
        Balance::RoundRobin => "round_robin: the next one may differ",
        Balance::LeastConn => "least_conn",
        Balance::P2c => "p2c: by lot",
        Balance::Random => "random: by lot",
        Balance::Hash(_) => "hash: the same for the same client",
    };
    let _ = writeln!(text, "pool {}, balance {balance}", pool.config.name);
    let key = towpath_engine::hash_key(pool.config.balance, Some(question.client), question.sni.as_deref());
    let reckoned = pool.reckon(key);
    for (rank, Reckoned { backend, standing, is_backup }) in reckoned.iter().enumerate() {
        let member = &backend.member;
        let place = member.place.to_string();
        let name = if *member.target == *place { place } else { format!("{place} ({})", member.target) };
        let backup = if *is_backup { ", backup" } else { "" };
        let (active, weight) = (backend.active(), member.weight);
        let told = standing.as_str();
        let _ =
            writeln!(text, "  {}. {name}: {told}{backup}, weight {weight}, {active} connections", rank + 1);
    }
    if reckoned.is_empty() {
        let _ = writeln!(text, "  no backend is known");
    }
}

fn times(listener: &Listener, pool: &Pool, text: &mut String) {
    let config = &pool.config;
    let hedge = match config.hedge_after {
        Hedge::Auto => format!("after {:?} (auto)", pool.hedge_after().unwrap_or_default()),
        Hedge::After(time) => format!("after {time:?}"),
        Hedge::Off => "never".to_owned(),
    };
    let or_off = |time: Option<Duration>| time.map_or_else(|| "off".to_owned(), |time| format!("{time:?}"));
    let idle = listener.idle_timeout.into_iter().chain(config.idle_timeout).min();
    let _ = writeln!(
        text,
        "times: connect {:?} each and {:?} in all, a second backend beside a silent one {hedge}, hold {:?}, \
         queue {:?}, idle {}",
        config.connect_timeout,
        config.connect_timeout_total,
        config.hold,
        config.queue_timeout,
        or_off(idle)
    );
    for (place, hop) in config.via.iter().enumerate() {
        let targets: Vec<_> = hop.pool.backends.iter().map(|backend| backend.address.to_string()).collect();
        let tls = if hop.tls.is_some() { " over TLS" } else { "" };
        let (number, protocol, to) = (place + 1, hop.protocol.scheme(), targets.join(" or "));
        let _ = writeln!(text, "hop {number}: {protocol}{tls} proxy at {to}");
    }
    let source = match &config.source {
        SourceAddress::Any => return,
        SourceAddress::These(ips) => format!("one of {ips:?}"),
        SourceAddress::Client => "the client's own".to_owned(),
    };
    let _ = writeln!(text, "source address: {source}");
}
