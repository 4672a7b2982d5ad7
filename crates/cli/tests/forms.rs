//! The forms of LISTEN and TARGET, and the ways in which an instance is started.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use support::net::{End, Server, assert_echo, connect, echo_server, read_to_end, telling_server};
use support::peers::{Program, program};
use support::ports::{free_address, free_port, free_ports};
use support::proc::thread_names;
use support::towpath::{Guarded, Towpath, binary, command, output};
use support::wait_for;

/// What the server at the other end of `listen` calls itself.
fn told(listen: &str) -> String {
    let (name, end) = read_to_end(&mut connect(listen));
    assert_eq!(end, End::Fin);
    String::from_utf8(name).unwrap()
}

fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn listen_addresses() {
    let target = echo_server();
    let port = free_port();
    for (listen, reached, not_reached) in [
        (format!(":{port}"), vec!["127.0.0.1", "[::1]", "127.4.5.6"], vec![]),
        (format!("0.0.0.0:{port}"), vec!["127.0.0.1", "127.4.5.6"], vec!["[::1]"]),
        (format!("[::]:{port}"), vec!["[::1]"], vec!["127.0.0.1"]),
        (format!("127.0.0.1:{port}"), vec!["127.0.0.1"], vec!["127.0.0.2", "[::1]"]),
        (format!("[::1]:{port}"), vec!["[::1]"], vec!["127.0.0.1"]),
        (format!("localhost:{port}"), vec!["127.0.0.1"], vec!["127.0.0.2"]),
        (format!("127.0.0.1:{port},[::1]:{port}"), vec!["127.0.0.1", "[::1]"], vec!["127.0.0.2"]),
    ] {
        let towpath = Towpath::tcp(&listen, &target, &[]);
        for host in &reached {
            assert_echo(&mut connect(&*format!("{host}:{port}")), &listen);
        }
        for host in not_reached {
            support::net::assert_refused(&format!("{host}:{port}"));
        }
        towpath.stop(reached.len());
    }
}

#[test]
fn target_addresses() {
    let v6 = Server::on("[::1]:0");
    let v6_address = v6.address();
    v6.echo();
    let v4 = echo_server();
    let port = port_of(&v4);
    for target in [
        v4.clone(),
        v6_address,
        format!("localhost:{port}"),
        format!(":{port}"),
        format!("LOCALHOST.:{port}"),
    ] {
        let listen = free_address();
        let towpath = Towpath::tcp(&listen, &target, &[]);
        assert_echo(&mut connect(&listen), &target);
        towpath.stop(1);
    }
}

#[test]
fn a_range_of_ports_maps_one_to_one() {
    let (listen, target) = (free_ports(4), free_ports(4));
    for offset in 0..4 {
        Server::on(&format!("127.0.0.1:{}", target + offset)).tell(&format!("server {offset}"));
    }
    let ranges = [format!("127.0.0.1:{listen}-{}", listen + 3), format!("127.0.0.1:{target}-{}", target + 3)];
    let towpath = Towpath::tcp(&ranges[0], &ranges[1], &[]);
    for offset in [2, 0, 3, 1] {
        assert_eq!(told(&format!("127.0.0.1:{}", listen + offset)), format!("server {offset}"));
    }
    let records = towpath.stop(4);
    let mut addresses: Vec<_> = records.iter().map(|record| record.text("address").to_owned()).collect();
    addresses.sort_unstable();
    let expected: Vec<_> = (0..4).map(|offset| format!("127.0.0.1:{}", target + offset)).collect();
    assert_eq!(addresses, expected);
}

#[test]
fn a_range_of_ports_to_one_port() {
    let first = free_ports(3);
    let towpath = Towpath::tcp(&format!("127.0.0.1:{first}-{}", first + 2), &telling_server("one"), &[]);
    for offset in 0..3 {
        assert_eq!(told(&format!("127.0.0.1:{}", first + offset)), "one");
    }
    towpath.stop(3);
}

