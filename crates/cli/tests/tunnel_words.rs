//! What both ends of a tunnel, and its clients, are told of what does not come about.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;

use support::net::{End, connect, echo_server, read_exactly, read_to_end};
use support::ports::free_address;
use support::towpath::Towpath;
use support::tunnel::{Tunnel, far, new_key};

#[test]
fn clients_of_socks_are_told_what_the_far_end_told() {
    let tunnel = Tunnel::with("proxy", &[], "lanes=1", &["--deny-dest", "127.0.0.3"]);
    let nobody = free_address();
    let (host, port) = nobody.split_once(':').unwrap();
    for (host, port, code, words) in [
        (host, port.parse::<u16>().unwrap(), 5, "connect refused"),
        ("127.0.0.3", 80, 2, "denied"),
        ("no-such-host.invalid", 80, 4, "no such host"),
    ] {
        let mut client = connect(&tunnel.listen);
        let mut asking = vec![5, 1, 0, 5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
        asking.extend_from_slice(host.as_bytes());
        asking.extend_from_slice(&port.to_be_bytes());
        client.write_all(&asking).unwrap();
        assert_eq!(read_exactly(&mut client, 4)[2..], [5, code], "{host}: {words}");
        drop(client);
    }
    let ends: Vec<_> = tunnel.near.records(3).iter().map(|record| record.text("end").to_owned()).collect();
    for words in ["connect refused", "denied", "no such host"] {
        assert!(ends.contains(&format!("hop 1: the far end: {words}")), "{words}: {ends:?}");
    }
}

#[test]
fn a_plain_end_and_one_with_a_key_tell_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let key = new_key(&folder, "key");
    let (of_key, with_key) = (["--key-file", key.as_str()], format!("key-file={key}"));
    for (flags, words, at_near, at_far) in [
        (&of_key[..], "plain", "has a key; this end is plain", "identify: lane without TLS"),
        (&["--plain"], with_key.as_str(), "is plain, or is no tunnel", "identify: lane with TLS"),
    ] {
        let (far_listen, listen) = (free_address(), free_address());
        let far = far(&far_listen, flags);
        let url = format!("towpath://{far_listen}?{words}");
        let near = Towpath::tcp(&listen, &echo_server(), &["--via", &url, "--hold", "off"]);
        assert_eq!(read_to_end(&mut connect(&listen)), (Vec::new(), End::Reset));
        let warning = near.stderr.wait_for(at_near);
        assert!(warning.contains(&far_listen), "{warning}");
        assert_eq!(near.record().end(), "connect: hop 1: no TLS");
        assert_eq!(far.records(1)[0].end(), at_far);
    }
}

#[test]
fn a_far_end_that_is_not_there_is_named() {
    let (nobody, listen) = (free_address(), free_address());
    let url = format!("towpath://{nobody}?plain&bind=127.0.0.1");
    let near = Towpath::tcp(&listen, &echo_server(), &["--via", &url, "--hold", "off"]);
    assert_eq!(read_to_end(&mut connect(&listen)), (Vec::new(), End::Reset));
    near.stderr.wait_for(&format!("far end of the tunnel, {nobody} from 127.0.0.1: connect refused"));
}
