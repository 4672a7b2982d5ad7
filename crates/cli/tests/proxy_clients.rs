//! Programs that people have behind proxies get through towpath: curl, git, ssh, browsers, database clients.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;

use support::PATIENCE;
use support::peers::{Ran, program, run, run_well};
use support::ports::free_address;
use support::services::{Service, postgres, postgres_program, redis, ssh};
use support::tools::{Certificate, Proxy, Site, assert_same, client, origin, random_file};
use support::towpath::Towpath;

/// Longer than any buffer on the way.
const LARGE: usize = 20_000_000;

/// curl with no settings of its own, and with what it is to print at the end.
fn curl(home: &Path, report: &str, words: &[&str]) -> Ran {
    let mut command = client("curl", home);
    command.args(["-q", "-4", "-sS", "--max-time", "30", "-w", report]).args(words);
    run(command, PATIENCE)
}

/// The same for one that must succeed; what it printed.
fn curl_well(home: &Path, report: &str, words: &[&str]) -> String {
    let Ran { status, stdout, stderr } = curl(home, report, words);
    assert!(status.success(), "{words:?}: {status}\n{stdout}\n{stderr}");
    stdout
}

/// How curl names each way through a proxy: its scheme, and whether it has to be told to tunnel.
const WAYS: [(&str, bool); 8] = [
    ("http", false),
    ("http", true),
    ("https", false),
    ("https", true),
    ("socks4", false),
    ("socks4a", false),
    ("socks5", false),
    ("socks5h", false),
];

#[test]
fn curl_by_every_protocol() {
    let certificate = Certificate::make();
    let site = Site::start(&certificate);
    let (open, secure) = (Proxy::start(&[]), Proxy::secure(&certificate, &[]));
    let (home, ca, page) =
        (certificate.folder.path(), certificate.file(), format!("http://{}/page", site.plain()));
    for (scheme, tunnels) in WAYS {
        let proxy = if scheme == "https" { &secure } else { &open };
        let proxy = proxy.url(scheme, "");
        let mut words = vec!["--proxy-cacert", &ca, "-x", &proxy, &page];
        words.extend(tunnels.then_some("-p"));
        assert_eq!(curl_well(home, " %{http_code}", &words), "the page 200", "{words:?}");
    }
    // socks4 and socks5 leave the name to curl.
    let (by_name, by_address) = (site.plain(), site.service.address());
    let records = open.carried(6, &[&by_name, &by_address]);
    assert_eq!(records.iter().filter(|record| record.text("wanted") == by_address).count(), 2);
    secure.carried(2, &[&by_name]);
}

#[test]
fn curl_with_a_name_and_a_password() {
    let certificate = Certificate::make();
    let site = Site::start(&certificate);
    let (plain, secure) = (Proxy::guarded(), Proxy::secure(&certificate, &["--user", "alice:secret"]));
    let (home, ca, page) =
        (certificate.folder.path(), certificate.file(), format!("http://{}/page", site.plain()));
    for (scheme, tunnels) in WAYS {
        let proxy = if scheme == "https" { &secure } else { &plain };
        let proxy = proxy.url(scheme, "");
        for login in ["alice:secret", "alice:wrong", "bob:secret", ""] {
            let mut words = vec!["--proxy-cacert", &ca, "-x", &proxy, &page];
            words.extend(tunnels.then_some("-p"));
            if !login.is_empty() {
                words.extend(["--proxy-user", login]);
            }
            let ran = curl(home, " %{http_code} %{http_connect}", &words);
            let told = (ran.status.code().unwrap(), ran.stdout.split_once(' ').map_or("", |(_, told)| told));
            // SOCKS4 has no passwords, so nobody gets in by it.
            let wanted = match (scheme, tunnels, login) {
                ("http" | "https", true, "alice:secret") => (0, "page 200 200"),
                ("socks4" | "socks4a", ..) => (97, "000 000"),
                (.., "alice:secret") => (0, "page 200 000"),
                ("http" | "https", false, _) => (0, "407 000"),
                ("http" | "https", true, _) => (56, "000 407"),
                _ => (97, "000 000"),
            };
            let is_told = told.0 == wanted.0 && told.1.ends_with(wanted.1);
            assert!(is_told, "{words:?}: {told:?} {}", ran.stderr);
        }
    }
    let records = [plain.stop(24), secure.stop(8)].concat();
    let count = |key: &str, text: &str| records.iter().filter(|record| record.text(key) == text).count();
    let counts = [count("user", "alice"), count("end", "wrong login"), count("end", "no login")];
    assert_eq!(counts, [6, 12, 14], "{records:#?}");
}