#[test]
fn from_a_unix_socket_to_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (listen, target) = (folder.path().join("in.sock"), folder.path().join("out.sock"));
    let server = UnixListener::bind(&target).unwrap();
    // A socket that an earlier run has left behind.
    drop(UnixListener::bind(&listen).unwrap());
    assert!(listen.exists());
    let towpath =
        Towpath::tcp(&format!("unix:{}", listen.display()), &format!("unix:{}", target.display()), &[]);
    let mut client = UnixStream::connect(&listen).unwrap();
    let (mut server, _) = server.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    }
    let bytes = support::data::Data::new(1).take(5_000_000);
    let sent = bytes.clone();
    let mut writer = client.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, &sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    std::io::Read::read_to_end(&mut server, &mut received).unwrap();
    writer.join().unwrap();
    assert!(received == bytes, "{} bytes arrived", received.len());
    std::io::Write::write_all(&mut server, b"answer").unwrap();
    drop(server);
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut client, &mut answer).unwrap();
    assert_eq!(answer, "answer");
    drop(client);
    let record = towpath.stop(1).remove(0);
    assert_eq!((record.bytes(), record.end().as_str()), ((5_000_000, 6), "relay: client closed"));
    assert!(!listen.exists(), "the socket file is removed at the end");
    assert!(fs::metadata(&target).unwrap().file_type().is_socket(), "that of the server is not ours");
}

#[test]
fn a_unix_socket_of_a_successor_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.sock");
    let towpath = Towpath::tcp(&format!("unix:{}", path.display()), &echo_server(), &[]);
    fs::remove_file(&path).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    towpath.stop(0);
    assert!(path.exists());
}

#[test]
fn a_unix_server_that_is_not_there_is_one_that_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let (listen, gone) = (free_address(), folder.path().join("gone.sock"));
    let towpath = Towpath::tcp(&listen, &format!("unix:{}", gone.display()), &[]);
    support::net::assert_reset_or_refused(&listen);
    assert_eq!(towpath.stop(1)[0].end(), "connect: connect refused");
}

#[test]
fn targets_take_turns_evenly_and_one_that_refuses_is_passed_over() {
    let listen = free_address();
    let names = ["a", "b", "c"];
    let servers = names.map(telling_server);
    let towpath = Towpath::tcp(&listen, &servers.join(","), &["--workers", "2"]);
    let mut counts: HashMap<String, usize> = HashMap::new();
    for _ in 0..60 {
        *counts.entry(told(&listen)).or_default() += 1;
    }
    assert!(names.iter().all(|name| counts[*name] == 20), "{counts:?}");
    towpath.stop(60);

    let targets = [&free_address(), &servers[0], &free_address(), &servers[1]].map(String::as_str).join(",");
    let listen = free_address();
    let towpath = Towpath::tcp(&listen, &targets, &[]);
    for _ in 0..60 {
        assert!(["a", "b"].contains(&&*told(&listen)));
    }
    assert!(towpath.stop(60).iter().all(|record| record.text("stage") == "relay"));
}

#[test]
fn sockets_of_a_supervisor_are_taken() {
    let supervised = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = supervised.local_addr().unwrap().to_string();
    // A client that came before towpath did.
    let mut early = connect(&*listen);
    let target = echo_server();
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 0</dev/null";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(binary()).args(["tcp", &listen, &target, "--log-format", "json"]);
    shell.stdin(Stdio::from(std::os::fd::OwnedFd::from(supervised)));
    let towpath = Towpath::start(shell);
    assert_echo(&mut early, "early");
    for _ in 0..20 {
        assert_echo(&mut connect(&*listen), "late");
    }
    drop(early);
    towpath.stop(21);
}

#[test]
fn systemd_socket_activate_starts_it_with_its_first_client() {
    let listen = free_address();
    let mut activate = program("systemd-socket-activate");
    activate.args(["-l", &listen]).arg(binary()).args(["tcp", &listen, &echo_server()]);
    let folder = tempfile::tempdir().unwrap();
    let _activated = Program::start(activate, folder.path());
    let mut client = wait_for("activation", || support::net::try_connect(&listen).ok());
    assert_echo(&mut client, "activated");
}

