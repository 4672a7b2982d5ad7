//! Loads on HTTP load balancing: a browser, h2load, wrk, and servers that stop and come back under it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use support::peers::{Program, program, run, run_well};
use support::services::Service;
use support::tools::{client, random_file};
use support::towpath::{Guarded, Record};
use support::web::{
    Backend, Balancer, FORMS, Settings, h2_site, long_or_short, node_script, script_server, site,
};
use support::{PATIENCE, wait_for};

/// What a page is made of: 20 styles, 15 scripts and 15 pictures.
const ASSETS: [(&str, usize); 3] = [("css", 20), ("js", 15), ("svg", 15)];

/// Counts what was loaded and how, speaks WebSocket, and tells it all.
const COUNTING: &str = r#"
<script>
window.told = new Promise((told) => addEventListener('load', async () => {
  const entries = performance.getEntriesByType('resource');
  const count = (good) => entries.filter(good).length;
  const [page] = performance.getEntriesByType('navigation');
  const socket = new WebSocket(`wss://${location.host}/socket`, 'chat');
  const echo = await new Promise((resolve) => {
    socket.onopen = () => socket.send('hello');
    socket.onmessage = (event) => resolve(event.data);
    socket.onerror = () => resolve('no socket');
  });
  told([
    `entries ${entries.length}`,
    `good ${count((entry) => entry.responseStatus === 200)}`,
    `h2 ${count((entry) => entry.nextHopProtocol === 'h2')}`,
    `page ${page.nextHopProtocol} ${page.responseStatus}`,
    `ran ${window.ran}`,
    `color ${getComputedStyle(document.body).color}`,
    `pictures ${[...document.images].filter((image) => image.naturalWidth === 10).length}`,
    `socket ${echo}`,
  ].join(', '));
}));
</script>
"#;

/// Writes the page and its assets.
fn page(root: &Path) {
    let mut html =
        "<!DOCTYPE html><html><head><link rel=icon href=data:,><script>window.ran = 0</script>".to_owned();
    let mut body = String::new();
    for (kind, count) in ASSETS {
        for number in 0..count {
            let name = format!("asset-{number}.{kind}");
            let text = match kind {
                "css" => {
                    format!("body {{ color: rgb(1, 2, {number}); }}\n/* {} */", "x".repeat(number * 1000))
                }
                "js" => format!("window.ran += 1;\n// {}", "x".repeat(number * 3000)),
                _ => "<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>".to_owned(),
            };
            fs::write(root.join(&name), text).unwrap();
            match kind {
                "css" => html.push_str(&format!("<link rel=stylesheet href={name}>")),
                "js" => html.push_str(&format!("<script src={name} defer></script>")),
                _ => body.push_str(&format!("<img src={name}>")),
            }
        }
    }
    fs::write(root.join("index.html"), format!("{html}</head><body>{body}{COUNTING}</body></html>")).unwrap();
}

