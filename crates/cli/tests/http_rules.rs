//! Requests as rules of a file have them, seen by servers: cookies that stick, fields, paths, shares and mirrors.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use support::net::Server;
use support::peers::{program, run_well};
use support::tools::random_file;
use support::wait_for;
use support::web::{Backend, Balancer, FORMS, Form, Settings, long_or_short, site};

fn backends(names: &[&str]) -> Vec<Backend> {
    names.iter().map(|name| Backend::start(name)).collect()
}

fn addresses(backends: &[Backend]) -> Vec<String> {
    backends.iter().map(Backend::h1).collect()
}

/// Settings of a listener alone.
fn listening(listener: &str) -> Settings<'_> {
    Settings { listener, ..Settings::default() }
}

/// A URL so many times, each answer on a line of its own.
fn times(balancer: &Balancer, count: usize, flags: &[&str], url: &str) -> Vec<String> {
    let mut words = [flags, &["-w", "\n"]].concat();
    words.extend(vec![url; count]);
    let printed = balancer.curl_well(&words);
    printed.lines().map(str::to_owned).collect()
}

const STICKY: &str = "sticky = { cookie = \"towpath\", secret = \"0123456789abcdef0123\", max_age = \"1h\" }";

#[test]
fn a_cookie_brings_a_client_back_after_a_restart_and_past_a_dead_server() {
    let mut backends = backends(&["one", "two", "three"]);
    let settings = Settings { pool: STICKY, ..Settings::default() };
    let mut balancer = Balancer::with(&addresses(&backends), settings);
    let jar =
        |balancer: &Balancer, name: &str| balancer.certificate.folder.path().join(name).display().to_string();
    let mut homes = HashMap::new();
    for number in 0..9 {
        let name = jar(&balancer, &format!("jar-{number}"));
        let at = times(&balancer, 10, &["-c", &name, "-b", &name], &balancer.url("/"));
        assert!(at.iter().all(|place| *place == at[0]), "{at:?}");
        homes.insert(name, at[0].clone());
    }
    let places: HashSet<_> = homes.values().collect();
    assert_eq!(places.len(), 3, "new clients are spread: {homes:?}");
    balancer = balancer.restart();
    for (name, home) in &homes {
        let at = times(&balancer, 3, &["-c", name, "-b", name], &balancer.url("/"));
        assert!(at.iter().all(|place| place == home), "{home}: {at:?}");
    }
    // Its server dies: another one has it from then on, also once the first is back.
    let mut dead = backends.remove(0);
    dead.kill();
    let (name, _) = homes.iter().find(|(_, home)| *home == "one").unwrap();
    let first = times(&balancer, 1, &["-c", name, "-b", name], &balancer.url("/"));
    assert!(["two", "three"].contains(&&*first[0]), "{first:?}");
    let at = times(&balancer, 5, &["-c", name, "-b", name], &balancer.url("/"));
    assert!(at.iter().all(|place| *place == first[0]), "{first:?}, then {at:?}");
    let _back = dead.restart();
    let at = times(&balancer, 5, &["-c", name, "-b", name], &balancer.url("/"));
    assert!(at.iter().all(|place| *place == first[0]), "{first:?}, then {at:?}");
}

