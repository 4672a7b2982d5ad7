//! Which route a request takes, to which pool, and how its path is written on the way.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use hyper::Method;
use hyper::header::HeaderMap;
use percent_encoding::utf8_percent_encode;
use towpath_config::{FieldMatch, Http, HttpRoute, PathMatch, Rewrite, Rules};

use towpath_wire::http1::path;

use super::edits::NOT_IN_QUERY;

/// The first route that fits a request. `host` is in lower case and without port, `path` without query and as [`path::plain`] makes
/// it.
pub(crate) fn find<'a>(
    http: &'a Http,
    method: &Method,
    host: &str,
    path: &str,
    fields: &HeaderMap,
) -> Option<(usize, &'a HttpRoute)> {
    http.routes.iter().enumerate().find(|(_, route)| {
        (route.hosts.is_empty() || route.hosts.iter().any(|pattern| pattern.has(host)))
            && has_path(&route.path, path)
            && (route.methods.is_empty() || route.methods.iter().any(|name| name == method.as_str()))
            && route.fields.iter().all(|wanted| has_field(wanted, fields))
    })
}

fn has_path(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Any => true,
        PathMatch::Exact(exact) => path == exact,
        PathMatch::Prefix(prefix) => below(path, prefix).is_some(),
        PathMatch::Pattern(pattern) => pattern.regex.is_match(path),
    }
}

/// What follows `prefix` in `path`, if that is where a segment ends.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')).then_some(rest)
}

fn has_field(wanted: &FieldMatch, fields: &HeaderMap) -> bool {
    let Some(pattern) = &wanted.value else { return fields.contains_key(&wanted.name) };
    let mut values = fields.get_all(&wanted.name).into_iter();
    values.any(|value| str::from_utf8(value.as_bytes()).is_ok_and(|value| pattern.regex.is_match(value)))
}

/// Whether what the rules make of a path is the same to servers that decode it and to those that do not. `plain` is the path as
/// [`path::plain`] makes it.
pub(crate) fn is_rewritten_alike(rules: &Rules, path: &str, plain: &str) -> bool {
    // They may differ in the case of escapes.
    if rules.rewrite.is_none() || path.eq_ignore_ascii_case(plain) {
        return true;
    }
    match &rules.rewrite {
        Some(Rewrite::Prefix(old, _)) => match (below(path, old), below(plain, old)) {
            (Some(rest), Some(rest_of_plain)) => {
                rest == rest_of_plain || path::plain(rest).is_some_and(|rest| rest == rest_of_plain)
            }
            (None, None) => true,
            _ => false,
        },
        _ => false,
    }
}

/// The path that a request goes on with, and its query, which stays; `None` where the rules leave it as it came. It begins with
/// one slash, and what a path may not have is encoded in it.
pub(crate) fn rewrite(rules: &Rules, path_and_query: &str) -> Option<String> {
    let rewrite = rules.rewrite.as_ref().filter(|_| path_and_query.starts_with('/'))?;
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let new = match rewrite {
        Rewrite::Prefix(old, new) => {
            let rest = below(path, old)?;
            let is_doubled = new.ends_with('/') && rest.starts_with('/');
            let is_bare = !old.is_empty() && old.ends_with('/') && !new.ends_with('/') && !rest.is_empty();
            let rest = if is_doubled { &rest[1..] } else { rest };
            format!("{new}{}{rest}", if is_bare { "/" } else { "" })
        }
        Rewrite::Pattern(pattern, text) => match pattern.regex.replacen(path, 1, text.as_str()) {
            Cow::Borrowed(_) => return None,
            Cow::Owned(new) => new,
        },
    };
    let new = new.trim_start_matches('/');
    let mut whole = String::with_capacity(path_and_query.len().max(new.len()) + 1);
    whole.push('/');
    // It may go on with a query of its own.
    whole.extend(utf8_percent_encode(new, NOT_IN_QUERY));
    if let Some(query) = query {
        match new.split_once('?') {
            None => whole.push('?'),
            Some((_, "")) => {}
            Some(_) => whole.push('&'),
        }
        whole.push_str(query);
    }
    Some(whole)
}

/// One of `pools` by their weights; `None` if there is none. `lot` is any number, all being as likely.
pub(crate) fn choose<T>(pools: &[(T, u32)], lot: u32) -> Option<&T> {
    let total: u64 = pools.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut point = (u128::from(lot) * u128::from(total)) >> u32::BITS;
    let drawn = pools.iter().find(|(_, weight)| {
        let is_here = point < u128::from(*weight);
        point = point.saturating_sub(u128::from(*weight));
        is_here
    });
    drawn.or(pools.first()).map(|(pool, _)| pool)
}
