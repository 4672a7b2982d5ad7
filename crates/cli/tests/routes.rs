//! Several protocols on one port, told apart by their first bytes; and TLS that towpath speaks itself.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use support::net::{End, connect, echo_server, read_exactly, read_to_end, telling_server};
use support::peers::{program, run, run_well};
use support::ports::free_address;
use support::services::nginx;
use support::towpath::Towpath;
use support::{PATIENCE, wait_for};

/// What OpenSSL sends first to www.example.com, offering h2 and http/1.1.
const HELLO: &[u8] = include_bytes!("../../wire/tests/data/client_hello.bin");

/// A listener that knows a server of each kind by the name that it tells.
fn front(listen: &str, rest: &str) -> Towpath {
    let kinds = ["web", "other", "plain", "ssh", "pg", "socks", "rest"];
    let pools: Vec<String> = kinds
        .iter()
        .map(|kind| format!("[[pool]]\nname = '{kind}'\nbackend = '{}'\n", telling_server(kind)))
        .collect();
    Towpath::file(&format!(
        "[[listener]]\nname = 'front'\nbind = '{listen}'\nfirst_bytes_timeout = '300ms'\n{rest}
         route = [
           {{ match = 'tls_sni', name = '*.example.com', alpn = 'h2', pool = 'web' }},
           {{ match = 'tls_sni', pool = 'other' }},
           {{ match = 'http_host', name = 'a.example', pool = 'plain' }},
           {{ match = 'ssh', pool = 'ssh' }},
           {{ match = 'postgres', pool = 'pg' }},
           {{ match = 'socks', pool = 'socks' }},
         ]\n{}",
        pools.join("")
    ))
}

/// Who answers to these bytes, which come `size` at a time.
fn answers(listen: &str, bytes: &[u8], size: usize) -> (String, End) {
    let mut client = connect(listen);
    for piece in bytes.chunks(size.max(1)) {
        client.write_all(piece).unwrap();
    }
    let (told, end) = read_to_end(&mut client);
    (String::from_utf8(told).unwrap(), end)
}

#[test]
fn first_bytes_choose_the_pool_however_they_are_cut() {
    let listen = free_address();
    let towpath = front(&listen, "pool = 'rest'");
    let without_name = [&HELLO[..5], b"\x01\0\0"].concat(); // a hello that never ends
    let cases: [(&[u8], &str); 9] = [
        (HELLO, "web"),
        (b"GET / HTTP/1.1\r\nHost: A.example:80\r\n\r\n", "plain"),
        (b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", "rest"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "ssh"),
        (&[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f], "pg"),
        (&[5, 1, 0], "socks"),
        (b"HELO there\r\n", "rest"),
        (&without_name, "rest"),
        (b"", "rest"), // whoever waits for the server to speak
    ];
    let mut count = 0;
    for (bytes, name) in cases {
        for size in [bytes.len(), 1] {
            assert_eq!(answers(&listen, bytes, size), (name.to_owned(), End::Fin), "{bytes:?} by {size}");
            count += 1;
        }
    }
    towpath.stop(count);
}

#[test]
fn without_a_pool_for_the_rest_it_is_refused() {
    let listen = free_address();
    let towpath = front(&listen, "");
    assert_eq!(answers(&listen, HELLO, 100).0, "web");
    assert_eq!(answers(&listen, b"HELO there\r\n", 100), (String::new(), End::Reset));
    let records = towpath.stop(2);
    assert_eq!(records[1].end(), "route: no route");
}

/// An authority, and what it signs for `name` in files of `folder`.
fn certify(authority: &CertifiedIssuer<'static, KeyPair>, name: &str, folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "the authority of a test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn towpath_speaks_tls_to_clients_and_to_servers_and_loads_new_certificates() {
    let (nginx, inner, outer, folder) =
        (nginx(), free_address(), free_address(), tempfile::tempdir().unwrap());
    fs::write(nginx.folder.path().join("root/page"), "the page").unwrap();
    let (authority, at) = (authority(), folder.path().display());
    certify(&authority, "one.example", folder.path());
    let ends = Towpath::file(&format!(
        "[[listener]]\nname = 'tls'\nbind = '{inner}'\npool = 'web'\n\
         tls = {{ cert = '{at}/cert.pem', key = '{at}/key.pem' }}\n\
         [[pool]]\nname = 'web'\nbackend = '{}'\n",
        nginx.address()
    ));
    let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
    let page = |name: &str| {
        let mut curl = program("curl");
        let (url, to) =
            (format!("https://{name}:{}/page", port(&inner)), format!("::127.0.0.1:{}", port(&inner)));
        curl.args(["-sS", "--cacert", &format!("{at}/ca.pem"), "--connect-to", &to, &url]);
        run(curl, PATIENCE).stdout
    };
    assert_eq!(page("one.example"), "the page");
    // The other way: plain to towpath, TLS from there.
    let begins = Towpath::file(&format!(
        "[[listener]]\nname = 'plain'\nbind = '{outer}'\npool = 'web'\n[[pool]]\nname = 'web'\nbackend = '{inner}'\n\
         tls = {{ ca = '{at}/ca.pem', server_name = 'one.example' }}\n"
    ));
    let mut curl = program("curl");
    curl.args(["-sS", &format!("http://{outer}/page")]);
    assert_eq!(run_well(curl), "the page");
    begins.stop(1);
    certify(&authority, "two.example", folder.path());
    wait_for("the new certificate", || (page("two.example") == "the page").then_some(()));
    assert_eq!(page("one.example"), "", "the old one is no more");
    drop(ends);
}

#[test]
fn a_stream_that_is_cut_within_tls_never_looks_complete() {
    let (listen, folder) = (free_address(), tempfile::tempdir().unwrap());
    certify(&authority(), "one.example", folder.path());
    let at = folder.path().display();
    let echo = echo_server();
    let towpath = Towpath::file(&format!(
        "[[listener]]\nname = 'tls'\nbind = '{listen}'\npool = 'echo'\n\
         tls = {{ cert = '{at}/cert.pem', key = '{at}/key.pem' }}\n[[pool]]\nname = 'echo'\nbackend = '{echo}'\n"
    ));
    // What is no TLS is told so by an alert, and leaves a record.
    let mut client = connect(listen.as_str());
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_exactly(&mut client, 1), [0x15], "an alert");
    drop(client);
    assert_eq!(towpath.record().end(), "identify: no TLS with client");
}