#[test]
fn curl_speaks_http_2_through_a_tunnel_and_keeps_its_connections() {
    let certificate = Certificate::make();
    let (site, proxy) = (Site::start(&certificate), Proxy::start(&[]));
    random_file(&site.root().join("large"), 1, LARGE);
    let (home, ca, by) = (certificate.folder.path(), certificate.file(), proxy.url("http", ""));
    let (page, large) =
        (format!("https://{}/page", site.secure()), format!("https://{}/large", site.secure()));
    let got = home.join("got");
    let to = got.display().to_string();
    let words = ["-x", &by, "--cacert", &ca, "--http2", &page, "-o", "-", &large, "-o", &to];
    assert_eq!(
        curl_well(home, " %{http_version} %{num_connects}\n", &words),
        "the page 2 1\n 2 0",
        "two streams of one tunnel"
    );
    assert_same(&got, &site.root().join("large"));
    let page = format!("http://{}/page", site.plain());
    let told = curl_well(home, " %{num_connects}\n", &["-x", &by, &page, &page, &page]);
    assert_eq!(told, "the page 1\nthe page 0\nthe page 0");
    let records = proxy.carried(4, &[&site.plain(), &site.secure()]);
    let served: Vec<_> = records.iter().filter(|record| record.text("end") == "served").collect();
    assert_eq!(served.len(), 3, "three requests and a tunnel: {records:#?}");
    assert!(served.iter().all(|record| record.text("client") == served[0].text("client")), "{served:#?}");
}

#[test]
fn curl_of_large_bodies_both_ways() {
    let certificate = Certificate::make();
    let origin = origin();
    let (open, secure) = (Proxy::start(&[]), Proxy::secure(&certificate, &[]));
    let (home, ca, url) =
        (certificate.folder.path(), certificate.file(), format!("http://{}/echo", origin.address()));
    let (file, got) = (home.join("large"), home.join("got"));
    random_file(&file, 2, LARGE);
    let (put, to) = (file.display().to_string(), got.display().to_string());
    let post = format!("@{put}");
    let forms: [(&[&str], &str); 3] = [
        (&["--data-binary", &post], "POST counted 20000000"),
        (&["-T", &put], "PUT counted 20000000"),
        (&["-T", &put, "-H", "Transfer-Encoding: chunked"], "PUT chunked 20000000"),
    ];
    for by in [open.url("http", ""), secure.url("https", ""), open.url("socks5h", "")] {
        for (form, asked) in forms {
            let words = [&["-x", &by, "--proxy-cacert", &ca, "-o", &to, &url], form].concat();
            assert_eq!(curl_well(home, "%header{x-asked}", &words), asked, "{words:?}");
            assert_same(&got, &file);
            fs::remove_file(&got).unwrap();
        }
    }
    for record in [open.carried(6, &[&origin.address()]), secure.carried(3, &[&origin.address()])].concat() {
        let (up, down) = record.bytes();
        assert!(up >= LARGE as u64 && down >= LARGE as u64, "{record:?}");
    }
}

/// git in `folder`, with the words of the command line.
fn git(folder: &Path, words: &[&str]) -> String {
    let mut command = client("git", folder);
    command.args([
        "-c",
        "user.name=Alice",
        "-c",
        "user.email=alice@example.com",
        "-c",
        "init.defaultBranch=main",
    ]);
    command.args(words);
    run_well(command)
}

