//! Who may come in, and as whom: networks, limits of one client, PROXY headers of others and ours.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::net::{End, Server, connect, pair, read_exactly, read_to_end, telling_server, try_connect};
use support::ports::{free_address, free_port};
use support::services::configured;
use support::towpath::Towpath;

fn config(listen: &str, backend: &str, listener: &str, pool: &str) -> String {
    format!(
        "[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n{listener}\n\
         [[pool]]\nname = \"out\"\nbackend = \"{backend}\"\n{pool}\n"
    )
}

/// Whether a client is reset before a byte comes, be it before it knows that it is connected.
fn is_refused(listen: &str) -> bool {
    try_connect(listen).map_or(true, |mut stream| read_to_end(&mut stream) == (Vec::new(), End::Reset))
}

#[test]
fn networks_say_who_comes_in() {
    for (rules, is_in) in [
        ("allow = \"127.0.0.0/8\"", true),
        ("allow = [\"10.0.0.0/8\", \"127.0.0.1\"]", true),
        ("allow = \"10.0.0.0/8\"", false),
        ("deny = \"127.0.0.1\"", false),
        ("allow = \"127.0.0.1\"\ndeny = \"127.0.0.0/8\"", false),
        ("deny = \"::ffff:127.0.0.1\"", false),
        ("allow = \"::ffff:127.0.0.0/104\"", true),
    ] {
        let listen = free_address();
        let towpath = Towpath::file(&config(&listen, &telling_server("hello"), rules, ""));
        assert_eq!(is_refused(&listen), !is_in, "{rules}");
        if !is_in {
            (0..20).for_each(|_| assert!(is_refused(&listen)));
            towpath.stderr.wait("a count of all that were refused", |lines| {
                let counts = lines
                    .iter()
                    .filter_map(|line| line.split_once("listener in refused ")?.1.split(' ').next());
                (counts.filter_map(|count| count.parse::<u32>().ok()).sum::<u32>() == 21).then_some(())
            });
            let lines = towpath.stderr.so_far();
            assert!(lines.iter().filter(|line| line.contains("refused")).count() < 5, "{lines:#?}");
            assert!(towpath.stop(0).is_empty(), "they share a line, and leave no records");
        }
    }
}

#[test]
fn one_client_has_its_limits() {
    let (listen, server) = (free_address(), Server::start());
    let towpath = Towpath::file(&config(&listen, &server.address(), "max_connections_per_client = 2", ""));
    let (first, second) = (pair(&listen, &server), pair(&listen, &server));
    assert!(is_refused(&listen));
    drop(first);
    towpath.records(1);
    let (third, _) = pair(&listen, &server);
    drop((second, third));
    let listen = free_address();
    let towpath = Towpath::file(&config(&listen, &telling_server("x"), "rate_per_client = \"3/m\"", ""));
    assert_eq!(read_to_end(&mut connect(&listen)).0, b"x");
    assert!(is_refused(&listen), "the second comes too soon");
    towpath.stderr.wait_for("too many new connections of one client");
}

#[test]
fn the_first_bytes_of_connections_that_come_anew_count_too() {
    let (listen, server) = (free_address(), Server::start());
    let _towpath = Towpath::file(&config(&listen, &server.address(), "bandwidth = { up = \"100kB/s\" }", ""));
    let (start, count, bytes) = (Instant::now(), 10, [b'x'; 16_000]);
    for _ in 0..count {
        let mut client = connect(&listen);
        client.write_all(&bytes).unwrap();
        let mut served = server.accept();
        read_exactly(&mut served, bytes.len());
    }
    // The last ones are owed when they have arrived.
    let least = Duration::from_secs_f64((count - 2) as f64 * bytes.len() as f64 / 100_000.0);
    assert!(start.elapsed() > least, "{:?}", start.elapsed());
}

