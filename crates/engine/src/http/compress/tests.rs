//! What is compressed comes out as it was, and says so.

use std::io::Read;

use proptest::prelude::*;

use super::*;

const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in pairs {
        fields.append(*name, HeaderValue::from_static(value));
    }
    fields
}

#[test]
fn the_client_says_what_it_likes_and_we_choose_among_equals() {
    use Coding::{Brotli, Gzip, Zstd};
    for (accept, allowed, wanted) in [
        ("gzip, deflate, br, zstd", &ALL[..], Some(Zstd)),
        ("gzip, deflate, br, zstd", &[Gzip, Zstd], Some(Gzip)),
        ("gzip;q=1.0, br;q=0.9", &ALL, Some(Gzip)),
        ("GZIP;q=0.1", &ALL, Some(Gzip)),
        ("x-gzip", &ALL, Some(Gzip)),
        ("gzip", &[Brotli], None),
        ("gzip", &[], None),
        ("", &ALL, None),
        ("*", &[Brotli, Gzip], Some(Brotli)),
        ("*, br;q=0", &[Brotli, Gzip], Some(Gzip)),
        ("*;q=0, gzip", &ALL, Some(Gzip)),
        ("*;q=0", &ALL, None),
        ("identity", &ALL, None),
        ("gzip;q=0.5, identity", &ALL, None),
        ("gzip, identity", &ALL, Some(Gzip)),
        ("gzip;q=0.3, *;q=0.5", &[Gzip], None),
        ("gzip;q=0.3, *;q=0.5", &ALL, Some(Zstd)),
        ("identity;q=0", &ALL, None),
        ("gzip;q=0", &ALL, None),
        ("gzip;q=x, br;q=0.1", &ALL, Some(Brotli)),
        ("deflate, sdch", &ALL, None),
    ] {
        assert_eq!(
            choose(&fields(&[("accept-encoding", accept)]), allowed),
            wanted,
            "{accept} of {allowed:?}"
        );
    }
    assert_eq!(
        choose(&fields(&[("accept-encoding", "br;q=0.5"), ("accept-encoding", "gzip")]), &ALL),
        Some(Gzip)
    );
    assert_eq!(choose(&HeaderMap::new(), &ALL), None);
}

#[test]
fn what_gets_smaller_is_compressed() {
    let fits = |kind| fits(StatusCode::OK, &fields(&[("content-type", kind)]), None);
    for kind in [
        "text/html",
        "Text/HTML; charset=utf-8",
        "text/css",
        "application/json;charset=utf-8",
        "application/problem+json",
        "image/svg+xml",
        "application/xhtml+XML",
        "application/wasm",
    ] {
        assert!(fits(kind), "{kind}");
    }
    for kind in [
        "text/event-stream",
        "Text/Event-Stream;charset=utf-8",
        "application/grpc",
        "application/grpc+json",
        "image/png",
        "application/octet-stream",
        "application/x-json",
        "video/mp4",
        "text",
        "",
    ] {
        assert!(!fits(kind), "{kind}");
    }
    assert!(!super::fits(StatusCode::OK, &HeaderMap::new(), None));
}

#[test]
fn some_answers_stay_as_they_are() {
    let fits = |status: u16, more: &[(&'static str, &'static str)], length| {
        let fields = fields(&[&[("content-type", "text/html")], more].concat());
        fits(StatusCode::from_u16(status).unwrap(), &fields, length)
    };
    assert!(fits(200, &[], Some(256)) && fits(404, &[], None));
    assert!(!fits(200, &[], Some(255)) && !fits(200, &[], Some(0)));
    for status in [100, 103, 204, 205, 206, 304] {
        assert!(!fits(status, &[], None), "{status}");
    }
    for more in [
        ("content-encoding", "br"),
        ("content-range", "bytes 0-9/10"),
        ("cache-control", "max-age=1,No-Transform"),
        ("content-digest", "sha-256=:AA==:"),
    ] {
        assert!(!fits(200, &[more], None), "{more:?}");
    }
    assert!(fits(200, &[("cache-control", "max-age=1, public")], None));
}

#[test]
fn a_compressed_answer_says_so() {
    let marked = |came: &[(&'static str, &'static str)]| {
        let mut fields = fields(came);
        mark(&mut fields, Coding::Brotli);
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<_> = fields.iter().map(line).collect();
        lines.sort();
        lines
    };
    let coded = "content-encoding: br";
    assert_eq!(
        marked(&[("content-length", "9"), ("accept-ranges", "bytes"), ("etag", "\"a\""), ("vary", "origin")]),
        [coded, "etag: W/\"a\"", "vary: accept-encoding", "vary: origin"]
    );
    assert_eq!(
        marked(&[("etag", "W/\"a\""), ("vary", "origin, Accept-Encoding")]),
        [coded, "etag: W/\"a\"", "vary: origin, Accept-Encoding"]
    );
    assert_eq!(marked(&[("vary", "*")]), [coded, "vary: *"]);
}