/// A repository at `bare` with `size` bytes in a file.
fn repository(bare: &Path, size: usize) {
    let work = tempfile::tempdir().unwrap();
    git(work.path(), &["init", "-q", "."]);
    random_file(&work.path().join("large"), 3, size);
    git(work.path(), &["add", "."]);
    git(work.path(), &["commit", "-q", "-m", "One"]);
    git(work.path(), &["clone", "-q", "--bare", ".", &bare.display().to_string()]);
    git(bare, &["config", "http.receivepack", "true"]);
    git(bare, &["update-server-info"]);
}

#[test]
fn git_clones_and_pushes_over_http() {
    let certificate = Certificate::make();
    let (site, origin) = (Site::start(&certificate), origin());
    let (open, guarded, folder) = (Proxy::start(&[]), Proxy::guarded(), tempfile::tempdir().unwrap());
    let (bare, at) = (origin.folder.path().join("repo.git"), folder.path());
    repository(&bare, 2_000_000);
    repository(&site.root().join("repo.git"), 2_000_000);
    let ca = format!("http.sslCAInfo={}", certificate.file());
    let through = |proxy: String, words: &[&str]| {
        let proxy = format!("http.proxy={proxy}");
        git(at, &[&["-c", &ca, "-c", &proxy], words].concat());
    };
    let smart = format!("http://{}/git/repo.git", origin.address());
    let dumb = format!("https://{}/repo.git", site.secure());
    through(open.url("http", ""), &["clone", "-q", &smart, "one"]);
    through(open.url("socks5h", ""), &["clone", "-q", &smart, "two"]);
    through(guarded.url("http", "alice:secret@"), &["clone", "-q", &dumb, "three"]);
    for name in ["two", "three"] {
        assert_same(&at.join("one/large"), &at.join(name).join("large"));
    }
    // More than git sends in one piece: it goes by chunks.
    random_file(&at.join("one/more"), 4, 5_000_000);
    git(&at.join("one"), &["add", "."]);
    git(&at.join("one"), &["commit", "-q", "-m", "Two"]);
    through(open.url("http", ""), &["-C", "one", "push", "-q", "origin", "main"]);
    assert_eq!(git(&bare, &["log", "--format=%s", "main"]), "Two\nOne");
    let records = open.carried_some(&[&origin.address()]);
    assert!(records.iter().any(|record| record.bytes().0 > 5_000_000), "the push went through: {records:#?}");
    // git shows its password when it is asked for one.
    let records = guarded.stop(2);
    let ends: Vec<_> = records.iter().map(|record| (record.text("user"), record.text("wanted"))).collect();
    assert_eq!(ends, [("", ""), ("alice", &*site.secure())]);
}

#[test]
fn ssh_and_git_over_ssh_by_nc() {
    let (ssh, open, folder) = (ssh(), Proxy::start(&[]), tempfile::tempdir().unwrap());
    let bare = folder.path().join("repo.git");
    repository(&bare, 2_000_000);
    let (port, at) = (ssh.service.port, bare.display());
    for kind in ["connect", "5", "4"] {
        let by = format!("ProxyCommand=nc -X {kind} -x {} %h %p", open.address());
        let mut session = ssh.client("ssh", port);
        session.args(["-o", &by, "127.0.0.1", "cat; echo hello"]);
        assert_eq!(run_well(session), "hello");
        let shell = ssh.client("ssh", port);
        let mut words: Vec<_> = shell.get_args().map(|word| word.to_str().unwrap()).collect();
        words.extend(["-o", &by]);
        let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let mut clone = client("git", folder.path());
        clone.env("GIT_SSH_COMMAND", format!("ssh {}", words.join(" ")));
        clone.args(["clone", "-q", &format!("ssh://127.0.0.1:{port}{at}"), kind]);
        run_well(clone);
        assert_same(&folder.path().join("connect/large"), &folder.path().join(kind).join("large"));
    }
    let records = open.carried(6, &[&ssh.service.address()]);
    let large = records.iter().filter(|record| record.bytes().1 > 2_000_000);
    assert_eq!(large.count(), 3, "{records:#?}");
}