#[test]
fn a_reload_forgets_no_limit_that_stays() {
    let (listen, server) = (free_address(), Server::start());
    let text = |deny: &str| {
        config(&listen, &server.address(), &format!("max_connections_per_client = 1\n{deny}"), "")
    };
    let towpath = Towpath::file(&text(""));
    let _first = pair(&listen, &server);
    assert!(is_refused(&listen));
    std::fs::write(towpath.folder().join("towpath.toml"), text("deny = \"10.0.0.0/8\"")).unwrap();
    towpath.signal(Signal::HUP);
    towpath.stderr.wait_for("reloaded");
    assert!(is_refused(&listen));
}

/// Sends `bytes` and tells how the connection went on: what the server got and the reason of the record.
fn as_proxy(bytes: &[u8], versions: &str, by_bytes: bool) -> (Option<Vec<u8>>, String, String) {
    let (listen, server) = (free_address(), Server::start());
    let listener = format!(
        "proxy_protocol = \"{versions}\"\ntrusted = \"127.0.0.1\"\nproxy_protocol_timeout = \"300ms\""
    );
    let towpath = Towpath::file(&config(&listen, &server.address(), &listener, "hold = \"off\""));
    let mut client = connect(&listen);
    if by_bytes {
        client.set_nodelay(true).unwrap();
        for byte in bytes {
            client.write_all(&[*byte]).unwrap();
        }
    } else {
        let _ = client.write_all(bytes);
    }
    let _ = client.shutdown(std::net::Shutdown::Write);
    let is_taken = matches!(bytes, [b'P', b'R', b'O', b'X', b'Y', b' ', b'T' | b'U', ..] | [b'\r', ..])
        && bytes.ends_with(b"hello");
    let got = is_taken.then(|| {
        let mut served = server.accept();
        read_to_end(&mut served).0
    });
    let _ = client.read(&mut [0; 10]);
    let record = towpath.records(1).remove(0);
    (got, record.text("client").to_owned(), record.end())
}

fn v2(command: u8, family: u8, body: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body, payload].concat()
}

#[test]
fn headers_of_trusted_peers_say_who_the_client_is() {
    let v4 = [192, 0, 2, 7, 192, 0, 2, 1, 0x1f, 0x90, 0, 80];
    let v6 = [&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[0x1f, 0x90, 0, 80]]
        .concat();
    for (bytes, client) in [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 8080 80\r\nhello".to_vec(), "192.0.2.7:8080"),
        (b"PROXY TCP6 2001:db8::7 ::1 8080 80\r\nhello".to_vec(), "[2001:db8::7]:8080"),
        (v2(0x21, 0x11, &v4, b"hello"), "192.0.2.7:8080"),
        (v2(0x21, 0x21, &v6, b"hello"), "[2001:db8::7]:8080"),
        (b"PROXY UNKNOWN\r\nhello".to_vec(), "127.0.0.1:"),
        (v2(0x20, 0x00, &[], b"hello"), "127.0.0.1:"),
        (v2(0x20, 0xff, b"anything", b"hello"), "127.0.0.1:"),
    ] {
        for by_bytes in [false, true] {
            let (got, told, end) = as_proxy(&bytes, "any", by_bytes);
            assert_eq!(got.as_deref(), Some(&b"hello"[..]), "{bytes:?}");
            assert!(told.starts_with(client), "{told} is not {client}");
            assert!(end.starts_with("relay"), "{end}");
        }
    }
}

