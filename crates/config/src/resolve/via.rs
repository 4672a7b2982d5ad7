//! The proxies that a pool goes through, from their URLs.

use std::collections::HashMap;
use std::env;
use std::path::Path;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use towpath_wire::addr::Target;

use super::pool::plain;
use super::tunnel::Asked;
use super::{segments, small_file, tls};
use crate::error::Mistake;
use crate::model::{
    Balance, ClientTls, HashKey, Hop, HopProtocol, HttpOut, Login, Pool, Replay, SourceAddress, TunnelOut,
};
use crate::near::excerpt;
use crate::read::{Field, OneOrMany};
use crate::report::Report;
use crate::secret::Secret;
use crate::units::Bad;
use crate::words::{ViaWord, is_login};

/// Longest file of a password.
const PASSWORD_FILE_BYTES: u64 = 4096;

/// Most proxies in a row.
const HOPS_MAX: usize = 8;

/// The variables that `via = "env"` looks at, in this order (curl(1), ENVIRONMENT).
const VARIABLES: [&str; 4] = ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];

const SCHEMES: &str = "http://, https://, h2://, h2c://, socks5://, socks5h://, socks4a:// or towpath://";

/// The pools of the file that can be those of proxies, by their names.
pub(crate) type Known = HashMap<Arc<str>, Arc<Pool>>;

/// The hops of `pool`, each with a pool of its own, or with one of those that are `known`.
pub(crate) fn hops(
    field: Field<OneOrMany<ViaWord>>,
    pool: &Pool,
    known: &Known,
    report: &mut Report,
) -> Vec<Hop> {
    let Field::Given(list, span) = field else { return Vec::new() };
    if list.items.len() > HOPS_MAX {
        let message = format!("this way goes through {} proxies", list.items.len());
        report.push(Mistake::at(span, message).hint(format!("give at most {HOPS_MAX}")));
        return Vec::new();
    }
    let mut hops: Vec<Hop> = Vec::new();
    for (place, (ViaWord(url), span)) in list.items.into_iter().enumerate() {
        // Each hop is looked up by the one before it, if that looks names up.
        let pool = Pool {
            leaves_names: hops.last().is_some_and(|before| before.protocol.takes_names()),
            ..pool.clone()
        };
        match from_url(url.reveal(), &pool, known, place + 1) {
            Ok(hop) => hops.extend(hop),
            Err(Bad { message, hint }) => report.push(Mistake::at(span, message).hint(hint)),
        }
    }
    hops
}

/// What a URL is made of.
struct Parts<'a> {
    protocol: HopProtocol,
    is_tls: bool,
    login: Option<&'a str>,
    hosts: &'a str,
    query: &'a str,
}

