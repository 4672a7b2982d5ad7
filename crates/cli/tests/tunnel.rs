//! Streams over the lanes of a tunnel: whole, in order, and ended as they end, whatever becomes of the lanes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::data::Data;
use support::middle::Middle;
use support::net::{
    End, Server, assert_echo, connect, echo_server, end_writes, read_exactly, read_to_end,
    reset_after_delivery,
};
use support::ports::free_address;
use support::towpath::{Towpath, command, output};
use support::tunnel::{Tunnel, exchange, far, fill, new_key};
use support::{nightly, wait_for};

/// What is carried where that is to take a while.
const BULK: usize = 30_000_000;

#[test]
fn bytes_come_whole_over_any_number_of_lanes() {
    for words in [
        "lanes=1",
        "lanes=8&compress=off",
        "lanes=auto&compress=zstd",
        "lanes=3&compress=lz4",
        "plain&lanes=2",
    ] {
        let tunnel = Tunnel::to(&echo_server(), words, &[]);
        exchange(connect(&tunnel.listen), 3_000_000, 7);
        let clients = (0..8).map(|start| {
            let client = connect(&tunnel.listen);
            thread::spawn(move || exchange(client, 300_000, start))
        });
        clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
        for record in tunnel.near.stop(9).iter().chain(&tunnel.far.stop(9)) {
            assert_eq!(record.end(), "relay: client closed", "{words}: {record:?}");
        }
    }
}

#[test]
fn text_is_compressed_on_its_way() {
    let text: String = (0..200_000).map(|line| format!("line {} of a long text\n", line % 1000)).collect();
    for words in ["lanes=1&compress=zstd", "lanes=1&compress=lz4"] {
        let tunnel = Tunnel::to(&echo_server(), words, &["--compress", "zstd"]);
        let mut client = connect(&tunnel.listen);
        let mut writer = client.try_clone().unwrap();
        let sent = text.clone();
        let writes = thread::spawn(move || {
            writer.write_all(sent.as_bytes()).unwrap();
            end_writes(&writer);
        });
        let (back, end) = read_to_end(&mut client);
        assert!(back == text.as_bytes() && end == End::Fin, "{words}: {} {end:?}", back.len());
        writes.join().unwrap();
        let carried = tunnel.middle.carried();
        assert!(
            carried < text.len() / 4,
            "{words}: {carried} of {} bytes there, and as many back",
            text.len()
        );
    }
}

#[test]
fn ends_and_resets_are_passed_on_behind_the_bytes_before_them() {
    let server = Server::start();
    let tunnel = Tunnel::to(&server.address(), "lanes=2", &[]);
    let pair = || {
        let mut client = connect(&tunnel.listen);
        client.write_all(b"hello").unwrap();
        let mut served = server.accept();
        assert_eq!(read_exactly(&mut served, 5), b"hello");
        (client, served)
    };
    // A half that is closed leaves the other open, either way.
    let (mut client, mut served) = pair();
    end_writes(&client);
    assert_eq!(read_to_end(&mut served), (Vec::new(), End::Fin));
    served.write_all(b"late").unwrap();
    drop(served);
    assert_eq!(read_to_end(&mut client), (b"late".to_vec(), End::Fin));
    let (mut client, mut served) = pair();
    served.write_all(b"bye").unwrap();
    end_writes(&served);
    assert_eq!(read_to_end(&mut client), (b"bye".to_vec(), End::Fin));
    client.write_all(b"more").unwrap();
    end_writes(&client);
    assert_eq!(read_to_end(&mut served), (b"more".to_vec(), End::Fin));
    // A reset is one, behind what was sent before.
    let (mut client, mut served) = pair();
    client.write_all(b"last").unwrap();
    assert_eq!(read_exactly(&mut served, 4), b"last");
    reset_after_delivery(client);
    assert_eq!(read_to_end(&mut served), (Vec::new(), End::Reset));
    let (mut client, mut served) = pair();
    served.write_all(b"last").unwrap();
    assert_eq!(read_exactly(&mut client, 4), b"last");
    reset_after_delivery(served);
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
}