#[test]
fn bad_headers_end_the_connection_and_nothing_else() {
    for (bytes, versions, why) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "any", "none"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 8080 80\r\nhell0".to_vec(), "v2", "none"),
        (v2(0x21, 0x11, &[0; 12], b"hell0"), "v1", "none"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 99999 80\r\n".to_vec(), "any", "bad port"),
        ([b"PROXY TCP4 ".to_vec(), vec![b'1'; 120]].concat(), "any", "bad line"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 8080 80\n".to_vec(), "any", "bad line"),
        (v2(0x21, 0x11, &[0; 5], b""), "any", "bad length"),
        (v2(0x23, 0x11, &[0; 12], b""), "any", "bad command"),
        (v2(0x21, 0x12, &[0; 12], b""), "any", "bad family"),
        (v2(0x21, 0x11, &[&[0; 12][..], &[1, 0, 9]].concat(), b""), "any", "bad TLV"),
        (v2(0x21, 0x11, &[&[0; 12][..], &[3, 0, 4, 0, 0, 0, 0]].concat(), b""), "any", "bad checksum"),
        (b"PROXY TCP4 192.0".to_vec(), "any", "not whole"),
        (b"".to_vec(), "any", "not whole"),
    ] {
        let (_, _, end) = as_proxy(&bytes, versions, false);
        assert_eq!(end, format!("identify: PROXY header: {why}"), "{bytes:?}");
    }
}

#[test]
fn nobody_else_may_send_a_header_and_silence_has_an_end() {
    let (listen, server) = (free_address(), Server::start());
    let listener = "proxy_protocol = \"any\"\ntrusted = \"192.0.2.0/24\"";
    let towpath = Towpath::file(&config(&listen, &server.address(), listener, ""));
    assert!(is_refused(&listen));
    assert_eq!(towpath.stop(1)[0].end(), "identify: PROXY header: not trusted");
    let listener = "proxy_protocol = \"any\"\ntrusted = \"127.0.0.1\"\nproxy_protocol_timeout = \"200ms\"";
    let listen = free_address();
    let towpath = Towpath::file(&config(&listen, &server.address(), listener, ""));
    let mut silent = connect(&listen);
    assert_eq!(read_to_end(&mut silent), (Vec::new(), End::Reset));
    assert_eq!(towpath.stop(1)[0].end(), "identify: PROXY header: late");
}

/// Asks an HTTP server and returns its answer.
fn ask(address: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    String::from_utf8_lossy(&read_to_end(&mut stream).0).into_owned()
}

fn own_address(stream: &TcpStream) -> String {
    stream.local_addr().unwrap().to_string()
}

#[test]
fn haproxy_tells_us_its_clients() {
    for (version, send) in [("v1", "send-proxy"), ("v2", "send-proxy-v2")] {
        let (listen, port) = (free_address(), free_port());
        let listener = format!("proxy_protocol = \"{version}\"\ntrusted = \"127.0.0.0/8\"");
        let towpath = Towpath::file(&config(&listen, &telling_server("hello"), &listener, ""));
        let text = format!(
            "global\n maxconn 100\ndefaults\n mode tcp\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
             listen in\n bind 127.0.0.1:{port}\n server one {listen} {send}\n"
        );
        let haproxy = configured("haproxy", port, &text);
        let mut client = connect(haproxy.address());
        let told = own_address(&client);
        assert_eq!(read_to_end(&mut client).0, b"hello");
        drop(client);
        // HAProxy's look at its own port may be a connection too.
        towpath.stdout.wait_for(&format!("\"client\":\"{told}\""));
    }
}

#[test]
fn nginx_tells_us_its_clients() {
    let (listen, port) = (free_address(), free_port());
    let listener = "proxy_protocol = \"v1\"\ntrusted = \"127.0.0.0/8\"";
    let towpath = Towpath::file(&config(&listen, &telling_server("hello"), listener, ""));
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off; master_process off; pid FOLDER/pid; error_log stderr;\nevents {{ worker_connections 100; }}\n\
         stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass {listen}; proxy_protocol on; }} }}\n"
    );
    let nginx = configured("nginx", port, &text);
    let mut client = connect(nginx.address());
    let told = own_address(&client);
    assert_eq!(read_to_end(&mut client).0, b"hello");
    drop(client);
    towpath.stdout.wait_for(&format!("\"client\":\"{told}\""));
}

