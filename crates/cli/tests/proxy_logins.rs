//! Who may use a proxy, and where to: logins, those who guess them, and destinations that are closed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::net::{Server, echo_server};
use support::peers::{program, run_well};
use support::ports::{free_address, free_port};
use support::proxies::{Target, ask, ask_http, closed_proxy, connect_to, proxy, saying};
use support::services::dns;
use support::towpath::{Towpath, command, output};
use support::wait_for;

/// A field with a login of HTTP (RFC 7617), as curl writes it.
fn basic(name: &str, password: &str) -> String {
    let mut base64 = program("sh");
    base64.args(["-c", "printf %s \"$0\" | base64 -w0", &format!("{name}:{password}")]);
    format!("Proxy-Authorization: Basic {}\r\n", run_well(base64).trim())
}

/// A CONNECT with one more field, and words behind it.
fn connect_with(target: &str, field: &str) -> String {
    connect_to(target).replacen("\r\n\r\n", &format!("\r\n{field}\r\npayload"), 1)
}

/// A login and a request of SOCKS 5, and words behind them.
fn v5_with(target: &str, name: &str, password: &str) -> Vec<u8> {
    let counted = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let port: u16 = target.rsplit_once(':').unwrap().1.parse().unwrap();
    let (name, password) = (counted(name), counted(password));
    let request = [&[5, 1, 0, 1, 127, 0, 0, 1][..], &port.to_be_bytes(), b"payload"].concat();
    [&[5, 1, 2, 1][..], &name, &password, &request].concat()
}

/// A connection to `listen` from another address of this machine.
fn connect_from(ip: &str, listen: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{ip}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&listen.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    socket.into()
}

#[test]
fn those_without_the_right_login_go_nowhere() {
    let (listen, towpath) = proxy(&["--user", "bob:right-secret"]);
    let target = Target::start();
    let wrong = basic("bob", "wrong-secret");
    let other = "Proxy-Authorization: Digest username=\"bob\"\r\n".to_owned();
    for (field, words) in [(String::new(), "no login"), (other, "no login"), (wrong, "wrong login")] {
        for request in [target.get(&field), connect_with(&target.address, &field)] {
            let answer = String::from_utf8(ask(&listen, request.as_bytes())).unwrap();
            let (head, told) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 407 "), "{answer}");
            assert!(head.to_lowercase().contains("proxy-authenticate: basic realm="), "{answer}");
            assert_eq!(told.trim_end(), words);
        }
    }
    assert_eq!(ask(&listen, &[5, 1, 0]), [5, 0xff]);
    assert_eq!(ask(&listen, &v5_with(&target.address, "bob", "wrong-secret")), [5, 2, 1, 1]);
    assert_eq!(ask(&listen, b"\x04\x01\x00\x50\x7f\x00\x00\x01bob\x00"), [0, 0x5b, 0, 0, 0, 0, 0, 0]);
    assert_eq!(target.take_heads(), [""; 0]);
    let printed = format!("{:?}{:?}", towpath.stdout.so_far(), towpath.stderr.so_far());
    assert!(!printed.contains("secret"), "{printed}");
    let records = towpath.stop(9);
    let ends: Vec<String> = records.iter().map(|record| record.end()).collect();
    assert_eq!(ends.iter().filter(|end| *end == "ask: wrong login").count(), 3, "{ends:?}");
    assert_eq!(ends.iter().filter(|end| *end == "ask: no login").count(), 6, "{ends:?}");
}

#[test]
fn files_of_users_are_made_by_towpath_and_by_htpasswd() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    let script = format!(
        "(echo al-secret | {0} passwd al --cost 4; echo ar-secret | {0} passwd ar --argon2;\n\
         htpasswd -nbB ha ha-secret; htpasswd -nbB -C 4 hb hb-secret) > {1}",
        support::towpath::binary().display(),
        file.display()
    );
    let mut make = program("sh");
    make.args(["-c", &script]);
    run_well(make);
    let (listen, towpath) = proxy(&["--auth-file", file.to_str().unwrap()]);
    let echo = echo_server();
    for name in ["al", "ar", "ha", "hb"] {
        let password = format!("{name}-secret");
        let request = connect_with(&echo, &basic(name, &password));
        assert_eq!(ask_http(&listen, &request), (200, "payload".to_owned()), "{name}");
        assert!(ask(&listen, &v5_with(&echo, name, &password)).ends_with(b"payload"), "{name}");
    }
    let users = fs::read_to_string(&file).unwrap();
    let printed = format!("{:?}{:?}", towpath.stdout.so_far(), towpath.stderr.so_far());
    let secrets = users.lines().filter_map(|line| line.split_once(':')).map(|(_, hash)| hash);
    assert!(!printed.contains("secret"), "{printed}");
    assert!(secrets.into_iter().all(|hash| !printed.contains(hash)), "{printed}");
    let users = towpath.stop(8).iter().map(|record| record.text("user").to_owned()).collect::<Vec<_>>();
    assert_eq!(users, ["al", "al", "ar", "ar", "ha", "ha", "hb", "hb"]);
}

