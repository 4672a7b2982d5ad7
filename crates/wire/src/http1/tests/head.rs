//! Heads of requests, and what is none.

use httparse::Status;
use proptest::prelude::*;

use super::judge;
use crate::http1::HeadFault::{Control, Folded, Large, Line, LongLine, Name, Version as BadVersion};
use crate::http1::framing::Framing;
use crate::http1::head::{Version, parse};
use crate::http1::{FIELDS_MAX, HEAD_BYTES_MAX, HeadFault, LINE_BYTES_MAX};
use crate::steady::steady;

/// Why a head is refused, when `text` is all of it that is needed to see it.
fn fault(text: &[u8]) -> HeadFault {
    let shown = String::from_utf8_lossy(&text[..text.len().min(80)]);
    let shorter = parse(&text[..text.len() - 1]).map(drop);
    assert_eq!(shorter, Ok(()), "{shown:?}: it shows earlier");
    let more = [text, b"more\r\n\r\n"].concat();
    let found = steady(&more, |input| parse(input).map(|found| found.map(|(_, length)| ((), length))));
    found.expect_err(&shown)
}

#[test]
fn heads_are_understood() {
    let text = b"GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\nX-Odd:\t a\tb \xff \r\nE:\r\nx-odd:2\r\n\r\nGET /";
    let (head, length) = parse(text).unwrap().unwrap();
    assert_eq!((head.method, head.target, head.version), ("GET", "http://a.example/x?y", Version::V11));
    assert_eq!(head.field("x-ODD").collect::<Vec<_>>(), [&b"a\tb \xff"[..], b"2"]);
    assert_eq!(head.field("e").collect::<Vec<_>>(), [b""]);
    assert_eq!(head.field("f").count(), 0);
    assert_eq!(&text[length..], b"GET /");
    assert_eq!(judge(text), Ok(Framing::None));
    let (head, length) = parse(b"\r\nM-SEARCH * HTTP/1.0\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.method, head.target, head.version, length), ("M-SEARCH", "*", Version::V10, 25));
}

#[test]
fn control_characters_are_found_wherever_they_stand() {
    for place in 1..39 {
        for byte in 0..=u8::MAX {
            let mut value = [0xff; 40];
            value[place] = byte;
            let text = [b"GET / HTTP/1.1\r\nA: ", &value[..], b"\r\n\r\n"].concat();
            let found = parse(&text).map(|found| found.unwrap().0.fields[0].1);
            let is_text = byte == b'\t' || !byte.is_ascii_control();
            assert_eq!(found, if is_text { Ok(&value[..]) } else { Err(Control) }, "{byte} at {place}");
        }
    }
}

#[test]
fn words_of_lists_are_found() {
    let (head, _) = parse(b"GET / HTTP/1.1\r\nConnection: a,\t Upgrade ,,b\r\nconnection: close\r\n\r\n")
        .unwrap()
        .unwrap();
    for (word, is_there) in
        [("a", true), ("upgrade", true), ("B", true), ("close", true), ("", true), ("up", false)]
    {
        assert_eq!(head.has_word("CONNECTION", word), is_there, "{word}");
    }
}

#[test]
fn first_lines_that_are_none_are_refused_at_the_byte_that_shows_it() {
    for (text, expected) in [
        (&b" "[..], Line),
        (b"(", Line),
        (b"\x16", Control),
        (b"\n", Control),
        (b"\xff", Line),
        (b"\rG", Control),
        (b"\r\n\r", Line),
        (b"\r\n ", Line),
        (b"GET\r", Line),
        (b"GET\n", Control),
        (b"GET\t", Control),
        (b"G@", Line),
        (b"GET  ", Line),
        (b"GET /\r", Line),
        (b"GET /\n", Control),
        (b"GET /\0", Control),
        (b"GET /\x80", Line),
        (b"GET /  ", Line),
        (b"GET / x", Line),
        (b"GET / HTTP/1.1 ", Line),
        (b"GET / HTTP/1.1\t", Control),
        (b"GET / HTTP/1.1\n", Control),
        (b"GET / HTTP/1.1\rX", Control),
        (b"GET / HTTq", Line),
        (b"GET / HTTP/1.\r", Line),
        (b"GET / HTTP/1\r", Line),
        (b"GET / HTTP/+", Line),
        (b"GET / HTTP/0", BadVersion),
        (b"GET / HTTP/1.2", BadVersion),
        (b"GET / HTTP/1.10", Line),
        (b"PRI * HTTP/2", BadVersion),
        (b"SSH-2.0-OpenSSH_9.9\r", Line),
    ] {
        assert_eq!(fault(text), expected, "{:?}", String::from_utf8_lossy(text));
    }
}

#[test]
fn fields_that_are_none_are_refused_at_the_byte_that_shows_it() {
    for (text, expected) in [
        (&b" "[..], Folded),
        (b"\t", Folded),
        (b"\n", Control),
        (b"\rA", Control),
        (b":", Name),
        (b"A ", Name),
        (b"A\t", Control),
        (b"A\r", Name),
        (b"A\n", Control),
        (b"A\0", Control),
        (b"A\xc3", Name),
        (b"A(", Name),
        (b"A: b\n", Control),
        (b"A: b\rc", Control),
        (b"A: b\r\r", Control),
        (b"A: \0", Control),
        (b"A: \x01", Control),
        (b"A: \x7f", Control),
        (b"A: \x0b", Control),
        (b"A: b\r\n ", Folded),
        (b"A: b\r\n\t", Folded),
        (b"A: b\r\n\n", Control),
        (b"A: b\r\n\rX", Control),
    ] {
        let text = [b"GET / HTTP/1.1\r\n", text].concat();
        assert_eq!(fault(&text), expected, "{:?}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn heads_have_bounds() {
    let line =
        |length: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(length - "GET / HTTP/1.1\r\n".len()));
    let longest = format!("{}Host: a\r\n\r\n", line(LINE_BYTES_MAX));
    assert_eq!(judge(&longest), Ok(Framing::None));
    assert_eq!(judge(format!("\r\n{longest}")), Ok(Framing::None));
    assert_eq!(fault(&line(LINE_BYTES_MAX + 1).as_bytes()[..LINE_BYTES_MAX]), LongLine);
    assert_eq!(fault(&[b'A'; LINE_BYTES_MAX]), LongLine);

    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "A: b\r\n".repeat(count - 1));
    assert_eq!(judge(format!("{}\r\n", fields(FIELDS_MAX))), Ok(Framing::None));
    assert_eq!(fault(format!("{}A", fields(FIELDS_MAX)).as_bytes()), Large);

    let begin = "GET / HTTP/1.1\r\nHost: a\r\nA: ";
    let head = |length: usize| format!("{begin}{}\r\n\r\n", "b".repeat(length - begin.len() - 4));
    assert_eq!(judge(head(HEAD_BYTES_MAX)), Ok(Framing::None));
    assert_eq!(fault(&head(HEAD_BYTES_MAX + 1).as_bytes()[..HEAD_BYTES_MAX]), Large);
}

#[test]
fn faults_have_their_status() {
    for (fault, status) in
        [(Line, 400), (LongLine, 414), (Large, 431), (HeadFault::Coding, 501), (BadVersion, 505)]
    {
        assert_eq!(fault.status(), status);
    }
}

/// Heads that are nearly right.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(
        &[
            "GET",
            "CONNECT",
            " ",
            "  ",
            "/",
            "http://a/",
            " HTTP/1.1",
            " HTTP/1.0",
            "\r\n",
            "\r\n\r\n",
            "\n",
            "\r",
            "Host: a",
            "A",
            ":",
            "\t",
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            "x",
            "\0",
            "\u{e9}",
            "GET / HTTP/1.1\r\n",
        ][..],
    );
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    /// What stands behind reads with httparse: it has to see the same.
    #[test]
    fn what_is_taken_others_take_for_the_same(bytes in prop_oneof![nearly(), nearly().prop_map(|bytes| [b"GET / HTTP/1.1\r\n", &bytes[..], b"\r\n\r\n"].concat())]) {
        let found = steady(&bytes, |input| parse(input).map(|found| found.map(|(_, length)| ((), length))));
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut other = httparse::Request::new(&mut fields);
        let status = other.parse(&bytes);
        match found {
            Ok(Some((_, length))) => {
                prop_assert_eq!(status, Ok(Status::Complete(length)));
                let (head, _) = parse(&bytes).unwrap().unwrap();
                prop_assert_eq!((Some(head.method), Some(head.target)), (other.method, other.path));
                prop_assert_eq!(other.version, Some(u8::from(head.version == Version::V11)));
                let fields: Vec<_> = other.headers.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
                prop_assert_eq!(head.fields, fields);
            }
            Ok(None) => prop_assert_eq!(status, Ok(Status::Partial)),
            Err(_) => {}
        }
    }
}
