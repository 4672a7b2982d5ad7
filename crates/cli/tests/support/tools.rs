//! What proxy clients need around them: towpath as a proxy, sites over HTTP and TLS, and a clean environment.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::data::Data;
use super::peers::{Program, program, run_well};
use super::ports::{free_address, free_port};
use super::services::Service;
use super::towpath::{Record, Towpath, command};

/// Where the scripts of this folder are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/clients");

/// A certificate for localhost and 127.0.0.1 that is its own authority, in a folder of its own.
pub(crate) struct Certificate {
    pub(crate) folder: tempfile::TempDir,
}

impl Certificate {
    /// Made with `openssl`, as people do.
    pub(crate) fn make() -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        let mut openssl = program("openssl");
        openssl.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-days", "2", "-subj", "/CN=localhost", "-keyout", &made.key(), "-out", &made.file()]);
        openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        run_well(openssl);
        made
    }

    /// The certificate, which is what clients are to trust too.
    pub(crate) fn file(&self) -> String {
        self.folder.path().join("cert.pem").display().to_string()
    }

    pub(crate) fn key(&self) -> String {
        self.folder.path().join("key.pem").display().to_string()
    }
}

/// nginx with files to get, over HTTP and over TLS with HTTP/2.
pub(crate) struct Site {
    pub(crate) service: Service,
    secure_port: u16,
}

impl Site {
    /// With a `page` that says "the page".
    pub(crate) fn start(certificate: &Certificate) -> Self {
        let (folder, port, secure_port) = (tempfile::tempdir().unwrap(), free_port(), free_port());
        let at = folder.path().display();
        let text = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; root {at}/root; default_type text/plain; index index.html index.json;\n\
             types {{ text/html html; application/json json; }} keepalive_timeout 60;\n\
             client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at}; uwsgi_temp_path {at};\n\
             scgi_temp_path {at}; ssl_certificate {}; ssl_certificate_key {};\n\
             server {{ listen 127.0.0.1:{port}; listen 127.0.0.1:{secure_port} ssl http2; }} }}\n",
            certificate.file(),
            certificate.key()
        );
        let (root, config) = (folder.path().join("root"), folder.path().join("nginx.conf"));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("page"), "the page").unwrap();
        fs::write(&config, text).unwrap();
        let mut command = program("nginx");
        command.args(["-e", "stderr", "-c"]).arg(&config).arg("-p").arg(folder.path());
        let program = Program::start(command, folder.path()).listening_on(port).listening_on(secure_port);
        Self { service: Service { program, port, folder }, secure_port }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.service.folder.path().join("root")
    }

    /// Host and port over HTTP.
    pub(crate) fn plain(&self) -> String {
        format!("localhost:{}", self.service.port)
    }

    /// Host and port over TLS.
    pub(crate) fn secure(&self) -> String {
        format!("localhost:{}", self.secure_port)
    }
}

/// The server of `origin.py`, which finds repositories in its folder.
pub(crate) fn origin() -> Service {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut command = client("/usr/bin/python3", folder.path());
    command.arg(format!("{SCRIPTS}/origin.py")).arg(port.to_string()).arg(folder.path());
    let program = Program::start(command, folder.path()).listening_on(port);
    Service { program, port, folder }
}

/// towpath as a proxy for this machine.
pub(crate) struct Proxy {
    towpath: Towpath,
    port: u16,
}

impl Proxy {
    /// With more `flags`.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let listen = free_address();
        let arguments = ["proxy", &listen, "--allow-dest", "127.0.0.0/8", "--log-format", "json"];
        let towpath = Towpath::start(command(arguments.iter().chain(flags)));
        Self { towpath, port: listen.rsplit_once(':').unwrap().1.parse().unwrap() }
    }

    /// For alice alone, whose password is secret.
    pub(crate) fn guarded() -> Self {
        Self::start(&["--user", "alice:secret"])
    }

    /// Over TLS.
    pub(crate) fn secure(certificate: &Certificate, flags: &[&str]) -> Self {
        let (file, key) = (certificate.file(), certificate.key());
        Self::start(&[&["--tls-cert", &file, "--tls-key", &key], flags].concat())
    }

    /// Its URL for a client that speaks `scheme`, with `login` as in `alice:secret@`.
    pub(crate) fn url(&self, scheme: &str, login: &str) -> String {
        format!("{scheme}://{login}{}", self.address())
    }

    /// By name, as its certificate and nearly everybody has it.
    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The same by number, for those who would look its name up.
    pub(crate) fn number(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops it: `count` records in all, each of a request or tunnel that it took to one of `wanted`.
    pub(crate) fn carried(self, count: usize, wanted: &[&str]) -> Vec<Record> {
        let records = self.towpath.stop(count);
        for record in &records {
            assert!(wanted.contains(&record.text("wanted")), "{wanted:?}: {record:?}");
            // Many clients and servers end TLS with a reset, or with no word.
            let ended =
                ["served", "client closed", "client reset", "client lost", "server closed", "server reset"];
            assert!(ended.contains(&record.text("end")), "{record:?}");
        }
        records
    }

    /// The same where how many a client makes of it is its own affair: at least one to each of `wanted`.
    pub(crate) fn carried_some(self, wanted: &[&str]) -> Vec<Record> {
        self.towpath.signal(Signal::TERM);
        let records = self.towpath.wait().records;
        let all: HashSet<_> = records.iter().map(|record| record.text("wanted")).collect();
        assert_eq!(all, wanted.iter().copied().collect(), "{records:#?}");
        records
    }

    /// Stops it and hands out all `count` records.
    pub(crate) fn stop(self, count: usize) -> Vec<Record> {
        self.towpath.stop(count)
    }
}

/// A client without the settings of whoever runs the tests; `home` is its home.
pub(crate) fn client(name: &str, home: &Path) -> Command {
    let mut command = if name.starts_with('/') { Command::new(name) } else { program(name) };
    command.env_clear().env("HOME", home).env("LC_ALL", "C.UTF-8").current_dir(home);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Debian's Python, with the libraries that come as Debian packages; it gets `url` through `proxy` with `library`.
pub(crate) fn python(library: &str, proxy: &str, url: &str, certificate: &Certificate) -> Command {
    let mut command = client("/usr/bin/python3", certificate.folder.path());
    command.arg(format!("{SCRIPTS}/clients.py")).args([library, proxy, url, &certificate.file()]);
    // requests and aiohttp take from here whom to trust as a proxy.
    command.env("SSL_CERT_FILE", certificate.file());
    command
}

/// node, which gets `url` through `proxy`.
pub(crate) fn node(proxy: &str, url: &str, certificate: &Certificate) -> Command {
    let folder = std::env::var_os("TOWPATH_CLIENTS").map(PathBuf::from);
    let folder = folder.filter(|folder| folder.join("node_modules/https-proxy-agent").is_dir());
    let folder = folder.expect("no TOWPATH_CLIENTS with libraries of node: `cargo xtask test` installs them");
    let mut command = client("node", certificate.folder.path());
    command.arg(format!("{SCRIPTS}/clients.cjs")).arg(folder).args([proxy, url, &certificate.file()]);
    command
}

/// `size` bytes that no other seed has, in a file.
pub(crate) fn random_file(path: &Path, seed: u64, size: usize) {
    fs::write(path, Data::new(seed).take(size)).unwrap();
}

/// Fails unless both files hold the same.
pub(crate) fn assert_same(one: &Path, other: &Path) {
    assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{one:?} is not {other:?}");
}
