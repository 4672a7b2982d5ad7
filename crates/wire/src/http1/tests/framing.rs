//! Bodies, and requests that two servers could frame in two ways.

use proptest::prelude::*;

use super::judge;
use crate::http1::HeadFault::{
    self, Body, Both, Chunk, Coding, Control, Folded, Host, Large, Length, Name, Transfer,
};
use crate::http1::framing::{Chunks, Framing};

#[test]
fn framings_are_told() {
    for (fields, framing) in [
        ("Host: a", Framing::None),
        ("Host: a\r\nContent-Length: 0", Framing::None),
        ("Host: a:8080\r\nContent-Length: 12", Framing::Length(12)),
        ("Host: [::1]:80\r\ncontent-length: 0012", Framing::Length(12)),
        ("Host: 192.0.2.1\r\nContent-Length: 9223372036854775807", Framing::Length(u64::MAX / 2)),
        ("Host: a\r\nTransfer-Encoding: chunked", Framing::Chunked),
        ("Host: a\r\ntransfer-encoding:\tCHUNKED ", Framing::Chunked),
    ] {
        assert_eq!(judge(format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n")), Ok(framing), "{fields}");
    }
    for head in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(judge(head), Ok(Framing::None), "{head}");
    }
}

#[test]
fn whatever_can_be_framed_in_two_ways_is_refused() {
    for (fields, fault) in [
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", Both),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", Both),
        ("Content-Length: 1\r\nContent-Length: 2", Length),
        ("Content-Length: 1\r\nContent-Length: 1", Length),
        ("Content-Length: 0\r\ncontent-length: 0", Length),
        ("Content-Length: 1, 1", Length),
        ("Content-Length: 1,", Length),
        ("Content-Length: ", Length),
        ("Content-Length: +1", Length),
        ("Content-Length: -1", Length),
        ("Content-Length: 1 1", Length),
        ("Content-Length: 0x1", Length),
        ("Content-Length: a", Length),
        ("Content-Length: 1.0", Length),
        ("Content-Length: \"1\"", Length),
        ("Content-Length: 9223372036854775808", Length),
        ("Content-Length: 18446744073709551617", Length),
        ("Content-Length: 99999999999999999999999999", Length),
        ("Content-Length: 1\u{a0}", Length),
        ("Transfer-Encoding: gzip", Coding),
        ("Transfer-Encoding: gzip, chunked", Coding),
        ("Transfer-Encoding: chunked, gzip", Coding),
        ("Transfer-Encoding: xchunked", Coding),
        ("Transfer-Encoding: chunked;q=1", Coding),
        ("Transfer-Encoding: \"chunked\"", Coding),
        ("Transfer-Encoding: identity", Coding),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Transfer),
        ("Transfer-Encoding: chunked, chunked", Transfer),
        ("Transfer-Encoding: chunked,", Transfer),
        ("Transfer-Encoding:", Transfer),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding:", Transfer),
    ] {
        assert_eq!(judge(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")), Err(fault), "{fields}");
    }
    for (head, fault) in [
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Transfer),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\n", Body),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: x\r\n\r\n", Length),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n", Body),
    ] {
        assert_eq!(judge(head), Err(fault), "{head}");
    }
}

#[test]
fn there_is_one_host() {
    for fields in [
        "",
        "Host:\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host: a b\r\n",
        "Host: a,b\r\n",
        "Host: u@a\r\n",
        "Host: a/b\r\n",
        "Host: a:0\r\n",
        "Host: a:\r\n",
        "Host: a:99999\r\n",
        "Host: http://a\r\n",
        "Host: ::1\r\n",
        "Host: 127.1\r\n",
        "Host: 0x7f.1\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: [::1\r\n",
        "Host: \u{e9}\r\n",
    ] {
        assert_eq!(judge(format!("GET / HTTP/1.1\r\n{fields}\r\n")), Err(Host), "{fields}");
        let old = if fields.is_empty() { Ok(Framing::None) } else { Err(Host) };
        assert_eq!(judge(format!("GET / HTTP/1.0\r\n{fields}\r\n")), old, "{fields}");
    }
}

/// How much of a body passes that comes in pieces of `size`, and how it ends: `None` when it does not.
fn passed(body: &[u8], size: usize) -> (usize, Option<Result<(), HeadFault>>) {
    let (mut chunks, mut at) = (Chunks::default(), 0);
    while at < body.len() {
        match chunks.take(&body[at..body.len().min(at + size)]) {
            Ok((count, true)) => return (at + count, Some(Ok(()))),
            Ok((count, false)) => at += count,
            Err(fault) => return (at, Some(Err(fault))),
        }
    }
    (at, None)
}

