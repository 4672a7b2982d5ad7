//! Loading the configuration again: by signal, by order and by itself, under load, with mistakes in it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use support::net::{
    End, Server, assert_refused, connect, pair, read_exactly, read_to_end, telling_server, try_connect,
};
use support::ports::free_address;
use support::towpath::{Towpath, binary, output};
use support::wait_for;

fn listener(name: &str, listen: &str, pool: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\nbind = \"{listen}\"\npool = \"{pool}\"\n")
}

fn pool(name: &str, backend: &str) -> String {
    format!("[[pool]]\nname = \"{name}\"\nbackend = \"{backend}\"\n")
}

/// Writes as editors and tools do: a new file in the place of the old one.
fn write(towpath: &Towpath, text: &str) {
    let file = towpath.folder().join("towpath.toml");
    let new = towpath.folder().join("new.toml");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

fn told(listen: &str) -> String {
    let (got, end) = read_to_end(&mut connect(listen));
    assert_eq!(end, End::Fin);
    String::from_utf8(got).unwrap()
}

#[test]
fn a_signal_brings_what_has_changed() {
    let (one, two, three) = (free_address(), free_address(), free_address());
    let (a, b) = (telling_server("a"), telling_server("b"));
    let before = [listener("one", &one, "p"), listener("two", &two, "p"), pool("p", &a)].concat();
    let towpath = Towpath::file(&before);
    assert_eq!((told(&one), told(&two)), ("a".to_owned(), "a".to_owned()));
    let after =
        [listener("one", &one, "p"), listener("three", &three, "q"), pool("p", &b), pool("q", &a)].concat();
    write(&towpath, &after);
    towpath.signal(Signal::HUP);
    towpath.stderr.wait_for("reloaded: listeners: 0 as before, 1 changed, 1 added, 1 removed, pools:");
    assert_eq!((told(&one), told(&three)), ("b".to_owned(), "a".to_owned()));
    assert_refused(&two);
    let records = towpath.stop(4);
    let pools: Vec<_> = records.iter().map(|record| record.text("listener").to_owned()).collect();
    assert_eq!(pools, ["one", "two", "one", "three"]);
}

#[test]
fn mistakes_change_nothing_and_are_all_told() {
    let (listen, server, taken) = (free_address(), telling_server("a"), telling_server("b"));
    let fine = [listener("in", &listen, "p"), pool("p", &server)].concat();
    let towpath = Towpath::file(&fine);
    for (text, words) in [
        ("[[listener]]\nname = 1\n", "takes a name"),
        (&*[listener("in", &listen, "nobody"), pool("p", &server)].concat(), "nobody"),
        (&*[listener("in", &listen, "p"), pool("p", "nosuch.invalid:80")].concat(), "no such host"),
        (&*[fine.clone(), listener("taken", &taken, "p")].concat(), "cannot bind"),
        (&*[listener("in", &listen, "p"), pool("p", &listen)].concat(), "itself"),
    ] {
        write(&towpath, text);
        towpath.signal(Signal::HUP);
        towpath.stderr.wait("a line that says why", |lines| {
            lines.iter().any(|line| line.contains("not reloaded") && line.contains(words)).then_some(())
        });
        assert_eq!(told(&listen), "a");
    }
}

#[test]
fn live_connections_outlive_what_they_came_by() {
    let (one, two, server) = (free_address(), free_address(), Server::start());
    let towpath = Towpath::file(&[listener("one", &one, "p"), pool("p", &server.address())].concat());
    let (mut client, mut served) = pair(&one, &server);
    write(&towpath, &[listener("two", &two, "q"), pool("q", &telling_server("new"))].concat());
    towpath.signal(Signal::HUP);
    towpath.stderr.wait_for("reloaded:");
    assert_refused(&one);
    client.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut served, 10), b"still here");
    served.write_all(b"so am I").unwrap();
    drop(served);
    assert_eq!(read_to_end(&mut client), (b"so am I".to_vec(), End::Fin));
    drop(client);
    assert_eq!(told(&two), "new");
    assert_eq!(towpath.stop(2)[0].text("listener"), "one");
}

