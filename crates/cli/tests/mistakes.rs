//! Bad input: each gets one clear line and exit code 2, and nothing runs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Stdio;

use rustix::process::geteuid;
use support::net::{assert_echo, connect, echo_server};
use support::peers::path_of;
use support::ports::{free_address, free_port, free_ports};
use support::towpath::{Guarded, Towpath, binary, command, output};
use support::wait_for;

/// Runs `towpath tcp LISTEN TARGET` and expects one line with all of `words`, nothing else, and exit code 2.
fn assert_refuses(listen: &str, target: &str, words: &[&str]) {
    let (code, stdout, stderr) = output(command(["tcp", listen, target]));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.contains("INFO")).collect();
    assert_eq!(lines.len(), 1, "one line: {stderr}");
    assert!(lines[0].starts_with("towpath: "), "{stderr}");
    for word in words {
        assert!(lines[0].contains(word), "no {word:?} in {stderr}");
    }
}

/// Runs `towpath check` and `towpath run` on a file of these bytes and expects the same from both; returns the report.
fn assert_refuses_file(bytes: &[u8], words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    fs::write(&file, bytes).unwrap();
    let reports = ["check", "run"].map(|verb| {
        let (code, stdout, stderr) = output(command([verb, file.to_str().unwrap()]));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{verb}: {stderr}");
        for word in words.iter().chain(&["error: ", "bad.toml"]) {
            assert!(stderr.contains(word), "{verb}: no {word:?} in {stderr}");
        }
        stderr
    });
    assert_eq!(reports[0], reports[1]);
    let [report, _] = reports;
    assert_eq!(report.matches("error: ").count(), 1, "one mistake: {report}");
    report
}

#[test]
fn options_of_sockets_are_named_and_told_once() {
    let (listen, folder) = (free_address(), tempfile::tempdir().unwrap());
    let unix = ["a", "b"].map(|name| format!("unix:{}", folder.path().join(name).display()));
    for (ends, option, words) in [
        ([listen.as_str(), "127.0.0.1:80"], ["--send-buffer", "3"], "--send-buffer: `3` has no unit"),
        ([&listen, "127.0.0.1:80"], ["--dscp", "zzz"], "--dscp: `zzz` is no code point"),
        ([&listen, "127.0.0.1:80"], ["--idle-timeout", "x"], "--idle-timeout: `x` is not a duration"),
        ([&unix[0], &unix[1]], ["--mss", "1200"], "--mss: `mss` is of TCP, and here are only unix sockets"),
    ] {
        let (code, stdout, stderr) = output(command([&["tcp"], &ends[..], &option[..]].concat()));
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{stderr}");
        assert!(stderr.starts_with(&format!("towpath: {words}")), "{stderr}");
    }
}

/// A file with one listener and one pool, and `more` behind.
fn file_with(more: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:{}\"\npool = \"web\"\n\
         [[pool]]\nname = \"web\"\nbackend = \"127.0.0.1:1\"\n{more}",
        free_port()
    )
}

#[test]
fn a_host_that_does_not_exist() {
    assert_refuses(&free_address(), "nosuch.invalid:80", &["no such host", "nosuch.invalid"]);
}

#[test]
fn ports_that_are_none() {
    for port in ["0", "65536", "http", "-1", "+80", "99999999999999999999", ""] {
        assert_refuses(&format!("127.0.0.1:{port}"), "127.0.0.1:80", &["port"]);
        assert_refuses(&free_address(), &format!("127.0.0.1:{port}"), &["port"]);
    }
    assert_refuses("127.0.0.1", "127.0.0.1:80", &["127.0.0.1", "port"]);
    assert_refuses("127.0.0.1:9-8", "127.0.0.1:80", &["9-8"]);
    assert_refuses("::1:80", "127.0.0.1:80", &["brackets"]);
}

#[test]
fn empty_places_in_lists() {
    let listen = free_address();
    assert_refuses("", "127.0.0.1:80", &["empty"]);
    assert_refuses(&listen, "", &["empty"]);
    assert_refuses(&listen, "127.0.0.1:80,", &["empty"]);
    assert_refuses("unix:", "127.0.0.1:80", &["path"]);
}

