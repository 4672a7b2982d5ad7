//! The checked configuration of HTTP load balancing: what becomes of the requests of a listener, and how pools take them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use regex::Regex;

use crate::model::{HostPattern, Login, Pool};
use crate::secret::Secret;

/// What becomes of the requests of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// The first that fits decides; a request that fits none goes to the listener's pool, or gets 404.
    pub routes: Vec<HttpRoute>,
    /// What holds for requests that fit no route, and where a route says nothing itself.
    pub rules: Rules,
    /// Peers whose word of who their client is counts.
    pub trusted: Vec<IpNet>,
    /// Which fields tell backends of the client.
    pub forwarded: ForwardedFields,
    /// The name in `Via` fields; `None` adds none.
    pub via: Option<String>,
    /// How long a client may take for the head of a request.
    pub header_timeout: Duration,
    /// How long a client may stay between two requests.
    pub keepalive_timeout: Duration,
    /// Longest head of a request, in bytes.
    pub header_bytes_max: usize,
    /// The field that carries an id of each request, which is passed on or made; `None` for none.
    pub request_id: Option<String>,
    /// Whether the W3C field `traceparent` is passed on with a new parent id, or made.
    pub trace: bool,
    /// The form of the records of requests.
    pub record_format: RecordFormat,
}

impl Http {
    /// Every pool that a route or a rule names, in the order of the routes; some more than once. The listener's own is not
    /// among them.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let of_routes = self.routes.iter().flat_map(|route| {
            let pools = match &route.action {
                Action::Pools(pools) => pools.as_slice(),
                Action::Redirect { .. } | Action::Answer { .. } => &[],
            };
            pools.iter().map(|(pool, _)| pool).chain(&route.rules.mirror)
        });
        of_routes.chain(&self.rules.mirror)
    }

    /// Whatever holds for some of its requests: what it says itself, and what each route says.
    pub fn all_rules(&self) -> impl Iterator<Item = &Rules> {
        std::iter::once(&self.rules).chain(self.routes.iter().map(|route| &route.rules))
    }
}

/// Which fields tell backends of the client. What the client says in any of them is taken out unless it is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedFields {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239).
    pub standard: bool,
}

/// The form of the records of requests in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// That of all records.
    Own,
    /// The Common Log Format.
    Common,
    /// The same with referrer and browser.
    Combined,
}

/// One kind of request and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoute {
    /// For one of these hosts; empty is any.
    pub hosts: Vec<HostPattern>,
    /// For these paths.
    pub path: PathMatch,
    /// With one of these methods; empty is any.
    pub methods: Vec<String>,
    /// With all of these fields.
    pub fields: Vec<FieldMatch>,
    /// What becomes of it.
    pub action: Action,
    /// What holds for it.
    pub rules: Rules,
}

impl HttpRoute {
    /// Whether both are for the same requests.
    pub fn is_for_same(&self, other: &Self) -> bool {
        let Self { hosts, path, methods, fields, action: _, rules: _ } = self;
        (hosts, path, methods, fields) == (&other.hosts, &other.path, &other.methods, &other.fields)
    }
}

/// Paths, without their query.
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    /// All.
    Any,
    /// This one.
    Exact(String),
    /// This one and those below it: `/api` is for `/api` and `/api/x`, and not for `/apix`.
    Prefix(String),
    /// Those that the expression finds something in.
    Pattern(Pattern),
}

/// A field that a request must have.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldMatch {
    /// Its name, in lower case.
    pub name: String,
    /// What it must be; `None` is anything.
    pub value: Option<Pattern>,
}

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// It, ready for use.
    pub regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It goes to one of these pools, by lot with these weights.
    Pools(Vec<(Arc<Pool>, u32)>),
    /// Its client is sent elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where to: `{scheme}`, `{host}`, `{path}` and `{query}` (with its question mark) stand for those of the request.
        to: String,
    },
    /// It is answered here.
    Answer {
        /// The status.
        status: u16,
        /// What its body is.
        content_type: String,
        /// The body.
        body: String,
    },
}

