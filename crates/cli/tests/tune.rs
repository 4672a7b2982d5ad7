//! `towpath tune` finds what helps, says what does not, and prints what to keep.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::net::Server;
use support::ports::free_address;
use support::proxies::read_head;
use support::towpath::{Guarded, Towpath, command, output};
use support::wait_for;

/// A far end, and a way to it that carries only so much a second for each connection.
struct Tunnel {
    far: Towpath,
    /// Where the far end itself listens.
    listen: String,
    throttle: Towpath,
    way: String,
    key: String,
    folder: tempfile::TempDir,
}

impl Tunnel {
    fn start() -> Self {
        Self::at("2MiB/s")
    }

    fn at(rate: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = new_key(&folder, "key");
        let (listen, way) = (free_address(), free_address());
        let words =
            ["tunnel", &listen, "--key-file", &key, "--allow-dest", "127.0.0.0/8", "--log-format", "json"];
        let far = Towpath::start(command(words));
        // Nothing waits in the middle, which would let more through at first than it carries.
        const SHORT: &str = "receive_buffer = \"64KiB\"\nsend_buffer = \"64KiB\"\n";
        let throttle = Towpath::file(&format!(
            "[[listener]]\nname = \"way\"\nbind = \"{way}\"\npool = \"far\"\nbandwidth_per_connection = \"{rate}\"\n\
             {SHORT}\n[[pool]]\nname = \"far\"\nbackend = [\"{listen}\"]\n{SHORT}"
        ));
        Self { far, listen, throttle, way, key, folder }
    }

    fn url(&self, words: &str) -> String {
        format!("towpath://{}?key-file={}&{words}", self.way, self.key)
    }

    /// `towpath tune` with these words: its exit code, and what it prints on either output.
    fn tune(&self, target: &str, words: &str, flags: &[&str]) -> (Option<i32>, String, String) {
        let url = self.url(words);
        output(command(["tune", target, "--via", &url].iter().chain(flags)))
    }
}

fn new_key(folder: &tempfile::TempDir, name: &str) -> String {
    let path = folder.path().join(name).display().to_string();
    assert_eq!(output(command(["tunnel", "--new-key", &path])).0, Some(0));
    path
}

/// How many bytes a request wants from the start.
fn range(head: &str) -> Option<usize> {
    let last = head.lines().find_map(|line| line.strip_prefix("Range: bytes=0-"))?;
    last.trim().parse::<usize>().ok().map(|last| last + 1)
}

/// A server with a large page and a place for bodies.
fn server() -> String {
    counting_server(&Arc::default())
}

