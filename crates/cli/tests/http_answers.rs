//! Answers as rules of a file have them, seen by curl: compressed, refused, sent elsewhere, too many.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use support::lines::Lines;
use support::peers::run_well_with_input;
use support::tools::{assert_same, random_file};
use support::towpath::{Guarded, command};
use support::web::{Backend, Balancer, FORMS, Settings, keeping, site};

/// Settings of a listener alone.
fn listening(listener: &str) -> Settings<'_> {
    Settings { listener, ..Settings::default() }
}

#[test]
fn answers_are_compressed_as_clients_like() {
    let backend = Backend::start("one");
    let balancer = Balancer::with(&[backend.h1()], listening("compress = true"));
    let plain = Balancer::start(&[backend.h1()]);
    let folder = balancer.certificate.folder.path();
    let (got, page) = (folder.join("got"), folder.join("page"));
    let (to, text) = (got.display().to_string(), page.display().to_string());
    balancer.curl_well(&["-o", &text, &plain.url("/text")]);
    let size = fs::metadata(&page).unwrap().len();
    let report = "%header{content-encoding}|%{size_download}|%header{vary}|%header{etag}";
    for form in &FORMS {
        let url = form.url(&balancer, "/text");
        for (accepted, coding) in [
            ("zstd", "zstd"),
            ("br", "br"),
            ("gzip", "gzip"),
            ("gzip, br, zstd", "zstd"),
            ("gzip;q=1.0, br;q=0.5, zstd;q=0", "gzip"),
            ("*", "zstd"),
            ("gzip;q=0", ""),
            ("deflate", ""),
        ] {
            let field = format!("Accept-Encoding: {accepted}");
            let words = ["--compressed", "-H", &field, "-o", &to, "-w", report, &url];
            let told = balancer.curl_well(&[form.flags, &words].concat());
            let told: Vec<_> = told.split('|').collect();
            assert_eq!(told[0], coding, "{} {accepted}: {told:?}", form.name);
            assert_eq!(told[2].to_lowercase(), "accept-encoding", "{} {accepted}: {told:?}", form.name);
            let length: u64 = told[1].parse().unwrap();
            assert_eq!(length < size / 5, !coding.is_empty(), "{} {accepted}: {told:?}", form.name);
            // Other bytes have another strong validator, or a weak one.
            assert_eq!(told[3] == "\"one\"", coding.is_empty(), "{} {accepted}: {told:?}", form.name);
            assert_same(&got, &page);
        }
        let told = balancer.curl_well(&[form.flags, &["-o", &to, "-w", report, &url]].concat());
        assert!(told.starts_with(&format!("|{size}|")), "{}: {told}", form.name);
        let picture = form.url(&balancer, "/picture");
        let words = [form.flags, &["--compressed", "-o", &to, "-w", report, &picture]].concat();
        assert!(balancer.curl_well(&words).starts_with("|20000|"), "{}", form.name);
    }
}

#[test]
fn what_is_compressed_already_or_a_part_or_a_stream_is_left_alone() {
    let gzip = site("gzip on; gzip_types *; gzip_min_length 10; gzip_proxied any;");
    let page = gzip.folder.path().join("root/page");
    fs::write(&page, "a text that repeats itself. ".repeat(1000)).unwrap();
    let balancer = Balancer::with(&[gzip.address()], listening("compress = [\"br\"]"));
    let got = balancer.certificate.folder.path().join("got");
    let (to, url) = (got.display().to_string(), balancer.url("/page"));
    let report = "%{http_code} %header{content-encoding}";
    let both = "Accept-Encoding: br, gzip";
    let told = balancer.curl_well(&["--compressed", "-H", both, "-o", &to, "-w", report, &url]);
    assert_eq!(told, "200 gzip", "the coding of the server");
    assert_same(&got, &page);
    let br = "Accept-Encoding: br";
    let told = balancer.curl_well(&[
        "-r",
        "100-199",
        "-H",
        br,
        "-w",
        "|%{http_code} %header{content-encoding}",
        &url,
    ]);
    let text = fs::read_to_string(&page).unwrap();
    assert_eq!(told, format!("{}|206 ", &text[100..200]));
    let told = balancer.curl_well(&["-I", "-H", br, "-o", &to, "-w", "%{http_code} %{size_download}", &url]);
    assert_eq!(told, "200 0");
    let backend = Backend::start("one");
    let balancer = Balancer::with(&[backend.h1()], listening("compress = true"));
    // Whether it is compressed or not, each event has to come before the next.
    let mut curl = balancer.curl_command();
    curl.args(["-N", "--compressed", &balancer.url("/events?id=one")]);
    let mut curl = Guarded::spawn(curl.stdout(Stdio::piped()));
    let lines = Lines::read(curl.stdout.take().unwrap());
    lines.wait_for("data: event 0");
    for event in 1..10 {
        balancer.curl_well(&[&balancer.url("/next?id=one")]);
        lines.wait_for(&format!("data: event {event}"));
    }
}