#[test]
fn the_supervisor_is_told_when_it_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let next = || {
        let mut message = [0; 256];
        let count = socket.recv(&mut message).expect("a message to the supervisor");
        String::from_utf8_lossy(&message[..count]).into_owned()
    };
    let listen = free_address();
    let mut command = command(["tcp", &listen, &echo_server()]);
    let child = Guarded::spawn(command.env("NOTIFY_SOCKET", &path).stderr(Stdio::null()));
    assert!(next().contains("READY=1"));
    // Whoever is told connects, or ends it, at once.
    assert_echo(&mut connect(&*listen), "ready");
    child.signal(rustix::process::Signal::TERM);
    assert!(next().contains("STOPPING=1"));
    assert_eq!(child.wait().code(), Some(0));
}

#[test]
fn workers_are_as_many_as_asked_for() {
    // A thread has its name soon after it has begun.
    let expect = |towpath: &Towpath, count: usize| {
        wait_for(&format!("{count} workers"), || (workers(towpath) == count).then_some(()));
    };
    let target = echo_server();
    for count in [1, 3] {
        expect(&Towpath::tcp(&free_address(), &target, &["--workers", &count.to_string()]), count);
        let mut command = command(["tcp", &free_address(), &target]);
        command.env("TOWPATH_WORKERS", count.to_string());
        expect(&Towpath::start(command), count);
    }
    let cores = std::thread::available_parallelism().unwrap().get();
    expect(&Towpath::tcp(&free_address(), &target, &[]), cores);
}

fn workers(towpath: &Towpath) -> usize {
    thread_names(towpath.pid()).iter().filter(|name| name.starts_with("worker-")).count()
}

#[test]
fn the_printed_configuration_does_the_same() {
    let (listen, folder) = (free_address(), tempfile::tempdir().unwrap());
    let unix = format!("unix:{}/a b.sock", folder.path().display());
    let both = format!("{listen},{unix}");
    let servers = [free_address(), telling_server("told")].join(",");
    let mut arguments = vec!["tcp", &both, &servers, "--idle-timeout", "1s", "--connect-timeout", "2s"];
    arguments.extend([
        "--workers",
        "1",
        "--max-connections",
        "7",
        "--drain-timeout",
        "4s",
        "--log-format",
        "json",
    ]);
    let direct = Towpath::start(command(&arguments));
    let names = [told(&listen), told(&listen)];
    let expected: Vec<String> = direct.stop(2).iter().map(support::towpath::Record::end).collect();

    arguments.push("--print-config");
    let (code, text, stderr) = output(command(&arguments));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let file = folder.path().join("printed.toml");
    fs::write(&file, &text).unwrap();
    let (code, stdout, stderr) = output(command(["check", file.to_str().unwrap()]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("1 listener") && stdout.contains("1 pool"), "{stdout}");

    let run = Towpath::start(command(["run", file.to_str().unwrap()]));
    assert_eq!([told(&listen), told(&listen)], names);
    wait_for("one worker", || (workers(&run) == 1).then_some(()));
    assert!(folder.path().join("a b.sock").exists());
    let ends: Vec<String> = run.stop(2).iter().map(support::towpath::Record::end).collect();
    assert_eq!(ends, expected);
    for key in
        ["idle_timeout = \"1s\"", "connect_timeout = \"2s\"", "max_connections = 7", "drain_timeout = \"4s\""]
    {
        assert!(text.contains(key), "no {key} in {text}");
    }
}

#[test]
fn text_records_and_no_records() {
    let listen = free_address();
    let target = echo_server();
    let start = |flags: &[&str]| {
        let mut all = vec!["tcp", &listen, &target];
        all.extend(flags);
        Towpath::start(command(all))
    };
    let text = start(&[]);
    assert_echo(&mut connect(&*listen), "hello");
    let line = text.stdout.wait_for("listener=tcp");
    for word in
        ["client=127.0.0.1:", "pool=target", &format!("address={target}"), "up=5 down=5", "stage=relay"]
    {
        assert!(line.contains(word), "no {word} in {line}");
    }
    drop(text);
    let silent = start(&["--no-records"]);
    assert_echo(&mut connect(&*listen), "hello");
    silent.stop(0);
}

#[test]
fn messages_are_json_when_records_are() {
    let towpath = Towpath::tcp(&free_address(), &echo_server(), &[]);
    let line = towpath.stderr.wait_for("listener tcp on");
    let message: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(message["level"], "INFO");
    towpath.stop(0);
}