/// What a page tells in Chromium, and what Chromium tells of it.
fn browse(url: &str) -> serde_json::Value {
    let profile = tempfile::tempdir().unwrap();
    let mut chromium = client("chromium-headless-shell", profile.path());
    chromium.args(["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]);
    chromium.args(["--disable-background-networking", "--disable-component-update"]);
    chromium.args(["--ignore-certificate-errors", "--remote-debugging-port=0"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().join("profile").display()));
    let browser = Program::start(chromium, profile.path());
    let devtools = wait_for("address of the browser", || {
        let log = browser.output();
        log.lines().find_map(|line| line.strip_prefix("DevTools listening on ")).map(str::to_owned)
    });
    let told = run(node_script("browser.cjs", profile.path(), &[&devtools, url]), PATIENCE);
    serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{}\n{}", told.stdout, told.stderr))
}

/// `servers` sites that have the same page.
fn sites(servers: usize) -> Vec<Service> {
    (0..servers)
        .map(|_| {
            let site = site("");
            fs::write(site.folder.path().join("root/page"), "the page").unwrap();
            site
        })
        .collect()
}

fn addresses(sites: &[Service]) -> Vec<String> {
    sites.iter().map(Service::address).collect()
}

#[test]
fn a_browser_loads_a_page_with_fifty_assets_over_h2() {
    let sites = sites(2);
    for site in &sites {
        page(&site.folder.path().join("root"));
    }
    let sockets = script_server(|home, port| node_script("ws.cjs", home, &["serve", port]));
    let more = format!("[[pool]]\nname = \"sockets\"\nbackend = \"{}\"\n", sockets.address());
    let listener = "route = [{ path = \"/socket\", pool = \"sockets\" }]";
    let settings = Settings { listener, more: &more, ..Settings::default() };
    let balancer = Balancer::with(&addresses(&sites), settings);
    let wanted = serde_json::json!({
        "told":
            "entries 50, good 50, h2 50, page h2 200, ran 15, color rgb(1, 2, 19), pictures 15, socket hello",
        "complaints": [],
        "responses": { "h2 200": 51 },
    });
    assert_eq!(browse(&balancer.secure_url("/")), wanted);
    // What goes wrong would be seen.
    for site in &sites {
        fs::remove_file(site.folder.path().join("root/asset-3.svg")).unwrap();
    }
    let seen = browse(&balancer.secure_url("/"));
    assert_eq!(seen["responses"], serde_json::json!({ "h2 200": 50, "h2 404": 1 }), "{seen}");
    assert_eq!(seen["complaints"].as_array().unwrap().len(), 1, "{seen}");
    let records = balancer.stop_well();
    let backends: HashMap<&str, usize> = counts(&records);
    assert!(backends.len() >= 2, "one connection, both servers: {backends:?}");
}

/// How many requests each backend had.
fn counts(records: &[Record]) -> HashMap<&str, usize> {
    records.iter().fold(HashMap::new(), |mut counts, record| {
        *counts.entry(record.text("backend")).or_default() += 1;
        counts
    })
}

#[test]
fn h2load_of_many_connections_and_streams() {
    let sites = sites(2);
    let balancer = Balancer::start(&addresses(&sites));
    let count = long_or_short(20_000, 1_000_000);
    for url in [balancer.url("/page"), balancer.secure_url("/page")] {
        let mut h2load = program("h2load");
        h2load.args(["-n", &count.to_string(), "-c", "100", "-m", "100", "-t", "1", &url]);
        let ran = run(h2load, Duration::from_secs(long_or_short(100, 1200)));
        let wanted = format!(
            "requests: {count} total, {count} started, {count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout"
        );
        assert!(ran.stdout.contains(&wanted), "{url}: {}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(&format!("status codes: {count} 2xx")), "{url}: {}", ran.stdout);
    }
    let records = balancer.stop_well();
    let counts = counts(&records);
    assert_eq!(records.len(), 2 * count, "{counts:?}");
}

#[test]
fn bodies_of_many_streams_at_once_come_back_whole() {
    let backend = Backend::start("one");
    let body = tempfile::NamedTempFile::new().unwrap();
    let (count, size) = (long_or_short(400, 10_000), 300_000);
    random_file(body.path(), 11, size);
    for balancer in [Balancer::start(&[backend.h1()]), Balancer::over_h2(&[backend.h2()])] {
        for url in [balancer.url("/echo"), balancer.secure_url("/echo")] {
            for flags in [&["-m", "50"][..], &["--h1"]] {
                let mut h2load = program("h2load");
                h2load
                    .args(["-n", &count.to_string(), "-c", "4", "-d"])
                    .arg(body.path())
                    .args(flags)
                    .arg(&url);
                let ran = run(h2load, Duration::from_secs(long_or_short(100, 1200)));
                let told = format!("{url} {flags:?}: {}\n{}", ran.stdout, ran.stderr);
                assert!(
                    ran.stdout.contains(&format!("{count} succeeded, 0 failed, 0 errored, 0 timeout")),
                    "{told}"
                );
                assert!(ran.stdout.contains(&format!("({}) data", count * size)), "{told}");
            }
        }
    }
}

/// wrk with keep-alive for so many seconds; its report.
fn wrk(url: &str, connections: usize, seconds: u64) -> String {
    let mut wrk = program("wrk");
    wrk.args([
        "-t",
        "1",
        "-c",
        &connections.to_string(),
        "-d",
        &seconds.to_string(),
        "--timeout",
        "20s",
        url,
    ]);
    run_well(wrk)
}

/// Whether a report tells of requests, and of no error.
fn is_clean(report: &str) -> bool {
    report.contains("requests in") && !report.contains("Socket errors") && !report.contains("Non-2xx")
}

#[test]
fn wrk_spreads_requests_of_kept_connections_evenly() {
    let sites = sites(3);
    let balancer = Balancer::start(&addresses(&sites));
    let report = wrk(&balancer.url("/page"), 64, long_or_short(3, 30));
    assert!(is_clean(&report), "{report}");
    let records = balancer.stop_well();
    // Those that wrk left in the middle may have gone no further.
    let served: Vec<_> = records.into_iter().filter(|record| record.text("end") == "served").collect();
    let counts = counts(&served);
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(*least > 100 && (most - least) as f64 <= 0.02 * *most as f64, "within 2%: {counts:?}");
}

/// Ends one of the sites after the other with `signal`, and starts it again half a second later, until `load` has run; how often.
fn under_ends(sites: &mut [Service], signal: Signal, load: impl FnOnce()) -> usize {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ender = scope.spawn(|| {
            let mut ends = 0;
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let site = &mut sites[ends % 3];
                site.program.signal(signal);
                site.program.wait();
                ends += 1;
                // sleep: for as long as it is gone.
                thread::sleep(Duration::from_millis(500));
                start_again(site);
                // sleep: the rest of a second in which it is back.
                thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
            }
            ends
        });
        load();
        is_over.store(true, Ordering::Relaxed);
        ender.join().unwrap()
    })
}

