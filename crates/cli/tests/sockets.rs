//! Options of sockets from the outside: what the kernel has, what records tell, and what is refused.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::net::{End, Server, assert_echo, connect, echo_server, end_writes, read_with, telling_server};
use support::ports::{free_address, free_port};
use support::towpath::{Towpath, command, output};
use support::wire::sockets_from;

/// Every option that goes together, as a table has it.
const KEYS: &str = r#"
mss = 1200
send_buffer = "256KiB"
receive_buffer = "128KiB"
notsent_lowat = "16KiB"
congestion = "reno"
pacing_rate = "50MiB/s"
dscp = "af41"
quickack = true
cork = false
"#;

/// What the kernel makes of them.
fn expected() -> Value {
    json!({
        "mss": 1188,
        "congestion": "reno",
        "send_buffer": 2 * 256 * 1024,
        "receive_buffer": 2 * 128 * 1024,
        "notsent_lowat": 16 * 1024,
        "pacing_rate": 50 * 1024 * 1024,
        "dscp": 34,
    })
}

fn file(listen: &str, of_listener: &str, of_pool: &str) -> String {
    format!(
        "[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n{of_listener}\n[[pool]]\nname = \"out\"\n{of_pool}\n"
    )
}

fn hang_up(client: std::net::TcpStream) {
    let mut client = client;
    end_writes(&client);
    assert_eq!(read_with(&mut client, |_| ()), End::Fin);
}

#[test]
fn the_kernel_has_what_is_asked_and_the_record_tells() {
    let (port, backend) = (free_port(), echo_server());
    for host in ["127.0.0.1", "[::1]"] {
        let listen = format!("{host}:{port}");
        let text = file(&listen, KEYS, &format!("backend = \"{backend}\"\n{KEYS}"));
        let towpath = Towpath::file(&text);
        let mut client = connect(&listen);
        assert_echo(&mut client, "so far");
        let told = sockets_from(port);
        let [told] = &told[..] else { panic!("{told:#?}") };
        for word in [" reno ", "rb262144", "tb524288", "tos:0x88", "mss:1188"] {
            assert!(
                told.contains(word) || (word.starts_with("tos") && told.contains("tclass:0x88")),
                "{word}: {told}"
            );
        }
        hang_up(client);
        let record = towpath.stop(1).remove(0);
        assert_eq!(record.0["client_socket"], expected(), "{host}");
        assert_eq!(record.0["backend_socket"], expected(), "{host}");
    }
}

#[test]
fn a_record_in_text_has_them_too_and_one_without_options_has_nothing() {
    let listen = free_address();
    let arguments = ["tcp", &listen, &echo_server(), "--cork", "--congestion", "reno"];
    let towpath = Towpath::start(command(arguments));
    let mut client = connect(&listen);
    assert_echo(&mut client, "corked bytes come after a while");
    hang_up(client);
    let line = towpath.stdout.wait_for("end=");
    for side in ["client", "backend"] {
        assert!(line.contains(&format!(" {side}_socket=\"mss=")), "{line}");
    }
    assert!(line.contains(" congestion=reno ") && line.contains(" cork=true\" "), "{line}");

    let listen = free_address();
    let towpath = Towpath::tcp(&listen, &echo_server(), &[]);
    hang_up(connect(&listen));
    let record = towpath.record();
    assert!(
        record.0.get("client_socket").is_none() && record.0.get("backend_socket").is_none(),
        "{record:?}"
    );
}