#[test]
fn proxychains_with_curl_and_redis() {
    let certificate = Certificate::make();
    let (site, redis) = (Site::start(&certificate), redis());
    let (open, guarded, folder) = (Proxy::start(&[]), Proxy::guarded(), tempfile::tempdir().unwrap());
    let config = folder.path().join("proxychains.conf");
    let port = |proxy: &Proxy| proxy.address().rsplit_once(':').unwrap().1.to_owned();
    let ways = [
        format!("http 127.0.0.1 {}", port(&open)),
        format!("socks4 127.0.0.1 {}", port(&open)),
        format!("socks5 127.0.0.1 {}", port(&open)),
        format!("http 127.0.0.1 {} alice secret", port(&guarded)),
        format!("socks5 127.0.0.1 {} alice secret", port(&guarded)),
    ];
    let chained = |words: &[&str]| {
        let mut command = client("proxychains4", folder.path());
        command.args(["-q", "-f"]).arg(&config).args(words);
        run_well(command)
    };
    for way in ways {
        fs::write(&config, format!("strict_chain\nproxy_dns\n[ProxyList]\n{way}\n")).unwrap();
        let page = format!("http://{}/page", site.service.address());
        assert_eq!(chained(&["curl", "-q", "-sS", "--max-time", "30", &page]), "the page", "{way}");
        assert_eq!(chained(&["redis-cli", "-p", &redis.port.to_string(), "PING"]), "PONG", "{way}");
    }
    let wanted = [site.service.address(), redis.address()];
    open.carried(6, &[&wanted[0], &wanted[1]]);
    guarded.carried(4, &[&wanted[0], &wanted[1]]);
}

#[test]
fn a_browser_shows_pages_by_http_https_and_socks() {
    let certificate = Certificate::make();
    let site = Site::start(&certificate);
    let (open, secure) = (Proxy::start(&[]), Proxy::secure(&certificate, &[]));
    let page = "<p id=p></p><script>fetch('page').then(answer => answer.text()).then(text => \
                { document.getElementById('p').textContent = text + ' was fetched' })</script>";
    fs::write(site.root().join("index.html"), page).unwrap();
    // It speaks HTTP/2 to a proxy over TLS.
    for by in [open.url("http", ""), open.url("socks5", ""), secure.url("https", "")] {
        for url in [format!("http://{}/", site.plain()), format!("https://{}/", site.secure())] {
            let profile = tempfile::tempdir().unwrap();
            let mut chromium = client("chromium-headless-shell", profile.path());
            chromium.args(["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
            chromium.args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ]);
            chromium.args(["--ignore-certificate-errors", "--virtual-time-budget=5000", "--dump-dom"]);
            chromium.arg(format!("--user-data-dir={}", profile.path().join("profile").display()));
            chromium.args(["--proxy-bypass-list=<-loopback>", &format!("--proxy-server={by}"), &url]);
            let shown = run_well(chromium);
            assert!(shown.contains("<p id=\"p\">the page was fetched</p>"), "{by} {url}: {shown}");
        }
    }
    let wanted = [site.plain(), site.secure()];
    open.carried_some(&[&wanted[0], &wanted[1]]);
    secure.carried_some(&[&wanted[0], &wanted[1]]);
}

/// towpath on a port of its own that reaches `server` by each of `ways` in turn.
fn chain(server: &Service, ways: &[String]) -> (Towpath, u16) {
    let listen = free_address();
    let flags: Vec<&str> = ways.iter().flat_map(|way| ["--via", way]).collect();
    let towpath = Towpath::tcp(&listen, &server.address(), &flags);
    (towpath, listen.rsplit_once(':').unwrap().1.parse().unwrap())
}