fn from_url(url: &str, pool: &Pool, known: &Known, number: usize) -> Result<Option<Hop>, Bad> {
    if url == "env" {
        let set = VARIABLES.into_iter().find_map(|name| Some((name, env::var(name).ok()?)));
        return match set.filter(|(_, value)| !value.is_empty()) {
            Some((_, value)) => from_url(&with_scheme(value), pool, known, number),
            None => Ok(None),
        };
    }
    let (is_pool, url) = url.strip_prefix("pool+").map_or((false, url), |url| (true, url));
    let Parts { protocol, is_tls, login, hosts, query } = split(url)?;
    let port = match (protocol, is_tls) {
        (_, true) => 443,
        (HopProtocol::Http | HopProtocol::H2, false) => 80,
        (HopProtocol::Socks5 | HopProtocol::Socks5Names | HopProtocol::Socks4a, false) => 1080,
        (HopProtocol::Tunnel, false) => 7000,
    };
    let Options { password, tls, tunnel, socket } = options(query, protocol, is_tls)?;
    if socket.is_given() && (is_pool || number > 1) {
        return Err(no_socket(is_pool));
    }
    let login = self::login(login, password)?;
    if number > 1 && tunnel.as_ref().is_some_and(|tunnel| !tunnel.bind.is_empty()) {
        let hint = "leave `bind` out: the hop before this one connects";
        return Err(Bad::new("the lanes of this tunnel begin at another hop", hint));
    }
    if tunnel.is_some() && (login.is_some() || is_pool) {
        let hint = "write towpath://HOST:PORT?key-file=FILE";
        return Err(Bad::new("a tunnel has neither users nor a pool of its own: its key is all", hint));
    }
    if is_pool {
        let hint =
            "behind pool+SCHEME:// and the user write the name of a [[pool]] that has no `via` of its own";
        let bad = || Bad::new("there is no such pool of proxies", hint);
        let pool = known.get(hosts).filter(|proxies| proxies.name != pool.name).ok_or_else(bad)?;
        return Ok(Some(Hop { protocol, pool: pool.clone(), login, tls, tunnel }));
    }
    let backends = hosts.split(',').map(|host| backend(host, port)).collect::<Result<Vec<_>, Bad>>()?;
    let name = format!("{}/via{number}", pool.name).into();
    // Who waits waits for the server; a proxy that fails is passed over at once where there is another.
    let hop_pool = Pool {
        name,
        backends,
        via: Vec::new(),
        replay: Replay::Never,
        hold: std::time::Duration::ZERO,
        check: None,
        send_proxy: None,
        tls: None,
        socket: if socket.is_given() { socket.over(&pool.socket)? } else { pool.socket.clone() },
        http: HttpOut::default(),
        // Lanes are opened again until there are some, whatever became of those before.
        eject: pool.eject.clone().filter(|_| tunnel.is_none()),
        // What goes through a proxy are connections, which no request is of.
        balance: match pool.balance {
            Balance::Hash(HashKey::Request) => Balance::RoundRobin,
            balance => balance,
        },
        source: match &tunnel {
            Some(tunnel) if !tunnel.bind.is_empty() => SourceAddress::These(tunnel.bind.clone()),
            _ => pool.source.clone(),
        },
        ..pool.clone()
    };
    Ok(Some(Hop { protocol, pool: Arc::new(hop_pool), login, tls, tunnel }))
}

/// The variables may give a host and a port alone.
fn with_scheme(value: String) -> String {
    if value.contains("://") { value } else { format!("http://{value}") }
}

fn split(url: &str) -> Result<Parts<'_>, Bad> {
    let hint = || format!("write {SCHEMES} and HOST:PORT behind it");
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| Bad::new("this is no URL of a proxy", hint()))?;
    let scheme = scheme.to_ascii_lowercase();
    let protocol = match scheme.as_str() {
        "http" | "https" => HopProtocol::Http,
        "h2" | "h2c" => HopProtocol::H2,
        "socks5" => HopProtocol::Socks5,
        "socks5h" => HopProtocol::Socks5Names,
        "socks4a" => HopProtocol::Socks4a,
        "towpath" => HopProtocol::Tunnel,
        _ => return Err(Bad::new(format!("no proxy is asked by `{}://`", excerpt(&scheme)), hint())),
    };
    // What is wrong is told without the text: a password may be in any part of it.
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (login, hosts) = match rest.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, rest),
    };
    let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
    if hosts.is_empty() || hosts.contains('/') {
        return Err(bad_host());
    }
    Ok(Parts { protocol, is_tls: matches!(scheme.as_str(), "https" | "h2"), login, hosts, query })
}

/// One proxy; the port may be left out.
fn backend(host: &str, default: u16) -> Result<crate::Backend, Bad> {
    let parsed = host.parse::<Target>().or_else(|_| format!("{host}:{default}").parse());
    match parsed {
        Ok(target @ Target::Unix(_)) => Ok(plain(target)),
        Ok(target @ (Target::Ip { .. } | Target::Name { .. }))
            if target.count() == 1 && !host.starts_with(':') && !host.is_empty() =>
        {
            Ok(plain(target))
        }
        _ => Err(bad_host()),
    }
}

fn bad_host() -> Bad {
    let hint = "write [USER:PASSWORD@]HOST:PORT behind the scheme, as in http://proxy:3128; in a user or a password \
                write %3A for :, %2F for /, %3F for ? and %40 for @";
    Bad::new("the URL of this proxy has no host and port that are understood", hint)
}

/// What to say of options of a socket where there is none.
fn no_socket(is_pool: bool) -> Bad {
    match is_pool {
        true => Bad::new(
            "the sockets to these proxies are those of their pool",
            "write what is behind the ? into the [[pool]]",
        ),
        false => Bad::new(
            "only the first proxy is reached by a socket of its own",
            "write what is behind the ? behind the first one, whose socket carries all that follow",
        ),
    }
}