#[test]
fn a_cookie_that_sticks_is_its_own_and_cannot_be_made_up() {
    let backends = backends(&["one", "two"]);
    let settings = Settings { pool: STICKY, ..Settings::default() };
    let balancer = Balancer::with(&addresses(&backends), settings);
    // It stands beside those of the server.
    let head = balancer.curl_well(&["-i", &balancer.url("/cookies")]).to_lowercase();
    let cookies: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("set-cookie: ")).collect();
    assert_eq!(cookies.len(), 3, "{head}");
    let own = cookies.iter().find(|cookie| cookie.starts_with("towpath=")).unwrap();
    assert!(own.contains("httponly") && own.contains("max-age=3600") && own.contains("path=/"), "{own}");
    for address in addresses(&backends) {
        assert!(!own.contains(&address), "{own}");
    }
    // The server does not see it, and sees all others.
    let jar = balancer.certificate.folder.path().join("jar").display().to_string();
    balancer.curl_well(&["-c", &jar, &balancer.url("/cookies")]);
    let seen = balancer.curl_json(&["-b", &jar, &balancer.url("/request")]);
    let cookie = seen["fields"]["cookie"].as_str().unwrap_or_default();
    assert!(cookie.contains("a=1") && cookie.contains("b=2"), "{cookie}");
    // One that is known is not set again, one that is made up is.
    let again = balancer.curl_well(&["-i", "-b", &jar, &balancer.url("/")]).to_lowercase();
    assert!(!again.contains("set-cookie: towpath="), "{again}");
    let forged = fs::read_to_string(&jar).unwrap();
    let value =
        forged.lines().find(|line| line.contains("\ttowpath\t")).unwrap().rsplit('\t').next().unwrap();
    let mut bytes = value.as_bytes().to_vec();
    let place = bytes.len() / 2;
    bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
    let cookie = format!("towpath={}", String::from_utf8(bytes).unwrap());
    let head = balancer.curl_well(&["-i", "-b", &cookie, &balancer.url("/")]).to_lowercase();
    assert!(head.contains("set-cookie: towpath="), "{head}");
}

/// What the backend gets of a request with these fields.
fn fields_of(balancer: &Balancer, form: &Form, words: &[&str]) -> serde_json::Value {
    let seen = balancer.curl_json(&[form.flags, words, &[&form.url(balancer, "/request")]].concat());
    seen["fields"].clone()
}

const LIES: [&str; 8] = [
    "-H",
    "X-Forwarded-For: 192.0.2.1",
    "-H",
    "X-Forwarded-Proto: gopher",
    "-H",
    "X-Forwarded-Host: evil.example",
    "-H",
    "Forwarded: for=192.0.2.1;host=evil.example",
];

#[test]
fn servers_are_told_of_clients_and_believed_only_by_the_trusted() {
    let backend = Backend::start("one");
    let addresses = [backend.h1()];
    let both = "forwarded_fields = \"both\"";
    let trusting = "forwarded_fields = \"both\"\ntrusted = \"127.0.0.0/8\"";
    let plain = Balancer::start(&addresses);
    let (both, trusting) =
        (Balancer::with(&addresses, listening(both)), Balancer::with(&addresses, listening(trusting)));
    let off = Balancer::with(&addresses, listening("forwarded_fields = \"off\""));
    for form in &FORMS {
        let proto = if form.is_secure { "https" } else { "http" };
        let host = |balancer: &Balancer| match form.is_secure {
            true => balancer.secure_address(),
            false => balancer.address().to_owned(),
        };
        let fields = fields_of(&plain, form, &LIES);
        assert_eq!(fields["x-forwarded-for"], "127.0.0.1", "{}", form.name);
        assert_eq!(fields["x-forwarded-proto"], proto, "{}", form.name);
        assert_eq!(fields["x-forwarded-host"], host(&plain), "{}", form.name);
        assert!(fields["forwarded"].is_null(), "{}: {fields}", form.name);
        let fields = fields_of(&both, form, &LIES);
        assert_eq!(fields["x-forwarded-for"], "127.0.0.1", "{}", form.name);
        let told = fields["forwarded"].as_str().unwrap().to_lowercase();
        assert!(
            told.contains("for=127.0.0.1") && told.contains(&format!("proto={proto}")),
            "{}: {told}",
            form.name
        );
        assert!(!told.contains("192.0.2.1") && !told.contains("evil"), "{}: {told}", form.name);
        let fields = fields_of(&trusting, form, &LIES);
        assert_eq!(fields["x-forwarded-for"], "192.0.2.1, 127.0.0.1", "{}", form.name);
        let told = fields["forwarded"].as_str().unwrap().to_lowercase();
        assert!(told.starts_with("for=192.0.2.1;host=evil.example, for=127.0.0.1"), "{}: {told}", form.name);
        let fields = fields_of(&off, form, &LIES);
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"] {
            assert!(fields[name].is_null(), "{} {name}: {fields}", form.name);
        }
    }
}