#[test]
fn lanes_that_are_cut_all_the_time_cost_no_stream() {
    let tunnel = Tunnel::to(&echo_server(), "lanes=4", &[]);
    assert_echo(&mut connect(&tunnel.listen), "warm");
    let client = connect(&tunnel.listen);
    let is_over = AtomicBool::new(false);
    let (pause, count) = if nightly() { (1000, 500_000_000) } else { (100, BULK) };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                // sleep: a lane is cut so often.
                thread::sleep(Duration::from_millis(pause));
                tunnel.middle.cut_one();
            }
        });
        exchange(client, count, 1);
        is_over.store(true, SeqCst);
    });
    let count = tunnel.middle.count();
    assert!(count > 4, "lanes were cut while it lasted: {count}");
    tunnel.middle.cut_one();
    wait_for("a lane that is opened again", || (tunnel.middle.count() > count).then_some(()));
}

#[test]
fn lanes_that_say_nothing_any_more_are_found_out() {
    let tunnel = Tunnel::to(&echo_server(), "lanes=2", &[]);
    let mut client = connect(&tunnel.listen);
    assert_echo(&mut client, "before");
    wait_for("both lanes", || (tunnel.middle.count() == 2).then_some(()));
    tunnel.middle.silence();
    // Nothing tells of it but that no answer comes.
    exchange(client, 200_000, 1);
    assert!(tunnel.middle.count() > 2, "other lanes");
}

#[test]
fn streams_outlive_all_lanes_for_a_while() {
    let tunnel = Tunnel::to(&echo_server(), "lanes=3", &[]);
    let mut client = connect(&tunnel.listen);
    assert_echo(&mut client, "before");
    let mut writer = client.try_clone().unwrap();
    let writes = thread::spawn(move || writer.write_all(&Data::new(5).take(5_000_000)).unwrap());
    let mut data = Data::new(5);
    data.check(&read_exactly(&mut client, 1_000_000));
    tunnel.middle.cut();
    // sleep: there is no lane for so long.
    thread::sleep(Duration::from_secs(if nightly() { 10 } else { 2 }));
    tunnel.middle.heal();
    data.check(&read_exactly(&mut client, 4_000_000));
    writes.join().unwrap();
    assert_echo(&mut client, "behind");
}

#[test]
fn a_session_without_lanes_costs_others_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (key, echo, far_listen) = (new_key(&folder, "key"), echo_server(), free_address());
    let _far = far(&far_listen, &["--key-file", &key, "--workers", "1"]);
    let middle = Middle::to(&far_listen);
    let near = |far: &str, words: &str| {
        let listen = free_address();
        let url = format!("towpath://{far}?key-file={key}&lanes=2{words}");
        let near = Towpath::tcp(&listen, &echo, &["--via", &url, "--workers", "1"]);
        (connect(&listen), listen, near)
    };
    let (mut cut, cut_listen, _cut_near) = near(&middle.address, "");
    let (mut whole, _, _whole_near) = near(&far_listen, "&resume=off");
    assert_echo(&mut cut, "before");
    assert_echo(&mut whole, "before");
    middle.cut();
    for _ in 0..20 {
        assert_echo(&mut whole, "meanwhile");
    }
    middle.heal();
    assert_echo(&mut cut, "behind");
    assert_echo(&mut connect(&cut_listen), "anew");
}

#[test]
fn streams_that_outlive_their_time_are_reset_at_both_ends() {
    let server = Server::start();
    // As they come, streams live on for half a minute.
    let (words, flags, seconds): (_, &[&str], _) = match nightly() {
        true => ("lanes=2", &[], 30),
        false => ("lanes=2&resume_timeout=1s", &["--resume-timeout", "1s"], 1),
    };
    let tunnel = Tunnel::to(&server.address(), words, flags);
    let mut client = connect(&tunnel.listen);
    client.write_all(b"hello").unwrap();
    let mut served = server.accept();
    assert_eq!(read_exactly(&mut served, 5), b"hello");
    tunnel.middle.cut();
    client.write_all(b"lost").unwrap();
    end_writes(&client);
    let begun = Instant::now();
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    assert_eq!(read_to_end(&mut served), (Vec::new(), End::Reset));
    let (time, least) = (begun.elapsed(), Duration::from_secs(seconds));
    assert!(time + Duration::from_millis(100) >= least && time < 10 * least, "{time:?}");
    // The next one finds the way again.
    tunnel.middle.heal();
    let mut client = connect(&tunnel.listen);
    client.write_all(b"again").unwrap();
    assert_eq!(read_exactly(&mut server.accept(), 5), b"again");
}