#[test]
fn those_who_guess_wait_longer_each_time_and_nobody_else() {
    let (listen, towpath) = proxy(&["--user", "bob:right"]);
    let echo = echo_server();
    let timed = |from: &str, password: &str| {
        let mut client = connect_from(from, &listen);
        client.write_all(connect_with(&echo, &basic("bob", password)).as_bytes()).unwrap();
        let (begun, mut start) = (Instant::now(), [0; 12]);
        client.read_exact(&mut start).unwrap();
        (String::from_utf8(start.to_vec()).unwrap(), begun.elapsed())
    };
    let guesses: Vec<_> = (0..6).map(|_| timed("127.0.0.1", "wrong")).collect();
    assert!(guesses.iter().all(|(answer, _)| answer.ends_with("407")), "{guesses:?}");
    assert!(guesses[5].1 > Duration::from_millis(900), "{guesses:?}");
    assert!(guesses[5].1 > guesses[0].1 + Duration::from_millis(700), "{guesses:?}");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| timed("127.0.0.1", "right"));
        for password in ["right", "wrong", "right"] {
            let (answer, took) = timed("127.0.0.2", password);
            assert!(took < Duration::from_millis(1900), "{password}: {answer} after {took:?}");
        }
        let (answer, took) = waiting.join().unwrap();
        assert_eq!(answer, "HTTP/1.1 200");
        assert!(took > Duration::from_millis(1900), "a right one cannot be told from a guess: {took:?}");
    });
    assert!(timed("127.0.0.1", "right").1 < Duration::from_millis(1900), "and then all is forgotten");
    drop(towpath);
}

#[test]
fn a_login_that_waits_takes_none_of_the_time_for_the_head() {
    let (listen, echo) = (free_address(), echo_server());
    let towpath = Towpath::file(&format!(
        "[[listener]]\nname = \"in\"\nmode = \"proxy\"\nbind = \"{listen}\"\nallow_dest = \"127.0.0.0/8\"\n\
         header_timeout = \"300ms\"\nusers = \"bob:right\"\n"
    ));
    let request = |password: &str| connect_with(&echo, &basic("bob", password));
    for _ in 0..5 {
        assert_eq!(ask_http(&listen, &request("wrong")).0, 407);
    }
    assert_eq!(ask_http(&listen, &request("right")), (200, "payload".to_owned()));
    towpath.stop(6);
}

#[test]
fn requests_bring_a_parent_our_login_and_nobody_elses() {
    let parent = Target::start();
    let (listen, towpath) = proxy(&["--via", &format!("http://bob:hop-secret@{}", parent.address)]);
    let fields = "Proxy-Authorization: Basic Y2xpZW50OmM=\r\nX-Hop: 1\r\nConnection: x-hop\r\n";
    let request = parent.get(fields).replace(&parent.address, "t.test:4444");
    assert_eq!(ask_http(&listen, &request), (200, "ok".to_owned()));
    let head = parent.take_heads().remove(0).to_lowercase();
    assert!(head.contains("proxy-authorization: basic ym9iomhvcc1zzwnyzxq="), "{head}");
    assert!(!head.contains("y2xpzw50omm") && !head.contains("x-hop"), "{head}");
    towpath.stop(1);
    // It wants a login of towpath, not of the client, who would answer with a login for towpath.
    let challenge =
        "HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=\"parent\"\r\nContent-Length: 0\r\n\r\n";
    let (listen, towpath) = proxy(&["--via", &format!("http://{}", saying(challenge))]);
    let answer = String::from_utf8(ask(&listen, request.as_bytes())).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 ") && !answer.contains("parent"), "{answer}");
    assert!(towpath.stop(1)[0].text("end").contains("wants another login"));
}

#[test]
fn nobody_is_a_proxy_for_everybody_by_accident() {
    let port = free_port();
    for listen in [
        format!(":{port}"),
        format!("0.0.0.0:{port}"),
        format!("[::]:{port}"),
        format!("127.0.0.1:1,:{port}"),
    ] {
        let (code, stdout, stderr) = output(command(["proxy", &listen]));
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{stderr}");
        for word in ["--open", "--user", "--allow"] {
            assert!(stderr.contains(word), "no {word} in {stderr}");
        }
    }
    for flags in [&["--open"][..], &["--user", "a:b"], &["--allow", "10.0.0.0/8"]] {
        let towpath = Towpath::start(command(["proxy", &format!(":{port}")].iter().chain(flags)));
        towpath.stop(0);
    }
}

