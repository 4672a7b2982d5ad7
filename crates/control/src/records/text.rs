//! A record as one line of `key=value` pairs.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use towpath_engine::{Exchanged, Reason, Record};

use super::socket::Socket;

/// Writes lines; a line's cost counts, as each connection has one, so that what all lines have is written without
/// `std::fmt`, which takes three times as long.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// The second that was written last, as text without the dot.
    second: (u64, String),
}

impl Writer {
    /// Appends the line of `record` to `to`.
    pub(super) fn write(&mut self, record: &Record, to: &mut Vec<u8>) {
        self.start(record.start, to);
        put(to, b" listener=", record.listener.name.as_bytes());
        to.extend_from_slice(b" client=");
        match record.client {
            Some(client) => address(super::canonical(client), to),
            None => to.extend_from_slice(b"unix"),
        }
        if let Some(id) = &record.unique_id {
            put(to, b" id=", b"");
            field(id, to);
        }
        if let Some(user) = &record.user {
            put(to, b" user=", b"");
            field(user, to);
        }
        if let Some(wanted) = &record.wanted {
            put(to, b" wanted=", wanted.as_bytes());
        }
        if let Some(backend) = &record.backend {
            put(to, b" pool=", backend.pool.name.as_bytes());
            put(to, b" backend=", b"");
            field(&backend.backend.member.target, to);
            if let Some(connected) = backend.address {
                put(to, b" address=", b"");
                address(connected, to);
            }
        }
        put(to, b" duration=", b"");
        seconds(record.duration, to);
        if let Some(time) = record.connect_time {
            put(to, b" connect=", b"");
            seconds(time, to);
        }
        if let Some(request) = &record.request {
            self::request(request, to);
        }
        for (key, facts) in
            [(&b" client_socket="[..], &record.client_socket), (b" backend_socket=", &record.server_socket)]
        {
            if let Some(facts) = facts {
                put(to, key, b"");
                field(&Socket::from(&**facts).to_string(), to);
            }
        }
        put(to, b" up=", itoa::Buffer::new().format(record.up_bytes).as_bytes());
        put(to, b" down=", itoa::Buffer::new().format(record.down_bytes).as_bytes());
        put(to, b" stage=", record.stage.as_str().as_bytes());
        put(to, b" end=\"", b"");
        match record.reason {
            Reason::BadRequest(_) | Reason::Hop(_) => drop(write!(to, "{}", record.reason)),
            reason => to.extend_from_slice(reason.as_str().as_bytes()),
        }
        to.extend_from_slice(b"\"\n");
    }

    /// RFC 3339 with milliseconds. Most records share the second with the one before.
    fn start(&mut self, start: SystemTime, to: &mut Vec<u8>) {
        let since = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second.0 != since.as_secs() || self.second.1.is_empty() {
            let whole = Timestamp::from_second(i64::try_from(since.as_secs()).unwrap_or(0));
            let text = whole.unwrap_or_default().to_string();
            self.second = (since.as_secs(), text.trim_end_matches('Z').to_owned());
        }
        put(to, self.second.1.as_bytes(), b".");
        padded(since.subsec_millis(), 1_000, to);
        to.push(b'Z');
    }
}

fn put(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    to.extend_from_slice(key);
    to.extend_from_slice(value);
}

fn request(request: &Exchanged, to: &mut Vec<u8>) {
    put(to, b" method=", request.method.as_bytes());
    put(to, b" host=", b"");
    field(&request.host, to);
    put(to, b" path=", b"");
    field(&request.path, to);
    if let Some(status) = request.status {
        put(to, b" status=", itoa::Buffer::new().format(status).as_bytes());
    }
    put(to, b" attempts=", itoa::Buffer::new().format(request.attempts).as_bytes());
    if let Some(time) = request.first_byte {
        put(to, b" first_byte=", b"");
        seconds(time, to);
    }
}