#[test]
fn an_end_that_starts_again_is_told_from_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let key = new_key(&folder, "key");
    let (far_listen, listen, echo) = (free_address(), free_address(), echo_server());
    let first = far(&far_listen, &["--key-file", &key]);
    let url = format!("towpath://{far_listen}?key-file={key}&lanes=2");
    let _near = Towpath::tcp(&listen, &echo, &["--via", &url]);
    let mut client = connect(&listen);
    assert_echo(&mut client, "before");
    drop(first);
    let _second = far(&far_listen, &["--key-file", &key]);
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    assert_echo(&mut connect(&listen), "behind");
}

#[test]
fn lanes_are_tried_for_what_goes_down_as_for_what_goes_up() {
    for is_down in [true, false] {
        let server = Server::start();
        let tunnel = Tunnel::to(&server.address(), "lanes=auto&compress=off", &[]);
        let client = connect(&tunnel.listen);
        (&client).write_all(b"x").unwrap();
        let (far, near) = (server.accept(), client);
        let (from, to) = if is_down { (far, near) } else { (near, far) };
        let (mut writer, mut reader) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let writes = thread::spawn(move || while writer.write_all(&[7; 100_000]).is_ok() {});
        let reads =
            thread::spawn(move || while reader.read(&mut [0; 100_000]).is_ok_and(|count| count > 0) {});
        wait_for("a second lane", || (tunnel.middle.count() > 1).then_some(()));
        for stream in [from, to] {
            stream.shutdown(Shutdown::Both).unwrap();
        }
        writes.join().unwrap();
        reads.join().unwrap();
    }
}

#[test]
fn a_stream_that_nobody_reads_holds_up_no_other() {
    let server = Server::start();
    let tunnel = Tunnel::to(&server.address(), "lanes=2", &[]);
    let mut stalled = connect(&tunnel.listen);
    stalled.write_all(b"x").unwrap();
    let _unread = server.accept();
    fill(&mut stalled);
    server.try_clone().echo();
    let begun = Instant::now();
    for start in 0..20 {
        exchange(connect(&tunnel.listen), 200_000, start);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn who_has_another_key_gets_no_lane() {
    let folder = tempfile::tempdir().unwrap();
    let (key, other) = (new_key(&folder, "key"), new_key(&folder, "other"));
    let (far_listen, listen) = (free_address(), free_address());
    let far = far(&far_listen, &["--key-file", &key]);
    let url = format!("towpath://{far_listen}?key-file={other}");
    let near = Towpath::tcp(&listen, &echo_server(), &["--via", &url, "--hold", "off"]);
    let mut client = connect(&listen);
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    let record = near.record();
    assert!(record.end().contains("hop 1"), "{record:?}");
    assert_eq!(far.record().end(), "identify: no tunnel with this key");
    near.signal(Signal::TERM);
    let log = near.wait().stderr;
    assert!(log.contains("has another key"), "{log}");
    let text = std::fs::read_to_string(&other).unwrap();
    assert!(!log.contains(text.trim()), "no key is ever told");
}

#[test]
fn strangers_get_nothing_and_cost_nobody_anything() {
    let tunnel = Tunnel::to(&echo_server(), "plain&lanes=2", &[]);
    let mut client = connect(&tunnel.listen);
    assert_echo(&mut client, "before");
    for words in [
        &b"GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: somebody\r\n\r\n"[..],
        &[0; 64],
        b"towpath\n\xff0123456789012345678901234567890123456789",
    ] {
        let mut stranger = connect(&tunnel.middle.address);
        stranger.write_all(words).unwrap();
        let (answer, _) = read_to_end(&mut stranger);
        assert!(answer.is_empty() || answer.starts_with(b"towpath\n"), "{answer:?}");
    }
    assert_echo(&mut client, "behind");
    drop(client);
    let records = tunnel.far.records(4);
    let bad = records.iter().filter(|record| record.end().starts_with("identify: "));
    assert_eq!(bad.count(), 3, "{records:?}");
}

#[test]
fn what_the_far_end_cannot_reach_is_told() {
    let tunnel = Tunnel::with("proxy", &[], "lanes=1", &["--deny-dest", "127.0.0.3"]);
    let ask = |target: &str| {
        let mut client = connect(&tunnel.listen);
        client.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).unwrap();
        (client, target.to_owned())
    };
    let (mut client, _) = ask(&echo_server());
    let head = read_exactly(&mut client, 39);
    assert!(head.starts_with(b"HTTP/1.1 200"), "{head:?}");
    assert_echo(&mut client, "through");
    let nobody = free_address();
    for target in [nobody.as_str(), "127.0.0.3:80", "no-such-host.invalid:80"] {
        let (mut client, _) = ask(target);
        let (answer, _) = read_to_end(&mut client);
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 50") || answer.starts_with("HTTP/1.1 403"),
            "{target}: {answer}"
        );
    }
}