/// The password of each is SECRET, or what somebody typed in its place is.
#[test]
fn nothing_that_is_printed_has_a_password() {
    let urls = [
        "http://bob:SECRET@proxy:1,proxy:2",
        "socks5h://bob:SECRET@proxy",
        "http://bob:SECRET@proxy:http",
        "http://bob:SECRET@proxy:1/path",
        "wrong://bob:SECRET@proxy:1",
        "http:/bob:SECRET@proxy:1",
        "bob:SECRET@proxy:1",
        "http://bob:SECRET",
        "http://bob:SECRET?x@proxy:1",
        "http://bob:x?SECRET@proxy:1",
        "http://bob:SECRET/x@proxy:1",
        "http://bob:SECRET#x@proxy:1",
        "http://bob:SECRET@SECRET@proxy:1",
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    let assert_hides = |words: &[&str]| {
        let (_, stdout, stderr) = output(command(words));
        assert!(!(stdout + &stderr).contains("SECRET"), "{words:?}: {stderr}");
    };
    for url in urls {
        assert_hides(&["tcp", "127.0.0.1:1", "server:1", "--via", url, "--print-config"]);
        let pool = "[[pool]]\nname = \"p\"\nbackend = \"server:1\"\n";
        let text = format!(
            "[[listener]]\nname = \"l\"\nbind = \"127.0.0.1:1\"\npool = \"p\"\n{pool}via = \"{url}\"\n"
        );
        fs::write(&file, text).unwrap();
        assert_hides(&["check", file.to_str().unwrap()]);
    }
    assert_hides(&["proxy", "127.0.0.1:1", "--user", "bob:SECRET", "--print-config"]);
    assert_hides(&["proxy", "127.0.0.1:1", "--user", "SECRET", "--print-config"]);
    for users in ["\"bob:SECRET\"", "bob:SECRET", "\"SECRET\"", "[\"bob:SECRET\", 5]", "{ bob = \"SECRET\" }"]
    {
        let text = format!(
            "[[listener]]\nname = \"l\"\nmode = \"proxy\"\nbind = \"127.0.0.1:1\"\nusers = {users}\n"
        );
        fs::write(&file, text).unwrap();
        assert_hides(&["check", file.to_str().unwrap()]);
    }
    let masked = |password: &str| {
        let user = format!("bob:{password}");
        output(command(["proxy", "127.0.0.1:1", "--user", &user, "--print-config"])).1
    };
    assert_eq!(masked("short"), masked("much-longer-than-that"), "not even its length is told");
}

#[test]
fn logins_and_proxies_that_cannot_be() {
    let via = |url: &'static str| vec!["tcp", "127.0.0.1:1", "server:1", "--via", url, "--print-config"];
    let user = |user: &'static str| vec!["proxy", "127.0.0.1:1", "--user", user];
    let twice = vec!["proxy", "127.0.0.1:1", "--user", "a:b", "--user", "a:c"];
    let bad = [
        (via("http://"), ""),
        (via("http://bob:pw@"), ""),
        (via("http://proxy:1,"), ""),
        (via("http://bob:%ff@proxy:1"), ""),
        (via("http://proxy:0"), "port"),
        (user("bob"), "NAME:PASSWORD"),
        (user(":password"), "NAME:PASSWORD"),
        (user("bob:"), "NAME:PASSWORD"),
        (twice, "twice"),
    ];
    for (words, told) in bad {
        let (code, _, stderr) = output(command(&words));
        assert_eq!(code, Some(2), "{words:?}: {stderr}");
        assert!(stderr.contains(told) && !stderr.contains("auth_file:"), "{words:?}: {stderr}");
    }
}

/// The flag that a refusal names.
fn flag(told: &str) -> Vec<String> {
    let place = told.split("--allow-dest ").nth(1).unwrap_or_else(|| panic!("no flag in {told:?}"));
    vec!["--allow-dest".to_owned(), place.split(' ').next().unwrap().trim_matches('\'').to_owned()]
}

#[test]
fn closed_destinations_open_by_the_flag_that_the_refusal_names() {
    // Through a proxy that nobody runs: none of these is ever connected to.
    let via = format!("socks5://{}", free_address());
    let (listen, towpath) = closed_proxy(&["--via", &via]);
    let port = free_port();
    let closed = [
        ("127.0.0.1", port),
        ("127.9.9.9", port),
        ("localhost", port),
        ("LocalHost.", port),
        ("[::1]", port),
        ("[::ffff:127.0.0.1]", port),
        ("[64:ff9b::7f00:1]", port),
        ("[2002:7f00:1::]", port),
        ("[::127.0.0.1]", port),
        ("0.0.0.0", port),
        ("[::]", port),
        ("169.254.169.254", port),
        ("[::ffff:169.254.169.254]", port),
        ("[fe80::1]", port),
        ("192.0.2.1", 25),
        ("[2001:db8::1]", 25),
    ];
    for (host, port) in closed {
        let target = format!("{host}:{port}");
        let (status, told) = ask_http(&listen, &connect_to(&target));
        assert_eq!(status, 403, "{target}: {told}");
        let get = format!("GET http://{target}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(ask_http(&listen, &get), (403, told.clone()), "{target}");
        let flags = [flag(&told), vec!["--via".to_owned(), via.clone()]].concat();
        let (listen, _towpath) = closed_proxy(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        let (status, told) = ask_http(&listen, &connect_to(&target));
        assert!(status == 502 && told.contains("hop 1: connect refused"), "{target} with {flags:?}: {told}");
    }
    let names =
        ["127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "0", "[fe80::1%25lo]"];
    for name in names {
        assert_eq!(ask_http(&listen, &connect_to(&format!("{name}:{port}"))).0, 400, "{name}");
    }
    towpath.stop(2 * closed.len() + names.len());
}

#[test]
fn the_proxy_does_not_go_to_itself() {
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.0.0.2"] {
        let port = free_port();
        let listen = if host == "127.0.0.2" { format!(":{port}") } else { format!("127.0.0.1:{port}") };
        let start = |flags: &[String]| {
            let words = ["proxy", &listen, "--open", "--allow-dest", "127.0.0.0/8", "--log-format", "json"];
            Towpath::start(command(words.iter().copied().chain(flags.iter().map(String::as_str))))
        };
        let (towpath, target) = (start(&[]), format!("{host}:{port}"));
        let here = format!("127.0.0.1:{port}");
        let (status, told) = ask_http(&here, &connect_to(&target));
        assert_eq!(status, 403, "{target}: {told}");
        assert_eq!(towpath.stop(1)[0].end(), "route: denied: own listener");
        let _towpath = start(&flag(&told));
        assert_eq!(ask_http(&here, &connect_to(&target)).0, 200, "{target} with {:?}", flag(&told));
    }
}

#[test]
fn names_lead_nowhere_that_addresses_do_not() {
    let port = free_port();
    for ip in ["127.0.0.1", "127.0.0.2"] {
        Server::on(&format!("{ip}:{port}")).tell(ip);
    }
    let far = "127.0.0.2 good.test\n127.0.0.1 closed.test\n127.0.0.1 both.test\n127.0.0.2 both.test\n\
               169.254.169.254 cloud.test\n::1 six.test\n::ffff:127.0.0.1 mapped.test\n0.0.0.0 zero.test\n";
    let dns = dns(&format!("{far}127.0.0.2 changing.test\n"), &[]);
    let listen = free_address();
    let towpath = Towpath::file(&format!(
        "[dns]\nservers = \"127.0.0.1:{}\"\n[[listener]]\nname = \"in\"\nmode = \"proxy\"\nbind = \"{listen}\"\n\
         allow_dest = \"127.0.0.2\"\n",
        dns.service.port
    ));
    let go = |name: &str| ask_http(&listen, &connect_to(&format!("{name}:{port}")));
    let good = (200, "127.0.0.2".to_owned());
    for name in ["good.test", "GOOD.test.", "both.test", "both.test", "changing.test"] {
        assert_eq!(go(name), good, "{name}");
    }
    for name in ["closed.test", "closed.test.", "cloud.test", "six.test", "mapped.test", "zero.test"] {
        assert_eq!(go(name).0, 403, "{name}");
    }
    assert_eq!(go("nobody.test").0, 502);
    // Whoever answers for the name changes their mind: the server that is closed never hears of it.
    dns.change(&format!("{far}127.0.0.1 changing.test\n"));
    wait_for("the new answer", || match go("changing.test") {
        (403, _) => Some(()),
        answer => {
            assert_eq!(answer, good);
            None
        }
    });
    dns.change(&format!("{far}127.0.0.2 changing.test\n"));
    wait_for("the old answer", || (go("changing.test") == good).then_some(()));
    drop(towpath);
}
