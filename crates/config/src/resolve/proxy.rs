//! What makes a listener a proxy: users, destinations, and that not everybody may use it by accident.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use towpath_wire::addr::{Listen, ListenHost};

use super::small_file;
use crate::error::Mistake;
use crate::file;
use crate::model::{DestRule, Destinations, Dns, Login, Proxy};
use crate::read::{Field, OneOrMany, OrOff};
use crate::report::Report;
use crate::secret::Secret;
use crate::words::{DestWord, FilePath, UserWord};

/// Longest file of users.
const AUTH_FILE_BYTES: u64 = 1 << 20;

/// The proxy that a listener is.
pub(crate) fn proxy(
    shape: &mut file::Listener,
    binds: &[(Listen, Range<usize>)],
    dns: &Dns,
    report: &mut Report,
) -> Proxy {
    let has_users = !shape.rules.users.is_absent() || !shape.rules.auth_file.is_absent();
    let is_open = shape.open.take().given().is_some_and(|switch| switch.0);
    if !has_users && !is_open && shape.allow.is_absent() {
        note_everybody(binds, report);
    }
    Proxy {
        users: users(shape.rules.users.take(), report),
        auth_file: auth_file(shape.rules.auth_file.take(), report),
        via: match shape.via_name.take().given() {
            Some(OrOff::On(name)) => Some(name.0),
            Some(OrOff::Off) => None,
            None => Some("towpath".to_owned()),
        },
        forwarded: shape.forwarded.take().given().is_some_and(|switch| switch.0),
        ..destinations(shape, dns)
    }
}

/// The same for those who have shown who they are already: where they may go.
pub(crate) fn destinations(shape: &mut file::Listener, dns: &Dns) -> Proxy {
    Proxy {
        users: Vec::new(),
        auth_file: None,
        destinations: Destinations {
            allow: rules(shape.allow_dest.take()),
            deny: rules(shape.deny_dest.take()),
        },
        header_timeout: shape.header_timeout.take().given().map_or(Duration::from_secs(10), |time| time.0),
        via: None,
        forwarded: false,
        dns: dns.clone(),
    }
}

/// Users with their passwords as they are.
pub(crate) fn users(field: Field<OneOrMany<UserWord>>, report: &mut Report) -> Vec<Login> {
    let Field::Given(list, span) = field else { return Vec::new() };
    if list.items.is_empty() && !list.struck {
        let mistake = Mistake::at(span, "`users` lets nobody in");
        report.push(mistake.hint("give at least one, as in users = [\"alice:secret\"], or leave it out"));
    }
    list.items.into_iter().map(|(user, _)| user.0).collect()
}

fn rules(field: Field<OneOrMany<DestWord>>) -> Vec<DestRule> {
    let items = field.given().map(|list| list.items).unwrap_or_default();
    items.into_iter().map(|(rule, _)| rule.0).collect()
}

/// Notes a bind that others than this machine can come to.
fn note_everybody(binds: &[(Listen, Range<usize>)], report: &mut Report) {
    let is_public = |listen: &Listen| match listen {
        Listen::Unix(_) => false,
        Listen::Tcp { host: ListenHost::Ip(ip), .. } => !ip.to_canonical().is_loopback(),
        Listen::Tcp { host: ListenHost::Any, .. } => true,
        Listen::Tcp { host: ListenHost::Name(name), .. } => !super::loops::is_localhost(name),
    };
    let Some((listen, span)) = binds.iter().find(|(listen, _)| is_public(listen)) else { return };
    let message = format!("`{listen}` would be a proxy for everybody who can reach it");
    let hint = "name its users (users or auth_file; --user or --auth-file), or its clients (allow = \"10.0.0.0/8\"; \
                --allow), or bind it to 127.0.0.1, or say that it is meant (open = true; --open)";
    report.push(Mistake::at(span.clone(), message).hint(hint));
}

/// A file of users, and its text.
pub(crate) fn auth_file(field: Field<FilePath>, report: &mut Report) -> Option<(PathBuf, Secret)> {
    let Field::Given(path, span) = field else { return None };
    match small_file(&path.0, AUTH_FILE_BYTES) {
        Ok(text) => Some((path.0, Secret::new(text))),
        Err(reason) => {
            let message = format!("the auth_file {} {reason}", path.0.display());
            report.push(
                Mistake::at(span, message)
                    .hint("each of its lines is NAME:HASH, as `towpath passwd NAME` makes it"),
            );
            None
        }
    }
}