#[test]
fn haproxy_and_nginx_hear_of_our_clients() {
    for version in ["v1", "v2"] {
        let (listen, port) = (free_address(), free_port());
        let text = format!(
            "global\n maxconn 100\ndefaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
             frontend in\n bind 127.0.0.1:{port} accept-proxy\n \
             http-request return status 200 content-type text/plain lf-string \"client %[src]:%[src_port]\"\n"
        );
        let haproxy = configured("haproxy", port, &text);
        let _towpath =
            Towpath::file(&config(&listen, &haproxy.address(), "", &format!("send_proxy = \"{version}\"")));
        let mut stream = connect(&listen);
        let told = own_address(&stream);
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let answer = String::from_utf8_lossy(&read_to_end(&mut stream).0).into_owned();
        assert!(answer.contains(&format!("client {told}")), "{version}: {answer}");
        let port = free_port();
        let text = format!(
            "daemon off; master_process off; pid FOLDER/pid; error_log stderr;\nevents {{ worker_connections 100; }}\n\
             http {{ access_log off; client_body_temp_path FOLDER; proxy_temp_path FOLDER; fastcgi_temp_path FOLDER;\n\
             uwsgi_temp_path FOLDER; scgi_temp_path FOLDER; server {{ listen 127.0.0.1:{port} proxy_protocol;\n\
             location / {{ return 200 \"client $proxy_protocol_addr:$proxy_protocol_port\"; }} }} }}\n"
        );
        let nginx = configured("nginx", port, &text);
        let listen = free_address();
        let _towpath =
            Towpath::file(&config(&listen, &nginx.address(), "", &format!("send_proxy = \"{version}\"")));
        let answer = ask(&listen);
        assert!(answer.contains("client 127.0.0.1:"), "{version}: {answer}");
    }
}

#[test]
fn what_a_header_says_is_passed_on() {
    let (listen, server) = (free_address(), Server::start());
    let listener = "proxy_protocol = \"any\"\ntrusted = \"127.0.0.1\"";
    let _towpath = Towpath::file(&config(&listen, &server.address(), listener, "send_proxy = \"v1\""));
    let mut client = connect(&listen);
    client.write_all(b"PROXY TCP6 2001:db8::7 2001:db8::1 8080 80\r\nhello").unwrap();
    let expected = b"PROXY TCP6 2001:db8::7 2001:db8::1 8080 80\r\nhello";
    assert_eq!(read_exactly(&mut server.accept(), expected.len()), expected);
}

#[test]
fn servers_see_the_source_address_that_is_wanted() {
    for (source, expected) in
        [("\"127.0.0.9\"", "127.0.0.9"), ("[\"127.0.0.8\"]", "127.0.0.8"), ("\"client\"", "127.0.0.1")]
    {
        let (listen, server) = (free_address(), Server::start());
        let _towpath = Towpath::file(&config(&listen, &server.address(), "", &format!("source = {source}")));
        let (_client, served) = pair(&listen, &server);
        assert_eq!(served.peer_addr().unwrap().ip().to_string(), expected);
    }
}

#[test]
fn a_client_whose_address_a_server_cannot_see_does_not_reach_it() {
    let (listen, server) = (free_address(), Server::start());
    let rules = "proxy_protocol = \"v1\"\ntrusted = \"127.0.0.1\"";
    let towpath = Towpath::file(&config(&listen, &server.address(), rules, "source = \"client\""));
    let mut client = connect(&listen);
    client.write_all(b"PROXY TCP6 2001:db8::7 ::1 8080 80\r\nhello").unwrap();
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    assert_eq!(towpath.records(1)[0].end(), "connect: no source address");
    // The next one to arrive is the one that may.
    let mut client = connect(&listen);
    client.write_all(b"PROXY TCP4 127.0.0.1 127.0.0.1 8080 80\r\nhello").unwrap();
    assert_eq!(read_exactly(&mut server.accept(), 5), b"hello");
}

