//! Answers of proxies.

use crate::http1::HeadFault::{self, Control, Folded, Large, Line, LongLine, Name, Version};
use crate::http1::response::{ResponseHead, parse};
use crate::http1::{FIELDS_MAX, HEAD_BYTES_MAX, LINE_BYTES_MAX};
use crate::steady::steady;

fn read(bytes: &[u8]) -> Result<ResponseHead<'_>, HeadFault> {
    steady(&[bytes, b"SSH-2.0"].concat(), told)?;
    let (head, length) = parse(bytes)?.expect("it is whole");
    assert_eq!(length, bytes.len());
    Ok(head)
}

/// What a head comes to, and its length.
fn told(input: &[u8]) -> Result<Option<(String, usize)>, HeadFault> {
    Ok(parse(input)?.map(|(head, length)| (format!("{head:?}"), length)))
}

fn fault(bytes: &[u8]) -> HeadFault {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
    assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(None), "{shown:?}: it shows earlier");
    steady(&[bytes, b"more"].concat(), told).expect_err(&shown)
}

#[test]
fn answers_are_understood() {
    for (text, status, reason) in [
        (&b"HTTP/1.1 200 Connection established\r\n\r\n"[..], 200, "Connection established"),
        (b"HTTP/1.1 200\r\n\r\n", 200, ""),
        (b"HTTP/1.0 407 \r\n\r\n", 407, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 100, "Continue"),
        (b"HTTP/1.1 502 \tOh  no\r\n\r\n", 502, "Oh  no"),
        (b"HTTP/1.1 999 \r\n\r\n", 999, ""),
    ] {
        let head = read(text).unwrap();
        assert_eq!(
            (head.status, str::from_utf8(head.reason).unwrap(), head.fields.len()),
            (status, reason, 0)
        );
    }
    let head = read(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nA:\r\n\r\n").unwrap();
    assert_eq!(head.fields, [(&b"Proxy-Authenticate"[..], &b"Basic"[..]), (b"A", b"")]);
}

#[test]
fn what_is_no_answer_is_refused_at_the_byte_that_shows_it() {
    for (text, expected) in [
        (&b"S"[..], Line),
        (b"\r", Line),
        (b"\n", Control),
        (b"h", Line),
        (b"HTTP/2", Version),
        (b"HTTP/1.2", Version),
        (b"HTTP/1.1\r", Line),
        (b"HTTP/1.1  ", Line),
        (b"HTTP/1.1 0", Line),
        (b"HTTP/1.1 2x", Line),
        (b"HTTP/1.1 20\r", Line),
        (b"HTTP/1.1 2000", Line),
        (b"HTTP/1.1 200\n", Control),
        (b"HTTP/1.1 200 OK\n", Control),
        (b"HTTP/1.1 200 OK\0", Control),
        (b"HTTP/1.1 200 OK\rX", Control),
        (b"HTTP/1.1 200 OK\r\n ", Folded),
        (b"HTTP/1.1 200 OK\r\nA ", Name),
        (b"HTTP/1.1 200 OK\r\nA: b\n", Control),
        (b"HTTP/1.1 200 OK\r\n\n", Control),
    ] {
        assert_eq!(fault(text), expected, "{:?}", String::from_utf8_lossy(text));
    }
}

#[test]
fn answers_have_bounds() {
    let endless = [b"HTTP/1.1 200 ", &[b'x'; LINE_BYTES_MAX][..]].concat();
    assert_eq!(fault(&endless[..LINE_BYTES_MAX]), LongLine);
    let endless = [b"HTTP/1.1 200 OK\r\nA: ", &[b'x'; HEAD_BYTES_MAX][..]].concat();
    assert_eq!(fault(&endless[..HEAD_BYTES_MAX]), Large);
    let many = format!("HTTP/1.1 200 OK\r\n{}A", "A:\r\n".repeat(FIELDS_MAX));
    assert_eq!(fault(many.as_bytes()), Large);
}
