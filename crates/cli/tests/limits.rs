//! Limits: descriptors that run out, and connections that wait for their turn.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::net::{assert_echo, connect, echo_server};
use support::peers::{program, run_well};
use support::ports::free_address;
use support::proc::{cpu_seconds, lowest_free_descriptor};
use support::towpath::{Towpath, command, command_under};
use support::turns::Turn;

/// The most of a processor that waiting may take.
const IDLE_CPU: f64 = 0.02;

/// Over how long that is measured.
const WINDOW: Duration = Duration::from_secs(2);

/// The share of a processor that `pid` takes while `meanwhile` goes on now and then.
fn cpu_share(pid: u32, mut meanwhile: impl FnMut()) -> f64 {
    let (start, before) = (Instant::now(), cpu_seconds(pid));
    while start.elapsed() < WINDOW {
        meanwhile();
        // sleep: what is measured is a time in which nothing happens.
        thread::sleep(Duration::from_millis(500));
    }
    (cpu_seconds(pid) - before) / start.elapsed().as_secs_f64()
}

/// Expects that nothing comes for a while.
fn assert_waits(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let nothing = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(ErrorKind::WouldBlock), "it is not its turn yet");
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
}

fn assert_ten_are_served_within_a_second(listen: &str) {
    let start = Instant::now();
    let mut clients: Vec<TcpStream> = (0..10).map(|_| connect(listen)).collect();
    for client in &mut clients {
        assert_echo(client, "served");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn with_64_descriptors_200_clients_are_survived() {
    let _turn = Turn::alone();
    let (listen, target) = (free_address(), echo_server());
    let arguments = ["tcp", &listen, &target, "--workers", "2", "--no-records"];
    let towpath = Towpath::start_alone(command_under(&["prlimit", "--nofile=64:64"], &arguments));
    let mut live: Vec<TcpStream> = (0..5).map(|_| connect(&listen)).collect();
    live.iter_mut().for_each(|client| assert_echo(client, "live"));
    let crowd: Vec<TcpStream> = (0..200).map(|_| connect(&listen)).collect();
    let share =
        cpu_share(towpath.pid(), || live.iter_mut().for_each(|client| assert_echo(client, "live on")));
    assert!(share < IDLE_CPU, "{share} of a processor");
    drop(crowd);
    live.iter_mut().for_each(|client| assert_echo(client, "still live"));
    assert_ten_are_served_within_a_second(&listen);
    live.iter_mut().for_each(|client| assert_echo(client, "live to the end"));
}

/// Descriptors may run out although connections are counted: other things take some, or the limit is lowered.
#[test]
fn when_nothing_can_be_opened_live_connections_go_on_and_others_wait() {
    let _turn = Turn::alone();
    let (listen, target) = (free_address(), echo_server());
    let towpath =
        Towpath::start_alone(command(["tcp", &listen, &target, "--workers", "2", "--log-format", "json"]));
    let mut live: Vec<TcpStream> = (0..5).map(|_| connect(&listen)).collect();
    live.iter_mut().for_each(|client| assert_echo(client, "live"));
    let limit = |soft: usize| {
        let mut command = program("prlimit");
        command.args([format!("--pid={}", towpath.pid()), format!("--nofile={soft}:")]);
        run_well(command);
    };
    limit(lowest_free_descriptor(towpath.pid()));
    let mut crowd: Vec<TcpStream> = (0..100).map(|_| connect(&listen)).collect();
    let share =
        cpu_share(towpath.pid(), || live.iter_mut().for_each(|client| assert_echo(client, "live on")));
    assert!(share < IDLE_CPU, "{share} of a processor");
    towpath.stderr.wait_for("open files");
    assert_waits(&mut crowd[0]);
    limit(10_000);
    crowd.iter_mut().for_each(|client| assert_echo(client, "at last"));
    drop(crowd);
    assert_ten_are_served_within_a_second(&listen);
    live.iter_mut().for_each(|client| assert_echo(client, "live to the end"));
    drop(live);
    towpath.stop(115);
}

/// Two live connections are allowed on `first`, whichever limit says so.
fn third_waits_its_turn(towpath: &Towpath, listen: [&str; 3]) {
    let mut first = connect(listen[0]);
    assert_echo(&mut first, "first");
    let mut second = connect(listen[1]);
    assert_echo(&mut second, "second");
    let mut third = connect(listen[2]);
    third.write_all(b"third").unwrap();
    assert_waits(&mut third);
    assert_echo(&mut first, "first goes on");
    drop(second);
    assert_eq!(support::net::read_exactly(&mut third, 5), b"third");
    let mut fourth = connect(listen[0]);
    assert_waits(&mut fourth);
    drop((first, third));
    assert_echo(&mut fourth, "fourth");
    drop(fourth);
    towpath.records(4);
}

#[test]
fn a_client_beyond_the_limit_of_its_listener_waits_and_is_served() {
    let (listen, free) = (free_address(), free_address());
    let text = format!(
        "workers = 2\n[[listener]]\nname = \"limited\"\nbind = \"{listen}\"\npool = \"out\"\nmax_connections = 2\n\
         [[listener]]\nname = \"free\"\nbind = \"{free}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = \"{}\"\n",
        echo_server()
    );
    let towpath = Towpath::file(&text);
    let mut others: Vec<TcpStream> = (0..5).map(|_| connect(&free)).collect();
    others.iter_mut().for_each(|client| assert_echo(client, "another listener"));
    third_waits_its_turn(&towpath, [&listen; 3]);
    others.iter_mut().for_each(|client| assert_echo(client, "another listener"));
    drop(others);
    towpath.stop(9);
}

#[test]
fn a_client_beyond_the_limit_of_all_waits_and_is_served() {
    let (listen, other) = (free_address(), free_address());
    let flags = ["--max-connections", "2", "--workers", "2"];
    let towpath = Towpath::tcp(&format!("{listen},{other}"), &echo_server(), &flags);
    third_waits_its_turn(&towpath, [&listen, &other, &listen]);
    towpath.stop(4);
}

/// A second's worth comes in at once, and from then on the rate holds; the last one waits its turn.
#[test]
fn the_accept_rate_is_the_rate_of_clients() {
    let listen = free_address();
    let text = format!(
        "[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\naccept_rate = \"20/s\"\n\
         [[pool]]\nname = \"out\"\nbackend = \"{}\"\n",
        echo_server()
    );
    let _turn = Turn::alone();
    let towpath = Towpath::file_as(&text, None);
    // sleep: a second in which nobody comes, which the burst may make up for.
    thread::sleep(Duration::from_millis(1_100));
    let start = Instant::now();
    // One after the other: each comes when nobody else waits.
    let times: Vec<f64> = (0..50)
        .map(|_| {
            assert_echo(&mut connect(&listen), "x");
            start.elapsed().as_secs_f64()
        })
        .collect();
    assert!(times[18] < 0.5, "the burst of 20 takes its time: {times:?}");
    assert!(times[49] > 1.3, "50 at 20 a second, 20 of them at once: {times:?}");
    assert!(times[49] < 1.9, "50 at 20 a second, 20 of them at once: {times:?}");
    towpath.stop(50);
}

#[test]
fn more_connections_than_descriptors_allow_are_told_and_cut_down() {
    let listen = free_address();
    let arguments = ["tcp", &listen, &echo_server(), "--max-connections", "5000", "--log-format", "json"];
    let towpath = Towpath::start(command_under(&["prlimit", "--nofile=64:64"], &arguments));
    let warning = towpath.stderr.wait_for("max_connections");
    assert!(warning.contains("5000") && warning.contains("64"), "{warning}");
    assert_echo(&mut connect(&listen), "served");
    towpath.stop(1);
    let few = ["tcp", &listen, "127.0.0.1:1"];
    let (code, _, stderr) = support::towpath::output(command_under(&["prlimit", "--nofile=16:16"], &few));
    assert!(code == Some(1) && stderr.contains("ulimit -n"), "{code:?} {stderr}");
    let port = support::ports::free_ports(200);
    let many = ["tcp", &format!("127.0.0.1:{port}-{}", port + 199), "127.0.0.1:1"];
    let (code, _, stderr) = support::towpath::output(command_under(&["prlimit", "--nofile=64:64"], &many));
    assert!(matches!(code, Some(1 | 2)) && stderr.contains("ulimit -n"), "{code:?} {stderr}");
}
