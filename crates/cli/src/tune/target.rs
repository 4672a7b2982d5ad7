//! What is fetched, or sent to: a place, and a path there.

use std::fmt;

/// A server, and what of it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// HOST:PORT.
    pub(super) authority: String,
    pub(super) path: String,
}

impl fmt::Display for Target {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "http://{}{}", self.authority, self.path)
    }
}

impl Target {
    /// Of http://HOST:PORT/PATH, or HOST:PORT.
    ///
    /// # Errors
    /// A sentence that says what is wrong, and what it should be; without a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "give http://HOST:PORT/PATH, or HOST:PORT";
        if text.starts_with("unix:") {
            return Err(format!("`{text}` is a unix socket, which cannot be measured: {FORM}"));
        }
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => return Err(format!("`{scheme}://` cannot be measured: {FORM}")),
        };
        // What is behind a `#` is for whoever shows the page.
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (place, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        if place.contains('@') {
            return Err(format!(
                "a target with a user cannot be measured: name what needs no login, and {FORM}"
            ));
        }
        if place.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("`{text}` is no target: {FORM}"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { authority: authority(place)?, path })
    }
}

/// A host and its port, which is 80 where none is named.
fn authority(place: &str) -> Result<String, String> {
    let (host, port) = match place.rfind(']') {
        Some(end) => place.split_at(end + 1),
        None => place.find(':').map_or((place, ""), |at| place.split_at(at)),
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(format!("{host}:80")),
        Some(port) if port.contains(':') => {
            Err(format!("`{place}` has several colons: put a v6 address in brackets, as in [::1]:80"))
        }
        _ if host.is_empty() => Err(format!("`{place}` has no host: give HOST:PORT")),
        Some(number) if number.parse::<u16>().is_ok_and(|number| number > 0) => Ok(place.to_owned()),
        _ => Err(format!("`{place}` does not end with a port: give one from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_port_and_a_path() {
        let parsed = |text| Target::parse(text).map(|target| target.to_string());
        for (text, target) in [
            ("a.example", "http://a.example:80/"),
            ("a.example:8080", "http://a.example:8080/"),
            ("HTTP://a.example", "http://a.example:80/"),
            ("http://[::1]:81/large?x=1", "http://[::1]:81/large?x=1"),
            ("http://[::1]/large", "http://[::1]:80/large"),
            ("http://a.example?x=1:2", "http://a.example:80/?x=1:2"),
            ("http://a.example/large?x=/#part", "http://a.example:80/large?x=/"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(target));
        }
    }

    #[test]
    fn what_is_no_target_is_told_by_what_is_wrong_with_it() {
        for (text, why) in [
            ("", "is no target"),
            ("http:///x", "is no target"),
            ("http://a b/", "is no target"),
            (":80", "has no host"),
            ("https://a.example/", "`https://` cannot be measured"),
            ("unix:/tmp/x", "is a unix socket"),
            ("a.example:80-90", "give one from 1 to 65535"),
            ("a.example:99999", "give one from 1 to 65535"),
            ("a.example:0", "give one from 1 to 65535"),
            ("[::1]80", "give one from 1 to 65535"),
            ("::1", "put a v6 address in brackets"),
            ("http://bob:secret@a.example/", "needs no login"),
        ] {
            let error = Target::parse(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