#[test]
fn requests_have_ids_and_are_parts_of_traces() {
    let backend = Backend::start("one");
    let balancer = Balancer::with(
        &[backend.h1()],
        listening("request_id = \"X-Request-Id\"\ntrace = true\nvia_name = \"gate\""),
    );
    let (mut ids, mut traces) = (HashSet::new(), HashSet::new());
    for form in &FORMS {
        let fields = fields_of(&balancer, form, &[]);
        let id = fields["x-request-id"].as_str().unwrap();
        assert!(id.len() >= 16 && ids.insert(id.to_owned()), "{}: {id}", form.name);
        let trace = fields["traceparent"].as_str().unwrap();
        let parts: Vec<_> = trace.split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2], "{}: {trace}", form.name);
        assert!(traces.insert(trace[3..35].to_owned()), "{}: {trace}", form.name);
        assert!(fields["via"].as_str().unwrap().contains("gate"), "{}: {fields}", form.name);
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let words =
            ["-H", "X-Request-Id: mine-1", "-H", &format!("traceparent: {given}"), "-H", "tracestate: a=b"];
        let fields = fields_of(&balancer, form, &words);
        assert_eq!(
            (&fields["x-request-id"], &fields["tracestate"]),
            (&"mine-1".into(), &"a=b".into()),
            "{fields}"
        );
        let trace = fields["traceparent"].as_str().unwrap();
        assert!(trace.starts_with(&given[..36]) && trace.ends_with("-01"), "{}: {trace}", form.name);
        assert_ne!(&trace[36..52], &given[36..52], "{}: a parent of its own", form.name);
        let words = ["-H", "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01"];
        let trace = fields_of(&balancer, form, &words)["traceparent"].as_str().unwrap().to_owned();
        assert!(traces.insert(trace[3..35].to_owned()) && !trace.contains(&"0".repeat(32)), "{trace}");
    }
}

#[test]
fn paths_and_fields_are_written_anew() {
    let backend = Backend::start("one");
    let listener = "route = [\n\
        { path_prefix = \"/api\", pool = \"web\", strip_prefix = \"/api\", \
          request_fields = { set = { \"X-Client\" = \"{client}\", \"X-Path\" = \"{path}\" }, remove = \"x-mine\" }, \
          response_fields = { remove = \"x-served-by\", add = { \"x-gate\" = \"one\" } } },\n\
        { path_regex = '^/v[0-9]+/(.*)$', pool = \"web\", replace_regex = { from = '^/v[0-9]+/(.*)$', to = '/$1' } },\n\
        { path_prefix = \"/before\", pool = \"web\", replace_prefix = { from = \"/before\", to = \"/request\" } } ]";
    let balancer = Balancer::with(&[backend.h1()], listening(listener));
    for form in &FORMS {
        for (asked, url) in [
            ("/api/request?x=%2F", "/request?x=%2F"),
            ("/v12/request?y", "/request?y"),
            ("/before?z=1", "/request?z=1"),
        ] {
            let seen =
                balancer.curl_json(&[form.flags, &["-H", "X-Mine: 1", &form.url(&balancer, asked)]].concat());
            assert_eq!(seen["url"], url, "{} {asked}", form.name);
            let fields = &seen["fields"];
            let is_edited = asked.starts_with("/api");
            assert_eq!(fields["x-mine"].is_null(), is_edited, "{}: {fields}", form.name);
            assert_eq!(fields["x-client"] == "127.0.0.1", is_edited, "{}: {fields}", form.name);
        }
        let report = "%header{x-served-by}|%header{x-gate}";
        let words = ["-o", "/dev/null", "-w", report, &form.url(&balancer, "/api/")];
        assert_eq!(balancer.curl_well(&[form.flags, &words].concat()), "|one", "{}", form.name);
    }
}