#[test]
fn requests_tell_of_their_sockets_too() {
    let request = b"GET / HTTP/1.0\r\n\r\n";
    let ask = |listen: &str, request: &[u8]| {
        let mut client = connect(listen);
        std::io::Write::write_all(&mut client, request).unwrap();
        let mut answer = Vec::new();
        read_with(&mut client, |bytes| answer.extend_from_slice(bytes));
        String::from_utf8(answer).unwrap()
    };
    let backend = telling_server("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let (listen, proxy) = (free_address(), free_address());
    let options = ["--mss", "1000", "--congestion", "reno", "--log-format", "json"];
    let http = Towpath::start(command(["http", &listen, &backend].iter().chain(&options)));
    assert!(ask(&listen, request).ends_with("\r\nok"));
    let open = ["proxy", &proxy, "--open", "--allow-dest", "127.0.0.1"];
    let proxying = Towpath::start(command(open.iter().chain(&options)));
    let asked = format!("GET http://{backend}/ HTTP/1.0\r\n\r\n");
    assert!(ask(&proxy, asked.as_bytes()).ends_with("\r\nok"));
    for towpath in [http, proxying] {
        let record = towpath.record();
        for side in ["client_socket", "backend_socket"] {
            assert_eq!(record.0[side]["congestion"], "reno", "{record:?}");
            assert_eq!(record.0[side]["mss"], 988, "{record:?}");
        }
    }
}

#[test]
fn a_proxy_on_the_way_has_its_own() {
    let (listen, hop) = (free_address(), free_address());
    let proxy = Towpath::start(command([
        "proxy",
        &hop,
        "--open",
        "--allow-dest",
        "127.0.0.1",
        "--log-format",
        "json",
    ]));
    let via = format!("via = \"socks5://{hop}?congestion=reno&mss=1000&write_size=100&send_buffer=64KiB\"");
    let of_pool = format!("backend = \"{}\"\nmss = 1300\ndscp = 8\n{via}", echo_server());
    let towpath = Towpath::file(&file(&listen, "", &of_pool));
    let mut client = connect(&listen);
    assert_echo(&mut client, &"through the proxy in pieces ".repeat(100));
    hang_up(client);
    let record = towpath.record();
    let socket = &record.0["backend_socket"];
    assert_eq!(
        (&socket["congestion"], &socket["mss"], &socket["dscp"]),
        (&json!("reno"), &json!(988), &json!(8))
    );
    assert_eq!(socket["send_buffer"], 2 * 64 * 1024);
    drop(proxy);
}

#[test]
fn a_reload_changes_sockets_that_listen() {
    let (listen, backend) = (free_address(), echo_server());
    let of_pool = format!("backend = \"{backend}\"");
    let towpath = Towpath::file(&file(&listen, KEYS, &of_pool));
    let speak = |count: usize| {
        let mut client = connect(&listen);
        assert_echo(&mut client, "hello");
        hang_up(client);
        towpath.records(count).pop().unwrap().0["client_socket"].clone()
    };
    assert_eq!(speak(1), expected());
    let reload = |keys: &str, times: usize| {
        fs::write(towpath.folder().join("towpath.toml"), file(&listen, keys, &of_pool)).unwrap();
        towpath.signal(Signal::HUP);
        towpath.stderr.wait("a reload", |lines| {
            (lines.iter().filter(|line| line.contains("reloaded")).count() == times).then_some(())
        });
    };
    // A socket that listens is changed as the next client comes: those from then on have it.
    reload("mss = 700\nfastopen = true", 1);
    speak(2);
    let told = speak(3);
    assert_eq!((&told["mss"], &told["fastopen"]), (&json!(688), &json!(false)));
    assert_ne!(told["congestion"], "reno", "it is not that of before any more");
    assert_ne!(told["send_buffer"], expected()["send_buffer"]);
    reload("", 2);
    assert_eq!(speak(4), Value::Null);
}

#[test]
fn what_the_kernel_has_not_is_refused_with_what_it_has() {
    let (code, _, told) =
        output(command(["tcp", &free_address(), "127.0.0.1:1", "--congestion", "nonesuch"]));
    assert_eq!(code, Some(2), "{told}");
    let kernel = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap();
    let has = kernel.trim().replace(' ', ", ");
    let expected = format!("listener tcp: the kernel has no congestion control `nonesuch`; it has {has}");
    assert!(told.contains(&expected), "{told}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("towpath.toml");
    fs::write(
        &path,
        file(":1", "", "backend = \":1\"\ncongestion = \"nonesuch\"").replace("\":1\"\nc", "\"h:1\"\nc"),
    )
    .unwrap();
    let (code, _, told) = output(command(["check", path.to_str().unwrap()]));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("pool out: the kernel has no congestion control `nonesuch`"), "{told}");
}

#[test]
fn the_command_line_is_a_file() {
    let all = [
        "--mss",
        "1200",
        "--write-size",
        "100",
        "--write-gap",
        "5ms",
        "--send-buffer",
        "1MiB",
        "--receive-buffer",
        "64KiB",
        "--notsent-lowat",
        "16KiB",
        "--congestion",
        "reno",
        "--pacing-rate",
        "10MiB/s",
        "--fastopen",
        "--dscp",
        "46",
        "--quickack",
        "--print-config",
    ];
    let keys = "mss = 1200\nwrite_size = 100\nwrite_gap = \"5ms\"\nsend_buffer = \"1MiB\"\n\
                receive_buffer = \"64KiB\"\nnotsent_lowat = \"16KiB\"\ncongestion = \"reno\"\n\
                pacing_rate = \"10MiB/s\"\nfastopen = true\ndscp = 46\nquickack = true\n";
    for start in [
        vec!["tcp", ":80", "b:80"],
        vec!["http", ":80", "b:80"],
        vec!["proxy", "127.0.0.1:80"],
        vec!["tunnel", ":7000", "--plain"],
    ] {
        let (code, told, error) = output(command(start.iter().chain(&all)));
        assert_eq!(code, Some(0), "{error}");
        assert_eq!(told.matches(keys.trim_end()).count(), 2, "{told}");
    }
    let some = ["--mptcp", "--cork", "--no-nodelay", "--dscp", "ef", "--print-config"];
    let keys = "nodelay = false\ncork = true\nmptcp = true\ndscp = \"ef\"";
    let (_, told, _) = output(command(["tcp", ":80", "b:80"].iter().chain(&some)));
    assert_eq!(told.matches(keys).count(), 2, "{told}");
    // A unix socket has none of them.
    let (_, told, error) = output(command(["tcp", "unix:/run/a.sock", "b:80"].iter().chain(&some)));
    assert_eq!(told.matches(keys).count(), 1, "{told}{error}");
    let (_, told, error) = output(command(["tcp", ":80", "unix:/run/a.sock"].iter().chain(&some)));
    assert_eq!(told.matches(keys).count(), 1, "{told}{error}");
}

#[test]
fn an_answer_that_is_corked_comes_all_the_same() {
    let (listen, server) = (free_address(), Server::start());
    let towpath = Towpath::tcp(&listen, &server.address(), &["--cork"]);
    let (mut client, mut served) = support::net::pair(&listen, &server);
    std::io::Write::write_all(&mut client, b"ask").unwrap();
    assert_eq!(support::net::read_exactly(&mut served, 3), b"ask");
    std::io::Write::write_all(&mut served, b"answer").unwrap();
    end_writes(&served);
    let mut answer = Vec::new();
    assert_eq!(read_with(&mut client, |bytes| answer.extend_from_slice(bytes)), End::Fin);
    assert_eq!(answer, b"answer");
    hang_up(client);
    assert_eq!(towpath.stop(1)[0].bytes(), (3, 6));
}