fn unpack(coding: Coding, packed: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    match coding {
        Coding::Gzip => drop(flate2::read::GzDecoder::new(packed).read_to_end(&mut data).unwrap()),
        Coding::Brotli => drop(brotli::Decompressor::new(packed, 4096).read_to_end(&mut data).unwrap()),
        Coding::Zstd => data = zstd::decode_all(packed).unwrap(),
    }
    data
}

/// All that a client can read of what has come so far.
fn readable(coding: Coding, packed: &[u8]) -> Vec<u8> {
    let mut reader: Box<dyn Read> = match coding {
        Coding::Gzip => Box::new(flate2::read::GzDecoder::new(packed)),
        Coding::Brotli => Box::new(brotli::Decompressor::new(packed, 4096)),
        Coding::Zstd => Box::new(zstd::Decoder::new(packed).unwrap()),
    };
    let (mut data, mut part) = (Vec::new(), [0; 512]);
    while let Ok(length @ 1..) = reader.read(&mut part) {
        data.extend_from_slice(&part[..length]);
    }
    data
}

#[test]
fn nothing_at_all_is_a_whole_body_too() {
    for coding in ALL {
        let mut packed = Vec::new();
        let mut squeeze = Squeeze::new(coding).unwrap();
        squeeze.push(b"", &mut packed).unwrap();
        squeeze.flush(&mut packed).unwrap();
        assert_eq!(packed, b"", "{coding:?}");
        squeeze.finish(&mut packed).unwrap();
        assert_eq!(unpack(coding, &packed), b"", "{coding:?}");
    }
}

#[test]
fn a_flush_brings_all_that_was_pushed_and_a_second_brings_nothing() {
    for coding in ALL {
        let (mut squeeze, mut packed) = (Squeeze::new(coding).unwrap(), Vec::new());
        for count in 1..100 {
            squeeze.push(b"a line of a log\n", &mut packed).unwrap();
            squeeze.flush(&mut packed).unwrap();
            let length = packed.len();
            squeeze.flush(&mut packed).unwrap();
            assert_eq!(packed.len(), length, "{coding:?}");
            assert_eq!(readable(coding, &packed).len(), 16 * count, "{coding:?}");
        }
        squeeze.finish(&mut packed).unwrap();
        assert_eq!(unpack(coding, &packed), b"a line of a log\n".repeat(99));
    }
}

#[test]
fn much_becomes_little() {
    let page = "<li><a href=\"/item/17\">An item of a list</a></li>\n".repeat(20_000);
    for coding in ALL {
        let (mut squeeze, mut packed) = (Squeeze::new(coding).unwrap(), Vec::new());
        for piece in page.as_bytes().chunks(16 * 1024) {
            squeeze.push(piece, &mut packed).unwrap();
        }
        squeeze.finish(&mut packed).unwrap();
        assert!(packed.len() < page.len() / 100, "{coding:?}: {}", packed.len());
        assert!(unpack(coding, &packed) == page.as_bytes(), "{coding:?}");
    }
}

/// Data that repeats itself here and there, or not at all.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20_000),
        (prop::collection::vec(any::<u8>(), 1..50), 1..2000_usize)
            .prop_map(|(word, times)| word.repeat(times)),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_out_is_what_went_in(
        data in data(), cuts in prop::collection::vec((1..30_000_usize, any::<bool>()), 1..20), which in 0..ALL.len(),
    ) {
        let (mut squeeze, mut packed) = (Squeeze::new(ALL[which]).unwrap(), vec![7]);
        let (mut rest, mut cuts) = (&data[..], cuts.iter().cycle());
        while let Some((length, is_flushed)) = cuts.next().filter(|_| !rest.is_empty()) {
            let (piece, more) = rest.split_at(rest.len().min(*length));
            squeeze.push(piece, &mut packed).unwrap();
            rest = more;
            if *is_flushed {
                squeeze.flush(&mut packed).unwrap();
                let so_far = data.len() - rest.len();
                prop_assert!(readable(ALL[which], &packed[1..]) == data[..so_far]);
            }
        }
        squeeze.finish(&mut packed).unwrap();
        prop_assert!(packed[0] == 7 && unpack(ALL[which], &packed[1..]) == data);
        prop_assert!(packed.len() < data.len() + data.len() / 50 + 1000);
    }
}
