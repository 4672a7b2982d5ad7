//! A request as servers get it, and an answer as clients get it.

use std::hash::Hasher;

use http::Method;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, VIA};
use siphasher::sip::SipHasher13;
use towpath_config::{Balance, HashKey, RequestKey, Rules};

use super::compress::{self, Squeeze};
use super::entry::{Facts, version_of};
use super::head::{Answer, Request};
use super::respond::may_have_body;
use super::{Requester, edits, forwarded, routing, trace};
use crate::pool::{Backend, Pool, cookie, join, strip};
use crate::rulebook::{PoolAtWork, StickyPool};

/// What of a request the balance of its pool goes by.
pub(super) fn key(pool: &Pool, request: &Request) -> Option<u64> {
    if pool.config.balance != Balance::Hash(HashKey::Request) {
        return None;
    }
    let value = match pool.config.http.hash.as_ref()? {
        RequestKey::Field(name) => request.fields.get(name.as_str()).map_or(&b""[..], HeaderValue::as_bytes),
        RequestKey::Cookie(name) => cookie(&request.fields, name).unwrap_or_default(),
        RequestKey::Path => request.path.split('?').next().unwrap_or_default().as_bytes(),
    };
    let mut hasher = SipHasher13::new();
    hasher.write(value);
    Some(hasher.finish())
}

/// Makes of a request what servers get.
pub(super) fn prepare(
    requester: &Requester,
    rules: &Rules,
    pool: &PoolAtWork,
    request: &mut Request,
    facts: &mut Facts,
) {
    let http = requester.http();
    if let Some(name) = http.request_id.as_ref().and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok())
    {
        let id = trace::request_id(&mut request.fields, &name, || fastrand::u128(..));
        facts.request_id = id.to_str().unwrap_or_default().to_owned();
    }
    if http.trace {
        trace::pass_on(&mut request.fields, || fastrand::u128(..));
    }
    let of_client = forwarded::Facts {
        client: requester.told.as_ref(),
        scheme: requester.scheme(),
        host: (!request.authority.is_empty()).then_some(request.authority.as_str()),
        is_trusted: facts.is_trusted,
    };
    forwarded::apply(&mut request.fields, &of_client, http.forwarded);
    if let Some(sticky) = &pool.sticky {
        strip(&mut request.fields, sticky.key.name());
    }
    if !pool.pool.config.http.is_h2 {
        join(&mut request.fields);
    }
    if let Some(path) = routing::rewrite(rules, &request.path) {
        facts.path = Some(std::mem::replace(&mut request.path, path));
    }
    if !rules.request_fields.is_empty() {
        let mut fields = std::mem::take(&mut request.fields);
        edits::edit(&mut fields, &rules.request_fields, &facts.placeholders(requester.scheme(), request));
        request.fields = fields;
        if let Some(host) = request.fields.remove(HOST).and_then(|host| host.to_str().map(str::to_owned).ok())
        {
            request.authority = host;
        }
    }
    if let Some(name) = &http.via {
        add_via(&mut request.fields, version_of(request.version), name);
    }
}

/// Makes of an answer what clients get. `sticky` has the backend of which the client is to have a cookie.
pub(super) fn finish(
    requester: &Requester,
    rules: &Rules,
    (request, facts): (&Request, &Facts),
    sticky: Option<(&StickyPool, &Backend)>,
    answer: &mut Answer,
) {
    if let Some((sticky, backend)) = sticky {
        let cookie = sticky.key.write(&sticky.tag(backend), requester.is_tls);
        cookie.into_iter().for_each(|cookie| drop(answer.fields.try_append(SET_COOKIE, cookie)));
    }
    if !rules.response_fields.is_empty() {
        let told = facts.placeholders(requester.scheme(), request);
        edits::edit(&mut answer.fields, &rules.response_fields, &told);
    }
    if let Some(name) = &requester.http().via {
        add_via(&mut answer.fields, "1.1", name);
    }
}

/// Has an answer compressed on its way, where the rules want that and the client takes it.
pub(super) fn compress(rules: &Rules, request: &Request, answer: &mut Answer) -> Option<Squeeze> {
    let may_be = !rules.compress.is_empty() && compress::fits(answer.status, &answer.fields, answer.length);
    if !may_be || (answer.is_all && request.method != Method::HEAD) {
        return None;
    }
    let coding = compress::choose(&request.fields, &rules.compress);
    let Some((coding, squeeze)) = coding.and_then(|coding| Some((coding, Squeeze::new(coding).ok()?))) else {
        compress::vary(&mut answer.fields);
        return None;
    };
    compress::mark(&mut answer.fields, coding);
    answer.length = None;
    may_have_body(&request.method, answer.status).then_some(squeeze)
}

fn add_via(fields: &mut HeaderMap, version: &str, name: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("{version} {name}")) {
        // More fields than a map can hold are left out.
        let _ = fields.try_append(VIA, value);
    }
}
