//! A request as one line of the Common Log Format, or of the combined one, which log analysers read.

use std::io::Write;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// What a line tells of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    /// The client's address; one at a unix socket has none.
    pub(super) client: Option<IpAddr>,
    /// Who logged in.
    pub(super) user: Option<&'a str>,
    /// When it came.
    pub(super) time: SystemTime,
    /// What was asked for, if that could be read.
    pub(super) asked: Option<Asked<'a>>,
    /// The status of the answer, if there was one.
    pub(super) status: Option<u16>,
    /// Bytes of the body of the answer.
    pub(super) bytes: u64,
    /// The `Referer` field.
    pub(super) referrer: Option<&'a [u8]>,
    /// The `User-Agent` field.
    pub(super) agent: Option<&'a [u8]>,
}

/// The first line of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// The path with its query.
    pub(super) target: &'a str,
    /// As in `HTTP/1.1`.
    pub(super) version: &'a str,
}

/// Writes lines. Most share the second with the one before.
#[derive(Debug, Default)]
pub(super) struct Writer {
    second: Option<(u64, String)>,
}

impl Writer {
    /// Appends a line of the Common Log Format to `to`.
    pub(super) fn common(&mut self, access: &Access<'_>, to: &mut Vec<u8>) {
        self.start(access, to);
        to.push(b'\n');
    }

    /// Appends a line of the combined format, which goes on with the referrer and the browser.
    pub(super) fn combined(&mut self, access: &Access<'_>, to: &mut Vec<u8>) {
        self.start(access, to);
        for field in [access.referrer, access.agent] {
            to.extend_from_slice(b" \"");
            escape(field.unwrap_or(b"-"), to);
            to.push(b'"');
        }
        to.push(b'\n');
    }

    /// `client - user [time] "request" status bytes`.
    fn start(&mut self, access: &Access<'_>, to: &mut Vec<u8>) {
        match access.client {
            // Writing to memory cannot fail.
            Some(ip) => drop(write!(to, "{}", ip.to_canonical())),
            None => to.push(b'-'),
        }
        to.extend_from_slice(b" - ");
        match access.user {
            None => to.push(b'-'),
            Some("") => to.extend_from_slice(b"\"\""),
            Some(user) => user.split(' ').enumerate().for_each(|(place, word)| {
                // A space would make two fields of one.
                to.extend_from_slice(if place == 0 { b"" } else { b"\\x20" });
                escape(word.as_bytes(), to);
            }),
        }
        to.extend_from_slice(b" [");
        to.extend_from_slice(self.time(access.time).as_bytes());
        to.extend_from_slice(b"] \"");
        match &access.asked {
            Some(asked) => {
                escape(asked.method.as_bytes(), to);
                to.push(b' ');
                escape(asked.target.as_bytes(), to);
                to.push(b' ');
                to.extend_from_slice(asked.version.as_bytes());
            }
            None => to.push(b'-'),
        }
        to.extend_from_slice(b"\" ");
        number(access.status.map(u64::from), to);
        to.push(b' ');
        number(Some(access.bytes).filter(|bytes| *bytes > 0), to);
    }

    /// As in `10/Oct/2000:13:55:36 +0000`.
    fn time(&mut self, time: SystemTime) -> &str {
        let second = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second.as_ref().is_none_or(|(last, _)| *last != second) {
            let time = Timestamp::from_second(i64::try_from(second).unwrap_or(0)).unwrap_or_default();
            self.second = Some((second, time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()));
        }
        self.second.as_ref().map_or("", |(_, text)| text)
    }
}

fn number(number: Option<u64>, to: &mut Vec<u8>) {
    match number {
        Some(number) => to.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        None => to.push(b'-'),
    }
}