#[test]
fn ranges_of_unequal_length() {
    let first = free_ports(3);
    let listen = format!("127.0.0.1:{first}-{}", first + 2);
    assert_refuses(&listen, "127.0.0.1:40000-40001", &["3 ports", "40000-40001", "2"]);
}

#[test]
fn an_address_that_is_in_use_with_the_one_who_uses_it() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let this = format!("(pid {})", std::process::id());
    assert_refuses(&address, "127.0.0.1:1", &[&address, "in use", &this]);
    assert_refuses(
        &format!(":{}", other.local_addr().unwrap().port()),
        "127.0.0.1:1",
        &[&address, "in use", &this],
    );
}

#[test]
fn a_second_towpath_on_the_port() {
    let listen = free_address();
    let towpath = Towpath::tcp(&listen, &echo_server(), &["--workers", "2"]);
    let pid = format!("towpath (pid {})", towpath.pid());
    let port = listen.rsplit_once(':').unwrap().1;
    for second in [listen.clone(), format!(":{port}"), format!("0.0.0.0:{port}")] {
        assert_refuses(&second, "127.0.0.1:1", &["in use", &pid, &listen]);
    }
    assert_echo(&mut connect(&listen), "undisturbed");
    towpath.stop(1);
}

/// Two that start at the same moment must not both believe that the port is theirs.
#[test]
fn two_towpaths_that_start_at_once_do_not_share_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let ready = UnixDatagram::bind(&notify).unwrap();
    ready.set_nonblocking(true).unwrap();
    for round in 0..100 {
        let listen = free_address();
        let start = || {
            let mut command = command(["tcp", &listen, "127.0.0.1:1", "--workers", "2"]);
            command.env("NOTIFY_SOCKET", &notify).stdout(Stdio::null()).stderr(Stdio::null());
            Guarded::spawn(&mut command)
        };
        let mut both = [start(), start()];
        let (mut running, mut refused) = (0, 0);
        wait_for("decision of both", || {
            running += usize::from(ready.recv(&mut [0; 256]).is_ok());
            refused = both.iter_mut().filter_map(|child| child.try_wait().unwrap()).count();
            (running + refused == 2).then_some(())
        });
        drop(both);
        assert!(running < 2, "round {round}: both run on {listen}");
    }
}