/// The records of requests that were not served, but for those whose client had gone.
fn failures(balancer: Balancer) -> Vec<Record> {
    let records = balancer.stop_well().into_iter();
    records
        .filter(|record| !["served", "client closed", "client reset"].contains(&record.text("end")))
        .collect()
}

#[test]
fn no_request_fails_while_servers_are_killed_and_come_back() {
    let mut sites = sites(3);
    let balancer = Balancer::start(&addresses(&sites));
    let (seconds, mut report) = (long_or_short(6, 60), String::new());
    // Each answer is one write: a server that is killed between two leaves half an answer, which nobody can mend.
    let kills = under_ends(&mut sites, Signal::KILL, || report = wrk(&balancer.url("/post"), 64, seconds));
    let failures = failures(balancer);
    assert!(is_clean(&report) && failures.is_empty(), "{report}\n{failures:#?}");
    assert!(kills as u64 >= seconds / 2, "{kills} kills");
}

#[test]
fn no_request_fails_while_servers_are_told_to_end_and_come_back() {
    let (mut sites, mut h2_sites) = (sites(3), Vec::from([h2_site(""), h2_site(""), h2_site("")]));
    let (balancer, over_h2) = (Balancer::start(&addresses(&sites)), Balancer::over_h2(&addresses(&h2_sites)));
    let (seconds, mut reports) = (long_or_short(4, 60), Vec::new());
    under_ends(&mut sites, Signal::QUIT, || reports.push(wrk(&balancer.url("/page"), 64, seconds)));
    // These say GOAWAY.
    under_ends(&mut h2_sites, Signal::QUIT, || reports.push(wrk(&over_h2.url("/page"), 64, seconds)));
    let failures = [failures(balancer), failures(over_h2)];
    assert!(reports.iter().all(|report| is_clean(report)), "{reports:#?}\n{failures:#?}");
    assert_eq!(failures.map(|failures| failures.len()), [0, 0]);
}

/// Starts a site's nginx again where it was.
fn start_again(site: &mut Service) {
    let (folder, port) = (site.folder.path(), site.port);
    let mut nginx = program("nginx");
    nginx.arg("-c").arg(folder.join("config"));
    site.program = Program::start(nginx, folder).listening_on(port);
}

#[test]
fn streams_of_one_connection_do_not_wait_for_one_another() {
    let backend = Backend::start("one");
    for balancer in [Balancer::start(&[backend.h1()]), Balancer::over_h2(&[backend.h2()])] {
        let (home, form) = (balancer.certificate.folder.path().to_owned(), &FORMS[4]);
        let mut curl = balancer.curl_command();
        let events = form.url(&balancer, "/events?id=one");
        let small = form.url(&balancer, "/");
        // A stream that never ends, and fifty others beside it on the same connection.
        curl.args(form.flags).args(["-Z", "--parallel-max", "100"]).current_dir(home);
        curl.args(["-o", "/dev/null", &events]);
        for _ in 0..50 {
            curl.args(["-o", "/dev/null", &small]);
        }
        let curl = Guarded::spawn(&mut curl);
        let records = balancer.towpath.records(50);
        assert!(records.iter().all(|record| record.text("end") == "served"), "{records:#?}");
        let client = records[0].text("client");
        assert!(records.iter().all(|record| record.text("client") == client), "{records:#?}");
        drop(curl);
    }
}