/// What holds for a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// How its path is written anew.
    pub rewrite: Option<Rewrite>,
    /// What is done to the fields of the request.
    pub request_fields: Vec<FieldEdit>,
    /// What is done to the fields of the answer.
    pub response_fields: Vec<FieldEdit>,
    /// A pool that gets a copy of it.
    pub mirror: Option<Arc<Pool>>,
    /// Clients that may ask; empty is all.
    pub allow: Vec<IpNet>,
    /// Clients that may not, be they in `allow` too.
    pub deny: Vec<IpNet>,
    /// Who may ask, with passwords as they are; empty with no `auth_file` is everybody.
    pub users: Vec<Login>,
    /// A file of those with hashes of their passwords, and its text.
    pub auth_file: Option<(PathBuf, Secret)>,
    /// Requests a second of one client address, and how many may come at once.
    pub rate: Option<RequestRate>,
    /// Longest body of a request, in bytes; `None` is no limit.
    pub body_bytes_max: Option<u64>,
    /// How long a body may pause, either way.
    pub body_timeout: Duration,
    /// How long the head of an answer may take, once the request is sent.
    pub answer_timeout: Duration,
    /// How long a request may take in all; `None` is as long as it likes.
    pub request_timeout: Option<Duration>,
    /// Codings in which answers may be compressed, the preferred first; empty is none.
    pub compress: Vec<Coding>,
}

/// How a path is written anew; the query stays.
#[derive(Clone, Debug, PartialEq)]
pub enum Rewrite {
    /// This prefix, where the path has it, becomes another, perhaps nothing.
    Prefix(String, String),
    /// The first match of an expression becomes a text, in which `$1` or `${name}` stand for groups.
    Pattern(Pattern, String),
}

/// One thing that is done to fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldEdit {
    /// It has this value, whatever it had before. In values `{client}`, `{host}`, `{path}`, `{scheme}` and `{request_id}` stand for
    /// those of the request.
    Set(String, String),
    /// It has this value too.
    Add(String, String),
    /// It is taken out.
    Remove(String),
}

/// Requests of one client in a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestRate {
    /// A second.
    pub per_second: f64,
    /// So many may come at once.
    pub burst: u32,
}

/// How an answer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// How a pool takes requests of HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpOut {
    /// Whether its backends speak HTTP/2, over TLS or with prior knowledge.
    pub is_h2: bool,
    /// Idle connections that each worker keeps to each backend.
    pub idle_max: usize,
    /// How long each of them is kept.
    pub idle_timeout: Duration,
    /// Connections that each worker has ready to each backend before there is a request for them.
    pub warm: usize,
    /// Attempts beside the first.
    pub retries: u32,
    /// Answers with a status in one of these ranges, both ends in it, are asked for again elsewhere.
    pub retry_on: Vec<(u16, u16)>,
    /// No more retries than this share of the requests.
    pub retry_budget: f64,
    /// Bodies up to so many bytes are kept to be sent again.
    pub replay_bytes: usize,
    /// What [`crate::HashKey::Request`] goes by.
    pub hash: Option<RequestKey>,
    /// A cookie that brings a client back to its backend.
    pub sticky: Option<Sticky>,
}

impl Default for HttpOut {
    fn default() -> Self {
        Self {
            is_h2: false,
            idle_max: 64,
            idle_timeout: Duration::from_secs(50),
            warm: 0,
            retries: 3,
            retry_on: Vec::new(),
            retry_budget: 0.2,
            replay_bytes: 64 * 1024,
            hash: None,
            sticky: None,
        }
    }
}

/// What of a request a hash goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKey {
    /// The value of this field, whose name is in lower case.
    Field(String),
    /// The value of this cookie.
    Cookie(String),
    /// The path, without the query.
    Path,
}

/// A cookie that brings a client back to its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// What it is signed with.
    pub secret: Secret,
    /// How long a browser keeps it; `None` is until it ends.
    pub max_age: Option<Duration>,
}
