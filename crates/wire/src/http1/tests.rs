use super::framing::{self, Framing};
use super::gate::{Gate, Passage};
use super::{FIELDS_MAX, HEAD_BYTES_MAX, HeadFault, LINE_BYTES_MAX, head, response};

fn judge(request: &[u8]) -> Result<Framing, HeadFault> {
    // However it is cut, it comes to the same.
    for cut in 0..request.len() {
        match head::parse(&request[..cut]) {
            Ok(None) => {}
            Ok(Some((_, length))) => assert!(length <= cut),
            Err(fault) => {
                assert_eq!(head::parse(request).err(), Some(fault), "{:?}", String::from_utf8_lossy(request));
                return Err(fault);
            }
        }
    }
    let (head, _) = head::parse(request)?.expect("a whole head");
    framing::of(&head)
}

#[test]
fn heads_are_read() {
    let text = b"GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\nX-Odd:\t a b \r\n\r\npayload";
    let (head, length) = head::parse(text).unwrap().unwrap();
    assert_eq!((head.method, head.target), ("GET", "http://a.example/x?y"));
    assert_eq!(head.field("x-odd").collect::<Vec<_>>(), [b"a b"]);
    assert_eq!(&text[length..], b"payload");
    assert_eq!(judge(text), Ok(Framing::None));
    assert_eq!(judge(b"\r\nGET / HTTP/1.0\r\n\r\n"), Ok(Framing::None));
    assert_eq!(judge(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n"), Ok(Framing::Length(12)));
    assert_eq!(
        judge(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"),
        Ok(Framing::Chunked)
    );
    assert_eq!(judge(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\n\r\n"), Ok(Framing::None));
}

#[test]
fn whatever_can_be_read_in_two_ways_is_refused() {
    use HeadFault::{Body, Both, Coding, Control, Folded, Host, Length, Line, Name, Version};
    let heads: [(&str, HeadFault); 41] = [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Control),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Control),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Control),
        ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Control),
        ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", Control),
        ("GET / HTTP/1.1\r\nHost: a\x7f\r\n\r\n", Control),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Control),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Folded),
        ("GET / HTTP/1.1\r\nHost: a\r\n\tb: c\r\n\r\n", Folded),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Folded),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Name),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", Name),
        ("GET / HTTP/1.1\r\nHo st: a\r\n\r\n", Name),
        ("GET / HTTP/1.1\r\nHost\r\n\r\n", Name),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Line),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Line),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Line),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Line),
        ("GET /\r\nHost: a\r\n\r\n", Line),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Line),
        ("G@T / HTTP/1.1\r\n\r\n", Line),
        (" GET / HTTP/1.1\r\n\r\n", Line),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Version),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Version),
        ("GET / HTTP/1.1\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Host),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Both),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Length),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", Length),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Length),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", Length),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", Length),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", Length),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Coding),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Coding,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Coding),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Coding),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\n", Body),
    ];
    for (text, fault) in heads {
        assert_eq!(judge(text.as_bytes()), Err(fault), "{text:?}");
    }
}

#[test]
fn heads_have_bounds() {
    let line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(LINE_BYTES_MAX));
    assert_eq!(judge(line.as_bytes()), Err(HeadFault::LongLine));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(FIELDS_MAX + 1));
    assert_eq!(judge(many.as_bytes()), Err(HeadFault::Large));
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(HEAD_BYTES_MAX));
    assert_eq!(judge(long.as_bytes()), Err(HeadFault::Large));
    let endless = vec![b'A'; HEAD_BYTES_MAX];
    assert!(head::parse(&endless).is_err(), "a full buffer must not wait for more");
    let fits = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(FIELDS_MAX - 1));
    assert_eq!(judge(fits.as_bytes()), Ok(Framing::None));
}

/// All that a gate lets through of `stream`, which comes in pieces of `size`, and how it ends.
fn passed(stream: &[u8], size: usize) -> (Vec<u8>, Passage) {
    let (mut gate, mut held, mut through) = (Gate::default(), Vec::new(), Vec::new());
    let mut last = Passage::Wait;
    for piece in stream.chunks(size) {
        held.extend_from_slice(piece);
        loop {
            last = gate.look(&held);
            match last {
                Passage::Pass(count) => through.extend(held.drain(..count)),
                _ => break,
            }
        }
    }
    (through, last)
}

#[test]
fn a_gate_lets_the_same_through_however_it_comes() {
    let get = "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
    let chunks = "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n";
    let upgrade = "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
    let good = [get, post, chunks, get].concat();
    for size in [1, 2, 7, 1000] {
        assert_eq!(passed(good.as_bytes(), size), (good.clone().into_bytes(), Passage::Wait), "{size}");
        for (behind, end) in
            [(upgrade, Passage::Wait), (connect, Passage::Connect), ("G\n", Passage::Bad(HeadFault::Control))]
        {
            let stream = format!("{good}{behind}");
            let (through, last) = passed(stream.as_bytes(), size);
            let wanted = if behind == upgrade { &stream } else { &good };
            assert_eq!((String::from_utf8(through).as_ref(), last), (Ok(wanted), end), "{size}");
        }
    }
    let (_, last) = passed(format!("{upgrade}x").as_bytes(), 1000);
    assert_eq!(last, Passage::Hold);
}

#[test]
fn chunks_have_one_meaning() {
    let bad = [
        "+5\r\nhello\r\n",
        "-1\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "\r\n",
        "5\nhello\n",
        "5\r\nhello!\r\n",
        "5\r\nhelloX\n",
        "ffffffffffffffff\r\n",
        "fffffffffffffffff\r\n",
        "5;a\0\r\nhello\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\n: x\r\n\r\n",
        "g\r\n",
        "5\rhello\r\n",
    ];
    for text in bad {
        for size in [1, 100] {
            let head = "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let (_, last) = passed(format!("{head}{text}").as_bytes(), size);
            assert_eq!(last, Passage::Bad(HeadFault::Chunk), "{text:?}");
        }
    }
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(300));
    let mut chunks = framing::Chunks::default();
    assert_eq!(chunks.take(long.as_bytes()), Err(HeadFault::Chunk));
}

#[test]
fn answers_of_proxies_are_read() {
    let status =
        |text: &[u8]| response::parse(text).map(|found| found.map(|(head, length)| (head.status, length)));
    assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\nSSH-2.0"), Ok(Some((200, 39))));
    assert_eq!(status(b"HTTP/1.0 407 \r\nA: b\r\n\r\n"), Ok(Some((407, 23))));
    assert_eq!(status(b"HTTP/1.1 200\r\n\r\n"), Ok(Some((200, 16))));
    assert_eq!(status(b"HTTP/1.1 20"), Ok(None));
    assert_eq!(status(b"SSH-2.0-OpenSSH"), Err(HeadFault::Line));
    assert_eq!(status(b"HTTP/2 200\r\n\r\n"), Err(HeadFault::Line));
    assert_eq!(
        status(&[b"HTTP/1.1 200 OK\r\nA: ", &[b'x'; HEAD_BYTES_MAX][..]].concat()),
        Err(HeadFault::Large)
    );
}
