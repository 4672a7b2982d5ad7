//! Fields and redirects as the configuration words them, with facts of the request in them.

use std::fmt::Write;
use std::net::IpAddr;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use towpath_config::FieldEdit;

/// What has no place in a URI (RFC 3986). All that is not ASCII is encoded too.
const NOT_IN_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
pub(super) const NOT_IN_QUERY: &AsciiSet = &NOT_IN_URI.add(b'#');
const NOT_IN_PATH: &AsciiSet = &NOT_IN_QUERY.add(b'?');
const NOT_IN_HOST: &AsciiSet = &NOT_IN_PATH.add(b'/').add(b'@');

/// Fields that say how a message is carried, which only those who carry it can.
const OF_THE_CARRIER: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What stands for `{client}`, `{scheme}` and so on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placeholders<'a> {
    /// The client's address; one at a unix socket has none and is `unknown`.
    pub(crate) client: Option<IpAddr>,
    /// `http` or `https`, as the client came.
    pub(crate) scheme: &'a str,
    /// The host that the client named; empty if it named none.
    pub(crate) host: &'a str,
    /// The path, without the query.
    pub(crate) path: &'a str,
    /// The query, without its question mark.
    pub(crate) query: Option<&'a str>,
    /// The id of the request; empty if it has none.
    pub(crate) request_id: &'a str,
}

/// Does to `fields` what the configuration says, in its order. A value that the facts would spoil is left out, and so is what was
/// there before it: nobody may take a client's word for ours.
pub(crate) fn edit(fields: &mut HeaderMap, edits: &[FieldEdit], facts: &Placeholders<'_>) {
    let has_twins = fields.keys().any(|name| name.as_str().contains('_'));
    for edit in edits {
        let (FieldEdit::Set(name, _) | FieldEdit::Add(name, _) | FieldEdit::Remove(name)) = edit;
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        if OF_THE_CARRIER.contains(&name) || (name == HOST && !matches!(edit, FieldEdit::Set(..))) {
            continue;
        }
        if has_twins && !matches!(edit, FieldEdit::Add(..)) {
            remove_twins(fields, &name);
        }
        // More fields than a map can hold are left out.
        match edit {
            FieldEdit::Set(_, value) => match facts.value(value) {
                Some(value) => drop(fields.try_insert(name, value)),
                None if name == HOST => {}
                None => drop(fields.remove(name)),
            },
            FieldEdit::Add(_, value) => {
                if let Some(value) = facts.value(value) {
                    let _ = fields.try_append(name, value);
                }
            }
            FieldEdit::Remove(_) => drop(fields.remove(name)),
        }
    }
}

/// Takes out what many a server takes for the field of this name, as `X_User` for `X-User`.
fn remove_twins(fields: &mut HeaderMap, name: &HeaderName) {
    let alike = |name: &str| name.replace('_', "-");
    let wanted = alike(name.as_str());
    let is_twin = |other: &&HeaderName| *other != name && alike(other.as_str()) == wanted;
    let twins: Vec<HeaderName> = fields.keys().filter(is_twin).cloned().collect();
    for twin in twins {
        fields.remove(twin);
    }
}

/// Where a client is sent. Its own words can lead it neither to another host nor into another field.
pub(crate) fn location(to: &str, facts: &Placeholders<'_>) -> HeaderValue {
    // Without a host, `https:///a.example/` would lead to the host a.example.
    let to = if facts.host.is_empty() && to.contains("{host}") { "{path}{query}" } else { to };
    let mut whole = String::with_capacity(to.len() + facts.host.len() + facts.path.len());
    fill(to, &mut whole, |name, whole| {
        match name {
            "scheme" => whole.push_str(facts.scheme),
            "host" => whole.extend(utf8_percent_encode(facts.host, NOT_IN_HOST)),
            "path" => {
                let is_bare = !facts.path.starts_with('/');
                whole.push_str(if is_bare { "/" } else { "" });
                whole.extend(utf8_percent_encode(facts.path, NOT_IN_PATH));
            }
            "query" => {
                whole.push_str(facts.query.map_or("", |_| "?"));
                whole.extend(utf8_percent_encode(facts.query.unwrap_or_default(), NOT_IN_QUERY));
            }
            _ => return false,
        }
        true
    });
    let mut place = utf8_percent_encode(&whole, NOT_IN_URI).to_string();
    if place.starts_with("//") && !to.starts_with("//") {
        place = format!("/{}", place.trim_start_matches('/'));
    }
    HeaderValue::try_from(place).unwrap_or(HeaderValue::from_static("/"))
}

