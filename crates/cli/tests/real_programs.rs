//! Real programs talk through towpath as if it were not there.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;

use support::data::Data;
use support::peers::{program, run_well};
use support::ports::{free_address, free_port};
use support::services::{haproxy, iperf3, nginx, postgres, postgres_program, redis, sparse_file, ssh};
use support::towpath::Towpath;

/// Port of an address.
fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// The SHA-256 of a file, in hex.
fn sha256(path: &Path) -> String {
    let mut command = program("sha256sum");
    command.arg(path);
    run_well(command).split_whitespace().next().unwrap().to_owned()
}

fn random_file(path: &Path, seed: u64, size: usize) {
    fs::write(path, Data::new(seed).take(size)).unwrap();
}

#[test]
fn redis_with_pipelines_and_large_values() {
    let (redis, listen) = (redis(), free_address());
    let towpath = Towpath::tcp(&listen, &redis.address(), &[]);
    let port = port(&listen).to_string();
    let client = |arguments: &[&str]| {
        let mut command = program("redis-cli");
        command.args(["-p", &port]).args(arguments);
        run_well(command)
    };
    assert_eq!(client(&["PING"]).trim(), "PONG");
    let folder = tempfile::tempdir().unwrap();
    let value = folder.path().join("value");
    let text = "towpath ".repeat(131_072);
    fs::write(&value, &text).unwrap();
    let mut set = program("sh");
    set.args(["-c", &format!("redis-cli -p {port} -x SET large < {}", value.display())]);
    assert_eq!(run_well(set).trim(), "OK");
    assert_eq!(client(&["STRLEN", "large"]).trim(), "1048576");
    assert!(client(&["GET", "large"]).trim_end() == text.trim_end(), "the value is not what was set");

    let mut benchmark = program("redis-benchmark");
    benchmark.args([
        "-p",
        &port,
        "-P",
        "16",
        "-q",
        "-n",
        "100000",
        "-c",
        "20",
        "-t",
        "set,get,lrange_100,mset",
    ]);
    let output = run_well(benchmark);
    assert!(output.matches("requests per second").count() >= 4, "{output}");
    assert!(!output.to_lowercase().contains("error"), "{output}");
    let clients = towpath.stdout.so_far().len();
    assert!(clients > 80, "the benchmark went through towpath: {clients} records");
}

#[test]
fn postgres_over_tcp_and_over_its_unix_socket() {
    let postgres = postgres();
    let socket = format!("unix:{}/.s.PGSQL.{}", postgres.folder.path().display(), postgres.port);
    for target in [postgres.address(), socket] {
        let listen = free_address();
        let towpath = Towpath::tcp(&listen, &target, &[]);
        let bench = |arguments: &[&str]| {
            let mut command = program(&postgres_program("pgbench"));
            command.args(["-h", "127.0.0.1", "-p", &port(&listen).to_string(), "-U", "postgres"]);
            command.args(arguments).arg("postgres");
            run_well(command)
        };
        bench(&["-i", "-q", "-s", "2"]);
        let output = bench(&["-c", "8", "-j", "2", "-T", "3"]);
        assert!(output.contains("number of failed transactions: 0"), "{output}");
        let mut query = program("psql");
        query.args(["-h", "127.0.0.1", "-p", &port(&listen).to_string(), "-U", "postgres", "-At", "-c"]);
        query.arg("select count(*), sum(length(repeat('x', 1000))) from pgbench_accounts").arg("postgres");
        assert_eq!(run_well(query).trim(), "200000|200000000");
        let records = towpath.records(10);
        assert!(records.iter().all(|record| record.text("backend") == target), "{records:#?}");
        let ends = ["relay: client closed", "relay: server closed", "relay: client reset"];
        assert!(records.iter().all(|record| ends.contains(&&*record.end())), "{records:#?}");
    }
}

