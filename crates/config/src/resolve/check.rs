//! Checks: what each kind needs, and which keys are foreign to it.

use std::ops::Range;
use std::time::Duration;

use crate::error::Mistake;
use crate::file::{self, CheckTable};
use crate::model::{Check, CheckKind};
use crate::read::Field;
use crate::report::Report;
use crate::words::{Kind, Role};

/// The check of a pool, if it has one.
pub(crate) fn check(field: Field<file::Check>, commands: bool, report: &mut Report) -> Option<Check> {
    let Field::Given(shape, span) = field else { return None };
    let table = match shape {
        file::Check::Kind(kind) => {
            CheckTable { kind: Field::Given(kind, span.clone()), ..CheckTable::default() }
        }
        file::Check::Table(table) => table,
    };
    if table.kind.is_absent() {
        let mistake = Mistake::at(span, "this check has no `kind`");
        report.absent(mistake.hint("add kind = \"tcp\", \"http\" or another"));
        return None;
    }
    let Field::Given(kind, at) = &table.kind else { return None };
    note_foreign(kind.0, &table, report);
    if kind.0 == Kind::Command && !commands {
        let mistake = Mistake::at(at.clone(), "checks may not run commands");
        report.push(
            mistake
                .hint("add allow_commands = true at the top, if all that may write this file may run them"),
        );
    }
    let kind_of = kind.0;
    let at = at.clone();
    let seconds = |field: &Field<_>, default| match field {
        Field::Given(crate::words::Timespan(time), _) => *time,
        _ => default,
    };
    let interval = seconds(&table.interval, Duration::from_secs(2));
    let down_interval = seconds(&table.down_interval, interval.min(Duration::from_secs(1)));
    let timeout = seconds(&table.timeout, Duration::from_secs(2));
    let rise = table.rise.clone().given().map_or(2, |count| count.number());
    let fall = table.fall.clone().given().map_or(3, |count| count.number());
    let port = table.port.clone().given().and_then(|port| u16::try_from(port.number()).ok());
    let kind = kind_with(kind_of, table, &at, report)?;
    Some(Check { kind, interval, down_interval, timeout, rise, fall, port })
}

fn kind_with(kind: Kind, table: CheckTable, at: &Range<usize>, report: &mut Report) -> Option<CheckKind> {
    let text = |field: Field<crate::words::Text>| field.given().map(|text| text.0);
    let mut needs = |what: &str, hint: &str| {
        report.absent(Mistake::at(at.clone(), format!("this check has no {what}")).hint(hint));
    };
    let role = match &table.role {
        Field::Given(role, _) => role.0,
        _ => Role::Any,
    };
    Some(match kind {
        Kind::Tcp => CheckKind::Tcp,
        Kind::Mysql => CheckKind::Mysql,
        Kind::Tls => CheckKind::Tls { server_name: text(table.server_name) },
        Kind::Http => CheckKind::Http {
            path: http_path(table.path, report),
            host: text(table.host),
            status: table.status.given().map_or_else(
                || vec![(200, 399)],
                |list| list.items.into_iter().map(|(status, _)| (status.0, status.1)).collect(),
            ),
            body: text(table.body),
        },
        Kind::Exchange => {
            if table.send.is_absent() && table.expect.is_absent() {
                needs("`send` or `expect`", "add what to send, or what must come, as in expect = \"220\"");
            }
            let bytes =
                |field: Field<crate::words::Escaped>| field.given().map(|bytes| bytes.0).unwrap_or_default();
            CheckKind::Exchange { send: bytes(table.send), expect: bytes(table.expect) }
        }
        Kind::Postgres => CheckKind::Postgres {
            primary: role == Role::Primary,
            user: text(table.user).unwrap_or_else(|| "postgres".to_owned()),
            database: text(table.database).unwrap_or_else(|| "postgres".to_owned()),
            password: table.password.given().map(|password| password.0),
        },
        Kind::Redis => CheckKind::Redis {
            master: role == Role::Master,
            password: table.password.given().map(|password| password.0),
        },
        Kind::Command => {
            if table.command.is_absent() {
                needs("`command`", "add command = [\"/usr/local/bin/check\", \"argument\"]");
            }
            let words = table.command.given().map(|list| list.items).unwrap_or_default();
            let argv: Vec<_> = words.into_iter().map(|(text, _)| text.0).collect();
            if argv.is_empty() {
                return None;
            }
            CheckKind::Command { argv }
        }
    })
}

fn http_path(field: Field<crate::words::Text>, report: &mut Report) -> String {
    match field {
        Field::Given(path, span) => {
            if !path.0.starts_with('/') || path.0.contains(' ') {
                let mistake = Mistake::at(span, "this is no path of HTTP");
                report.push(mistake.hint("begin it with /, as in \"/health\", and write spaces as %20"));
            }
            path.0
        }
        Field::Absent | Field::Struck => "/".to_owned(),
    }
}

/// Notes keys that another kind takes.
fn note_foreign(kind: Kind, table: &CheckTable, report: &mut Report) {
    let given =
        |field: Option<Range<usize>>, key: &'static str, kinds: &'static [Kind], names: &'static str| {
            field.filter(|_| !kinds.contains(&kind)).map(|span| (span, key, names))
        };
    let foreign = [
        given(span(&table.server_name), "server_name", &[Kind::Tls], "tls"),
        given(span(&table.path), "path", &[Kind::Http], "http"),
        given(span(&table.host), "host", &[Kind::Http], "http"),
        given(span(&table.status), "status", &[Kind::Http], "http"),
        given(span(&table.body), "body", &[Kind::Http], "http"),
        given(span(&table.send), "send", &[Kind::Exchange], "exchange"),
        given(span(&table.expect), "expect", &[Kind::Exchange], "exchange"),
        given(span(&table.role), "role", &[Kind::Postgres, Kind::Redis], "postgres or redis"),
        given(span(&table.user), "user", &[Kind::Postgres], "postgres"),
        given(span(&table.database), "database", &[Kind::Postgres], "postgres"),
        given(span(&table.password), "password", &[Kind::Postgres, Kind::Redis], "postgres or redis"),
        given(span(&table.command), "command", &[Kind::Command], "command"),
    ];
    for (span, key, names) in foreign.into_iter().flatten() {
        let mistake = Mistake::at(span, format!("`{key}` goes with checks of kind {names}"));
        report.push(mistake.hint(format!("leave `{key}` out, or change `kind`")));
    }
    if let Field::Given(role, span) = &table.role {
        let wanted = match (kind, role.0) {
            (Kind::Postgres, Role::Master) => "primary",
            (Kind::Redis, Role::Primary) => "master",
            _ => return,
        };
        let mistake = Mistake::at(span.clone(), "this kind of server has another word for that role");
        report.push(mistake.hint(format!("write role = \"{wanted}\"")));
    }
}

fn span<T>(field: &Field<T>) -> Option<Range<usize>> {
    match field {
        Field::Given(_, span) => Some(span.clone()),
        Field::Absent | Field::Struck => None,
    }
}