#[test]
fn redis_behind_chains_of_proxies() {
    let (redis, certificate) = (redis(), Certificate::make());
    let value = certificate.folder.path().join("value");
    random_file(&value, 5, 5_000_000);
    let ca = format!("?ca={}", certificate.file());
    let schemes = [
        ["socks5h", "http", "h2c"],
        ["h2c", "socks4a", "h2"],
        ["https", "h2", "socks5"],
        ["http", "https", "http"],
    ];
    for schemes in schemes {
        let proxies = schemes.map(|scheme| match scheme {
            "https" | "h2" => Proxy::secure(&certificate, &["--user", "alice:secret"]),
            "socks4a" => Proxy::start(&[]),
            _ => Proxy::guarded(),
        });
        let url = |(scheme, proxy): (&&str, &Proxy)| {
            let login = if *scheme == "socks4a" { "" } else { "alice:secret@" };
            let trusted = if ["https", "h2"].contains(scheme) { &*ca } else { "" };
            format!("{scheme}://{login}{}{trusted}", proxy.number())
        };
        let ways: Vec<String> = schemes.iter().zip(&proxies).map(url).collect();
        let (towpath, port) = chain(&redis, &ways);
        let redis_cli = |words: &str| {
            let mut command = program("sh");
            command
                .args(["-c", &format!("redis-cli -p {port} {words}")])
                .current_dir(certificate.folder.path());
            run_well(command)
        };
        assert_eq!(redis_cli("-x SET large < value"), "OK", "{ways:?}");
        redis_cli("--raw GET large > got; truncate -s 5000000 got");
        assert_same(&certificate.folder.path().join("got"), &value);
        let records = towpath.stop(2);
        assert!(records[1].bytes().1 > 5_000_000, "{records:#?}");
        let reach = [proxies[1].number(), proxies[2].number(), redis.address()];
        for (proxy, wanted) in proxies.into_iter().zip(&reach) {
            // A connection of HTTP/2 carries both tunnels.
            let records = proxy.carried_some(&[wanted]);
            assert!(records.iter().any(|record| record.bytes().1 > 5_000_000), "{records:#?}");
        }
    }
}

#[test]
fn each_proxy_of_a_chain_finds_the_next_by_its_name() {
    let (redis, first, second) = (redis(), Proxy::start(&[]), Proxy::start(&[]));
    let (towpath, port) = chain(&redis, &[first.url("socks5h", ""), second.url("http", "")]);
    let mut redis_cli = program("redis-cli");
    redis_cli.args(["-p", &port.to_string(), "PING"]);
    assert_eq!(run_well(redis_cli), "PONG");
    towpath.stop(1);
    first.carried_some(&[&second.address()]);
}

#[test]
fn postgres_behind_two_proxies() {
    let (postgres, first, second) = (postgres(), Proxy::start(&[]), Proxy::guarded());
    let ways = [format!("h2c://{}", first.number()), format!("socks5h://alice:secret@{}", second.number())];
    let (towpath, port) = chain(&postgres, &ways);
    let port = port.to_string();
    let to_database = |name: &str, words: &[&str]| {
        let mut command = program(&postgres_program(name));
        command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"]).args(words).arg("postgres");
        run_well(command)
    };
    to_database("pgbench", &["-i", "-q"]);
    let output = to_database("pgbench", &["-c", "4", "-j", "2", "-t", "50"]);
    assert!(output.contains("number of failed transactions: 0"), "{output}");
    let query = "select count(*), sum(length(repeat('x', 100))) from pgbench_accounts";
    assert_eq!(to_database("psql", &["-At", "-c", query]), "100000|10000000");
    let count = towpath.records(7).len();
    towpath.stop(count);
    first.carried_some(&[&second.number()]);
    let records = second.carried(count, &[&postgres.address()]);
    assert!(records.iter().all(|record| record.text("user") == "alice"), "{records:#?}");
}