#[test]
fn servers_are_told_an_id_that_is_in_the_record() {
    let (listen, server) = (free_address(), Server::start());
    let towpath = Towpath::file(&config(&listen, &server.address(), "", "send_proxy = \"v2\""));
    let ids: Vec<String> = (0..2)
        .map(|number| {
            let client = connect(&listen);
            let header = read_exactly(&mut server.accept(), 16 + 12 + 7 + 3 + 32);
            let at = header.windows(3).position(|bytes| bytes == [5, 0, 32]).unwrap() + 3;
            drop(client);
            let record = towpath.records(number + 1).remove(number);
            assert_eq!(record.text("id").as_bytes(), &header[at..at + 32]);
            record.text("id").to_owned()
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn bandwidth_is_limited_each_way() {
    let (listen, server) = (free_address(), Server::start());
    let rules = "bandwidth_per_connection = { up = \"1MiB/s\" }\nbandwidth_per_client = \"4MiB/s\"";
    let _towpath = Towpath::file(&config(&listen, &server.address(), rules, ""));
    let (mut client, mut served) = pair(&listen, &server);
    let data = vec![5; 1 << 20];
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| client.write_all(&data).unwrap());
        assert_eq!(read_exactly(&mut served, data.len()), data);
    });
    let seconds = start.elapsed().as_secs_f64();
    assert!((0.8..2.5).contains(&seconds), "a MiB up took {seconds} s");
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..2).for_each(|_| served.write_all(&data).unwrap()));
        assert_eq!(read_exactly(&mut client, 2 * data.len()).len(), 2 * data.len());
    });
    let seconds = start.elapsed().as_secs_f64();
    assert!((0.4..2.0).contains(&seconds), "two MiB down took {seconds} s");
}

#[test]
fn clients_of_one_name_go_to_one_server() {
    let listen = free_address();
    let names: Vec<String> = (0..4).map(|number| format!("s{number}")).collect();
    let backends: Vec<String> = names.iter().map(|name| format!("\"{}\"", telling_server(name))).collect();
    let text = format!(
        "[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n[[pool]]\nname = \"out\"\n\
         balance = \"hash\"\nhash_key = \"source\"\nbackend = [{}]\n",
        backends.join(", ")
    );
    let _towpath = Towpath::file(&text);
    let told: Vec<_> = (0..20).map(|_| read_to_end(&mut connect(&listen)).0).collect();
    assert!(told.iter().all(|name| *name == told[0]), "{told:?}");
}

#[test]
fn a_tls_client_goes_where_its_server_name_belongs() {
    let (port, servers) = (free_port(), [0; 4].map(|_| telling_server("no TLS")));
    let backends: Vec<String> = servers.iter().map(|address| format!("\"{address}\"")).collect();
    let text = format!(
        "[[listener]]\nname = \"in\"\nbind = \"127.0.0.1:{port}\"\npool = \"out\"\n[[pool]]\nname = \"out\"\n\
         balance = \"hash\"\nhash_key = \"sni\"\nbackend = [{}]\n",
        backends.join(", ")
    );
    let towpath = Towpath::file(&text);
    let names: Vec<String> = (0..12).map(|number| format!("s{number}.test")).collect();
    for name in names.iter().chain(&names) {
        let mut curl = support::peers::program("curl");
        curl.args(["-sk", "--max-time", "10", "--resolve", &format!("{name}:{port}:127.0.0.1")]);
        curl.arg(format!("https://{name}:{port}/"));
        support::peers::run(curl, std::time::Duration::from_secs(20));
    }
    let records = towpath.records(24);
    let places: Vec<_> = records.iter().map(|record| record.text("backend")).collect();
    assert_eq!(places[..12], places[12..], "the same name, the same server");
    let different: std::collections::HashSet<_> = places.iter().collect();
    assert!(different.len() > 1, "not all names at one server: {places:?}");
}

#[test]
fn a_backend_that_drains_gets_no_new_connections() {
    let (listen, stays) = (free_address(), telling_server("stays"));
    let text = format!(
        "[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n[[pool]]\nname = \"out\"\n\
         backend = [{{ address = \"{}\", drain = true }}, \"{stays}\"]\n",
        telling_server("drains")
    );
    let _towpath = Towpath::file(&text);
    for _ in 0..6 {
        assert_eq!(read_to_end(&mut connect(&listen)).0, b"stays");
    }
}