#[test]
fn curl_of_large_files_from_nginx() {
    let (nginx, listen) = (nginx(), free_address());
    let root = nginx.folder.path().join("root");
    sparse_file(&root.join("gigabyte"), 1 << 30);
    random_file(&root.join("random"), 1, 64 << 20);
    let towpath = Towpath::tcp(&listen, &nginx.address(), &[]);
    let got = nginx.folder.path().join("got");
    let curl = |name: &str, to: &Path| {
        let mut command = program("curl");
        command.args(["-sS", "--fail", "--max-time", "60", "-w", "%{http_code} %{size_download}", "-o"]);
        command.arg(to).arg(format!("http://{listen}/{name}"));
        run_well(command)
    };
    assert_eq!(curl("gigabyte", Path::new("/dev/null")), "200 1073741824");
    assert_eq!(curl("random", &got), "200 67108864");
    assert_eq!(sha256(&got), sha256(&root.join("random")));
    let records = towpath.stop(2);
    assert!(records[0].bytes().1 > 1 << 30, "{records:?}");
}

#[test]
fn an_ssh_session_and_scp() {
    let (ssh, listen) = (ssh(), free_address());
    let towpath = Towpath::tcp(&listen, &ssh.service.address(), &[]);
    let folder = ssh.service.folder.path();
    let mut session = ssh.client("ssh", port(&listen));
    session.args(["127.0.0.1", "cat /proc/sys/kernel/ostype; exit 0"]);
    assert_eq!(run_well(session).trim(), "Linux");
    let file = folder.join("file");
    random_file(&file, 2, 50 << 20);
    let (there, back) = (folder.join("there"), folder.join("back"));
    let mut up = ssh.client("scp", port(&listen));
    up.arg(&file).arg(format!("127.0.0.1:{}", there.display()));
    run_well(up);
    let mut down = ssh.client("scp", port(&listen));
    down.arg(format!("127.0.0.1:{}", there.display())).arg(&back);
    run_well(down);
    assert_eq!((sha256(&there), sha256(&back)), (sha256(&file), sha256(&file)));
    let records = towpath.stop(3);
    assert!(records[1].bytes().0 > 50 << 20 && records[2].bytes().1 > 50 << 20, "{records:#?}");
}

#[test]
fn iperf3_both_ways_at_once() {
    let (iperf3, listen) = (iperf3(), free_address());
    // Its server tells the two streams apart by the order in which they arrive, and two workers may swap them.
    let towpath = Towpath::tcp(&listen, &iperf3.address(), &["--workers", "1"]);
    let mut client = program("iperf3");
    client.args(["-c", "127.0.0.1", "-p", &port(&listen).to_string(), "--bidir", "-t", "2", "-J"]);
    let report: serde_json::Value = serde_json::from_str(&run_well(client)).unwrap();
    for key in ["sum_received", "sum_received_bidir_reverse"] {
        let bytes = report["end"][key]["bytes"].as_f64().unwrap_or_default();
        assert!(bytes > 50e6, "{key}: {bytes} of {}", report["end"]);
    }
    towpath.stop(3);
}

#[test]
fn haproxy_in_front_with_keep_alive() {
    let (nginx, listen) = (nginx(), free_address());
    fs::write(nginx.folder.path().join("root/page"), "hello").unwrap();
    let towpath = Towpath::tcp(&listen, &nginx.address(), &[]);
    let haproxy = haproxy(&listen);
    let mut curl = program("curl");
    curl.args(["-sS", "--fail", "--max-time", "60", "-w", " %{num_connects}\n"]);
    curl.args(vec![format!("http://{}/page", haproxy.address()); 200]);
    let output = run_well(curl);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 200);
    assert_eq!((lines[0], lines[199]), ("hello 1", "hello 0"));
    assert!(lines[1..].iter().all(|line| *line == "hello 0"), "{lines:?}");
    drop(haproxy);
    let count = towpath.records(1).len();
    assert!(count < 10, "HAProxy kept its connection through towpath: {count} records");
}

#[test]
fn a_listener_on_every_address_serves_curl_over_v4_and_v6() {
    let nginx = nginx();
    fs::write(nginx.folder.path().join("root/page"), "hello").unwrap();
    let port = free_port();
    let towpath = Towpath::tcp(&format!(":{port}"), &nginx.address(), &[]);
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let mut curl = program("curl");
        curl.args(["-sS", "--fail", "--max-time", "10", "-g", &format!("http://{host}:{port}/page")]);
        assert_eq!(run_well(curl), "hello");
    }
    let records = towpath.stop(3);
    assert!(records[0].text("client").starts_with("127.0.0.1:"), "{records:?}");
    assert!(records[1].text("client").starts_with("[::1]:"), "{records:?}");
}