/// The same, for all sizes of pieces.
fn steadily_passed(body: &[u8]) -> (usize, Option<Result<(), HeadFault>>) {
    let whole = passed(body, usize::MAX / 2);
    for size in [1, 2, 3, 5, 64] {
        assert_eq!(passed(body, size), whole, "{size}: {:?}", String::from_utf8_lossy(body));
    }
    whole
}

#[test]
fn chunks_are_followed_to_their_end() {
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(255));
    for body in [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "00000000000000A;name=\"value\"; other\r\n0123456789\r\n1\r\n\0\r\n0;last\r\n\r\n",
        "2\r\n\r\n\r\n0\r\nTrailer: yes\r\nX:\r\n\r\n",
        &extension,
    ] {
        assert_eq!(steadily_passed(body.as_bytes()), (body.len(), Some(Ok(()))), "{body:?}");
        let more = format!("{body}GET / HTTP/1.1\r\n");
        assert_eq!(steadily_passed(more.as_bytes()), (body.len(), Some(Ok(()))), "{body:?}");
        for cut in 0..body.len() {
            assert_eq!(steadily_passed(&body.as_bytes()[..cut]), (cut, None), "{body:?}");
        }
    }
    assert_eq!(steadily_passed(b"7fffffffffffffff\r\nx"), (19, None));
}

#[test]
fn chunks_that_are_none_pass_up_to_the_fault() {
    let extension = format!("5;{}", "e".repeat(256));
    for (good, bad, fault) in [
        ("", "\r\n", Chunk),
        ("", ";a\r\n", Chunk),
        ("", "+5\r\n", Chunk),
        ("", "-1\r\n", Chunk),
        ("", " 5\r\n", Chunk),
        ("", "g\r\n", Chunk),
        ("0", "x5\r\n", Chunk),
        ("5", " \r\n", Chunk),
        ("5", "\nhello", Chunk),
        ("5\r", "hello", Chunk),
        ("5;a\r", "b", Chunk),
        ("5;a", "\nhello", Chunk),
        ("5;a", "\0", Chunk),
        ("5;a", "\t", Chunk),
        (&extension[..257], "e\r\n", Chunk),
        ("5\r\nhello", "!\r\n", Chunk),
        ("5\r\nhello", "\n", Chunk),
        ("5\r\nhello\r", "X", Chunk),
        ("5\r\nhello\r\n", "\r\n", Chunk),
        ("7fffffffffffffff", "0\r\n", Chunk),
        ("0000000000000001", "0\r\n", Chunk),
        ("800000000000000", "0\r\n", Chunk),
        ("0\r\nbad", " trailer\r\n", Name),
        ("0\r\nbad", "\r\n", Name),
        ("0\r\n", ": x\r\n", Name),
        ("0\r\nA", "\n", Control),
        ("0\r\nA: b", "\n", Control),
        ("0\r\nA: b\r", "c", Control),
        ("0\r\nA: ", "\0", Control),
        ("0\r\nA: b\r\n", " folded", Folded),
        ("0\r\n", " folded", Folded),
        ("0\r\n\r", "x", Control),
    ] {
        let body = format!("{good}{bad}");
        assert_eq!(steadily_passed(body.as_bytes()), (good.len(), Some(Err(fault))), "{body:?}");
    }
}

#[test]
fn trailers_have_bounds() {
    let limit = 8 * 1024;
    let longest = format!("0\r\nA: {}\r\n\r\n", "b".repeat(limit - 7));
    assert_eq!(steadily_passed(longest.as_bytes()), (longest.len(), Some(Ok(()))));
    let longer = format!("0\r\nA: {}\r\n\r\n", "b".repeat(limit - 6));
    assert_eq!(steadily_passed(longer.as_bytes()), (3 + limit, Some(Err(Large))));
    let many = format!("0\r\n{}", "A:\r\n".repeat(101));
    assert_eq!(steadily_passed(many.as_bytes()), (3 + 400, Some(Err(Large))));
}

proptest! {
    #[test]
    fn no_body_is_too_odd(parts in prop::collection::vec(prop::sample::select(&["0", "1", "a", ";", "\r\n", "\r", "\n", "x", ": "][..]), 0..20)) {
        steadily_passed(parts.concat().as_bytes());
    }
}