impl Placeholders<'_> {
    /// `None` if it cannot be the value of a field.
    fn value(&self, template: &str) -> Option<HeaderValue> {
        if !template.contains('{') {
            return HeaderValue::from_str(template).ok();
        }
        let mut value = String::with_capacity(template.len() + self.path.len());
        fill(template, &mut value, |name, value| {
            match name {
                "client" => match self.client {
                    Some(client) => drop(write!(value, "{}", client.to_canonical())),
                    None => value.push_str("unknown"),
                },
                "scheme" => value.push_str(self.scheme),
                "host" => value.push_str(self.host),
                "path" => value.push_str(self.path),
                "request_id" => value.push_str(self.request_id),
                _ => return false,
            }
            true
        });
        HeaderValue::try_from(value).ok()
    }
}

/// Appends `template` to `to`; `put` appends what a name in braces stands for, or says that it stands for nothing, and then stays.
fn fill(template: &str, to: &mut String, mut put: impl FnMut(&str, &mut String) -> bool) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        to.push_str(before);
        match after.split_once('}') {
            Some((name, left)) if put(name, to) => rest = left,
            _ => {
                to.push('{');
                rest = after;
            }
        }
    }
    to.push_str(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FACTS: Placeholders<'_> = Placeholders {
        client: None,
        scheme: "https",
        host: "a.example",
        path: "/x/y",
        query: Some("q=1"),
        request_id: "7f",
    };

    fn edited(edits: &[FieldEdit], facts: &Placeholders<'_>) -> Vec<String> {
        let mut fields = HeaderMap::new();
        for (name, value) in [("host", "a.example"), ("x-a", "1"), ("x-a", "2"), ("content-length", "3")] {
            fields.append(name, HeaderValue::from_static(value));
        }
        edit(&mut fields, edits, facts);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        fields.iter().map(line).filter(|line| !line.starts_with("content-length: 3")).collect()
    }

    fn set(name: &str, value: &str) -> FieldEdit {
        FieldEdit::Set(name.to_owned(), value.to_owned())
    }

    fn add(name: &str, value: &str) -> FieldEdit {
        FieldEdit::Add(name.to_owned(), value.to_owned())
    }

    #[test]
    fn fields_are_set_added_and_removed() {
        let found = edited(&[set("X-A", "3"), add("x-b", "1"), add("x-b", "2")], &FACTS);
        assert_eq!(found, ["host: a.example", "x-a: 3", "x-b: 1", "x-b: 2"]);
        assert_eq!(edited(&[FieldEdit::Remove("x-a".to_owned())], &FACTS), ["host: a.example"]);
        assert_eq!(edited(&[set("host", "b"), FieldEdit::Remove("x-a".to_owned())], &FACTS), ["host: b"]);
    }

    #[test]
    fn a_field_that_is_set_has_no_twin() {
        let edited = |edits: &[FieldEdit]| {
            let mut fields = HeaderMap::new();
            for name in ["x_user", "x-user_id", "x_user-id", "x-user", "x-a"] {
                fields.append(name, HeaderValue::from_static("1"));
            }
            edit(&mut fields, edits, &FACTS);
            let mut names: Vec<_> = fields.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            names
        };
        let remove = FieldEdit::Remove("x-user-id".to_owned());
        assert_eq!(edited(&[set("x-user", "2"), remove]), ["x-a", "x-user"]);
        assert_eq!(edited(&[set("x_user", "2")]), ["x-a", "x-user_id", "x_user", "x_user-id"]);
        assert_eq!(edited(&[add("x-user", "2")]).len(), 5);
    }

    #[test]
    fn facts_take_their_places_once() {
        let client = Some("::ffff:10.1.2.3".parse().unwrap());
        let facts = Placeholders { client, path: "/{host}", ..FACTS };
        let all = set("x-a", "{client} {scheme}://{host}{path} {request_id} {query} { {}{{host}} {host");
        assert_eq!(
            edited(&[all], &facts)[1],
            "x-a: 10.1.2.3 https://a.example/{host} 7f {query} { {}{a.example} {host"
        );
        assert_eq!(edited(&[set("x-a", "{client}")], &FACTS)[1], "x-a: unknown");
    }

    #[test]
    fn a_spoilt_value_leaves_nothing_behind() {
        let facts = Placeholders { path: "/\r\nx-evil: 1", ..FACTS };
        assert_eq!(edited(&[set("x-a", "{path}"), add("x-b", "{path}")], &facts), ["host: a.example"]);
        assert_eq!(edited(&[set("host", "{path}"), set("x-a", "é")], &facts), ["host: a.example", "x-a: é"]);
    }

    #[test]
    fn how_a_message_is_carried_stays_as_it_is() {
        let mut edits: Vec<_> = OF_THE_CARRIER.iter().map(|name| set(name.as_str(), "9")).collect();
        edits.extend([add("host", "b"), FieldEdit::Remove("Content-Length".to_owned())]);
        edits.extend([FieldEdit::Remove("host".to_owned()), set("no name", "1")]);
        assert_eq!(edited(&edits, &FACTS), ["host: a.example", "x-a: 1", "x-a: 2"]);
    }

    fn sent(to: &str, facts: &Placeholders<'_>) -> String {
        location(to, facts).to_str().unwrap().to_owned()
    }

    #[test]
    fn clients_are_sent_elsewhere() {
        assert_eq!(sent("https://{host}{path}{query}", &FACTS), "https://a.example/x/y?q=1");
        assert_eq!(
            sent("https://{host}{path}{query}", &Placeholders { query: None, ..FACTS }),
            "https://a.example/x/y"
        );
        assert_eq!(
            sent("{scheme}://www.{host}:8443/é#{x}", &FACTS),
            "https://www.a.example:8443/%C3%A9#%7Bx%7D"
        );
        assert_eq!(sent("//b.example{path}", &FACTS), "//b.example/x/y");
        assert_eq!(sent("/new{path}", &FACTS), "/new/x/y");
        assert_eq!(sent("{path}/", &Placeholders { path: "*", ..FACTS }), "/*/");
    }

    #[test]
    fn a_client_cannot_send_others_where_it_wants() {
        for path in
            ["//evil.example", "///evil.example", "/\\evil.example", "\\/evil.example", "/\t/evil.example"]
        {
            for to in ["{path}", "/{path}", "{path}{query}"] {
                let place = sent(to, &Placeholders { path, query: None, ..FACTS });
                assert!(place.starts_with('/') && !place.starts_with("//"), "{place}");
                assert!(!place.contains(['\\', '\t']), "{place}");
            }
            let place = sent("https://a.example{path}", &Placeholders { path, ..FACTS });
            assert!(place.starts_with("https://a.example/"), "{place}");
        }
        let nowhere = Placeholders { host: "", path: "/evil.example/", query: None, ..FACTS };
        assert_eq!(sent("https://{host}{path}", &nowhere), "/evil.example/");
        let odd = Placeholders { host: "a@evil.example/", query: Some("a#b\r\nc"), path: "/?#", ..FACTS };
        assert_eq!(
            sent("https://{host}{path}{query}", &odd),
            "https://a%40evil.example%2F/%3F%23?a%23b%0D%0Ac"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_comes_out_is_of_visible_characters(path in any::<String>(), query in any::<String>(), to in any::<String>()) {
            let facts = Placeholders { path: &path, query: Some(&query), ..FACTS };
            for to in ["{path}{query}".to_owned(), to] {
                let place = location(&to, &facts);
                prop_assert!(place.as_bytes().iter().all(u8::is_ascii_graphic), "{place:?}");
            }
        }
    }
}