/// The same, which counts its requests.
fn counting_server(requests: &Arc<AtomicUsize>) -> String {
    let requests = requests.clone();
    let server = Server::start();
    let address = server.address();
    let noise = || (0..50_000_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8);
    let noise: Arc<Vec<u8>> = Arc::new(noise().collect());
    thread::spawn(move || {
        loop {
            let (mut stream, noise) = (server.accept(), noise.clone());
            requests.fetch_add(1, SeqCst);
            thread::spawn(move || {
                let Some(head) = read_head(&mut stream) else { return };
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                if let Some(length) = length.and_then(|length| length.trim().parse::<u64>().ok()) {
                    std::io::copy(&mut (&stream).take(length), &mut std::io::sink()).unwrap();
                    return stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                }
                let (status, count) = match head.starts_with("GET /large") {
                    true => ("206 Partial Content", range(&head).unwrap_or(noise.len()).min(noise.len())),
                    false => ("404 Not Found", 0),
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {count}\r\n\r\n");
                // Whoever asks may have enough.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&noise[..count]));
            });
        }
    });
    address
}

#[test]
fn more_lanes_help_where_each_is_slow() {
    let tunnel = Tunnel::start();
    let plot = tunnel.folder.path().join("plot.svg").display().to_string();
    let target = format!("http://{}/large", server());
    let flags = ["--only", "lanes", "--pairs", "5", "--seconds", "23", "--plot", &plot];
    let (code, text, errors) = tunnel.tune(&target, "lanes=1&compress=off", &flags);
    assert_eq!(code, Some(0), "{text}{errors}");
    let line = |name: &str| {
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"))
    };
    // How many are best depends on what else the machine does.
    let helpful = ["lanes=4", "lanes=8", "lanes=16"].map(|name| line(&format!("{name} ")).ends_with("helps"));
    assert!(helpful.contains(&true), "{text}");
    assert!(line("Helps: ").contains("lanes="), "{text}");
    assert!(text.contains("[[pool]]\nname = \"target\"\nvia = [\"towpath://"), "{text}");
    let kept = text.lines().find(|line| line.starts_with("via = ")).unwrap();
    assert!(!kept.contains("lanes=1\"") && kept.contains("compress=off"), "the best is kept: {kept}");
    assert!(text.contains("Not tried: lanes=auto. It takes time"), "{text}");
    assert_checked(&tunnel, text.find("[[pool]]").map(|at| &text[at..]).unwrap());
    let svg = fs::read_to_string(&plot).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("lanes=8") && svg.trim_end().ends_with("</svg>"),
        "{svg}"
    );
    drop((tunnel.far, tunnel.throttle));
}

/// What is printed is a pool as a file has it.
fn assert_checked(tunnel: &Tunnel, pool: &str) {
    let file = tunnel.folder.path().join("kept.toml");
    let listener = "[[listener]]\nname = \"tune\"\nbind = \"127.0.0.1:1080\"\npool = \"target\"\n\n";
    fs::write(&file, format!("{listener}{pool}")).unwrap();
    let (code, text, errors) = output(command(["check", &file.display().to_string()]));
    assert_eq!(code, Some(0), "{pool}{text}{errors}");
}

#[test]
fn what_goes_up_slowly_is_measured_too() {
    let tunnel = Tunnel::at("24KiB/s");
    let flags = ["--only", "mss", "--pairs", "2", "--seconds", "14", "--upload", "--json"];
    let (code, text, errors) = tunnel.tune(&server(), "lanes=1&compress=off", &flags);
    assert_eq!(code, Some(0), "{text}{errors}");
    let report: Value = serde_json::from_str(&text).unwrap();
    // 24 KiB are 0.2 Mbit.
    let rate = report["as_it_is_megabits_per_second"].as_f64().unwrap();
    assert!((0.02..1.0).contains(&rate), "{text}");
    assert!(report["findings"][0]["times"].is_number(), "{text}");
}