/// As it is, or in quotes and escaped as in Rust where it could split the line or pass for another pair: a path may have
/// any characters.
fn field(value: &str, to: &mut Vec<u8>) {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=');
    if value.bytes().all(plain) {
        to.extend_from_slice(value.as_bytes());
    } else {
        // Writing to memory cannot fail, here and below.
        let _ = write!(to, "{value:?}");
    }
}

fn address(address: SocketAddr, to: &mut Vec<u8>) {
    let SocketAddr::V4(v4) = address else { return drop(write!(to, "{address}")) };
    for (place, octet) in v4.ip().octets().into_iter().enumerate() {
        put(to, if place == 0 { b"" } else { b"." }, itoa::Buffer::new().format(octet).as_bytes());
    }
    put(to, b":", itoa::Buffer::new().format(v4.port()).as_bytes());
}

/// The digits of `number`, which is below `limit`, a power of ten, with the zeros in front.
fn padded(number: u32, limit: u32, to: &mut Vec<u8>) {
    to.extend_from_slice(&itoa::Buffer::new().format(limit + number).as_bytes()[1..]);
}

/// With microseconds, as in `1.204530s`.
fn seconds(time: Duration, to: &mut Vec<u8>) {
    put(to, itoa::Buffer::new().format(time.as_secs()).as_bytes(), b".");
    padded(time.subsec_micros(), 1_000_000, to);
    to.push(b's');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use towpath_engine::{Member, Picked, Place, Pool, Stage};

    use super::*;

    fn line(backend: &str, address: Option<&str>) -> String {
        let text = format!(
            "[[listener]]\nname = 'pg'\nbind = ':5432'\npool = 'db'\n[[pool]]\nname = 'db'\nbackend = {backend}"
        );
        let config = towpath_config::parse(&text, "test").unwrap();
        let pool = Arc::clone(&config.pools[0]);
        let live = Pool::new(pool.clone());
        let (ip, ports) = ("10.0.0.5".parse().unwrap(), towpath_wire::addr::PortRange::single(5432).unwrap());
        let target = pool.backends[0].address.to_string().into();
        let place = Place::Tcp { ip, ports };
        let member = Member { place, target, weight: 1, tier: 0, max_connections: None, drain: false };
        live.set_members(vec![member], None);
        let backend = live.backends()[0].clone();
        let address = address.map(|address| address.parse().unwrap());
        let record = Record {
            listener: Arc::clone(&config.listeners[0]),
            client: Some("[::ffff:10.1.2.3]:4000".parse().unwrap()),
            unique_id: None,
            wanted: None,
            user: None,
            backend: Some(Picked { pool, backend, address }),
            start: UNIX_EPOCH + Duration::from_millis(1_790_000_000_007),
            duration: Duration::from_micros(1_204_530),
            connect_time: Some(Duration::from_micros(90)),
            request: None,
            client_socket: None,
            server_socket: None,
            up_bytes: 12,
            down_bytes: 345,
            stage: Stage::Relay,
            reason: Reason::ClientClosed,
        };
        let mut line = Vec::new();
        Writer::default().write(&record, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_has_every_field_and_parses_as_pairs() {
        assert_eq!(
            line("'db.internal:5432'", Some("10.0.0.5:5432")),
            "2026-09-21T14:13:20.007Z listener=pg client=10.1.2.3:4000 pool=db backend=db.internal:5432 \
             address=10.0.0.5:5432 duration=1.204530s connect=0.000090s up=12 down=345 stage=relay \
             end=\"client closed\"\n"
        );
    }

    #[test]
    fn a_path_can_neither_split_a_line_nor_forge_one() {
        let odd = line(r#""unix:/run/a b\" up=9\n2026 listener=pg""#, None);
        assert_eq!(odd.matches('\n').count(), 1, "{odd}");
        assert!(odd.contains(r#" backend="unix:/run/a b\" up=9\n2026 listener=pg" duration="#), "{odd}");
        assert!(line("'unix:/run/db.sock'", None).contains(" backend=unix:/run/db.sock duration="));
    }
}
