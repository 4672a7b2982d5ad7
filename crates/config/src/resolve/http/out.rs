//! How a pool sends requests.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::error::Mistake;
use crate::file;
use crate::model::{HttpOut, RequestKey, Sticky};
use crate::read::Field;
use crate::report::Report;
use crate::resolve::small_file;
use crate::secret::Secret;
use crate::words::SignSecret;

/// Longest file of a secret.
const SECRET_FILE_BYTES: u64 = 4096;

/// What a pool says of requests; `hash` is what of them its balance goes by.
pub(crate) fn out(shape: file::HttpOut, hash: Option<RequestKey>, report: &mut Report) -> HttpOut {
    let default = HttpOut::default();
    let idle_max = shape.idle_connections.given().map_or(default.idle_max, |count| count.number() as usize);
    let warm = shape.warm_connections.clone().given().map_or(0, |count| count.number() as usize);
    if let Some(span) = shape.warm_connections.span().filter(|_| warm > idle_max) {
        let message = format!("`warm_connections` is more than `idle_connections`, {idle_max}");
        report.push(
            Mistake::at(span, message).hint("connections that are ready are idle: raise `idle_connections`"),
        );
    }
    let statuses = shape.retry_on.given().map(|list| list.items).unwrap_or_default();
    HttpOut {
        is_h2: shape.http_version.given().is_some_and(|version| version.0),
        idle_max,
        idle_timeout: shape.idle_connection_timeout.given().map_or(default.idle_timeout, |time| time.0),
        warm,
        retries: shape.retries.given().map_or(default.retries, |count| count.number()),
        retry_on: statuses.into_iter().map(|(status, _)| (status.0, status.1)).collect(),
        retry_budget: shape
            .retry_budget
            .given()
            .map_or(default.retry_budget, |percent| f64::from(percent.number()) / 100.0),
        replay_bytes: shape.replay_body.given().map_or(default.replay_bytes, |size| size.0),
        hash,
        sticky: sticky(shape.sticky, report),
    }
}

fn sticky(field: Field<file::Sticky>, report: &mut Report) -> Option<Sticky> {
    let Field::Given(shape, span) = field else { return None };
    let example = ("sticky", "cookie", "cookie = \"towpath\"");
    crate::resolve::note_absent(&shape.cookie, example, &span, report);
    if let Field::Given(time, span) = &shape.max_age
        && time.0 < Duration::from_secs(1)
    {
        let mistake = Mistake::at(span.clone(), "`max_age` is less than a second");
        report.push(
            mistake.hint("browsers count seconds; leave it out for a cookie that ends with the browser"),
        );
    }
    let max_age = shape.max_age.given().map(|time| time.0);
    let secret = secret(shape.secret, shape.secret_file, &span, report)?;
    Some(Sticky { cookie: shape.cookie.given()?.0, secret, max_age })
}

fn secret(
    field: Field<SignSecret>,
    file: Field<crate::words::FilePath>,
    table: &Range<usize>,
    report: &mut Report,
) -> Option<Secret> {
    match (field, file) {
        (Field::Absent, Field::Absent) => {
            let mistake = Mistake::at(table.clone(), "this sticky has no `secret` or `secret_file`");
            let hint =
                "cookies are signed, so that nobody chooses a backend: `openssl rand -hex 32` makes a secret";
            report.absent(mistake.hint(hint));
            None
        }
        (Field::Given(..), Field::Given(_, span)) => {
            let mistake = Mistake::at(span, "`secret_file` does not go with `secret`");
            report.push(mistake.hint("leave one of them out"));
            None
        }
        (secret, Field::Absent) => Some(secret.given()?.0),
        (_, Field::Given(path, span)) => match of_file(&path.0) {
            Ok(secret) => Some(secret),
            Err(reason) => {
                let message = format!("the secret_file {} {reason}", path.0.display());
                let hint = "its first line is the secret, as `openssl rand -hex 32` makes it";
                report.push(Mistake::at(span, message).hint(hint));
                None
            }
        },
        (_, Field::Struck) => None,
    }
}

/// The first line of a file.
fn of_file(path: &Path) -> Result<Secret, String> {
    let text = small_file(path, SECRET_FILE_BYTES)?;
    let line = text.lines().next().unwrap_or_default().trim_ascii();
    if line.len() < 16 { Err("has no secret of at least 16 bytes".to_owned()) } else { Ok(Secret::new(line)) }
}