#[test]
fn an_amount_is_enough_for_all_and_not_exceeded() {
    let tunnel = Tunnel::start();
    let target = format!("http://{}/large", server());
    let url = format!("towpath://{}?key-file={}", tunnel.listen, tunnel.key);
    let words = ["tune", &target, "--via", &url, "--only", "lanes", "--seconds", "30", "--amount", "60"];
    let (code, text, errors) = output(command(words.into_iter().chain(["--json"])));
    assert_eq!(code, Some(0), "{text}{errors}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.len() == 5 && findings.iter().all(|finding| finding["times"].is_number()), "{text}");
    assert!(report["carried_bytes"].as_u64().unwrap() <= 60_000_000, "{text}");
    assert!(report["notes"].to_string().contains("The --amount was too small for lanes=auto"), "{text}");
}

#[test]
fn what_goes_up_is_measured_too() {
    let tunnel = Tunnel::start();
    let flags = ["--only", "lanes", "--pairs", "2", "--seconds", "8", "--upload"];
    let (code, text, errors) = tunnel.tune(&server(), "lanes=1&compress=off", &flags);
    assert_eq!(code, Some(0), "{text}{errors}");
    let measured = text.lines().filter(|line| line.starts_with("lanes=") && line.contains(" to "));
    assert!(measured.count() >= 3, "{text}");
    assert!(!text.contains("not measured: "), "{text}");
}

#[test]
fn text_is_compressed_where_the_way_is_slow() {
    let tunnel = Tunnel::start();
    let body = tunnel.folder.path().join("text").display().to_string();
    fs::write(&body, "one line of a text that says nothing new\n".repeat(10_000)).unwrap();
    let flags =
        ["--upload", "--body", &body, "--only", "compress", "--pairs", "4", "--seconds", "14", "--json"];
    let (code, text, errors) = tunnel.tune(&server(), "lanes=1&compress=off", &flags);
    assert_eq!(code, Some(0), "{text}{errors}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let verdict = |change: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["change"] == change).unwrap()["verdict"].clone()
    };
    // Whether `auto` compresses is up to how fast the machine is beside the way.
    assert_eq!(
        (verdict("compress=zstd"), verdict("compress=lz4")),
        ("helps".into(), "helps".into()),
        "{text}"
    );
    assert_eq!(report["once_more"]["verdict"], "helps", "{text}");
    let keep = report["keep"].as_array().unwrap();
    assert!(keep.len() == 1 && keep[0].as_str().unwrap().starts_with("compress="), "{text}");
    assert!(report["file"].as_str().unwrap().contains("&compress="), "{text}");
}

#[test]
fn hops_before_the_tunnel_carry_the_options_of_sockets() {
    let tunnel = Tunnel::start();
    let listen = free_address();
    // With an option of its own its records tell what its sockets are like.
    let words = ["proxy", &listen, "--allow-dest", "127.0.0.0/8", "--quickack", "--log-format", "json"];
    let proxy = Towpath::start(command(words));
    let (target, first) = (format!("http://{}/large", server()), format!("http://{listen}"));
    let url = tunnel.url("lanes=8");
    let words = ["tune", &target, "--via", &first, "--via", &url, "--pairs", "2", "--seconds", "8"];
    let (code, text, errors) = output(command(words.into_iter().chain(["--only", "mss,window"])));
    assert_eq!(code, Some(0), "{text}{errors}");
    assert!(text.contains("\nmss=536 ") && !text.contains("not measured"), "{text}");
    // What the proxy sends fits into segments of whoever connected to it: eight lanes as they are, and eight of each change.
    let records = proxy.records(32);
    let sizes: Vec<_> =
        records.iter().map(|record| record.0["client_socket"]["mss"].as_u64().unwrap()).collect();
    let of = |least: u64, most: u64| sizes.iter().filter(|size| (least..=most).contains(size)).count();
    assert!(of(500, 536) >= 8 && of(1100, 1200) >= 8 && of(1201, u64::MAX) >= 16, "{sizes:?}");
}

#[test]
fn signals_end_it_with_what_is_known() {
    for signal in [Signal::INT, Signal::TERM] {
        let tunnel = Tunnel::start();
        let url = tunnel.url("lanes=4");
        let requests = Arc::new(AtomicUsize::new(0));
        let target = format!("http://{}/large", counting_server(&requests));
        let mut command = command(["tune", &target, "--via", &url, "--only", "lanes", "--seconds", "30"]);
        let mut child = Guarded::spawn(command.stdout(Stdio::piped()));
        // The way as it is takes three or so to warm up, and the first change two.
        wait_for("a change that is measured", || (requests.load(SeqCst) >= 14).then_some(()));
        child.signal(signal);
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().code(), Some(0), "{text}");
        assert!(text.contains("It was ended before all was measured") && text.contains("[[pool]]"), "{text}");
    }
}