#[test]
fn logins_are_asked_for_and_open_routes_are_not() {
    let backend = Backend::start("one");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    let password = folder.path().join("password");
    fs::write(&password, "other\n").unwrap();
    let hashed = run_well_with_input(command(["passwd", "bob"]), &password);
    fs::write(&file, hashed + "\n").unwrap();
    let rules = format!(
        "auth_file = {:?}\nroute = [{{ path = \"/\", pool = \"web\", open = true }}]",
        file.display()
    );
    for (listener, login) in [
        ("users = \"alice:secret\"\nroute = [{ path = \"/\", pool = \"web\", open = true }]", "alice:secret"),
        (&rules, "bob:other"),
    ] {
        let balancer = Balancer::with(&[backend.h1()], listening(listener));
        for form in &FORMS {
            let url = form.url(&balancer, "/request");
            let report = "%{http_code} %header{www-authenticate}";
            let asked = |words: &[&str]| {
                balancer.curl_well(&[form.flags, &["-o", "/dev/null", "-w", report], words, &[&url]].concat())
            };
            let told = asked(&[]);
            assert!(told.to_lowercase().starts_with("401 basic realm="), "{}: {told}", form.name);
            assert_eq!(asked(&["--user", login]), "200 ", "{}", form.name);
            assert!(asked(&["--user", "alice:wrong"]).starts_with("401 "), "{}", form.name);
            assert!(asked(&["--user", "carol:secret"]).starts_with("401 "), "{}", form.name);
            // curl asks without, is told how, and asks again on the same connection.
            let is_keeping = keeping().any(|other| other.name == form.name);
            assert!(
                !is_keeping || asked(&["--anyauth", "--user", login]).starts_with("200"),
                "{}",
                form.name
            );
            let open = form.url(&balancer, "/");
            let told = balancer.curl_well(&[form.flags, &["-w", " %{http_code}", &open]].concat());
            assert_eq!(told, "one 200", "{}", form.name);
        }
    }
}

#[test]
fn clients_are_sent_elsewhere() {
    let backend = Backend::start("one");
    let listener = "route = [\n{ path_prefix = \"/old\", redirect = \"/request{query}\", status = 308 },\n\
                    { path_prefix = \"/tls\", redirect = \"https://{host}{path}{query}\" },\n\
                    { path = \"/gone\", answer = \"It is gone.\", status = 410 } ]";
    let balancer = Balancer::with(&[backend.h1()], listening(listener));
    for form in &FORMS {
        let url = form.url(&balancer, "/old/page?a=1");
        let told = balancer.curl_well(
            &[form.flags, &["-w", "%{http_code} %{redirect_url}", "-o", "/dev/null", &url]].concat(),
        );
        assert_eq!(told, format!("308 {}", form.url(&balancer, "/request?a=1")), "{}", form.name);
        let host = if form.is_secure { "localhost" } else { "127.0.0.1" };
        let url = form.url(&balancer, "/tls/a?b");
        let told = balancer.curl_well(
            &[form.flags, &["-w", "%{http_code} %{redirect_url}", "-o", "/dev/null", &url]].concat(),
        );
        assert_eq!(told, format!("302 https://{host}/tls/a?b"), "{}", form.name);
    }
    for form in keeping() {
        // 308 keeps the method and the body.
        let url = form.url(&balancer, "/old/page?a=1");
        let seen = balancer.curl_json(&[form.flags, &["-L", "-d", "body", &url]].concat());
        assert_eq!((&seen["method"], &seen["body"]), (&"POST".into(), &4.into()), "{}: {seen}", form.name);
        assert_eq!(seen["url"], "/request?a=1", "{}", form.name);
        let told = balancer
            .curl_well(&[form.flags, &["-w", " %{http_code}", &form.url(&balancer, "/gone")]].concat());
        assert_eq!(told, "It is gone. 410", "{}", form.name);
    }
}

