//! curl and node get what backends have through HTTP load balancing, by every version on either side.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;

use support::peers::run_well;
use support::services::Service;
use support::tools::{assert_same, random_file};
use support::web::{Backend, Balancer, FORMS, keeping, long_or_short, node_script, sha256, site};

/// Longer than any buffer on the way.
const LARGE: usize = 20_000_000;

/// A backend behind towpath over each version, with the name of that.
fn both_ways(backend: &Backend) -> [(&'static str, Balancer); 2] {
    [("1.1", Balancer::start(&[backend.h1()])), ("2.0", Balancer::over_h2(&[backend.h2()]))]
}

/// The folder that nginx serves.
fn root(site: &Service) -> std::path::PathBuf {
    site.folder.path().join("root")
}

#[test]
fn every_version_on_either_side() {
    let backend = Backend::start("one");
    for (version, balancer) in both_ways(&backend) {
        for form in &FORMS {
            let url = form.url(&balancer, "/request?a=1&b=%20");
            let told = format!("{} to {version}", form.name);
            let words = [
                form.flags,
                &["-H", "X-Mine: yes", "-d", "body", "-w", "\n%{http_version} %{http_code}", &url],
            ];
            let printed = balancer.curl_well(&words.concat());
            let (body, end) = printed.rsplit_once('\n').unwrap();
            assert_eq!(end, format!("{} 200", form.version), "{told}");
            let seen: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(seen["version"], version, "{told}");
            assert_eq!(seen["url"], "/request?a=1&b=%20", "{told}");
            assert_eq!((&seen["method"], &seen["body"]), (&"POST".into(), &4.into()), "{told}");
            assert_eq!(seen["fields"]["x-mine"], "yes", "{told}");
            let host = if form.is_secure { balancer.secure_address() } else { balancer.address().to_owned() };
            let raw: Vec<_> =
                seen["raw"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
            let mut pairs =
                raw.chunks(2).filter(|pair| pair[0].eq_ignore_ascii_case("host") || pair[0] == ":authority");
            assert_eq!(pairs.next().map(|pair| pair[1]), Some(&*host), "{told}: {raw:?}");
            assert!(pairs.all(|pair| pair[1] == host), "{told}: {raw:?}");
            let proto = if form.is_secure { "https" } else { "http" };
            let fields = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
            let forwarded = fields.map(|name| seen["fields"][name].as_str().unwrap_or("none"));
            assert_eq!(forwarded, ["127.0.0.1", proto, &host], "{told}");
        }
        let records = balancer.stop_well();
        assert_eq!(records.len(), FORMS.len(), "{records:#?}");
        assert!(records.iter().all(|record| record.text("end") == "served"), "{records:#?}");
    }
}

#[test]
fn a_head_has_no_body_and_the_connection_goes_on() {
    let (site, backend) = (site(""), Backend::start("one"));
    fs::write(root(&site).join("page"), "the page").unwrap();
    let over_nginx = Balancer::start(&[site.address()]);
    let (over_h2, ca) = (Balancer::over_h2(&[backend.h2()]), over_nginx.certificate.file());
    for form in keeping() {
        let report = "%{http_code} %{size_download} %{num_connects} %header{content-length}\n";
        let url = form.url(&over_nginx, "/page");
        let words = [form.flags, &["-I", "-o", "/dev/null", "-o", "/dev/null", "-w", report, &url, &url]];
        let told = over_nginx.curl_well(&words.concat());
        assert_eq!(told, "200 0 1 8\n200 0 0 8", "{}", form.name);
        let get = ["-w", "|%{num_connects}", &url, "--next"];
        let head = ["-I", "-o", "/dev/null", "-w", "|%{num_connects}|", &url, "--next"];
        let flags = [&["-q", "-sS", "--cacert", &ca][..], form.flags].concat();
        // Between two others, on the connection of both.
        let words = [form.flags, &head, &flags[..], &get, &flags[..], &["-w", "|%{num_connects}", &url]];
        let told = over_nginx.curl_well(&words.concat());
        assert_eq!(told, "|1|the page|0the page|0", "{}", form.name);
        let url = form.url(&over_h2, "/text");
        let words = [form.flags, &["-I", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", &url]];
        assert_eq!(over_h2.curl_well(&words.concat()), "200 0", "{} to h2", form.name);
    }
}

#[test]
fn parts_of_files() {
    let site = site("");
    let file = root(&site).join("large");
    random_file(&file, 3, 3_000_000);
    let bytes = fs::read(&file).unwrap();
    let balancer = Balancer::start(&[site.address()]);
    let got = balancer.certificate.folder.path().join("got");
    let to = got.display().to_string();
    for form in &FORMS {
        let url = form.url(&balancer, "/large");
        let report = "%{http_code} %header{content-range} %header{content-length}";
        for (range, part, wanted) in [
            ("0-0", &bytes[..1], "206 bytes 0-0/3000000 1"),
            ("1000-2000999", &bytes[1000..2_001_000], "206 bytes 1000-2000999/3000000 2000000"),
            ("-500", &bytes[2_999_500..], "206 bytes 2999500-2999999/3000000 500"),
        ] {
            let words = [form.flags, &["-r", range, "-o", &to, "-w", report, &url]].concat();
            assert_eq!(balancer.curl_well(&words), wanted, "{} {range}", form.name);
            assert!(fs::read(&got).unwrap() == part, "{} {range}", form.name);
        }
        let words = [form.flags, &["-r", "5000000-", "-o", &to, "-w", report, &url]].concat();
        assert!(balancer.curl_well(&words).starts_with("416 bytes */3000000"), "{}", form.name);
        let words = [form.flags, &["-r", "0-9,20-29", "-o", &to, "-w", "%{http_code} %{content_type}", &url]];
        let told = balancer.curl_well(&words.concat());
        assert!(told.starts_with("206 multipart/byteranges; boundary="), "{}: {told}", form.name);
        // A download that goes on where it was.
        fs::write(&got, &bytes[..1_234_567]).unwrap();
        balancer.curl_well(&[form.flags, &["-C", "-", "-o", &to, &url]].concat());
        assert_same(&got, &file);
        fs::remove_file(&got).unwrap();
    }
}

#[test]
fn a_file_that_has_not_changed_is_not_sent() {
    let site = site("if_modified_since before;");
    fs::write(root(&site).join("page"), "the page").unwrap();
    let balancer = Balancer::start(&[site.address()]);
    let page = balancer.url("/page");
    let etag = balancer.curl_well(&["-o", "/dev/null", "-w", "%header{etag}", &page]);
    assert!(etag.starts_with('"'), "{etag}");
    for form in keeping() {
        let url = form.url(&balancer, "/page");
        let report = "%{http_code} %{size_download} %{num_connects}\n";
        let known = format!("If-None-Match: {etag}");
        let words = [form.flags, &["-H", &known, "-w", report, &url, &url]].concat();
        assert_eq!(balancer.curl_well(&words), "304 0 1\n304 0 0", "{}", form.name);
        let words = [form.flags, &["-z", "1 Jan 2035", "-w", report, &url]].concat();
        assert_eq!(balancer.curl_well(&words), "304 0 1", "{}", form.name);
        let words = [form.flags, &["-H", "If-None-Match: \"other\"", "-w", report, &url]].concat();
        assert_eq!(balancer.curl_well(&words), "the page200 8 1", "{}", form.name);
        let words =
            [form.flags, &["-H", "If-Match: \"other\"", "-o", "/dev/null", "-w", "%{http_code}", &url]];
        assert_eq!(balancer.curl_well(&words.concat()), "412", "{}", form.name);
    }
}

#[test]
fn a_body_waits_for_the_servers_word_to_go_on() {
    let backend = Backend::start("one");
    for (version, balancer) in both_ways(&backend) {
        let home = balancer.certificate.folder.path().to_owned();
        let (file, got) = (home.join("large"), home.join("got"));
        random_file(&file, 4, LARGE);
        let (put, to) = (file.display().to_string(), got.display().to_string());
        for form in [&FORMS[1], &FORMS[3]] {
            let url = form.url(&balancer, "/echo");
            let expect = ["-v", "-H", "Expect: 100-continue", "--expect100-timeout", "30", "-T", &put];
            let words = [form.flags, &expect, &["-o", &to, "-w", "%{http_code}", &url]].concat();
            let ran = balancer.curl(&words);
            assert_eq!(ran.stdout, "200", "{} to {version}: {}", form.name, ran.stderr);
            assert!(ran.stderr.contains("< HTTP/1.1 100 "), "{} to {version}: {}", form.name, ran.stderr);
            assert_same(&got, &file);
            // One that is refused is not sent: the timeout is longer than curl's patience with the whole.
            let url = form.url(&balancer, "/status?code=413");
            let report = "%{http_code} %{size_upload}";
            let words = [form.flags, &expect, &["-o", "/dev/null", "-w", report, &url]].concat();
            let ran = balancer.curl(&words);
            assert_eq!(ran.stdout, "413 0", "{} to {version}: {}", form.name, ran.stderr);
            assert!(!ran.stderr.contains("100 Continue"), "{} to {version}: {}", form.name, ran.stderr);
        }
    }
}

#[test]
fn bodies_of_known_and_unknown_length_come_back_whole() {
    let backend = Backend::start("one");
    for (version, balancer) in both_ways(&backend) {
        let home = balancer.certificate.folder.path().to_owned();
        let (file, got) = (home.join("large"), home.join("got"));
        random_file(&file, 5, LARGE);
        let (put, to) = (file.display().to_string(), got.display().to_string());
        let post = format!("@{put}");
        for form in &FORMS[1..] {
            let url = form.url(&balancer, "/echo");
            let chunked: &[&str] = match form.version {
                "2" => &["-T", "-"],
                _ => &["-T", &put, "-H", "Transfer-Encoding: chunked"],
            };
            for (how, wanted) in [
                (&["--data-binary", &post][..], "POST counted"),
                (&["-T", &put], "PUT counted"),
                (chunked, "PUT chunked"),
            ] {
                let report = ["-H", "Expect:", "-o", &to, "-w", "%{http_code} %header{x-asked}"];
                let mut command = balancer.curl_command();
                command.args(form.flags).args(how).args(report).arg(&url);
                let told = support::peers::run_well_with_input(command, &file);
                assert_eq!(told, format!("200 {wanted} {version}"), "{} {how:?}", form.name);
                assert_same(&got, &file);
                fs::remove_file(&got).unwrap();
            }
        }
    }
}

#[test]
fn trailers_go_both_ways() {
    let backend = Backend::start("one");
    for (version, balancer) in both_ways(&backend) {
        let home = balancer.certificate.folder.path().to_owned();
        let ca = balancer.certificate.file();
        for form in &FORMS[1..] {
            let url = form.url(&balancer, "/trailers");
            let kind = if form.version == "2" { "h2" } else { "h1" };
            let told = run_well(node_script("trailers.cjs", &home, &[kind, &url, &ca]));
            let told: serde_json::Value = serde_json::from_str(&told).unwrap();
            let wanted = serde_json::json!({
                "status": 200, "body": "one two", "trailers": { "x-sum": "12", "x-seen": "after it" }
            });
            assert_eq!(told, wanted, "{} to {version}", form.name);
            let printed = balancer.curl_well(&[form.flags, &["-i", "-d", "12345", &url]].concat());
            assert!(printed.to_lowercase().contains("x-sum: 5"), "{} to {version}: {printed}", form.name);
        }
        // HTTP/1.0 has none; the body is all there.
        let printed = balancer.curl_well(&["--http1.0", "-i", &balancer.url("/trailers")]);
        assert!(printed.ends_with("one two"), "{version}: {printed}");
        assert!(!printed.to_lowercase().contains("transfer-encoding"), "{version}: {printed}");
    }
}

#[test]
fn hints_come_before_the_answer() {
    let backend = Backend::start("one");
    for (version, balancer) in both_ways(&backend) {
        for form in &FORMS {
            let url = form.url(&balancer, "/hints");
            let printed = balancer.curl_well(&[form.flags, &["-i", &url]].concat());
            let told = format!("{} to {version}: {printed}", form.name);
            let heads: Vec<_> = printed.split("\n\r\n").collect();
            let hints = heads.iter().filter(|head| head.split(' ').nth(1) == Some("103")).count();
            // A client of HTTP/1.0 knows no interim answers (RFC 9110, section 15.2).
            assert_eq!(hints, if form.name == "1.0" { 0 } else { 2 }, "{told}");
            if hints > 0 {
                assert!(heads[0].contains("link: </a.css>") || heads[0].contains("Link: </a.css>"), "{told}");
                assert!(heads[1].contains("</b.js>"), "{told}");
            }
            assert!(heads[hints].starts_with("HTTP/") && heads[hints].contains(" 200"), "{told}");
            assert_eq!(heads[hints + 1], "hinted", "{told}");
        }
    }
}

#[test]
fn connections_are_kept_as_clients_ask() {
    let (site, backend) = (site(""), Backend::start("one"));
    fs::write(root(&site).join("page"), "the page").unwrap();
    for (balancer, path) in [
        (Balancer::start(&[site.address()]), "/page"),
        (Balancer::start(&[backend.h1()]), "/"),
        (Balancer::over_h2(&[backend.h2()]), "/text"),
    ] {
        let url = balancer.url(path);
        let connects = |words: &[&str]| {
            let out = ["-o", "/dev/null"].repeat(3);
            let report = ["-w", "%{num_connects} %header{connection}\n", &url, &url, &url];
            balancer.curl_well(&[words, &out, &report].concat())
        };
        assert_eq!(connects(&["--http1.1"]), "1 \n0 \n0 ", "{path}");
        assert_eq!(
            connects(&["--http1.1", "-H", "Connection: close"]),
            "1 close\n1 close\n1 close",
            "{path}"
        );
        let told = connects(&["--http1.0", "-H", "Connection: keep-alive"]);
        if path == "/page" {
            // An answer whose length is known: the connection may stay.
            let (first, rest) = told.split_once('\n').unwrap();
            assert_eq!(first.to_lowercase(), "1 keep-alive", "{path}");
            assert_eq!(rest.to_lowercase(), "0 keep-alive\n0 keep-alive", "{path}");
        }
        let told = connects(&["--http1.0"]).to_lowercase();
        assert!(
            told.lines().all(|line| line.starts_with('1') && !line.contains("keep-alive")),
            "{path}: {told}"
        );
    }
}

#[test]
fn answers_in_pieces_come_whole_to_every_version() {
    let backend = Backend::start("one");
    let wanted: Vec<_> = (0..50).map(|piece| format!("piece {piece}")).collect();
    for (version, balancer) in both_ways(&backend) {
        for form in &FORMS {
            let url = form.url(&balancer, "/pieces");
            let printed = balancer.curl_well(&[form.flags, &["-i", &url]].concat());
            let (head, body) = printed.split_once("\n\r\n").unwrap();
            assert_eq!(body, wanted.join("\n"), "{} to {version}", form.name);
            let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
            assert_eq!(is_chunked, form.version == "1.1", "{} to {version}: {head}", form.name);
        }
    }
}

#[test]
fn compressed_answers_of_nginx_stay_so() {
    let site = site("gzip on; gzip_types *; gzip_min_length 10; gzip_vary on; gzip_proxied any;");
    fs::write(root(&site).join("page"), "a text that repeats itself. ".repeat(1000)).unwrap();
    let (balancer, page) = (Balancer::start(&[site.address()]), root(&site).join("page"));
    let got = balancer.certificate.folder.path().join("got");
    let to = got.display().to_string();
    for form in &FORMS[1..] {
        let url = form.url(&balancer, "/page");
        let report = "%{size_download} %header{content-encoding} %header{vary}";
        let told =
            balancer.curl_well(&[form.flags, &["--compressed", "-o", &to, "-w", report, &url]].concat());
        let (size, fields) = told.split_once(' ').unwrap();
        assert_eq!(fields, "gzip Accept-Encoding", "{}", form.name);
        assert!(size.parse::<u64>().unwrap() < 2000, "{}: {size} bytes", form.name);
        assert_same(&got, &page);
        let told = balancer.curl_well(&[form.flags, &["-o", &to, "-w", report, &url]].concat());
        assert_eq!(told, "28000  Accept-Encoding", "{}", form.name);
        assert_same(&got, &page);
    }
}

#[test]
fn large_files_down_and_up_are_the_same() {
    let (site, backend) = (site(""), Backend::start("one"));
    let size = long_or_short(100_000_000, 1_000_000_000);
    let file = root(&site).join("large");
    random_file(&file, 6, size);
    let (balancer, over_h2) = (Balancer::start(&[site.address()]), Balancer::over_h2(&[backend.h2()]));
    let (sum, put) = (sha256(&file), file.display().to_string());
    let home = balancer.certificate.folder.path().to_owned();
    let got = home.join("got");
    let to = got.display().to_string();
    let is_same = |path: &Path, told: &str| {
        assert_eq!(sha256(path), sum, "{told}");
        fs::remove_file(path).unwrap();
    };
    for form in &FORMS {
        let down =
            [form.flags, &["-o", &to, "-w", "%{http_code} %{size_download}", &form.url(&balancer, "/large")]];
        assert_eq!(balancer.curl_well(&down.concat()), format!("200 {size}"), "{}", form.name);
        is_same(&got, form.name);
        let up = [form.flags, &["-T", &put, "-w", "%{http_code}", &form.url(&balancer, "/put/up")]];
        assert_eq!(balancer.curl_well(&up.concat()), "201", "{}", form.name);
        is_same(&site.folder.path().join("put/up"), form.name);
    }
    for form in [&FORMS[1], &FORMS[4]] {
        let both = [form.flags, &["-T", &put, "-o", &to, "-w", "%{http_code}", &form.url(&over_h2, "/echo")]];
        assert_eq!(over_h2.curl_well(&both.concat()), "200", "{}", form.name);
        is_same(&got, form.name);
    }
}