/// As Apache does it: what a client sends can neither end its field nor its line.
fn escape(value: &[u8], to: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'"' | b'\\' => to.extend_from_slice(&[b'\\', *byte]),
            b'\n' => to.extend_from_slice(b"\\n"),
            b'\r' => to.extend_from_slice(b"\\r"),
            b'\t' => to.extend_from_slice(b"\\t"),
            b' '..=b'~' => to.push(*byte),
            _ => drop(write!(to, "\\x{byte:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ASKED: Asked<'_> = Asked { method: "GET", target: "/a?b=c", version: "HTTP/1.1" };

    fn access() -> Access<'static> {
        Access {
            client: Some("::ffff:10.1.2.3".parse().unwrap()),
            user: Some("frank"),
            time: UNIX_EPOCH + Duration::from_millis(971_186_136_999),
            asked: Some(ASKED),
            status: Some(200),
            bytes: 2326,
            referrer: Some(b"http://a.example/"),
            agent: Some(b"Mozilla/4.08 [en] (Win98; I ;Nav)"),
        }
    }

    fn common(access: &Access<'_>) -> String {
        let mut line = Vec::new();
        Writer::default().common(access, &mut line);
        String::from_utf8(line).unwrap()
    }

    fn combined(access: &Access<'_>) -> String {
        let mut line = Vec::new();
        Writer::default().combined(access, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn lines_are_as_analysers_expect_them() {
        let line = "10.1.2.3 - frank [10/Oct/2000:13:55:36 +0000] \"GET /a?b=c HTTP/1.1\" 200 2326";
        assert_eq!(common(&access()), format!("{line}\n"));
        let rest = "\"http://a.example/\" \"Mozilla/4.08 [en] (Win98; I ;Nav)\"";
        assert_eq!(combined(&access()), format!("{line} {rest}\n"));
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let nothing = Access {
            client: None,
            user: None,
            time: UNIX_EPOCH - Duration::from_secs(1),
            asked: None,
            status: None,
            bytes: 0,
            referrer: None,
            agent: None,
        };
        assert_eq!(combined(&nothing), "- - - [01/Jan/1970:00:00:00 +0000] \"-\" - - \"-\" \"-\"\n");
        let empty = Access { user: Some(""), agent: Some(b""), ..access() };
        assert!(combined(&empty).starts_with("10.1.2.3 - \"\" ["), "{}", combined(&empty));
        assert!(combined(&empty).ends_with(" \"\"\n"), "{}", combined(&empty));
    }

    #[test]
    fn nobody_can_forge_a_line() {
        let odd = Access {
            client: Some("2001:db8::1".parse().unwrap()),
            user: Some("a b\" [\n"),
            asked: Some(Asked { target: "/\"\\\r\té", ..ASKED }),
            referrer: Some(b"\"\n\x00\x7f\xff"),
            ..access()
        };
        assert_eq!(
            combined(&odd),
            "2001:db8::1 - a\\x20b\\\"\\x20[\\n [10/Oct/2000:13:55:36 +0000] \
             \"GET /\\\"\\\\\\r\\t\\xc3\\xa9 HTTP/1.1\" 200 2326 \
             \"\\\"\\n\\x00\\x7f\\xff\" \"Mozilla/4.08 [en] (Win98; I ;Nav)\"\n"
        );
    }

    #[test]
    fn each_line_has_its_own_time() {
        let (mut writer, mut lines) = (Writer::default(), Vec::new());
        for seconds in [0, 0, 59, 86_400 * 59, 0] {
            let time = UNIX_EPOCH + Duration::from_secs(951_782_400) + Duration::from_secs(seconds);
            writer.common(&Access { time, ..access() }, &mut lines);
        }
        let lines = String::from_utf8(lines).unwrap();
        let times: Vec<_> = lines.lines().map(|line| &line[line.find('[').unwrap() + 1..][..20]).collect();
        let leap = "29/Feb/2000:00:00:00";
        assert_eq!(times, [leap, leap, "29/Feb/2000:00:00:59", "28/Apr/2000:00:00:00", leap]);
    }
}