#[test]
fn too_many_requests_are_told_when_to_come_again() {
    let backend = Backend::start("one");
    let balancer = Balancer::with(&[backend.h1()], listening("rate = \"2/s\"\nburst = 4"));
    let url = balancer.url("/");
    let out = ["-o", "/dev/null"].repeat(12);
    let urls = vec![&*url; 12];
    let begun = Instant::now();
    let told =
        balancer.curl_well(&[&out[..], &["-w", "%{http_code} %header{retry-after}\n"], &urls].concat());
    let may_have = 4 + (begun.elapsed().as_secs_f64() * 2.0).ceil() as usize;
    let (served, refused): (Vec<_>, Vec<_>) = told.lines().partition(|line| *line == "200 ");
    assert!((4..=may_have).contains(&served.len()), "{told}");
    assert!(!refused.is_empty(), "{told}");
    for line in &refused {
        let after = line.strip_prefix("429 ").and_then(|after| after.parse::<u64>().ok());
        assert!(after.is_some_and(|after| (1..=10).contains(&after)), "{line}");
    }
    // curl waits for as long as it is told.
    let told = balancer.curl_well(&["--retry", "3", "-w", " %{http_code}", &url]);
    assert!(told.ends_with("one 200"), "{told}");
    // Requests of HTTP/2 count as well.
    let urls = vec![balancer.secure_url("/"); 12];
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    let told = balancer.curl_well(&[&["--http2", "-w", "%{http_code}\n"], &out[..], &urls].concat());
    assert!(told.lines().any(|line| line == "429") && told.lines().any(|line| line == "200"), "{told}");
}

#[test]
fn refusals_reach_clients_that_send_much() {
    let backend = Backend::start("one");
    let listener = "route = [\n{ path = \"/login\", pool = \"web\", users = \"alice:secret\" },\n\
                    { path = \"/small\", pool = \"web\", body_max = \"100KiB\" },\n\
                    { path = \"/gone\", answer = \"It is gone.\", status = 410 } ]";
    let balancer = Balancer::with(&[backend.h1()], listening(listener));
    let home = balancer.certificate.folder.path();
    let mut faults = Vec::new();
    for size in [4, 150_000, 600_000, 5_000_000] {
        random_file(&home.join("much"), 9, size);
        let post = format!("@{}", home.join("much").display());
        // Past a bound a client of HTTP/2 may be told by a reset that nobody takes the rest.
        for form in FORMS.iter().filter(|form| form.version != "2" || size < 1 << 20) {
            // The last is the server's own, which does not look at bodies.
            let cases = [("/login", "401"), ("/small", "413"), ("/gone", "410"), ("/status?code=403", "403")];
            for (path, wanted) in cases {
                if path == "/small" && size < 100_000 {
                    continue;
                }
                let url = form.url(&balancer, path);
                for expect in ["Expect:", "Expect: 100-continue"] {
                    let words =
                        ["-H", expect, "--data-binary", &post, "-o", "/dev/null", "-w", "%{http_code}", &url];
                    let ran = balancer.curl(&[form.flags, &words].concat());
                    if ran.stdout != wanted || !ran.status.success() {
                        let told = [form.name, path, expect, &ran.stdout, &ran.stderr].join(" ");
                        faults.push(format!("{size} bytes by {told}"));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    // Nothing of those without a login went further.
    let seen = balancer.curl_json(&[&format!("http://{}/seen", backend.h1())]);
    let mut seen = seen.as_array().unwrap().iter();
    assert!(seen.all(|request| request == "POST /small" || request == "POST /status?code=403"));
}