#[test]
fn a_target_that_the_far_end_cannot_reach_is_passed_over() {
    let (nobody, echo) = (free_address(), echo_server());
    let targets = format!("{nobody},{echo}");
    let tunnel = Tunnel::to(&targets, "lanes=1", &[]);
    for _ in 0..4 {
        let mut client = connect(&tunnel.listen);
        client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert_eq!(read_exactly(&mut client, 16), b"GET / HTTP/1.1\r\n");
    }
}

#[test]
fn a_far_end_that_is_told_to_end_finishes_what_is_under_way() {
    let tunnel = Tunnel::to(&echo_server(), "lanes=2", &[]);
    let mut client = connect(&tunnel.listen);
    assert_echo(&mut client, "before");
    tunnel.far.signal(Signal::TERM);
    assert_echo(&mut client, "in the drain");
    drop(client);
    let ended = tunnel.far.wait();
    assert_eq!((ended.status.code(), ended.records.len()), (Some(0), 1), "{}", ended.stderr);
}

#[test]
fn keys_are_made_once_and_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let key = new_key(&folder, "key");
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, _, stderr) = output(command(["tunnel", "--new-key", &key]));
    assert!(code == Some(2) && stderr.contains("not overwritten"), "{code:?} {stderr}");
    let (code, _, stderr) = output(command(["tcp", ":1", "a:1", "--via", "towpath://far"]));
    assert!(code == Some(2) && stderr.contains("this tunnel has no key"), "{code:?} {stderr}");
    let mut text = String::new();
    std::fs::File::open(&key).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text.trim_end().len(), 64);
}

#[test]
fn keys_that_others_can_read_are_used_with_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (key, listen, far_listen) = (new_key(&folder, "key"), free_address(), free_address());
    let file = folder.path().join("towpath.toml");
    let text = format!(
        "[[listener]]\nname = \"far\"\nbind = \"{far_listen}\"\nmode = \"tunnel\"\npool = \"out\"\n\
         tunnel = {{ key_file = \"{key}\" }}\n\n[[pool]]\nname = \"out\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let check = || output(command(["check", file.to_str().unwrap()]));
    assert_eq!((check().0, check().2), (Some(0), String::new()), "only its owner can read it");
    let warning = format!("chmod 600 {key}");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
    let (code, _, stderr) = check();
    assert!(code == Some(0) && stderr.contains(&warning), "{code:?} {stderr}");
    let far = far(&far_listen, &["--key-file", &key]);
    far.stderr.wait_for(&warning);
    let url = format!("towpath://{far_listen}?key-file={key}");
    let near = Towpath::tcp(&listen, &echo_server(), &["--via", &url]);
    near.stderr.wait_for(&warning);
    assert_echo(&mut connect(&listen), "it is used");
}