/// What the query of a URL says.
#[derive(Default)]
struct Options {
    password: Option<String>,
    tls: Option<ClientTls>,
    tunnel: Option<TunnelOut>,
    socket: segments::OfUrl,
}

fn options(query: &str, protocol: HopProtocol, is_tls: bool) -> Result<Options, Bad> {
    let mut options = Options { tls: is_tls.then(ClientTls::default), ..Options::default() };
    let mut tunnel = (protocol == HopProtocol::Tunnel).then(Asked::default);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        if let Some(tunnel) = &mut tunnel {
            if tunnel.take(&key, &value)? || options.socket.take(&key, &value)? {
                continue;
            }
            let message = format!("no tunnel takes `{}` behind the ? of its URL", excerpt(&key));
            let hint = format!(
                "it takes key-file=FILE or plain, lanes=N or auto, compress=auto, zstd, lz4 or off, resume=off, \
                 resume_timeout=TIME, bind=ADDRESS,…, window=SIZE and memory=SIZE; and for the sockets of its lanes {}",
                segments::KEYS
            );
            return Err(Bad::new(message, hint));
        }
        match (&*key, &mut options.tls) {
            ("password_file", _) => options.password = Some(from_file(&value)?),
            ("password_env", _) => {
                let hint = "set it, or change `password_env`";
                let unset = |_| Bad::new(format!("the variable `{}` is not set", excerpt(&value)), hint);
                options.password = Some(env::var(&*value).map_err(unset)?);
            }
            ("insecure", Some(tls)) if value.is_empty() => tls.insecure = true,
            ("server_name", Some(tls)) if !value.is_empty() => tls.server_name = Some(value.into_owned()),
            ("ca", Some(tls)) => {
                let bad = |reason| Bad::new(reason, "give a file with the certificate of the authority");
                tls.ca = Some(tls::pem(Path::new(&*value)).map_err(bad)?);
            }
            (key, _) if options.socket.take(key, &value)? => {}
            _ => {
                let message = "the URL of this proxy has something behind its ? that it does not take";
                let hint = format!(
                    "it takes password_file=PATH and password_env=NAME; with https:// and h2:// ca=PATH, \
                     server_name=NAME and insecure; and for the socket {}",
                    segments::KEYS
                );
                return Err(Bad::new(message, hint));
            }
        }
    }
    options.tunnel = tunnel.map(Asked::finish).transpose()?;
    Ok(options)
}

/// The name and the password, which may be in the URL or come from elsewhere.
fn login(login: Option<&str>, password: Option<String>) -> Result<Option<Login>, Bad> {
    let Some(text) = login else {
        return match password {
            Some(_) => Err(Bad::new("there is a password and no user", "write USER@ in front of the host")),
            None => Ok(None),
        };
    };
    let not_text =
        |_| Bad::new("the user or the password of this URL is not UTF-8", "write it in UTF-8, or in a file");
    let decoded = |text: &str| -> Result<String, Bad> {
        percent_decode_str(text).decode_utf8().map(Into::into).map_err(not_text)
    };
    let (name, in_url) = match text.split_once(':') {
        Some((name, password)) => (decoded(name)?, Some(decoded(password)?)),
        None => (decoded(text)?, None),
    };
    let password = password.or(in_url).unwrap_or_default();
    if !is_login(&name) || name.contains(':') || !(password.is_empty() || is_login(&password)) {
        let hint = "write USER:PASSWORD@, each of 1 to 255 bytes, with %40 for @ and %3A for :";
        return Err(Bad::new("the user or the password of this URL cannot be one", hint));
    }
    Ok(Some(Login { name, password: Secret::new(password) }))
}

/// The first line of a small file.
fn from_file(path: &str) -> Result<String, Bad> {
    let unreadable = |reason: String| {
        Bad::new(
            format!("the password file `{}` {reason}", excerpt(path)),
            "it holds the password in its first line",
        )
    };
    let text = small_file(Path::new(path), PASSWORD_FILE_BYTES).map_err(unreadable)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