#[test]
fn a_signal_does_not_wait_for_a_server_that_says_nothing() {
    let (tunnel, server) = (Tunnel::start(), Server::start());
    let (target, url) = (format!("http://{}/large", server.address()), tunnel.url("lanes=4"));
    let mut command = command(["tune", &target, "--via", &url, "--only", "lanes"]);
    let mut child = Guarded::spawn(command.stderr(Stdio::piped()));
    let mut stream = server.accept();
    assert!(read_head(&mut stream).is_some());
    let asked = Instant::now();
    child.signal(Signal::TERM);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().code(), errors.as_str()), (Some(0), "towpath: nothing was measured yet\n"));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn a_tunnel_that_ends_is_no_fault_of_a_change() {
    let tunnel = Tunnel::start();
    let url = tunnel.url("lanes=4&resume_timeout=1s");
    let requests = Arc::new(AtomicUsize::new(0));
    let target = format!("http://{}/large", counting_server(&requests));
    let command = command(["tune", &target, "--via", &url, "--only", "lanes", "--seconds", "60"]);
    let measuring = thread::spawn(move || output(command));
    wait_for("a change that is measured", || (requests.load(SeqCst) >= 10).then_some(()));
    drop(tunnel.far);
    let (code, text, errors) = measuring.join().unwrap();
    assert_eq!(code, Some(1), "{text}{errors}");
    assert!(errors.contains("the way as it is, without any change, does not work any more"), "{errors}");
    assert!(text.contains("It was ended before all was measured."), "{text}");
}

#[test]
fn mistakes_are_told_before_anything_is_measured() {
    let tunnel = Tunnel::start();
    let refused = |target: &str, url: &str, flags: &[&str]| {
        let (code, text, errors) = output(command(["tune", target, "--via", url].iter().chain(flags)));
        assert_eq!((code, text.as_str()), (Some(2), ""), "{errors}");
        errors
    };
    let url = tunnel.url("lanes=1");
    assert!(refused("127.0.0.1:1", "http://127.0.0.1:3128", &[]).contains("the last --via is no tunnel"));
    assert!(refused("https://a.example/", &url, &[]).contains("give http://HOST:PORT/PATH"));
    assert!(refused("127.0.0.1:1", &url, &["--seconds", "3"]).contains("give --seconds"));
    assert!(refused("127.0.0.1:1", &url, &["--only", "lanes", "--amount", "1"]).contains("give --amount 27"));
    let nowhere = tunnel.folder.path().join("none/plot.svg").display().to_string();
    assert!(refused("127.0.0.1:1", &url, &["--plot", &nowhere]).contains("none/plot.svg cannot be written"));
    assert!(refused("127.0.0.1:1", &tunnel.url("lanes=1&lames=2"), &[]).contains("lames"));
    assert!(refused("127.0.0.1:1", &url, &["--only", "compress"]).contains("--upload tries what goes up"));
    assert!(refused("127.0.0.1:1", &url, &["--upload", "--body", "/dev/null"]).contains("is empty"));
}

#[test]
fn a_target_that_is_not_to_be_had_is_told() {
    let tunnel = Tunnel::start();
    let plot = tunnel.folder.path().join("plot.svg").display().to_string();
    fs::write(&plot, "of before").unwrap();
    let flags = ["--only", "mss", "--seconds", "20", "--plot", &plot];
    let (code, _, errors) = tunnel.tune(&format!("http://{}/nothing", server()), "lanes=1", &flags);
    assert_eq!(code, Some(1), "{errors}");
    assert_eq!(fs::read_to_string(&plot).unwrap(), "of before");
    assert!(errors.contains("HTTP/1.1 404 Not Found`; name something large"), "{errors}");
    let (code, _, errors) = tunnel.tune(&format!("http://{}/large", free_address()), "lanes=1", &flags);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("is not to be had through the tunnel"), "{errors}");
    let other = new_key(&tunnel.folder, "other");
    let url = format!("towpath://{}?key-file={other}", tunnel.way);
    let (code, _, errors) = output(command(["tune", "127.0.0.1:1", "--via", &url, "--only", "mss"]));
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("another key"), "{errors}");
}
