//! Package managers and the libraries of Python and node get through towpath as a proxy.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;

use support::PATIENCE;
use support::peers::{program, run, run_well};
use support::tools::{Certificate, Proxy, Site, client, node, origin, python};

#[test]
fn pip_downloads_from_an_index() {
    let certificate = Certificate::make();
    let (site, proxy, home) = (Site::start(&certificate), Proxy::start(&[]), tempfile::tempdir().unwrap());
    let folder = site.root().join("simple/towpath-example");
    fs::create_dir_all(&folder).unwrap();
    let wheel = "towpath_example-1.0-py3-none-any.whl";
    let make = "import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    wheel.writestr('towpath_example.py', '# towpath\\n' * 300_000)
    info = 'towpath_example-1.0.dist-info/'
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: towpath-example\\nVersion: 1.0\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + 'RECORD', '')
";
    let mut python = client("/usr/bin/python3", home.path());
    python.args(["-c", make]).arg(folder.join(wheel));
    run_well(python);
    fs::write(folder.join("index.html"), format!("<!DOCTYPE html><a href='{wheel}'>{wheel}</a>")).unwrap();
    for (scheme, at) in [("http", site.plain()), ("http", site.secure()), ("socks5h", site.plain())] {
        let to = tempfile::tempdir().unwrap();
        let protocol = if at == site.secure() { "https" } else { "http" };
        let mut pip = client("/usr/bin/python3", home.path());
        pip.args(["-m", "pip", "download", "-q", "--isolated", "--no-deps", "--no-cache-dir", "-d"]);
        pip.arg(to.path()).args(["--index-url", &format!("{protocol}://{at}/simple/"), "--proxy"]);
        pip.args([&proxy.url(scheme, ""), "--cert", &certificate.file(), "--trusted-host", &at]);
        pip.args(["--disable-pip-version-check", "--retries", "0", "towpath-example"]);
        run_well(pip);
        assert!(fs::read(to.path().join(wheel)).unwrap() == fs::read(folder.join(wheel)).unwrap());
    }
    let records = proxy.carried_some(&[&site.plain(), &site.secure()]);
    let large = records.iter().filter(|record| record.bytes().1 > 3_000_000);
    assert_eq!(large.count(), 3, "{records:#?}");
}