#[test]
fn a_canary_gets_its_share() {
    let backends = backends(&["old", "new"]);
    let more = format!("[[pool]]\nname = \"canary\"\nbackend = \"{}\"\n", backends[1].h1());
    let listener =
        "route = [{ split = [{ pool = \"web\", weight = 9 }, { pool = \"canary\", weight = 1 }] }]";
    let settings = Settings { listener, more: &more, ..Settings::default() };
    let balancer = Balancer::with(&[backends[0].h1()], settings);
    let count = long_or_short(3000, 30_000);
    let mut h2load = program("h2load");
    h2load.args(["-n", &count.to_string(), "-c", "4", "-m", "10", &balancer.secure_url("/")]);
    let report = run_well(h2load);
    assert!(report.contains(&format!("{count} succeeded, 0 failed")), "{report}");
    let records = balancer.stop_well();
    let to_canary = records.iter().filter(|record| record.text("pool") == "canary").count();
    // One in ten: five standard deviations either way.
    let (mean, deviation) = (count as f64 * 0.1, (count as f64 * 0.09).sqrt());
    assert_eq!(records.len(), count as usize);
    assert!((to_canary as f64 - mean).abs() < 5.0 * deviation, "{to_canary} of {count}");
}

#[test]
fn a_mirror_gets_copies_and_holds_up_nobody() {
    let backends = backends(&["first", "copy"]);
    let silent = Server::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    random_file(file.path(), 9, 200_000);
    let body = format!("@{}", file.path().display());
    let more = format!(
        "[[pool]]\nname = \"copy\"\nbackend = \"{}\"\n[[pool]]\nname = \"silent\"\nbackend = \"{}\"\n",
        backends[1].h1(),
        silent.address()
    );
    let listener = "route = [\n{ path_prefix = \"/silent\", pool = \"web\", mirror = \"silent\", strip_prefix = \"/silent\" },\n\
                    { pool = \"web\", mirror = \"copy\" } ]";
    let settings = Settings { listener, more: &more, ..Settings::default() };
    let balancer = Balancer::with(&[backends[0].h1()], settings);
    let straight = format!("http://{}/seen", backends[1].h1());
    for form in &FORMS {
        let told = balancer.curl_well(&[form.flags, &[&form.url(&balancer, "/?get")]].concat());
        assert_eq!(told, "first", "{}", form.name);
        let seen =
            balancer.curl_json(&[form.flags, &["-d", "body", &form.url(&balancer, "/request")]].concat());
        assert_eq!((&seen["name"], &seen["body"]), (&"first".into(), &4.into()), "{}: {seen}", form.name);
        // Nobody answers there, nobody reads.
        let words = ["--max-time", "10", "-H", "Expect:", "--data-binary", &body];
        let url = form.url(&balancer, "/silent/request");
        let seen = balancer.curl_json(&[form.flags, &words, &[&url]].concat());
        assert_eq!(seen["body"], 200_000, "{}: {seen}", form.name);
    }
    wait_for("copies", || {
        let seen = balancer.curl_json(&[&straight]);
        let seen = seen.as_array().unwrap();
        let count = |what: &str| seen.iter().filter(|request| *request == what).count();
        (count("GET /?get") == FORMS.len() && count("POST /request") == FORMS.len()).then_some(())
    });
}

#[test]
fn a_file_that_is_loaded_again_fails_no_request() {
    let sites = [site(""), site("")];
    for site in &sites {
        fs::write(site.folder.path().join("root/page"), "the page").unwrap();
    }
    let balancer = Balancer::start(&sites.each_ref().map(support::services::Service::address));
    let seconds = long_or_short("3", "30");
    let mut wrk = program("wrk");
    wrk.args(["-t", "1", "-c", "20", "-d", seconds, &balancer.url("/page")]);
    let mut h2load = program("h2load");
    h2load.args(["-D", seconds, "-c", "10", "-m", "10", &balancer.secure_url("/page")]);
    let reports = std::thread::scope(|scope| {
        let loads = [wrk, h2load].map(|load| scope.spawn(|| run_well(load)));
        for _ in 0..5 {
            // sleep: each load of the file comes amid the loads of requests.
            std::thread::sleep(Duration::from_millis(400));
            balancer.towpath.signal(Signal::HUP);
        }
        loads.map(|load| load.join().unwrap())
    });
    assert!(!reports[0].contains("Socket errors") && !reports[0].contains("Non-2xx"), "{}", reports[0]);
    assert!(reports[1].contains(" 0 failed, 0 errored, 0 timeout"), "{}", reports[1]);
}
