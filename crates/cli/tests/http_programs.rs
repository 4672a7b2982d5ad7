//! HTTP load balancing between other programs: servers that close what they keep, proxies before and behind, git and libraries.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;

use support::peers::{program, run_well};
use support::ports::free_port;
use support::services::{Service, configured, haproxy};
use support::tools::{assert_same, client, origin, random_file};
use support::web::{Backend, Balancer, FORMS, Settings, h2_site, long_or_short, python_script, script, site};

fn root(site: &Service) -> std::path::PathBuf {
    site.folder.path().join("root")
}

/// A site with a page.
fn paged(settings: &str) -> Service {
    let site = site(settings);
    fs::write(root(&site).join("page"), "the page").unwrap();
    site
}

/// h2load of so many requests, none of which may fail.
fn h2load(url: &str, count: usize, flags: &[&str]) {
    let mut h2load = program("h2load");
    h2load.args(["-n", &count.to_string()]).args(flags).arg(url);
    let report = run_well(h2load);
    let wanted = format!("{count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout");
    assert!(
        report.contains(&wanted) && report.contains(&format!("{count} 2xx")),
        "{url} {flags:?}: {report}"
    );
}

#[test]
fn servers_that_close_connections_after_some_requests_cost_none() {
    let count = long_or_short(5_000, 200_000);
    let short = "keepalive_requests 50;";
    let sites = [paged(short), paged(short)];
    // These say GOAWAY.
    let h2_sites = [h2_site(short), h2_site(short)];
    for balancer in [
        Balancer::start(&sites.each_ref().map(Service::address)),
        Balancer::over_h2(&h2_sites.each_ref().map(Service::address)),
    ] {
        h2load(&balancer.url("/page"), count, &["--h1", "-c", "20"]);
        h2load(&balancer.secure_url("/page"), count, &["-c", "10", "-m", "20"]);
    }
}

#[test]
fn posts_do_not_meet_a_connection_that_its_server_is_closing() {
    // nginx does not say for how long it keeps a connection, node does.
    let (nginx, node) = (paged("keepalive_timeout 1s;"), Backend::keeping("one", 1000));
    let rounds = long_or_short("3", "30");
    for (server, path) in [(nginx.address(), "/post"), (node.h1(), "/echo")] {
        let balancer = Balancer::start(&[server]);
        let home = balancer.certificate.folder.path();
        let words = [&balancer.url(path), "100", rounds, "0.9", "1.1"];
        assert_eq!(run_well(python_script("posts.py", home, &words)), "0", "{path}");
    }
}

#[test]
fn proxies_before_and_behind() {
    let site = paged("");
    random_file(&root(&site).join("large"), 10, 5_000_000);
    // towpath before HAProxy before towpath before nginx.
    let inner = Balancer::start(&[site.address()]);
    let middle = haproxy(inner.address());
    let outer = Balancer::start(&[middle.address()]);
    let h2_inner = Balancer::over_h2(&[inner.address().to_owned()]);
    let got = outer.certificate.folder.path().join("got");
    let to = got.display().to_string();
    for balancer in [&outer, &h2_inner] {
        for form in &FORMS {
            let words = ["-o", &to, "-w", "%{http_code}", &form.url(balancer, "/large")];
            assert_eq!(balancer.curl_well(&[form.flags, &words].concat()), "200", "{}", form.name);
            assert_same(&got, &root(&site).join("large"));
        }
        h2load(&balancer.secure_url("/page"), 2000, &["-c", "10", "-m", "10"]);
    }
    // nginx speaks HTTP/1.0 to what it is before, and closes each connection.
    let port = free_port();
    let text = format!(
        "daemon off; master_process off; pid FOLDER/pid; error_log stderr;\nevents {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path FOLDER; proxy_temp_path FOLDER; fastcgi_temp_path FOLDER;\n\
         uwsgi_temp_path FOLDER; scgi_temp_path FOLDER;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{}; }} }} }}\n",
        inner.address()
    );
    let before = configured("nginx", port, &text);
    let url = format!("http://{}/page", before.address());
    h2load(&url, 500, &["--h1", "-c", "5"]);
}

#[test]
fn ab_speaks_http_1_0_with_and_without_keep_alive() {
    let (site, backend) = (paged(""), Backend::start("one"));
    let over_nginx = Balancer::start(&[site.address()]);
    let over_h2 = Balancer::over_h2(&[backend.h2()]);
    for url in [over_nginx.url("/page"), over_h2.url("/"), over_nginx.secure_url("/page")] {
        for flags in [&[][..], &["-k"]] {
            let mut ab = program("ab");
            ab.args(["-q", "-n", "1000", "-c", "10"]).args(flags).arg(&url);
            let report = run_well(ab);
            assert!(report.contains("Complete requests:      1000"), "{url}: {report}");
            assert!(
                report.contains("Failed requests:        0") && !report.contains("Non-2xx"),
                "{url}: {report}"
            );
            if flags.contains(&"-k") && url.ends_with("/page") {
                assert!(report.contains("Keep-Alive requests:    1000"), "{url}: {report}");
            }
        }
    }
}

/// git in `folder`.
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

#[test]
fn git_clones_and_pushes() {
    let origin = origin();
    let settings = Settings { listener: "compress = true\nusers = \"alice:secret\"", ..Settings::default() };
    let balancer = Balancer::with(&[origin.address()], settings);
    let (bare, work) = (origin.folder.path().join("repo.git"), tempfile::tempdir().unwrap());
    let at = work.path();
    git(at, &["init", "-q", "."]);
    random_file(&at.join("large"), 3, 3_000_000);
    fs::write(at.join("text"), "a text that repeats itself\n".repeat(10_000)).unwrap();
    git(at, &["add", "."]);
    git(at, &["commit", "-q", "-m", "One"]);
    git(at, &["clone", "-q", "--bare", ".", &bare.display().to_string()]);
    git(&bare, &["config", "http.receivepack", "true"]);
    let ca = format!("http.sslCAInfo={}", balancer.certificate.file());
    for (url, name) in
        [(balancer.url("/git/repo.git"), "plain"), (balancer.secure_url("/git/repo.git"), "tls")]
    {
        let url = url.replace("://", "://alice:secret@");
        git(at, &["-c", &ca, "clone", "-q", &url, name]);
        assert_same(&at.join("large"), &at.join(name).join("large"));
        // More than git sends in one piece: it goes by chunks.
        let clone = at.join(name);
        random_file(&clone.join(name), 4, 4_000_000);
        git(&clone, &["add", "."]);
        git(&clone, &["commit", "-q", "-m", name]);
        git(&clone, &["-c", &ca, "push", "-q", "origin", "main"]);
    }
    assert_eq!(git(&bare, &["log", "--format=%s", "main"]), "tls\nplain\nOne");
}

#[test]
fn libraries_of_python_keep_their_connections() {
    let backend = Backend::start("one");
    let balancer =
        Balancer::with(&[backend.h1()], Settings { listener: "compress = true", ..Settings::default() });
    let home = balancer.certificate.folder.path();
    let ca = balancer.certificate.file();
    for library in ["requests", "httpx", "aiohttp"] {
        for url in [balancer.url("/text"), balancer.secure_url("/text")] {
            let mut python = client("/usr/bin/python3", home);
            python.arg(script("fetch.py")).args([library, &url, &ca]);
            assert_eq!(run_well(python), "200 68000 20", "{library} {url}");
        }
    }
    let records = balancer.stop_well();
    let clients: std::collections::HashSet<_> = records.iter().map(|record| record.text("client")).collect();
    assert_eq!((records.len(), clients.len()), (120, 6), "twenty requests on each of six connections");
}