/// A registry of npm with one package, as files of `root`.
fn registry(root: &Path, at: &str) {
    let folder = root.join("npm/towpath-example");
    fs::create_dir_all(folder.join("package")).unwrap();
    let about = r#"{"name":"towpath-example","version":"1.0.0","main":"index.js"}"#;
    fs::write(folder.join("package/package.json"), about).unwrap();
    fs::write(folder.join("package/index.js"), "module.exports = 'towpath'\n").unwrap();
    let mut tar = program("tar");
    tar.current_dir(&folder).args(["-czf", "package.tgz", "package"]);
    run_well(tar);
    let index = serde_json::json!({
        "name": "towpath-example",
        "dist-tags": { "latest": "1.0.0" },
        "versions": { "1.0.0": {
            "name": "towpath-example",
            "version": "1.0.0",
            "dist": { "tarball": format!("http://{at}/npm/towpath-example/package.tgz") },
        } },
    });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn npm_views_and_installs_from_a_registry() {
    let certificate = Certificate::make();
    let (site, proxy, home) = (Site::start(&certificate), Proxy::guarded(), tempfile::tempdir().unwrap());
    registry(&site.root(), &site.plain());
    let npm = |words: &[&str]| {
        let mut npm = client("npm", home.path());
        npm.args([
            "--registry",
            &format!("http://{}/npm/", site.plain()),
            "--noproxy",
            "",
            "--cache",
            "cache",
        ]);
        npm.args(["--proxy", &proxy.url("http", "alice:secret@"), "--fetch-retries", "0", "--no-audit"]);
        npm.args(["--no-fund", "--no-update-notifier", "--userconfig", "none", "--globalconfig", "none too"]);
        npm.args(words);
        run_well(npm)
    };
    assert_eq!(npm(&["view", "towpath-example", "version"]).trim(), "1.0.0");
    npm(&["install", "towpath-example"]);
    let installed = fs::read_to_string(home.path().join("node_modules/towpath-example/index.js")).unwrap();
    assert_eq!(installed, "module.exports = 'towpath'\n");
    let records = proxy.carried_some(&[&site.plain()]);
    assert!(records.iter().all(|record| record.text("user") == "alice"), "{records:#?}");
    assert!(records.len() >= 3, "two looks and the package: {records:#?}");
}

#[test]
fn libraries_of_python_over_http_https_and_socks() {
    let certificate = Certificate::make();
    let site = Site::start(&certificate);
    let (guarded, secure) = (Proxy::guarded(), Proxy::secure(&certificate, &[]));
    let (plain, tls) = (format!("http://{}/page", site.plain()), format!("https://{}/page", site.secure()));
    let ways = [
        guarded.url("http", "alice:secret@"),
        guarded.url("socks5h", "alice:secret@"),
        secure.url("https", ""),
    ];
    for library in ["requests", "httpx", "aiohttp"] {
        for by in &ways {
            // Debian's httpx cannot speak TLS within TLS.
            let urls =
                if library == "httpx" && by.starts_with("https") { &[&plain][..] } else { &[&plain, &tls] };
            for url in urls {
                let got = run_well(python(library, by, url, &certificate));
                assert_eq!(got, "200 the page", "{library} {by} {url}");
            }
        }
        let refused = run_well(python(library, &guarded.url("http", "alice:wrong@"), &plain, &certificate));
        assert!(refused.starts_with("407 "), "{library}: {refused}");
        let by = guarded.url("socks5h", "alice:wrong@");
        let refused = run(python(library, &by, &plain, &certificate), PATIENCE);
        assert!(!refused.status.success(), "{library}: {}", refused.stdout);
    }
    secure.carried_some(&[&site.plain(), &site.secure()]);
    let records = guarded.carried_some(&[&site.plain(), &site.secure(), ""]);
    let refused = records.iter().filter(|record| record.text("end") == "wrong login").count();
    let taken = records.iter().filter(|record| record.text("user") == "alice").count();
    assert_eq!(records.len(), refused + taken, "{records:#?}");
    assert!(refused >= 6 && taken >= 12, "{records:#?}");
}

#[test]
fn agents_of_node_over_http_https_and_socks() {
    let certificate = Certificate::make();
    let site = Site::start(&certificate);
    let (guarded, secure) = (Proxy::guarded(), Proxy::secure(&certificate, &[]));
    let (plain, tls) = (format!("http://{}/page", site.plain()), format!("https://{}/page", site.secure()));
    let ways = [
        guarded.url("http", "alice:secret@"),
        guarded.url("socks5h", "alice:secret@"),
        secure.url("https", ""),
    ];
    for by in &ways {
        for url in [&plain, &tls] {
            let got = run_well(node(by, url, &certificate));
            assert_eq!(got, "200 the page", "{by} {url}");
        }
    }
    let refused = run_well(node(&guarded.url("http", "alice:wrong@"), &tls, &certificate));
    assert!(refused.starts_with("407 "), "{refused}");
    let refused = run(node(&guarded.url("socks5h", "alice:wrong@"), &tls, &certificate), PATIENCE);
    assert!(refused.stderr.contains("Authentication failed"), "{}", refused.stderr);
    secure.carried(2, &[&site.plain(), &site.secure()]);
    let records = guarded.stop(6);
    let taken = records.iter().filter(|record| record.text("user") == "alice").count();
    let refused = records.iter().filter(|record| record.text("end") == "wrong login").count();
    assert_eq!((taken, refused), (4, 2), "{records:#?}");
}

#[test]
fn websockets_through_a_tunnel_of_socks() {
    let certificate = Certificate::make();
    let (origin, proxy) = (origin(), Proxy::guarded());
    let url = format!("http://{}/websocket", origin.address());
    let got = run_well(python("websocket", &proxy.url("socks5h", "alice:secret@"), &url, &certificate));
    assert_eq!(got, "101 over");
    let records = proxy.carried(1, &[&origin.address()]);
    assert!(records[0].bytes().0 > 3_000_000 && records[0].bytes().1 > 3_000_000, "{records:#?}");
}

#[test]
fn websockets_by_requests_of_a_plain_proxy() {
    let certificate = Certificate::make();
    let (origin, proxy) = (origin(), Proxy::guarded());
    let url = format!("http://{}/websocket", origin.address());
    let got = run_well(python("websocket", &proxy.url("http", "alice:secret@"), &url, &certificate));
    assert_eq!(got, "101 over");
    let records = proxy.carried(1, &[&origin.address()]);
    assert!(records[0].bytes().0 > 3_000_000 && records[0].bytes().1 > 3_000_000, "{records:#?}");
}
