//! Streams of requests, as a gate lets them through.

use proptest::prelude::*;

use crate::http1::HeadFault;
use crate::http1::gate::{Gate, Passage};

const GET: &str = "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
const CHUNKS: &str = "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nCONNE\r\n0\r\nX: y\r\n\r\n";
const CONNECT: &str = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
const UPGRADE: &str =
    "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
const UPGRADE_WITH_BODY: &str = "POST http://a/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nGE";
const LAST: &str = "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Lets `stream` through `gate`, in pieces of `size`: all that passed, and how it ended.
fn let_through(gate: &mut Gate, stream: &str, size: usize) -> (String, Passage) {
    let (mut held, mut through) = (Vec::new(), Vec::new());
    let mut last = Passage::Wait;
    for piece in stream.as_bytes().chunks(size) {
        held.extend_from_slice(piece);
        loop {
            last = gate.look(&held);
            let Passage::Pass(count) = last else { break };
            assert!((1..=held.len()).contains(&count));
            through.extend(held.drain(..count));
        }
        let again = gate.clone();
        assert_eq!(gate.look(&held), last, "a second look");
        assert_eq!(*gate, again);
    }
    (String::from_utf8(through).unwrap(), last)
}

fn passed(stream: &str) -> (String, Passage) {
    let whole = let_through(&mut Gate::default(), stream, usize::MAX / 2);
    for size in [1, 2, 7, 64] {
        assert_eq!(let_through(&mut Gate::default(), stream, size), whole, "{size}");
    }
    whole
}

#[test]
fn requests_pass_one_after_the_other() {
    let good = [GET, POST, CHUNKS, "\r\n", GET].concat();
    assert_eq!(passed(&good), (good.clone(), Passage::Wait));
    assert_eq!(passed(&format!("{good}{CONNECT}SSH-2.0")), (good.clone(), Passage::Connect));
    assert_eq!(passed(&format!("{good}GET / HT")), (good.clone(), Passage::Wait));
    for (bad, fault) in [
        ("G\n", HeadFault::Control),
        ("GET / HTTP/1.1\r\n\r\n", HeadFault::Host),
        ("GET / HTTP/3.0\r\n", HeadFault::Version),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            HeadFault::Both,
        ),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", HeadFault::Body),
        ("CONNECT a:1 HTTP/1.1\r\n\r\n", HeadFault::Host),
    ] {
        assert_eq!(passed(&format!("{good}{bad}")), (good.clone(), Passage::Bad(fault)), "{bad:?}");
    }
}

#[test]
fn a_body_passes_up_to_its_fault() {
    let head = "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let good = format!("{head}5\r\nhello");
    assert_eq!(passed(&format!("{good}x\r\n")), (good, Passage::Bad(HeadFault::Chunk)));
    let mut gate = Gate::default();
    assert!(gate.is_between());
    assert_eq!(gate.look(head.as_bytes()), Passage::Pass(head.len()));
    assert!(!gate.is_between());
    assert_eq!(gate.look(b"0\r\n\r\n"), Passage::Pass(5));
    assert!(gate.is_between());
    assert_eq!(gate.look(b""), Passage::Wait);
}

#[test]
fn what_is_behind_an_upgrade_waits_for_the_answer() {
    for upgrade in [UPGRADE, UPGRADE_WITH_BODY] {
        assert_eq!(passed(upgrade), (upgrade.to_owned(), Passage::Wait));
        for behind in [GET, CONNECT, "\0\x01raw"] {
            let stream = format!("{upgrade}{behind}");
            assert_eq!(passed(&stream), (upgrade.to_owned(), Passage::Hold));
        }
        let mut gate = Gate::default();
        assert_eq!(let_through(&mut gate, upgrade, 9).0, upgrade);
        assert!(!gate.is_between());
        let mut other = gate.clone();
        gate.upgraded();
        assert_eq!(let_through(&mut gate, "\0\x01raw", 3), ("\0\x01raw".to_owned(), Passage::Wait));
        other.stays();
        assert!(other.is_between());
        assert_eq!(
            let_through(&mut other, &format!("{GET}{CONNECT}"), 3),
            (GET.to_owned(), Passage::Connect)
        );
    }
    // An answer may come before the body has.
    let mut gate = Gate::default();
    let (head, body) = UPGRADE_WITH_BODY.split_at(UPGRADE_WITH_BODY.len() - 2);
    let_through(&mut gate, head, 99);
    gate.stays();
    let stream = format!("{body}{GET}");
    assert_eq!(let_through(&mut gate, &stream, 3), (stream, Passage::Wait));
}

#[test]
fn what_asks_for_no_upgrade_is_not_held() {
    for fields in ["Upgrade: x\r\n", "Connection: upgrade\r\n", "Upgrade: x\r\nConnection: upgrades\r\n"] {
        let stream = format!("GET http://a/ HTTP/1.1\r\nHost: a\r\n{fields}\r\n{GET}");
        assert_eq!(passed(&stream), (stream.clone(), Passage::Wait), "{fields}");
    }
    let old = "GET http://a/ HTTP/1.0\r\nUpgrade: x\r\nConnection: upgrade, keep-alive\r\n\r\n";
    let stream = format!("{old}{GET}");
    assert_eq!(passed(&stream), (stream.clone(), Passage::Wait));
}

#[test]
fn behind_the_last_request_nothing_passes() {
    let old = "GET http://a/ HTTP/1.0\r\n\r\n";
    let last_upgrade = UPGRADE.replace("keep-alive", "close");
    for last in [LAST, old, &last_upgrade] {
        for behind in [GET, CONNECT, "\0"] {
            assert_eq!(passed(&format!("{last}{behind}")), (last.to_owned(), Passage::Hold));
        }
    }
    let mut gate = Gate::default();
    let_through(&mut gate, &last_upgrade, 99);
    gate.stays();
    assert_eq!(gate.look(GET.as_bytes()), Passage::Hold);
    let stays = "GET http://a/ HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    assert_eq!(passed(&format!("{stays}{CONNECT}")), (stays.to_owned(), Passage::Connect));
}

proptest! {
    #[test]
    fn the_same_passes_however_it_comes(
        parts in prop::collection::vec(
            prop::sample::select(&[GET, POST, CHUNKS, CONNECT, UPGRADE, LAST, "\r\n", "\n", "GET ", "5\r\n", "0\r\n\r\n"][..]), 0..8),
        sizes in prop::collection::vec(1..200_usize, 1..4),
    ) {
        let stream = parts.concat();
        let whole = passed(&stream);
        for size in sizes {
            prop_assert_eq!(let_through(&mut Gate::default(), &stream, size), whole.clone());
        }
    }
}