#[test]
fn a_privileged_port_without_the_right() {
    assert!(geteuid().is_root(), "this test gives up rights, so it needs them first: run it as root");
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("towpath");
    fs::copy(binary(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let mut command = std::process::Command::new(path_of("setpriv"));
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all"]);
        command.args(["--bounding-set=-all"]).arg(&copy).args(arguments).current_dir("/");
        output(command)
    };
    let (code, _, stderr) = as_nobody(&["tcp", "127.0.0.1:7", "127.0.0.1:1"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("127.0.0.1:7") && stderr.contains("CAP_NET_BIND_SERVICE"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");

    let foreign = folder.path().join("foreign.toml");
    fs::write(&foreign, file_with("").replace("[[pool]]\n", "[[pool]]\nsource = \"client\"\n")).unwrap();
    let (code, _, stderr) = as_nobody(&["run", foreign.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("CAP_NET_ADMIN"), "{stderr}");

    let secret = folder.path().join("secret.toml");
    fs::write(&secret, file_with("")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    for verb in ["check", "run"] {
        let (code, _, stderr) = as_nobody(&[verb, secret.to_str().unwrap()]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("secret.toml") && stderr.contains("not permitted"), "{stderr}");
    }
}

#[test]
fn unix_paths_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| format!("unix:{}", folder.path().join(name).display());
    let long = path(&"x".repeat(120));
    assert_refuses(&long, "127.0.0.1:1", &["107"]);
    assert_refuses(&free_address(), &long, &["107"]);

    fs::write(folder.path().join("file"), "precious").unwrap();
    assert_refuses(&path("file"), "127.0.0.1:1", &["not a socket"]);
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "precious");
    fs::create_dir(folder.path().join("folder")).unwrap();
    assert_refuses(&path("folder"), "127.0.0.1:1", &["not a socket"]);
    std::os::unix::fs::symlink(folder.path().join("file"), folder.path().join("link")).unwrap();
    assert_refuses(&path("link"), "127.0.0.1:1", &["not a socket"]);
    assert!(Path::new(&folder.path().join("link")).exists());

    assert_refuses(&path("no/such/folder"), "127.0.0.1:1", &["directory"]);
    let _used = UnixListener::bind(folder.path().join("used")).unwrap();
    assert_refuses(&path("used"), "127.0.0.1:1", &["listens there"]);
    assert!(folder.path().join("used").exists());
}

#[test]
fn files_that_are_no_configuration() {
    assert_refuses_file(b"", &["empty"]);
    assert_refuses_file(b"\n# nothing\n\n", &["[[listener]]"]);
    assert_refuses_file(b"workers = \"\xff\xfe\"\n", &["UTF-8", "line 1"]);
    assert_refuses_file(&vec![b'#'; 10_000_000], &["10000000", "limit"]);
    let mut long = file_with("").into_bytes();
    long.extend(std::iter::repeat_n(b'\n', 10_000_000));
    assert_refuses_file(&long, &["limit"]);
    for (path, hint) in [("/nonexistent/towpath.toml", "no such file"), ("/", "directory")] {
        let (code, _, stderr) = output(command(["check", path]));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(path) && stderr.contains(hint), "{stderr}");
    }
}

#[test]
fn mistakes_in_a_file() {
    assert_refuses_file(
        file_with("conect_timeout = \"1s\"\n").as_bytes(),
        &["conect_timeout", "connect_timeout", ":8"],
    );
    let twice = "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:9\"\npool = \"web\"\n";
    assert_refuses_file(file_with(twice).as_bytes(), &["web", "listener"]);
    assert_refuses_file(
        file_with("[[pool]]\nname = \"web\"\nbackend = \"10.0.0.1:1\"\n").as_bytes(),
        &["web", "pool"],
    );
    assert_refuses_file(file_with("[[pool]]\nname = \"none\"\nbackend = []\n").as_bytes(), &["backend"]);
    assert_refuses_file(file_with("[[pool]]\nname = \"none\"\n").as_bytes(), &["backend"]);
    let nameless = "[[listener]]\nname = \"other\"\nbind = \"127.0.0.1:9\"\npool = \"wep\"\n";
    assert_refuses_file(file_with(nameless).as_bytes(), &["wep", "web"]);
}

#[test]
fn a_listener_that_forwards_to_itself() {
    let port = free_port();
    for (listen, target) in [
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")),
        (format!(":{port}"), format!("127.0.0.1:{port}")),
        (format!(":{port}"), format!("[::1]:{port}")),
        (format!(":{port}"), format!("localhost:{port}")),
        (format!("0.0.0.0:{port}"), format!("127.8.7.6:{port}")),
        (format!("127.0.0.1:{port}"), format!(":{port}")),
        (format!("127.0.0.1:{port}"), format!("10.255.255.1:80,127.0.0.1:{port}")),
        (format!("127.0.0.1:{port}-{}", port + 1), format!("127.0.0.1:{}-{port}", port - 1)),
    ] {
        assert_refuses(&listen, &target, &["itself", &port.to_string()]);
    }
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", folder.path().join("loop").display());
    assert_refuses(&unix, &unix, &["itself"]);
}

#[test]
fn bad_usage() {
    for arguments in [
        &["tcp"][..],
        &["tcp", ":1"],
        &["tcp", ":1", "a:1", "b:1"],
        &["tcp", ":1", "a:1", "--workers", "0"],
        &["tcp", ":1", "a:1", "--workers", "many"],
        &["tcp", ":1", "a:1", "--idle-timeout", "-1s"],
        &["tcp", ":1", "a:1", "--idle-timeout", "5"],
        &["tcp", ":1", "a:1", "--idle-timeout", "0s"],
        &["tcp", ":1", "a:1", "--drain-timeout", "soon"],
        &["tcp", ":1", "a:1", "--connect-timeout", ""],
        &["tcp", ":1", "a:1", "--max-connections", "0"],
        &["tcp", ":1", "a:1", "--log-format", "xml"],
        &["tpc", ":1", "a:1"],
        &["run"],
        &["check"],
        &["--no-such-flag"],
        &[],
    ] {
        let (code, stdout, stderr) = output(command(arguments));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty(), "{arguments:?} says nothing");
    }
}
