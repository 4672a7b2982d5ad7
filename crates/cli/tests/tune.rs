//! `towpath tune` finds what helps, says what does not, and prints what to keep.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;

use support::net::Server;
use support::ports::free_address;
use support::proxies::read_head;
use support::towpath::{Towpath, command, output};

/// A far end, and a way to it that carries 2 MiB a second for each connection.
struct Tunnel {
    far: Towpath,
    throttle: Towpath,
    way: String,
    key: String,
    folder: tempfile::TempDir,
}

impl Tunnel {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = new_key(&folder, "key");
        let (listen, way) = (free_address(), free_address());
        let words =
            ["tunnel", &listen, "--key-file", &key, "--allow-dest", "127.0.0.0/8", "--log-format", "json"];
        let far = Towpath::start(command(words));
        // Nothing waits in the middle, which would let more through at first than it carries.
        const SHORT: &str = "receive_buffer = \"64KiB\"\nsend_buffer = \"64KiB\"\n";
        let throttle = Towpath::file(&format!(
            "[[listener]]\nname = \"way\"\nbind = \"{way}\"\npool = \"far\"\nbandwidth_per_connection = \"2MiB/s\"\n\
             {SHORT}\n[[pool]]\nname = \"far\"\nbackend = [\"{listen}\"]\n{SHORT}"
        ));
        Self { far, throttle, way, key, folder }
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
    let server = Server::start();
    let address = server.address();
    let noise = || (0..50_000_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8);
    let noise: Arc<Vec<u8>> = Arc::new(noise().collect());
    thread::spawn(move || {
        loop {
            let (mut stream, noise) = (server.accept(), noise.clone());
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
    let flags = ["--only", "lanes", "--seconds", "24", "--plot", &plot];
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
    let svg = fs::read_to_string(&plot).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("lanes=8") && svg.trim_end().ends_with("</svg>"),
        "{svg}"
    );
    drop((tunnel.far, tunnel.throttle));
}

#[test]
fn what_goes_up_is_measured_too() {
    let tunnel = Tunnel::start();
    let flags = ["--only", "lanes", "--seconds", "14", "--upload"];
    let (code, text, errors) = tunnel.tune(&server(), "lanes=1&compress=off", &flags);
    assert_eq!(code, Some(0), "{text}{errors}");
    let measured = text.lines().filter(|line| line.starts_with("lanes=") && line.contains(" to "));
    assert!(measured.count() >= 3, "{text}");
    assert!(!text.contains("not measured: "), "{text}");
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
    assert!(refused("127.0.0.1:1", &tunnel.url("lanes=1&lames=2"), &[]).contains("lames"));
}

#[test]
fn a_target_that_is_not_to_be_had_is_told() {
    let tunnel = Tunnel::start();
    let flags = ["--only", "compress", "--seconds", "20"];
    let (code, _, errors) = tunnel.tune(&format!("http://{}/nothing", server()), "lanes=1", &flags);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("HTTP/1.1 404 Not Found"), "{errors}");
    let (code, _, errors) = tunnel.tune(&format!("http://{}/large", free_address()), "lanes=1", &flags);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("is not to be had through the tunnel"), "{errors}");
    let other = new_key(&tunnel.folder, "other");
    let url = format!("towpath://{}?key-file={other}", tunnel.way);
    let (code, _, errors) = output(command(["tune", "127.0.0.1:1", "--via", &url, "--only", "compress"]));
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("another key"), "{errors}");
}
