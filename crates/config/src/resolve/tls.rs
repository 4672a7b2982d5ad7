//! TLS: the files of certificates and keys, read when the configuration is.

use std::ops::Range;
use std::path::Path;

use super::small_file;
use crate::error::Mistake;
use crate::file;
use crate::model::{ClientTls, Identity, Pem, ServerTls};
use crate::read::{Field, OneOrMany};
use crate::report::Report;
use crate::secret::Secret;
use crate::words::{FilePath, Text};

/// Longest file of certificates: all authorities of a system are below it.
const PEM_BYTES: u64 = 1 << 20;

/// TLS to the clients of a listener.
pub(crate) fn server(field: Field<file::ServerTls>, report: &mut Report) -> Option<ServerTls> {
    let Field::Given(shape, span) = field else { return None };
    for (is_absent, key) in [(shape.cert.is_absent(), "cert"), (shape.key.is_absent(), "key")] {
        if is_absent {
            let mistake = Mistake::at(span.clone(), format!("this tls has no `{key}`"));
            report.absent(mistake.hint(format!("add {key} = \"/etc/towpath/{key}.pem\"")));
        }
    }
    let certs = several(shape.cert, report)?;
    let keys = several(shape.key, report)?;
    if certs.len() != keys.len() {
        let message = format!("there are {} certificates and {} keys", certs.len(), keys.len());
        report.push(Mistake::at(span, message).hint("give each `cert` its `key`, in the same order"));
        return None;
    }
    let identities = certs.into_iter().zip(keys).map(|(cert, key)| Identity { cert, key }).collect();
    Some(ServerTls {
        identities,
        client_ca: one(shape.client_ca, report),
        v1_2: shape.min_version.given().is_none_or(|version| version.0),
        alpn: texts(shape.alpn),
    })
}

/// TLS to the backends of a pool.
pub(crate) fn client(field: Field<file::ClientTls>, report: &mut Report) -> Option<ClientTls> {
    let Field::Given(shape, span) = field else { return None };
    let (cert, key) = (one(shape.cert, report), one(shape.key, report));
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some(Identity { cert, key }),
        (None, None) => None,
        _ => {
            let mistake = Mistake::at(span.clone(), "a certificate goes with its key");
            report.push(mistake.hint("give both `cert` and `key`, or neither"));
            None
        }
    };
    let insecure = shape.insecure.given().is_some_and(|switch| switch.0);
    if let (true, Field::Given(_, span)) = (insecure, &shape.ca) {
        let mistake = Mistake::at(span.clone(), "`ca` says whom to trust, and `insecure` that all are");
        report.push(mistake.hint("leave one of them out"));
    }
    Some(ClientTls {
        server_name: shape.server_name.given().map(|name| name.0),
        ca: one(shape.ca, report),
        insecure,
        identity,
        alpn: texts(shape.alpn),
    })
}

/// The content of a file.
pub(crate) fn pem(path: &Path) -> Result<Pem, String> {
    let text = small_file(path, PEM_BYTES).map_err(|reason| format!("{} {reason}", path.display()))?;
    if !text.contains("-----BEGIN ") {
        return Err(format!("{} is no PEM file: it has no line with BEGIN", path.display()));
    }
    Ok(Pem { path: path.to_owned(), text: Secret::new(text) })
}

fn texts(field: Field<OneOrMany<Text>>) -> Vec<String> {
    let items = field.given().map(|list| list.items).unwrap_or_default();
    items.into_iter().map(|(text, _)| text.0).collect()
}

fn one(field: Field<FilePath>, report: &mut Report) -> Option<Pem> {
    let Field::Given(path, span) = field else { return None };
    noted(pem(&path.0), span, report)
}

fn several(field: Field<OneOrMany<FilePath>>, report: &mut Report) -> Option<Vec<Pem>> {
    let Field::Given(list, _) = field else { return None };
    // All of them are looked at, so that all mistakes show.
    let pems: Vec<_> = list.items.into_iter().map(|(path, span)| noted(pem(&path.0), span, report)).collect();
    pems.into_iter().collect::<Option<Vec<_>>>().filter(|pems| !pems.is_empty())
}

fn noted(result: Result<Pem, String>, span: Range<usize>, report: &mut Report) -> Option<Pem> {
    match result {
        Ok(pem) => Some(pem),
        Err(reason) => {
            report.push(
                Mistake::at(span, reason).hint("give a file with -----BEGIN CERTIFICATE----- or the like"),
            );
            None
        }
    }
}