/// Twenty in four seconds, two of them with a mistake, while clients come and one stream runs.
#[test]
fn reloads_under_load_lose_nothing() {
    let (listen, other) = (free_address(), free_address());
    let (servers, long) = ([telling_server("x"), telling_server("x")], Server::start());
    let text = |turn: usize| {
        let mut text =
            [listener("in", &listen, "p"), listener("long", &other, "long"), pool("long", &long.address())];
        text[0].push_str(&format!("max_connections = {}\n", 1000 + turn));
        let backends =
            if turn.is_multiple_of(2) { [&servers[0], &servers[1]] } else { [&servers[1], &servers[0]] };
        let balance = ["round_robin", "least_conn", "p2c", "random"][turn % 4];
        text.concat()
            + &format!(
                "[[pool]]\nname = \"p\"\nbalance = \"{balance}\"\nbackend = [\"{}\", \"{}\"]\n",
                backends[0], backends[1]
            )
    };
    let towpath = Towpath::file(&text(0));
    let (mut client, mut served) = pair(&other, &long);
    let over = AtomicBool::new(false);
    let (asked, failed) = thread::scope(|scope| {
        let load = || {
            let (mut asked, mut failed) = (0, Vec::new());
            while !over.load(Ordering::SeqCst) {
                asked += 1;
                match try_connect(&listen).map(|mut stream| read_to_end(&mut stream)) {
                    Ok((got, End::Fin)) if got == b"x" => {}
                    other => failed.push(format!("{other:?}")),
                }
            }
            (asked, failed)
        };
        let loads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        for turn in 1..=20 {
            write(&towpath, &if turn % 10 == 5 { "[[listener]]\nbroken".to_owned() } else { text(turn) });
            towpath.signal(Signal::HUP);
            let (good, bad) = (turn - (turn + 5) / 10, (turn + 5) / 10);
            towpath.stderr.wait("all reloads so far", |lines| {
                let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
                (count("reloaded: listeners") >= good && count("not reloaded") >= bad).then_some(())
            });
            let byte = [turn as u8];
            client.write_all(&byte).unwrap();
            assert_eq!(read_exactly(&mut served, 1), byte);
            // sleep: the pace of the reloads.
            thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::SeqCst);
        loads.into_iter().map(|load| load.join().unwrap()).fold(
            (0, Vec::new()),
            |mut all, (asked, failed)| {
                all.1.extend(failed);
                (all.0 + asked, all.1)
            },
        )
    });
    assert!(failed.is_empty(), "{} of {asked} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    assert!(asked > 200, "only {asked} were asked");
    served.write_all(b"end").unwrap();
    drop(served);
    assert_eq!(read_to_end(&mut client), (b"end".to_vec(), End::Fin));
}

#[test]
fn a_file_that_is_watched_is_loaded_when_it_changes() {
    let (listen, folder) = (free_address(), tempfile::tempdir().unwrap());
    let file = folder.path().join("watched.toml");
    fs::write(&file, [listener("in", &listen, "p"), pool("p", &telling_server("a"))].concat()).unwrap();
    let mut command = support::towpath::command(["run", "--watch", file.to_str().unwrap()]);
    command.args(["--log-format", "json"]);
    let towpath = Towpath::start(command);
    assert_eq!(told(&listen), "a");
    fs::write(&file, [listener("in", &listen, "p"), pool("p", &telling_server("b"))].concat()).unwrap();
    towpath.stderr.wait_for("reloaded:");
    assert_eq!(told(&listen), "b");
}

#[test]
fn orders_come_by_a_socket_that_is_the_owners() {
    let (listen, folder) = (free_address(), tempfile::tempdir().unwrap());
    let (socket, server) = (folder.path().join("admin.sock"), telling_server("a"));
    let admin = format!("[admin]\nsocket = \"{}\"\n", socket.display());
    let text = [admin.clone(), listener("in", &listen, "p"), pool("p", &server)].concat();
    let towpath = Towpath::file(&text);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let order = |words: &[&str]| {
        let mut command = std::process::Command::new(binary());
        command.args(words);
        output(command)
    };
    let by_socket = ["--socket", socket.to_str().unwrap()];
    let (code, said, _) = order(&["reload", by_socket[0], by_socket[1]]);
    assert_eq!(code, Some(0));
    assert!(said.contains("reloaded: listeners: 1 as before"), "{said}");
    let (code, said, _) =
        order(&["explain", by_socket[0], by_socket[1], "--listener", "in", "--client", "10.1.2.3"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("let in") && said.contains(&format!("1. {server}: up")), "{said}");
    write(&towpath, "[[pool]]\n");
    let (code, _, error) = order(&["reload", by_socket[0], by_socket[1]]);
    assert_eq!(code, Some(2));
    assert!(error.contains("has no `name`") && error.contains("has no `backend`"), "{error}");
    assert_eq!(told(&listen), "a");
    let path = socket.display().to_string();
    towpath.stop(1);
    wait_for("the path to be gone", || (!socket.exists()).then_some(()));
    let (code, _, error) = order(&["reload", "--socket", &path]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no towpath answers at"), "{error}");
}

#[test]
fn a_file_of_backends_is_watched() {
    let (listen, folder) = (free_address(), tempfile::tempdir().unwrap());
    let backends = folder.path().join("backends");
    fs::write(&backends, telling_server("a") + "\n").unwrap();
    let text = listener("in", &listen, "p")
        + &format!("[[pool]]\nname = \"p\"\nbackends_file = \"{}\"\n", backends.display());
    let towpath = Towpath::file(&text);
    assert_eq!(told(&listen), "a");
    fs::write(&backends, format!("# now b\n{} 3\n", telling_server("b"))).unwrap();
    wait_for("the other server", || (told(&listen) == "b").then_some(()));
    for (text, mistake) in [("nonsense\n", "line 1:"), ("", "the file is empty")] {
        fs::write(&backends, text).unwrap();
        towpath.stderr.wait_for(mistake);
        assert_eq!(told(&listen), "b");
    }
}

#[test]
fn a_signal_ends_a_reload_that_waits_for_name_servers() {
    let (listen, nobody) = (free_address(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let top = format!("[dns]\nservers = \"{}\"\ntimeout = \"20s\"\n", nobody.local_addr().unwrap());
    let pool = |backends: &str| format!("[[pool]]\nname = \"p\"\nbackend = [{backends}]\n");
    let address = telling_server("a");
    let first = top.clone() + &listener("in", &listen, "p") + &pool(&format!("\"{address}\""));
    let towpath = Towpath::file(&first);
    let more = format!("\"{address}\", \"db.test:1\"");
    fs::write(towpath.folder().join("towpath.toml"), top + &listener("in", &listen, "p") + &pool(&more))
        .unwrap();
    towpath.signal(Signal::HUP);
    nobody.set_read_timeout(Some(support::PATIENCE)).unwrap();
    nobody.recv(&mut [0; 512]).expect("a question that nobody answers");
    let start = std::time::Instant::now();
    towpath.stop(0);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
